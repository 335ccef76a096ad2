"""Making HTML and SVG: whatever is not `Html` is escaped, so that a caption never becomes markup."""

from __future__ import annotations

import html
import math
import re

Attribute = str | int | float | bool | None

# What a page cannot hold or must not obey: control characters, lone surrogates, noncharacters, and the two marks that
# turn the order of the letters after them around. Each becomes one U+FFFD, so that offsets into the text stay true.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]")
_VOID = {"br", "col", "hr", "img", "meta"}
_LARGE = 1e6


class Html(str):
    """Markup that is complete and escaped; made by `el` and `join` alone."""

    __slots__ = ()


def el(name: str, /, *children: str | None, **attributes: Attribute) -> Html:
    """Return an element. Children that are not `Html` are text and get escaped; None is nothing.

    Attributes are keywords, as they read like the markup they make: `class_` is class, `aria_label` aria-label; None
    and False leave an attribute out, True writes its bare name; floats are rounded to hundredths.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{join(*children)}</{name}>")


def join(*parts: str | None) -> Html:
    """Return the parts one after another; those that are not `Html` are escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts if part is not None))


def escape(text: str) -> Html:
    """Return a text as HTML shows it, with every character that cannot be shown replaced by U+FFFD."""
    return Html(html.escape(_UNSHOWABLE.sub("\ufffd", text), quote=True))


def words(text: str, *, limit: int = 200) -> Html:
    """Return a name, an id or another short text from data, in its own direction of writing."""
    return el("bdi", shorten(text, limit), dir="auto")


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters, an ellipsis in place of the rest."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """Return a number for people, with a true minus sign; a dash for None and for what is not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    kind = f",.{digits}f" if abs(value) < _LARGE else ".3e"
    shown = format(value, f"+{kind}" if signed else kind)
    # A difference that rounds to nothing has no sign.
    return shown.lstrip("+-") if not any(c in "123456789" for c in shown) else shown.replace("-", "\u2212")


def plural(count: int, noun: str) -> str:
    """Return "1 mention" or "3 mentions"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def scrolling(content: Html, label: str) -> Html:
    """Return a box that scrolls sideways on its own, by keyboard too, so that the page never does."""
    return el("div", content, class_="scroll", role="region", aria_label=label, tabindex=0)


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {name}="{escape(shown)}"'
