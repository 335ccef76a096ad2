"""Text from encyclopedias, cleaned so that it can stand for an entity (paper, section 3.1).

"We further clean the data by removing special characters, restricting its length": reference marks, what is left of
markup, pronunciations and other scripts in brackets, and notes that lead to other pages are removed; dates in brackets
stay.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from dualway.sources.brackets import without_speech
from dualway.sources.hatnotes import is_disambiguation, is_hatnote

_LONGEST = 100_000  # characters of one text that are looked at
_LONGEST_PARAGRAPH = 10_000
_MAX_DEPTH = 20
_MAX_TURNS = 12
_REST = 30  # characters that must follow a note to the reader, so that they are taken for a description

_COMMENT = re.compile(r"<!--.{0,5000}?-->", re.DOTALL)
_REF = re.compile(r"<ref\b[^<>]{0,500}/>|<ref\b[^<>]{0,500}>[^<]{0,5000}</ref\s?>", re.IGNORECASE)
_BREAK = re.compile(r"<br\s?/?>|</(?:p|div|li)\s?>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]{0,20}(?:\s[^<>]{0,500})?/?>|<!--|-->")
_LINK = re.compile(r"\[\[(?:[^\[\]|]{0,300}\|)?([^\[\]|]{0,300})\]\]")
_EXTERNAL = re.compile(r"\[(?:https?:)?//[^\s\[\]]{1,500}(?: ([^\[\]]{0,300}))?\]")
_TEMPLATE = re.compile(r"\{\{[^{}]{0,5000}\}\}")
_QUOTES = re.compile(r"'{2,5}")
_LEFT = re.compile(r"\[\[|\]\]|\{\{|\}\}|\{\||\|\}|</?ref\b[^<>]{0,500}>?", re.IGNORECASE)

_NOTE = (
    r"\d{1,3}|[a-z]{1,2}|(?:note|nb|n|lower-alpha|anm\.|nota|réf\.|c|α|β) ?\d{1,3}|"
    r"(?:citation|attribution|clarification|verification|page|year|author|date) (?:needed|missing)|"
    r"better source needed|when\?|who\?|which\?|where\?|why\?|by whom\?|according to whom\?|"
    r"failed verification|dead link|update|edit|original research\??|dubious[^\]]{0,20}|needs update|"
    r"Quelltext bearbeiten|Bearbeiten(?: \| Quelltext bearbeiten)?|Beleg(?:e)? fehl(?:t|en)|"
    r"réf\. (?:nécessaire|souhaitée)|modifier(?: \| modifier le code)?|cita requerida|¿(?:cuándo|quién|dónde)\?|"
    r"editar(?: datos en Wikidata)?|источник не указан[^\]]{0,30}|要出典|来源请求"
)
_REFERENCE = re.compile(rf"(?<=\S)\[(?:{_NOTE})\](?::\s?\d[\d–,-]{{0,12}})?", re.IGNORECASE)
_REFERENCE_APART = re.compile(rf"(?<=[.,;:!?)\]»”\"。]) \[(?:{_NOTE})\](?=\s|[.,;]|$)", re.IGNORECASE)
# Control, private and invisible characters, and signs that stand for none; not the two marks of brackets.py.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ue002-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000effff]"
)
_SPACES = re.compile(r"[\s\u2800]+")
# (what, with what): leftovers of what was taken out, in this order.
_PUNCTUATION = tuple(
    (re.compile(what), with_what)
    for what, with_what in (
        (r"([(\[（])[\s,;]+", r"\1"),
        (r"(?<![\s,;])[\s,;]+([)\]）])", r"\1"),
        (r" ?(?:\(\)|\[\]|（）)", ""),
        (r" +([,;:.!?…。，；])(?!\w)", r"\1"),
        (r" +([,;])", r"\1"),
        (r"([,;:])(?: ?[,;])+", r"\1"),
        (r"([，、；])[，、；]+", r"\1"),
        (r"[,;:] ?([.。])(?=\s|$)", r"\1"),
        (r"(?<![.\d])\.\.(?!\.)", "."),
        (r"\.{4,}", "..."),
    )
)

_ABBREVIATIONS = frozenset(
    {
        "mr", "mrs", "ms", "dr", "prof", "rev", "gen", "col", "lt", "capt", "sgt", "hon", "st", "sr", "jr", "vs",
        "etc", "e.g", "i.e", "no", "nos", "vol", "fig", "approx", "dept", "est", "inc", "ltd", "co", "corp", "gov",
        "sen", "rep", "pres", "maj", "cpl", "adm", "ft", "mt", "op", "ca", "fl", "lit", "pop", "u.s", "u.k", "u.n",
        "a.m", "p.m", "ph.d", "b.a", "m.a", "d.c", "b.c", "a.d", "bros", "messrs", "pp", "ed", "eds", "al", "cf",
        "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
        "bzw", "usw", "geb", "gest", "hl", "nr", "bd", "vgl", "sog", "inkl", "evtl", "str", "mio", "mrd", "jh", "jhd",
        "zzgl", "abk", "dt", "engl", "frz", "lat", "griech", "ev", "kath", "eigtl", "gegr", "ggf", "chr",
        "av", "env", "apr.", "j.-c", "mm", "mgr", "ste", "chap", "éd", "dir", "née",
        "sra", "sres", "dra", "ud", "uds", "ee.uu", "ee", "uu", "pág", "núm", "n.º", "a.c", "fco", "gral",
        "г", "гг", "в", "вв", "т", "д", "др", "им", "тыс", "млн", "млрд", "руб",
    }
)  # fmt: skip
_END = re.compile(r"""[.!?…]["'”’»)\]]{0,3}(?=\s|$)|[。！？]["”’»）」』]{0,3}""")
_WORD = re.compile(r"[\w.º-]{0,20}$")


def clean_text(text: str) -> str:
    """Return one paragraph, or several between line breaks, without what does not belong to its words.

    Never raises; cleaning what is clean changes nothing.
    """
    cleaned = text[:_LONGEST]
    for _ in range(_MAX_TURNS):  # what one turn uncovers, the next one cleans
        before = cleaned
        cleaned = "\n".join(filter(None, map(_clean_line, _lines(_unmarked(cleaned)))))
        if cleaned == before:
            break
    return cleaned


def first_paragraphs(text: str, num: int = 2, *, language: str = "") -> list[str]:
    """Return the first paragraphs of a plain text that are more than notes to the reader, cleaned.

    Args:
        text: Paragraphs between line breaks.
        num: How many.
        language: Of the text; notes are known in several languages, whatever it is.
    """
    found: list[str] = []
    for raw in _lines(text[:_LONGEST]):
        paragraph = "" if _is_heading(raw) else _after_notes(clean_text(raw[:_LONGEST_PARAGRAPH]), language)
        if paragraph:
            found.append(paragraph)
        if len(found) >= num:
            break
    return found


def shorten(text: str, max_chars: int) -> str:
    """Return a text cut after the last whole sentence within `max_chars`; a longer one at a word, with "…"."""
    text = text.strip()
    if len(text) <= max_chars:
        return text
    end = max((end for end in _sentence_ends(text[: max_chars + 80]) if end <= max_chars), default=0)
    if end:
        return text[:end].strip()
    cut = text[: max(max_chars - 1, 1)]
    if " " in cut and not text[len(cut)].isspace():
        cut = cut.rsplit(None, 1)[0]
    return cut.rstrip(" ,;:-–—(") + "…"


def _after_notes(paragraph: str, language: str) -> str:
    """Return what follows the notes that a paragraph begins with; mostly nothing."""
    while paragraph and is_hatnote(paragraph, language):
        end = next(_sentence_ends(paragraph), len(paragraph))
        paragraph = paragraph[end:].strip(" '\"“”»")
        if len(paragraph) < _REST and not is_hatnote(paragraph, language):
            return ""
    return paragraph


def _unmarked(text: str) -> str:
    """Take out markup and its escapes; what is left unclosed loses its signs alone."""
    text = html.unescape(html.unescape(text)) if "&" in text else text
    if "<" in text:
        text = _TAG.sub("", _BREAK.sub(" ", _REF.sub("", _COMMENT.sub("", text))))
    for _ in range(_MAX_DEPTH):
        shorter = _LINK.sub(r"\1", _TEMPLATE.sub("", text))
        if shorter == text:
            break
        text = shorter
    text = _EXTERNAL.sub(lambda found: found[1] or "", text)
    return _LEFT.sub("", _QUOTES.sub("", text))


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text; one that ends within a bracket with the next, where that closes it."""
    before = ""
    for line in text.splitlines():
        if before and line.count(")") > line.count("("):
            before = f"{before} {line}"
            line, before = before, ""
        elif before:
            yield before
            before = ""
        if line.count("(") > line.count(")") and line.rstrip()[-1:] not in tuple(".!?"):
            before = line
        else:
            yield line
    if before:
        yield before


def _clean_line(line: str) -> str:
    line = _SPACES.sub(" ", _INVISIBLE.sub("", line)).strip()
    line = _REFERENCE_APART.sub("", _REFERENCE.sub("", line))
    line = _SPACES.sub(" ", without_speech(line))
    for what, with_what in _PUNCTUATION:
        line = what.sub(with_what, line)
    line = _SPACES.sub(" ", line).strip(" ,;|")
    return line if any(map(str.isalnum, line)) else ""


def _is_heading(paragraph: str) -> bool:
    line = paragraph.strip()
    return len(line) > 4 and line.startswith("==") and line.endswith("==")


def _sentence_ends(text: str) -> Iterator[int]:
    """Yield where sentences end; the point of an abbreviation, an initial or an ordinal number ends none."""
    for found in _END.finditer(text):
        following = text[found.end() : found.end() + 4].strip("\"'“„«»(¿¡ ")[:1]
        if text[found.start()] != "." or not following or not _goes_on(text[: found.start()], following):
            yield found.end()


def _goes_on(before: str, following: str) -> bool:
    """Tell whether a sentence goes on behind a point."""
    word = _WORD.search(before)
    last = (word[0] if word else "").casefold()
    if following.islower() or last in _ABBREVIATIONS or last.split(".")[-1] in _ABBREVIATIONS:
        return True
    return (len(last.split(".")[-1]) == 1 and last[-1:].isalpha()) or (last.isdigit() and len(last) <= 2)


__all__ = [
    "clean_text",
    "first_paragraphs",
    "is_disambiguation",
    "is_hatnote",
    "shorten",
]
