"""The first paragraphs of a Wikipedia page as plain text, from its markup or from a plain extract (paper, section 3.1).

"The textual description is obtained from the first two paragraphs in a knowledge base, such as Wikipedia or DBpedia."
Notes to the reader, redirects and pages that only list things of one name are never taken for a description.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dualway.errors import UsageError
from dualway.sources.cleaning import clean_text, first_paragraphs, is_disambiguation, shorten

NUM_PARAGRAPHS = 2
MAX_CHARS = 1000  # what encoders read of it is less: 256 pieces of words, or 77

_LONGEST = 300_000  # characters of markup that are looked at: the lead is at the beginning
_MAX_DEPTH = 60  # of templates within templates, beyond which a page is not read

_REDIRECT = re.compile(
    r"\s*#(?:REDIRECT|WEITERLEITUNG|REDIRECTION|REDIRECCI[OÓ]N|RINVIA|DOORVERWIJZING|PATRZ|перенаправление|重定向|転送)"
    r"\s*:?\s*\[\[([^\]|#]{1,300})",
    re.IGNORECASE,
)
_DISAMBIGUATION = re.compile(
    r"\{\{\s*(?:disambig\w*|disamb|dab|hndis|geodis|human name disambiguation|place name disambiguation|surname|"
    r"given name|set index article|begriffskl[aä]rung|homonymie|patronyme|toponymie|paronymie|desambiguaci[oó]n|"
    r"desamb|неоднозначность|disambigua|曖昧さ回避|消歧义|消歧義)\s*(?:\||\}\})|__DISAMBIG__",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^={2,6}[^=\n].{0,300}?={2,6}\s*$", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_REF_EMPTY = re.compile(r"<ref\b[^<>]*/\s*>", re.IGNORECASE)
_REF_OPEN, _REF_CLOSE = re.compile(r"<ref\b[^<>]*>", re.IGNORECASE), re.compile(r"</ref\s*>", re.IGNORECASE)
_DROPPED_TAGS = (
    "gallery",
    "math",
    "timeline",
    "imagemap",
    "score",
    "syntaxhighlight",
    "source",
    "templatestyles",
    "style",
)
_MAGIC = re.compile(r"__[A-ZÄÖÜ]{3,30}__")
_FILE = re.compile(
    r"\s*:?(?:file|image|media|datei|bild|fichier|archivo|imagen|файл|изображение|ファイル|文件|category|kategorie|catégorie|"
    r"categoría|категория|カテゴリ|分类|分類)\s*:",
    re.IGNORECASE,
)
_INTERWIKI = re.compile(r"\s*:?[a-z]{2,3}(?:-[a-z]{2,10})?:\S", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StaticText:
    """What a page comes to.

    `kind`: "article", "redirect" (to `target`), "disambiguation" or "no text". `problem`: why there is none, in words.
    """

    text: str = ""
    kind: str = "article"
    target: str = ""
    problem: str = ""


def static_text(
    wikitext: str,
    *,
    title: str = "",
    language: str = "",
    num_paragraphs: int = NUM_PARAGRAPHS,
    max_chars: int = MAX_CHARS,
) -> StaticText:
    """Return the first paragraphs of a page's markup as plain text.

    Args:
        wikitext: The page's markup.
        title: The page's, for templates that stand for it.
        language: Of the page.
        num_paragraphs: How many paragraphs.
        max_chars: The text is cut after the last sentence within.

    Raises:
        UsageError: mwparserfromhell is not installed.
    """
    if found := _REDIRECT.match(wikitext):
        return StaticText(kind="redirect", target=clean_title(found[1]), problem="redirect")
    if _DISAMBIGUATION.search(wikitext[:_LONGEST]):
        return StaticText(kind="disambiguation", problem="disambiguation page")
    lead = _lead(wikitext)
    if _depth(lead) > _MAX_DEPTH:
        return StaticText(kind="no text", problem="markup nested too deeply")
    plain = _plain(lead, title)
    return static_from_plain(plain, language=language, num_paragraphs=num_paragraphs, max_chars=max_chars)


def static_from_plain(
    text: str, *, language: str = "", num_paragraphs: int = NUM_PARAGRAPHS, max_chars: int = MAX_CHARS
) -> StaticText:
    """Return the first paragraphs of a plain text, such as an extract or an abstract: see `static_text`."""
    paragraphs = first_paragraphs(text, num_paragraphs, language=language)
    if not paragraphs:
        return StaticText(kind="no text", problem="no text")
    if is_disambiguation(paragraphs[0], language):
        return StaticText(kind="disambiguation", problem="disambiguation page")
    return StaticText(shorten(" ".join(paragraphs), max_chars))


def clean_title(title: str) -> str:
    """Return a page's title in the form in which titles are compared: spaces, first letter a capital."""
    words = " ".join(title.replace("_", " ").split())
    return words[:1].upper() + words[1:]


def _lead(wikitext: str) -> str:
    text = _COMMENT.sub("", wikitext[:_LONGEST])
    text = _without_references(text)
    for tag in _DROPPED_TAGS:
        text = _without_tag(text, tag)
    text = _without_tables(text)
    heading = _HEADING.search(text)
    return _MAGIC.sub("", text[: heading.start()] if heading else text)


def _without_references(text: str) -> str:
    """Take out references with their text; one that is never closed reaches to the end of its paragraph."""
    text = _REF_EMPTY.sub("", text)
    parts: list[str] = []
    place = 0
    while found := _REF_OPEN.search(text, place):
        parts.append(text[place : found.start()])
        closing = _REF_CLOSE.search(text, found.end())
        following = _REF_OPEN.search(text, found.end())
        if closing and not (following and following.start() < closing.start()):
            place = closing.end()
        else:
            end = text.find("\n", found.end())
            place = len(text) if end < 0 else end
    return "".join([*parts, text[place:]])


def _without_tag(text: str, tag: str) -> str:
    opening = re.compile(rf"<{tag}\b[^<>]*?(/?)>", re.IGNORECASE)
    closing = re.compile(rf"</{tag}\s*>", re.IGNORECASE)
    parts: list[str] = []
    place = 0
    while found := opening.search(text, place):
        parts.append(text[place : found.start()])
        end = None if found[1] else closing.search(text, found.end())
        place = end.end() if end else found.end()
    return "".join([*parts, text[place:]])


def _without_tables(text: str) -> str:
    depth, parts, place = 0, list[str](), 0
    for found in re.finditer(r"\{\|(?!\|)|\|\}(?!\})", text):
        if found[0] == "{|":
            if depth == 0:
                parts.append(text[place : found.start()])
            depth += 1
        elif depth:
            depth -= 1
            place = found.end()
    return "".join([*parts, text[place:]]) if depth == 0 else "".join(parts)


def _depth(text: str) -> int:
    depth = deepest = 0
    for found in re.finditer(r"\{\{|\}\}|\[\[|\]\]", text):
        depth = max(depth + (1 if found[0] in ("{{", "[[") else -1), 0)
        deepest = max(deepest, depth)
    return deepest


def _plain(markup: str, title: str) -> str:
    parse = _parser()
    code = parse(markup, skip_style_tags=True)
    return _words(code, title, 0)


def _words(code: Any, title: str, depth: int) -> str:
    return "".join(_node(node, title, depth) for node in code.nodes) if depth < _MAX_DEPTH else ""


def _node(node: Any, title: str, depth: int) -> str:
    kind = type(node).__name__
    if kind == "Text":
        return str(node.value)
    if kind == "Wikilink":
        target = str(node.title)
        if _FILE.match(target) or (_INTERWIKI.match(target) and node.text is None):
            return ""
        return _words(node.text, title, depth + 1) if node.text is not None else target.lstrip(":")
    if kind == "Template":
        return _template(node, title, depth + 1)
    if kind == "ExternalLink":
        return _words(node.title, title, depth + 1) if node.title is not None else ""
    if kind == "HTMLEntity":
        return str(node.normalize() or "")
    if kind == "Tag":
        return _tag(node, title, depth + 1)
    return ""


def _tag(node: Any, title: str, depth: int) -> str:
    name = str(node.tag).lower()
    if name == "br":
        return " "
    if name in ("table", "tr", "td", "th", "ref", "references", "dt", "hr"):
        return ""
    marker = str(node.wiki_markup or "")
    if marker in ("*", "#", ":", ";"):
        return marker if marker == ":" else "\n"
    words = _words(node.contents, title, depth) if node.contents is not None else ""
    return f"\n{words}\n" if name in ("p", "div") else words


def _template(node: Any, title: str, depth: int) -> str:
    name = " ".join(str(node.name).replace("_", " ").split()).casefold()
    values = [_words(param.value, title, depth).strip() for param in node.params if not param.showkey]
    if name in _SPACES:
        return _SPACES[name]
    if name in ("pagename", "fullpagename"):
        return title
    if name in _LAST or name.startswith("lang-"):
        return "" if name.startswith("lang-") else (values[-1] if values else "")
    if name in _FIRST:
        return values[0] if values else ""
    make = _MADE.get(name)
    return make(values) if make else ""


def _convert(values: list[str]) -> str:
    return " ".join(values[:2])


def _joined(values: list[str]) -> str:
    return " ".join(filter(None, values))


def _century(values: list[str]) -> str:
    return f"{values[0]}e siècle" if values else ""


def _date(values: list[str]) -> str:
    numbers = [value for value in values if value.isdigit()][:3]
    if not numbers:
        return values[0] if values else ""
    year, month, day = (*numbers, "", "")[:3]
    if month and 1 <= int(month) <= 12:
        return f"{_MONTHS[int(month)]} {f'{int(day)}, ' if day else ''}{year}"
    return year


def _span(values: list[str]) -> str:
    return " – ".join(filter(None, values[:2]))


def _circa(values: list[str]) -> str:
    return " – ".join(f"c. {value}" for value in values[:2]) if values else "c."


_MONTHS = (
    "",
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_SPACES = {
    "nbsp": " ", "spaces": " ", "thinsp": " ", "zwsp": "", "snd": " – ", "spnd": " – ",
    "spaced ndash": " – ", "ndash": "–", "mdash": "—", "en dash": "–", "em dash": "—", "'": "'", "!": "|",
    "=": "=", "·": "·", "dot": " · ", "shy": "",
}  # fmt: skip
_LAST = frozenset(
    {"lang", "lang1", "langue", "lengua", "sprache", "lg", "transl", "transliteration", "abbr", "tooltip", "sort"}
)
_FIRST = frozenset(
    {
        "nowrap", "nobr", "nobold", "small", "big", "smaller", "larger", "em", "strong", "script", "angbr",
        "as of", "nihongo", "nihongo2", "nihongo3", "zh", "ill", "interlanguage link", "link-interwiki", "nom",
        "souverain", "mvar", "var", "rom", "romain", "nombre",
        "langue2", "awrap", "nowraplinks", "ship", "uss", "hms", "sup", "sub", "sic", "not a typo", "linktext",
        "vanchor", "anchor text", "flagicon text", "esd", "nau",
    }
)  # fmt: skip
_MADE: dict[str, Callable[[list[str]], str]] = {
    "convert": _convert,
    "cvt": _convert,
    "unité": _convert,
    "unidad": _convert,
    "date": _joined,
    "date-": _joined,
    "date de naissance": _joined,
    "date de décès": _joined,
    "fecha": _joined,
    "siècle": _century,
    "s-": _century,
    "s": _century,
    "birth date": _date,
    "birth-date": _date,
    "death date": _date,
    "birth date and age": _date,
    "start date": _date,
    "bda": _date,
    "circa": _circa,
    "c.": _circa,
    "ca.": _circa,
    "birth year and age": lambda values: values[0] if values else "",
    "reign": _span,
    "floruit": lambda values: f"fl. {_span(values)}",
    "fl.": lambda values: f"fl. {_span(values)}",
}


def _parser() -> Any:
    try:
        from mwparserfromhell import parse
    except ImportError as error:
        raise UsageError("Wikipedia's markup is read by mwparserfromhell: pip install 'dualway[kb]'") from error
    return parse


__all__ = ["MAX_CHARS", "NUM_PARAGRAPHS", "StaticText", "clean_text", "clean_title", "static_from_plain", "static_text"]
