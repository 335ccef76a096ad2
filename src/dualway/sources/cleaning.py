"""Text from encyclopedias, cleaned so that it can stand for an entity (paper, section 3.1).

"We further clean the data by removing special characters, restricting its length": reference marks, what is left of
markup, pronunciations and other scripts in brackets, and notes that lead to other pages are removed; dates in brackets
stay.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator

_LONGEST = 100_000  # characters of one text that are looked at
_MAX_DEPTH = 20

_TAG = re.compile(r"<[!/a-zA-Z][^<>]{0,500}>")
_COMMENT = re.compile(r"<!--.{0,5000}?-->", re.DOTALL)
_REFERENCE = re.compile(
    r"(?<=\S)\[(?:\d{1,3}|[a-z]{1,2}|(?:note|nb|n|lower-alpha|Anm\.|Note|nota) ?\d{1,3}|"
    r"citation needed|clarification needed|when\?|who\?|by whom\?|dead link|better source needed|update|edit|sic|"
    r"Quelltext bearbeiten|Bearbeiten|réf\. nécessaire|réf\. souhaitée|cita requerida|¿cuándo\?|¿quién\?)\]",
    re.IGNORECASE,
)
_LINK = re.compile(r"\[\[(?:[^\[\]|]{0,300}\|)?([^\[\]|]{0,300})\]\]")
_EXTERNAL = re.compile(r"\[https?://\S{1,500}(?: ([^\[\]]{0,300}))?\]")
_TEMPLATE = re.compile(r"\{\{[^{}]{0,5000}\}\}")
_QUOTES = re.compile(r"'{2,5}")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff\ufffc\ufffd]"
)
_SPACES = re.compile(r"[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_LEFT = re.compile(r"\[\[|\]\]|\{\{|\}\}|\{\||\|\}|<ref\b[^>]*>?|</ref>?", re.IGNORECASE)

# Parts of a bracket that say how something is spoken or written elsewhere, in four languages and more.
_SPOKEN = re.compile(
    r"/[^/]*[ˈˌəɪʊɛɔɑæʌθðʃʒŋɡɹʁøœɐɜː][^/]*/|\[[^\]]*[ˈˌəɪʊɛɔɑæʌθðʃʒŋɡɹʁøœɐɜː][^\]]*\]|"
    r"\b(?:IPA|pronounced|pronunciation|listen|romani[sz]ed|transliterated|lit\.|literally|Aussprache|anhören|"
    r"prononc(?:é|iation)|API|écouter|pronunciado|pronunciación|escuchar|pronunciation respelling|audio|ⓘ|🔊|ⓘ)\b|ⓘ|🔊",
    re.IGNORECASE,
)
_RESPELLING = re.compile(r"^[A-Z]{2,}(?:-[A-Za-z]+)+$|^[a-z]+-[A-Z]{2,}(?:-[A-Za-z]+)*$")
_LANGUAGE = re.compile(
    r"^(?:in |en |auf |im |from |del |du |der |aus |IAST|hanyu pinyin)?\s*"
    r"(?:[A-ZÀ-Ý][\w’'-]+(?: [A-ZÀ-Ý]?[\w’'-]+){0,2}|simplified Chinese|traditional Chinese|pinyin|"
    r"russisch|russe|ruso|arabisch|arabe|árabe|griechisch|grec|griego|chinesisch|chinois|chino|japanisch|japonais|japonés|"
    r"hebräisch|hébreu|hebreo|polnisch|polonais|polaco|englisch|anglais|inglés|französisch|français|francés|deutsch|"
    r"allemand|alemán|ukrainisch|ukrainien|ucraniano|türkisch|turc|turco|ungarisch|tschechisch|lateinisch|latin|latín)"
    r"(?: language)?\s?[::]\s*\S"
)
_LANGUAGE_ALONE = re.compile(
    r"(?:also |auch |in |auf |en )?(?:russian|german|french|spanish|english|latin|greek|arabic|hebrew|chinese|japanese|"
    r"russisch|bairisch|deutsch|englisch|französisch|spanisch|lateinisch|griechisch|arabisch|hebräisch|chinesisch|japanisch|"
    r"russe|allemand|anglais|espagnol|grec|arabe|hébreu|chinois|japonais|"
    r"ruso|alemán|inglés|francés|latín|griego|árabe|hebreo|chino|japonés)",
    re.IGNORECASE,
)
_KEPT = re.compile(
    r"\d|\b(?:born|died|née|né|geb|gest|nacid|fallecid|mort|†|\*|c\.|circa|ca\.|aged|since|seit|depuis|desde|until)",
    re.IGNORECASE,
)
_DATE = re.compile(r"\b\d{3,4}\b|\b\d{1,2}[./ ]|†|\*|\bborn\b|\bgeboren\b|\bné(?:e)?\b|\bnacid[oa]\b", re.IGNORECASE)

_HATNOTES = re.compile(
    r"^(?:"
    r"for (?:other|the|a|an|more|another|people|persons|his|her|similar)\b.{0,300}?\bsee\b|"
    r"(?:this (?:article|page) is about|this is about|not to be confused with|see also\b|further information:)|"
    r".{1,200}?\b(?:redirects?|redirected)\s+here\b|"
    r"in this .{0,60} name,|this (?:article|biography) (?:needs|contains|may|has|relies)|coordinates:|"
    r"dieser artikel (?:behandelt|beschreibt|befasst|handelt|erläutert|bezieht)|"
    r"zu(?:r|m)? (?:anderen|weiteren|gleichnamigen)|"
    r"(?:diese seite|der titel|.{1,80}? ist eine weiterleitung)|für (?:andere|weitere) (?:bedeutungen|personen)|"
    r"nicht zu verwechseln mit|siehe auch|"
    r"pour (?:les articles|les autres|l['’]article|d['’]autres)\b|cet article (?:concerne|traite|est une ébauche)|"
    r"ne doit pas être confondu|ne pas confondre|à ne pas confondre|vous lisez un|«.{1,100}» redirige ici|"
    r"pour un article plus général|"
    r"para (?:otros usos|otras acepciones|otras personas|el|la|los|las)\b.{0,200}?véase|no (?:debe )?confundirse con|"
    r"este artículo (?:trata|se refiere|es sobre)|.{1,80}?\bredirige aquí\b|no confundir con|"
    r"другие значения|эта статья|не следует путать|у этого термина существуют|"
    r"関連項目|この項目では|「.{1,60}」はこの項目へ|.{1,60}?については|关于|本条目|“.{1,60}”重定向"
    r")",
    re.IGNORECASE | re.DOTALL,
)
_DISAMBIGUATION = re.compile(
    r"^.{0,200}?\b(?:may|can|could|might)(?: also)? (?:refer|stand) (?:to|for)|^.{0,200}?\brefers to several|"
    r"^.{0,200}?\b(?:steht|stehen) für\s*:?\s*$|^.{0,200}?\bbezeichnet\s*:?\s*$|"
    r"^.{0,150}?\bist der (?:name|familienname) (?:folgender|mehrerer)|"
    r"^.{0,200}?\b(?:peut|peuvent) (?:désigner|faire référence|se référer)|"
    r"^.{0,200}?\b(?:puede|pueden)(?: también)? (?:referirse|hacer referencia|designar)|"
    r"^.{0,200}?\bможет (?:означать|относиться)|^.{0,100}?(?:可以指|可能指|曖昧さ回避)",
    re.IGNORECASE,
)

_ABBREVIATIONS = frozenset(
    {
        "mr", "mrs", "ms", "dr", "prof", "rev", "gen", "col", "lt", "capt", "sgt", "hon", "st", "sr", "jr", "vs",
        "etc", "e.g", "i.e", "no", "nos", "vol", "fig", "approx", "dept", "est", "inc", "ltd", "co", "corp",
        "bros", "mt", "ft", "op", "b", "c", "ca", "d", "r", "fl", "lit", "u.s", "u.k", "u.n", "a.m", "p.m", "ph.d",
        "b.a", "m.a", "d.c", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
        "z.b", "bzw", "usw", "geb", "gest", "hl", "nr", "bd", "s", "d.h", "u.a", "v.a", "vgl", "sog", "inkl",
        "evtl", "str", "av", "env", "p.ex", "m", "mm", "mme", "mlle", "ste", "sra", "sres", "dra", "ud", "uds",
        "ee.uu", "pág", "núm", "n.º", "a.c",
    }
)  # fmt: skip
_END = re.compile(r"""[.!?…]["'”’»)\]]*(?=\s|$)|[。！？]["”’»）」』]*""")


def clean_text(text: str) -> str:
    """Return one paragraph, or several between line breaks, without what does not belong to its words.

    Never raises; cleaning what is clean changes nothing.
    """
    cleaned = text[:_LONGEST]
    for _ in range(4):  # what one turn uncovers, the next one cleans
        before = cleaned
        cleaned = "\n".join(filter(None, (_clean_line(line) for line in _unmarked(cleaned).splitlines())))
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
    for raw in text[:_LONGEST].splitlines():
        paragraph = clean_text(raw)
        if paragraph and not is_hatnote(paragraph, language) and not _is_heading(paragraph):
            found.append(paragraph)
        if len(found) == num:
            break
    return found


def is_hatnote(paragraph: str, language: str = "") -> bool:
    """Tell whether a paragraph only leads to other pages: "For other uses, see ..", in several languages."""
    start = paragraph.strip().lstrip("'\"“”«»„*:; ").strip()
    return len(start) < 600 and _HATNOTES.match(start) is not None


def is_disambiguation(paragraph: str, language: str = "") -> bool:
    """Tell whether a first paragraph begins a list of things of one name: ".. may refer to:"."""
    return _DISAMBIGUATION.match(paragraph.strip()) is not None


def shorten(text: str, max_chars: int) -> str:
    """Return a text cut after the last whole sentence within `max_chars`; a longer one at a word, with "…"."""
    text = text.strip()
    if len(text) <= max_chars:
        return text
    ends = [end for end in _sentence_ends(text[: max_chars + 1]) if end <= max_chars]
    if ends:
        return text[: ends[-1]].strip()
    cut = text[: max(max_chars - 1, 1)]
    at_word = cut.rsplit(None, 1)[0] if " " in cut and not text[len(cut) : len(cut) + 1].isspace() else cut
    return at_word.rstrip(" ,;:-–—(") + "…"


def _unmarked(text: str) -> str:
    text = html.unescape(html.unescape(text)) if "&" in text else text
    text = _COMMENT.sub("", text)
    text = re.sub(r"<ref\b[^<>]{0,500}/>|<ref\b[^<>]{0,500}>[^<]{0,5000}</ref>", "", text, flags=re.IGNORECASE)
    text = re.sub(r"<br\s*/?>", " ", text, flags=re.IGNORECASE)
    text = _TAG.sub("", text)
    for _ in range(_MAX_DEPTH):
        shorter = _TEMPLATE.sub("", text)
        shorter = _LINK.sub(r"\1", shorter)
        if shorter == text:
            break
        text = shorter
    text = _EXTERNAL.sub(lambda found: found[1] or "", text)
    return _LEFT.sub("", _QUOTES.sub("", text))


def _clean_line(line: str) -> str:
    line = _SPACES.sub(" ", _INVISIBLE.sub("", line)).strip()
    line = _REFERENCE.sub("", line)
    line = _without_spoken(_balanced(line))
    line = re.sub(r"\s+([,;:.!?…)\]])(?!\w)", r"\1", line)
    line = re.sub(r"\s+([,;])", r"\1", line)
    line = re.sub(r"([(\[])\s+", r"\1", line)
    line = re.sub(r"\s*\[\s*\]", "", line)
    line = re.sub(r"([,;:])(?:\s*[,;])+", r"\1", line)
    line = re.sub(r"[,;:]\s*\.(?=\s|$)", ".", line)
    line = re.sub(r"(?<![.\d])\.\.(?!\.)", ".", line)
    line = _SPACES.sub(" ", line).strip(" ,;|")
    return "" if not any(map(str.isalnum, line)) else line


def _balanced(line: str) -> str:
    """Put right a bracket that lost its other half: "Obama II; born August 4, 1961) is" gets it back."""
    opened: list[int] = []
    missing: list[int] = []
    for place, character in enumerate(line):
        if character == "(":
            opened.append(place)
        elif character == ")" and opened:
            opened.pop()
        elif character == ")":
            missing.append(place)
    for place in reversed(opened):
        line = line[:place] + line[place + 1 :]
        missing = [other - (other > place) for other in missing]
    for place in reversed(missing):
        head = line[:place]
        begin = max(head.rfind("; "), head.rfind(" – born"))
        sentence = max(head.rfind(". "), 0)
        if begin > sentence and begin >= 0 and _DATE.search(head[begin:]):
            line = f"{head[:begin]} ({head[begin + 2 :]}{line[place:]}"
        else:
            line = head + line[place + 1 :]
    return line


def _without_spoken(line: str) -> str:
    """Take out of brackets what says how a name is spoken, or written in other scripts."""
    result: list[str] = []
    place = 0
    for begin, end in _brackets(line):
        inside = line[begin + 1 : end]
        kept = _kept_parts(inside, line)
        result.append(line[place:begin])
        if kept is None:
            result.append(line[begin : end + 1])
        elif kept:
            result.append(f"({kept})")
        elif result[-1].endswith(" "):
            result[-1] = result[-1].rstrip()
        place = end + 1
    result.append(line[place:])
    return "".join(result)


def _brackets(line: str) -> Iterator[tuple[int, int]]:
    """Yield where the outermost round brackets of a balanced line begin and end."""
    depth = begin = 0
    for place, character in enumerate(line):
        if character == "(":
            begin = place if depth == 0 else begin
            depth += 1
        elif character == ")" and depth:
            depth -= 1
            if depth == 0:
                yield begin, place


def _kept_parts(inside: str, line: str) -> str | None:
    """Return what stays of a bracket, "" where nothing does; None where all of it stays as it is."""
    parts = [part.strip() for part in re.split(r"[;；]", inside)]
    kept: list[str] = []
    for part in parts:
        kept += _kept_of(part, line)
    joined = "; ".join(kept)
    return None if joined == inside.strip() and inside.strip() else joined


def _kept_of(part: str, line: str) -> list[str]:
    part = part.strip(" ,")
    if not any(map(str.isalnum, part)):
        return [part] if part in ("*", "†") else []
    if not _is_foreign(part, line):
        return [part]
    pieces = [piece.strip() for piece in part.split(",")]
    kept = [piece for piece in pieces if piece and not _is_foreign(piece, line) and _KEPT.search(piece)]
    return [", ".join(kept)] if kept and _DATE.search(", ".join(kept)) else []


def _is_foreign(part: str, line: str) -> bool:
    """Tell whether a part of a bracket is a pronunciation, or the name in another language or script."""
    if _LANGUAGE_ALONE.fullmatch(part) or _SPOKEN.search(part) or any(_RESPELLING.match(word) for word in part.split()):
        return True
    if _LANGUAGE.match(part) and not re.match(
        r"(?:born|died|see|formerly|also|geboren|siehe|né|née)\b", part, re.IGNORECASE
    ):
        return True
    letters = [character for character in part if character.isalpha()]
    return _is_latin(line) and sum(map(_is_other_script, letters)) >= min(2, max(len(letters), 1))


def _is_latin(line: str) -> bool:
    letters = [character for character in line[:400] if character.isalpha()]
    return sum(not _is_other_script(character) for character in letters) > len(letters) / 2


def _is_other_script(character: str) -> bool:
    return ord(character) > 0x24F and not unicodedata.name(character, "").startswith("LATIN")


def _is_heading(paragraph: str) -> bool:
    return paragraph.startswith("==") and paragraph.endswith("==")


def _sentence_ends(text: str) -> Iterator[int]:
    """Yield where sentences end; the point of an abbreviation, an initial or an ordinal number ends none."""
    for found in _END.finditer(text):
        before = text[: found.start()]
        word = re.search(r"[\w.º]*$", before)
        last = (word[0] if word else "").casefold()
        is_point = text[found.start()] == "."
        following = text[found.end() :].lstrip()[:1]
        if is_point and (
            last in _ABBREVIATIONS or (len(last) == 1 and last.isalpha()) or last.endswith(("u.s", "u.k"))
        ):
            continue
        if is_point and last.isdigit() and len(last) <= 2 and following:
            continue
        if is_point and following and following.islower():
            continue
        yield found.end()
