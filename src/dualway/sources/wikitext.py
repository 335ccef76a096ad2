"""The first paragraphs of a Wikipedia page as plain text, from its markup or from a plain extract (paper, section 3.1).

"The textual description is obtained from the first two paragraphs in a knowledge base, such as Wikipedia or DBpedia."
Notes to the reader, redirects and pages that only list things of one name are never taken for a description.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from dualway.errors import UsageError
from dualway.sources.cleaning import first_paragraphs, shorten
from dualway.sources.hatnotes import is_disambiguation, is_hatnote
from dualway.sources.templates import Call, words_of

NUM_PARAGRAPHS = 2
MAX_CHARS = 1000  # what encoders read of it is less: 256 pieces of words, or 77

_LONGEST = 300_000  # characters of markup that are looked at: the lead is at the beginning
_LONGEST_LEAD = 100_000  # characters of its lead that are read as markup
_MAX_DEPTH = 60  # of templates within templates, beyond which a page is not read

# "#REDIRECT [[Page]]", in every language: a page that begins with a word behind "#" and a link is nothing else.
_REDIRECT = re.compile(r"\s*#\s?[^\W\d_]{3,20}\s*:?\s*\[\[:?([^\[\]|#]{1,300})(#[^\[\]|]{1,300})?")
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
    "references",
    "table",
    "li",
    "includeonly",
    "indicator",
    "inputbox",
    "mapframe",
    "maplink",
    "graph",
    "hiero",
    "chem",
    "ce",
)
_LIST_MARK = "\ue002"
_NOTHING = "\ue003"  # where a template was: what makes it italic does not become something else
_MOST_PARAMETERS = 200
_MAGIC = re.compile(r"__[A-ZÄÖÜ]{3,30}__")
_SITE = re.compile(r"\[(?:(?:https?|ftp):)?//[^\s\[\]]{1,2000}(?:[ \t]+([^\[\]\n]{0,500}))?\]")
_SITE_OPEN = re.compile(r"\[(?=(?:\w{3,10}:)?//|mailto:)")
_BREAK = re.compile(r"<br\s?/?\s?>", re.IGNORECASE)
_BLOCK = re.compile(r"</?(?:p|div|center|blockquote|poem|hr|ul|ol|dl)\b[^<>]{0,500}>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,1000}>")
_ANGLE = re.compile(r"<(?=[a-zA-Z/!?])")
_FILE = re.compile(
    r"\s*(?:file|image|media|datei|bild|fichier|archivo|imagen|файл|изображение|ファイル|文件|category|kategorie|catégorie|"
    r"categoría|категория|カテゴリ|分类|分類)\s*:",
    re.IGNORECASE,
)
_CONVERTED = re.compile(r"-\{(?:[^{}|]{0,20}\|)?(?:[^{}:;]{0,20}:)?([^{};]{0,200})[^{}]{0,500}\}-")
_STRAY = re.compile(r"^\s*(?:\|?\}+\s*)+")
_SCRAP = re.compile(r"[^.!?:。！？…]{0,40}")  # left of a box or a picture; a description has an end
_QUOTES = re.compile(r"'{2,}")
_INTERWIKI = re.compile(r"\s*:?[a-z]{2,3}(?:-[a-z]{2,10})?:\S", re.IGNORECASE)


class _Page(NamedTuple):
    title: str
    language: str


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
        problem = "redirect to a part of another page" if found[2] else "redirect"
        return StaticText(kind="redirect", target=clean_title(found[1]), problem=problem)
    if _DISAMBIGUATION.search(wikitext[:_LONGEST]):
        return StaticText(kind="disambiguation", problem="disambiguation page")
    lead = _lead(wikitext)
    if _depth(lead) > _MAX_DEPTH:
        return StaticText(kind="no text", problem="markup nested too deeply")
    plain = _plain(lead, _Page(title, language))
    if plain is None:
        return StaticText(kind="no text", problem="markup that cannot be read")
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
    return _without_tags(_MAGIC.sub("", text[: heading.start()] if heading else text)[:_LONGEST_LEAD])


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
    last = max((found.start() for found in closing.finditer(text)), default=0)  # behind it nothing is closed
    parts: list[str] = []
    place = 0
    while found := opening.search(text, place):
        parts.append(text[place : found.start()])
        end = None if found[1] or found.start() >= last else closing.search(text, found.end())
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


def _without_tags(text: str) -> str:
    """Take out HTML and links to other sites, but for breaks and words: unclosed ones cost the parser too much time."""
    text = _SITE_OPEN.sub("&#91;", _SITE.sub(r"\1", text))
    text = _BLOCK.sub("\n", _BREAK.sub(" ", text))
    return _ANGLE.sub("&lt;", _TAG.sub("", text))


def _depth(text: str) -> int:
    depth = deepest = 0
    for found in re.finditer(r"\{\{|\}\}|\[\[|\]\]", text):
        depth = max(depth + (1 if found[0] in ("{{", "[[") else -1), 0)
        deepest = max(deepest, depth)
    return deepest


def _plain(markup: str, page: _Page) -> str | None:
    """Return the lead's paragraphs, a line each; None where the parser gives up."""
    parse, parser_error = _parser()
    try:
        text = _words(parse(markup, skip_style_tags=True), page, 0)
    except (parser_error, RecursionError):
        return None
    return _paragraphs(text)


def _paragraphs(text: str) -> str:
    blocks: list[list[str]] = [[]]
    for raw in _CONVERTED.sub(r"\1", text).split("\n"):
        line = _STRAY.sub("", raw).strip(f" \t{_NOTHING}")
        if not line:
            blocks.append([])
        elif is_hatnote(line.strip("'")):  # in a line of its own, without a blank one behind it
            blocks += [[line], []]
        elif not line.startswith((_LIST_MARK, "|", "!", "{{")):
            blocks[-1].append(without_quotes(line))
    paragraphs = [" ".join(block) for block in blocks if block]
    while len(paragraphs) > 1 and _SCRAP.fullmatch(paragraphs[0]):
        del paragraphs[0]
    return "\n".join(paragraphs)


def without_quotes(line: str) -> str:
    """Return a line without the apostrophes that make it bold or italic, as MediaWiki tells them from real ones.

    Four are one and a bold mark; where the marks of both kinds are odd, one bold mark behind a short word is an
    apostrophe and an italic mark: "l'''Iliade''" is "l'Iliade".
    """
    runs = list(_QUOTES.finditer(line))
    sizes = [len(run[0]) for run in runs]
    real = [1 if size == 4 else max(size - 5, 0) for size in sizes]
    marks = [size - kept for size, kept in zip(sizes, real)]
    num_bold, num_italic = sum(mark in (3, 5) for mark in marks), sum(mark in (2, 5) for mark in marks)
    if num_bold % 2 and num_italic % 2:
        befores = [line[before.end() : run.start()] for before, run in pairwise(runs)]
        befores.insert(0, line[: runs[0].start()])
        bold = [at for at, mark in enumerate(marks) if mark == 3]
        bold.sort(key=lambda at: (befores[at][-2:-1] != " ", befores[at][-1:] == " "))  # stable: the first of its kind
        for at in bold[:1]:
            real[at] += 1
    parts, place = list[str](), 0
    for run, kept in zip(runs, real):
        parts += [line[place : run.start()], "'" * kept]
        place = run.end()
    return "".join([*parts, line[place:]])


def _words(code: Any, page: _Page, depth: int) -> str:
    return "".join(_node(node, page, depth) for node in code.nodes) if depth < _MAX_DEPTH else ""


def _node(node: Any, page: _Page, depth: int) -> str:
    kind = type(node).__name__
    if kind == "Text":
        return str(node.value)
    if kind == "Wikilink":
        target = str(node.title)
        if _FILE.match(target) or (_INTERWIKI.match(target) and node.text is None):
            return ""
        return _words(node.text, page, depth + 1) if node.text is not None else target.lstrip(":")
    if kind == "Template":
        return _template(node, page, depth + 1) or _NOTHING
    if kind == "ExternalLink":
        return _words(node.title, page, depth + 1) if node.title is not None else ""
    if kind == "HTMLEntity":
        return str(node.normalize() or "")
    if kind == "Tag":
        return _tag(node, page, depth + 1)
    return ""


def _tag(node: Any, page: _Page, depth: int) -> str:
    """Return what is in a tag; of those that wiki markup makes, the signs of lists are left: HTML is gone before."""
    if str(node.wiki_markup or "") in ("*", "#", ":", ";"):
        return f"\n{_LIST_MARK}"
    is_rule = str(node.tag).lower() in ("hr", "table")
    return "" if is_rule or node.contents is None else _words(node.contents, page, depth)


def _template(node: Any, page: _Page, depth: int) -> str:
    name = str(node.name).strip()
    if name.casefold() in ("pagename", "fullpagename"):
        return page.title
    values: list[str] = []
    named: dict[str, str] = {}
    for param in node.params[:_MOST_PARAMETERS]:
        key = str(param.name).strip().casefold()
        words = _words(param.value, page, depth).strip()
        if key.isdecimal() and len(key) < 3:
            values += [""] * (int(key) - len(values))
            values[int(key) - 1] = words
        else:
            named[key] = words
    return words_of(name, Call(tuple(values), named, page.language))


def _parser() -> tuple[Any, type[Exception]]:
    try:
        from mwparserfromhell import parse
        from mwparserfromhell.parser import ParserError
    except ImportError as error:
        raise UsageError("Wikipedia's markup is read by mwparserfromhell: pip install 'dualway[kb]'") from error
    return parse, ParserError
