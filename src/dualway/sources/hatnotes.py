"""Notes to the reader and lists of things of one name: what stands at the head of a page and describes nothing."""

from __future__ import annotations

import re

_LONGEST = 600  # characters: a longer paragraph is none, whatever it begins with

_ENGLISH = (
    r"for (?:other|the|a|an|more|another|people|persons|his|her|its|their|similar|information)\b.{0,200}?,\s*"
    r"(?:please )?see\b",
    r"(?:this|the following) (?:article|page|biography) "
    r"(?:is about|describes|needs|contains|may|relies|has multiple)\b",
    r"(?:not )?to be confused with\b",
    r"(?:see also|further information|main article|coordinates)\s*(?::|\b.{0,150}$)",
    r".{1,200}?\b(?:redirects?|redirected) (?:here|to this page)\b",
    r"in this .{0,60} name,",
)
_GERMAN = (
    r"dieser artikel (?:behandelt|beschreibt|befasst|handelt|erläutert|bezieht|ist über|stellt)\b",
    r"(?:zu|zur|zum) .{0,150}?(?:,\s*|\b)siehe\b",
    r"(?:zu|für) (?:anderen|andere|weiteren|weitere|gleichnamigen) (?:bedeutungen|personen|orten|begriffen)\b",
    r".{1,120}? (?:ist eine weiterleitung auf diesen artikel|leitet hierher weiter)",
    r"(?:nicht zu verwechseln mit|siehe auch)\b",
)
_FRENCH = (
    r"pour (?:les articles homonymes|les autres\b|l['’]article\b|d['’]autres\b|un article\b|le .{1,60}?, voir\b)",
    r"cet article (?:concerne|traite|est une ébauche|ne cite)\b",
    r"cette page (?:concerne|traite)\b",
    r"(?:ne doit pas être confondue?|ne pas confondre|à ne pas confondre|vous lisez un)\b",
    r".{1,100}?\bredirige ici\b",
)
_SPANISH = (
    r"para (?:otros usos|otras acepciones|otras personas|otros significados)\b",
    r"para .{1,150}?,\s*véase\b",
    r"(?:no (?:debe )?confundirse con|no confundir con)\b",
    r"este artículo (?:trata|se refiere|es sobre|o sección)\b",
    r".{1,100}?\bredirige aquí\b",
)
_OTHERS = (
    r"(?:другие значения|у этого термина существуют|не следует путать|эта статья\s*[—–-])",
    r"(?:この項目では|「.{1,60}」はこの項目へ|.{1,80}?については.{1,80}?(?:ご覧ください|参照))",
    r"(?:关于.{1,80}?，(?:请见|请参见|请参阅|詳見)|關於.{1,80}?，(?:請見|請參見|請參閱)|本条目|“.{1,60}”重定向|「.{1,60}」重定向)",
    r"(?:nota disambigua|disambiguazione|voor andere betekenissen|ten artykuł dotyczy)",
)
_HATNOTE = re.compile(
    "(?:" + "|".join((*_ENGLISH, *_GERMAN, *_FRENCH, *_SPANISH, *_OTHERS)) + ")", re.IGNORECASE | re.DOTALL
)

# What such a list begins with ends its paragraph, or has a colon: "a pronoun may refer to a noun" is a sentence.
_LIST = r"\s*(?::|：|$)|\s+(?:one of|any of|any one of|several|more than one|various)\b"
_DISAMBIGUATION = re.compile(
    r".{0,200}?(?:"
    rf"\b(?:may|can|could|might|most often|most commonly|commonly|usually|often)(?: also)? refers? to(?:{_LIST})|"
    rf"\brefers? to(?:\s*:|\s+several\b)|\bmay stand for(?:{_LIST})|"
    rf"\b(?:steht|stehen)(?: als| unter anderem)? für(?:{_LIST})|\b(?:bezeichnet|ist der name von)(?:{_LIST})|"
    r"\bist der (?:name|familienname|vorname) (?:folgender|mehrerer)\b|"
    rf"\b(?:peut|peuvent)(?: aussi| également)? (?:désigner|faire référence à|se référer à)(?:{_LIST})|"
    rf"\b(?:puede|pueden)(?: también)? (?:referirse a|hacer referencia a|designar)(?:{_LIST})|"
    rf"\b(?:может|могут) (?:означать|относиться к)(?:{_LIST})|\bpuò (?:riferirsi a|indicare)(?:{_LIST})|"
    r"(?:可以指|可能指|可能是指|曖昧さ回避)"
    r")",
    re.IGNORECASE | re.DOTALL,
)


def is_hatnote(paragraph: str, language: str = "") -> bool:
    """Tell whether a paragraph begins with a note that leads to other pages: "For other uses, see ..".

    Args:
        paragraph: Plain text.
        language: Of the text. Notes of all known languages are looked for, whatever it is: they do not look alike.
    """
    del language
    start = paragraph.strip().lstrip("'\"“”„«»*:; ")
    return len(start) < _LONGEST and _HATNOTE.match(start) is not None


def is_disambiguation(paragraph: str, language: str = "") -> bool:
    """Tell whether a first paragraph begins a list of things of one name: ".. may refer to:"."""
    del language
    return _DISAMBIGUATION.match(paragraph.strip()[:_LONGEST]) is not None
