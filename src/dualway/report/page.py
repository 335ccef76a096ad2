"""The page put together from its sections, and written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from dualway import __version__
from dualway.report.cards import candidate_list, card, index_of
from dualway.report.markup import Html, el, join, number, plural, scrolling, words
from dualway.report.mistakes import mistakes_section
from dualway.report.pictures import Album
from dualway.report.plot import line_sample, training_plot
from dualway.report.records import Curve, Report
from dualway.report.summary import summary_section
from dualway.storage import write_text

# Nothing is fetched, run or sent, whatever might have slipped through.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_PHOTOGRAPHS = (
    "This file holds photographs. Whoever gets the file gets them: look at their licences, and think of the people "
    "on them, before passing it on. A report written without pictures says the same in words."
)
_DEV_PROTOCOL = "top100"  # under which training measures T@1 on dev
_NO_PICTURES = "Pictures were left out of this file on request."
_READING = (
    "Each card shows a caption with its mention marked, the picture with the regions that were found in it, and the "
    "candidates in the system's order. The share beside a region is the mention's attention on it: shares of one "
    "picture add up to 1, and a single region always has 1. The bar beside a candidate is its score from zero, the "
    "number behind it how far it is from the first. Below it are parts of the evidence; ▲ marks the highest value "
    "of a part among the candidates shown."
)


def write_report(report: Report, path: Path, *, pictures: bool = True) -> None:
    """Write a report as one HTML file, whole or not at all.

    Args:
        report: What is on the page.
        path: The file; one that is there is replaced.
        pictures: False leaves all pictures out, and the page says so.

    Raises:
        StorageError: The file cannot be written.
    """
    write_text(path, render(report, pictures=pictures))


def render(report: Report, *, pictures: bool = True) -> str:
    """Return the page that `write_report` writes; the same for the same report and pictures."""
    album = Album(pictures=pictures)
    sections = [("summary", "Results", summary_section(report))]
    if report.curves:
        sections.append(("training", "Training", _training(report)))
    if report.examples:
        sections.append(("examples", f"Examples ({len(report.examples)})", _examples(report, album)))
    if report.errors:
        sections.append(("mistakes", f"Mistakes ({len(report.errors)})", mistakes_section(report.errors, album)))
    if report.settings:
        sections.append(("settings", "Settings", _settings(report)))
    if report.commands:
        sections.append(("commands", "What to run next", _commands(report.commands)))
    skip = el("a", "To the results", href="#summary", class_="skip")
    links = [el("li", el("a", title, href=f"#{anchor}")) for anchor, title, _ in sections]
    menu = el("nav", el("ul", *links, role="list"), aria_label="Parts of the page", class_="menu")
    body = [
        el("section", el("h2", title, id=f"{anchor}-title"), content, id=anchor, aria_labelledby=f"{anchor}-title")
        for anchor, title, content in sections
    ]
    top = el("header", *_header(report, pictures=pictures), class_="top")
    foot = el("footer", el("p", f"Written by dualway {__version__}. ", el("a", "To the top", href="#top")))
    page = el("body", skip, el("div", top, id="top"), menu, el("main", *body), foot)
    return "<!doctype html>\n" + el("html", _head(report.title), page, lang="en") + "\n"


def _head(title: str) -> Html:
    style = resources.files("dualway.report").joinpath("report.css").read_text(encoding="utf-8")
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        el("style", Html(style)),
    )


def _header(report: Report, *, pictures: bool) -> list[Html]:
    parts = [el("h1", report.title, dir="auto")]
    parts += [el("p", sentence, class_="lead", dir="auto") for sentence in report.lead]
    if report.caveats:
        told = [el("p", caveat, dir="auto") for caveat in report.caveats]
        parts.append(el("div", el("p", el("b", "⚠ Read first")), *told, class_="box caveat", role="note"))
    shown = any(mention.picture is not None for mention in (*report.examples, *report.errors))
    if not pictures:
        parts.append(el("p", _NO_PICTURES, class_="box"))
    elif report.embeds_photographs and shown:
        parts.append(el("p", _PHOTOGRAPHS, class_="box"))
    return parts


def _training(report: Report) -> Html:
    if not any(curve.points for curve in report.curves):
        return el("p", "No evaluations were recorded in training.")
    ceilings = [c for c in report.ceilings if math.isfinite(c.value) and c.protocol in (None, _DEV_PROTOCOL)]
    told = f"T@1 on dev is that of protocol {_DEV_PROTOCOL}. Rings: the model that was kept, the best on dev."
    told += " Dashed red lines: rows of the table that are not a system, of the table's split." if ceilings else ""
    legend = [_legend(curve, index) for index, curve in enumerate(report.curves)]
    beside = [el("ul", *legend, class_="legend", role="list"), el("p", told, class_="note")]
    beside += [_history(curve) for curve in report.curves]
    return el("div", el("figure", training_plot(report.curves, ceilings)), el("div", *beside), class_="training")


def _legend(curve: Curve, index: int) -> Html:
    best = next((point for point in curve.points if point.step == curve.best_step), None)
    kept = None
    if best is not None:
        dev = "" if best.dev_t1 is None else f", dev T@1 {number(100 * best.dev_t1, 2)} %"
        kept = f": kept at step {best.step:,} (epoch {best.epoch:g}{dev})"
    broken = sum(not math.isfinite(point.loss) for point in curve.points)
    gaps = f"; the loss was not finite at {plural(broken, 'evaluation')}: gaps in the line" if broken else None
    return el("li", line_sample(index), el("span", words(curve.label), kept, gaps))


def _history(curve: Curve) -> Html:
    """Return a curve's numbers as a table, folded away."""
    titles = ("step", "epoch", "loss", "dev T@1, %")
    rows = [
        el(
            "tr",
            el("th", f"{point.step:,}", " ★ kept" if point.step == curve.best_step else None, scope="row"),
            el("td", number(point.epoch, 2), class_="num"),
            el("td", number(point.loss, 4), class_="num"),
            el("td", number(None if point.dev_t1 is None else 100 * point.dev_t1, 2), class_="num"),
        )
        for point in curve.points
    ]
    head = el("thead", el("tr", *(el("th", title, scope="col") for title in titles)))
    table = el("table", el("caption", words(curve.label)), head, el("tbody", *rows), class_="compact")
    summary = el("summary", "Numbers of ", words(curve.label), f" ({plural(len(curve.points), 'evaluation')})")
    return el("details", summary, scrolling(table, "Numbers of a training"))


def _examples(report: Report, album: Album) -> Html:
    cards = [(f"example-{place}", shown) for place, shown in enumerate(report.examples, start=1)]
    shown = [card(m, album, anchor=anchor, level=3, body=candidate_list(m)) for anchor, m in cards]
    return join(el("p", _READING, class_="note"), index_of(cards, "Examples"), *shown)


def _settings(report: Report) -> Html:
    head = el("thead", el("tr", el("th", "setting", scope="col"), el("th", "value", scope="col")))
    rows = [
        el("tr", el("th", words(name), scope="row"), el("td", value, dir="auto"))
        for name, value in report.settings.items()
    ]
    caption = el("caption", "What this was made with")
    return scrolling(el("table", caption, head, el("tbody", *rows), class_="settings"), "Settings")


def _commands(commands: Sequence[str]) -> Html:
    shown = [el("li", el("pre", el("code", command, dir="ltr"))) for command in commands]
    return join(el("p", "A click selects a whole command."), el("ol", *shown, class_="commands"))
