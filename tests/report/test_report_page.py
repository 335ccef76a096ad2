"""The page: every part is there, it is sound HTML, it asks for nothing from outside, it is the same every time."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import pytest

import dualway.report
from dualway.errors import StorageError
from dualway.evaluation.tables import percent, percent_interval
from dualway.report import Report, render, write_report

from .reading import Page

FOLDER = Path(dualway.report.__file__).parent
CSS = (FOLDER / "report.css").read_text(encoding="utf-8")
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


class TestTheParts:
    def test_the_top_says_what_it_is_and_what_to_know(self, report, page):
        assert page.texts("h1") == [report.title]
        assert page.texts("title") == [report.title]
        assert page.texts("p", "lead") == list(report.lead)
        assert report.caveats[0] in page.texts("div", "caveat")[0]

    def test_caveats_stand_beside_every_table_of_results(self, report, page):
        assert page.texts("p", "caveat-line") == [f"⚠ {report.caveats[0]}"] * len(report.evaluation.protocols)

    def test_every_figure_of_the_evaluation_is_there(self, report, page):
        text = page.inside("summary")
        for table in report.evaluation.protocols:
            assert table.protocol.description in text
            assert f"{percent(table.chance)} %" in text
            assert percent_interval(table.recall) in text or table.protocol.num_candidates is None
            for row in table.systems:
                assert row.system in text
                assert percent_interval(row.metrics["hits@1"]) in text
                for name in ("hits@5", "hits@10", "hits@20", "mrr"):
                    assert percent(row.metrics[name].value) in text
        spread = report.evaluation.result("top10", "dwe_plus").seeds["hits@1"]
        assert f"3 (± {percent(spread.std)})" in text
        assert f"Recall@10{percent_interval(report.evaluation.recall_at[10])} %" in text
        assert "names alone" in text

    def test_what_was_left_out_is_counted(self, report, page):
        missed = report.evaluation.protocols[0].num_missed
        assert missed
        assert f"Gold missed by the search{missed}" in page.inside("summary")

    def test_the_comparison_with_the_baseline_is_there(self, report, page):
        comparison = report.evaluation.protocols[0].comparisons[-1]
        assert f"+{100 * comparison.difference:.2f} [" in page.inside("summary")

    def test_a_ceiling_is_a_row_of_its_protocol_marked_as_no_system(self, report, page):
        text = page.inside("summary")
        assert text.count("text-only oraclenot a system65.00") == 2
        assert text.count("recall of the candidatesnot a system98.00") == 1
        assert report.ceilings[0].note in text

    def test_one_protocol_needs_no_headings(self, report):
        one = replace(report.evaluation, protocols=report.evaluation.protocols[:1])
        text = Page(render(Report("One", evaluation=one))).inside("summary")
        assert "cannot be compared" not in text
        assert not Page(render(Report("One", evaluation=one))).find("h3")

    def test_settings_commands_and_navigation(self, report, page):
        for name, value in report.settings.items():
            assert name in page.texts("th")
            assert value in page.texts("td")
        assert page.texts("pre") == list(report.commands)
        assert "user-select: all" in CSS
        parts = [a["href"] for name, a in page.elements if name == "a" and a["href"].count("-") == 0]
        for part in ("#summary", "#training", "#examples", "#mistakes", "#settings", "#commands"):
            assert part in parts

    def test_every_card_can_be_gone_to(self, report, page):
        links = {a["href"] for a in page.find("a")}
        assert {f"#example-{i}" for i in range(1, len(report.examples) + 1)} <= links
        assert {f"#mistake-{i}" for i in range(1, len(report.errors) + 1)} <= links

    def test_what_is_empty_has_no_place(self):
        page = Page(render(Report("Nothing")))
        assert page.texts("h2") == ["Results"]
        assert "No evaluation was run." in page.text
        assert not page.find("div", "caveat")

    def test_ceilings_are_told_without_an_evaluation_too(self, report):
        text = Page(render(Report("Nothing", ceilings=report.ceilings))).inside("summary")
        assert "text-only oracle: T@1 65.00" in text


class TestSoundness:
    def test_every_element_is_closed(self, page):
        assert page.faults == []

    def test_ids_are_unique_and_references_lead_somewhere(self, page):
        ids = [a["id"] for _, a in page.elements if "id" in a]
        assert len(set(ids)) == len(ids)
        wanted = [a["href"].removeprefix("#") for a in page.find("a")]
        wanted += [a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a]
        assert set(wanted) <= set(ids)

    def test_headings_skip_no_level(self, page):
        levels = [int(name[1]) for name, _ in page.elements if name in HEADINGS]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))

    def test_pictures_have_words_tables_have_captions_and_scrolling_boxes_take_the_keyboard(self, page):
        assert page.find("img")
        assert all(a["alt"] and a["width"] and a["height"] for a in page.find("img"))
        assert len(page.find("caption")) == len(page.find("table"))
        assert all(a["tabindex"] == "0" and a["aria-label"] and a["role"] for a in page.find("div", "scroll"))
        assert all(a.get("aria-hidden") == "true" or a.get("aria-label") for a in page.find("svg"))
        assert all("scope" in a for a in page.find("th"))

    def test_it_tells_its_language_size_and_schemes(self, page):
        assert page.find("html") == [{"lang": "en"}]
        metas = {a.get("name"): a.get("content") for a in page.find("meta")}
        assert metas["viewport"] == "width=device-width, initial-scale=1"
        assert metas["color-scheme"] == "light dark"


class TestNothingFromOutside:
    def test_the_policy_forbids_everything_else(self, page):
        [policy] = [a["content"] for a in page.find("meta") if a.get("http-equiv") == "Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
        assert "script" not in policy

    def test_no_element_asks_for_anything(self, page):
        asking = {"script", "link", "iframe", "object", "embed", "audio", "video", "form", "base", "image", "use"}
        assert not asking & {name for name, _ in page.elements}
        for name, attributes in page.elements:
            for key, value in attributes.items():
                assert not key.startswith("on")
                assert key not in {"srcset", "action", "xlink:href", "style", "background"}
                if key == "src":
                    assert re.match(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+$", value), name
                elif key == "href":
                    assert value.startswith("#")
                elif key != "content":
                    assert "://" not in value

    def test_the_style_sheet_asks_for_nothing(self):
        assert not re.search(r"url\(|@import|@font-face|://|</", CSS)


class TestTheStyleSheet:
    def test_nothing_is_wider_than_a_small_telephone(self):
        screen = CSS.split("@media print")[0]
        narrow = re.sub(r"@media \(min-width[^{]*\{(?:[^{}]*\{[^{}]*\})*\s*\}", "", screen)
        widths = re.findall(r"(?<!max-)\b(?:min-|flex-)?(?:width|basis):\s*([\d.]+)(px|rem)", narrow)
        widths += re.findall(r"minmax\(([\d.]+)(px|rem),", narrow)
        assert widths
        assert all(float(size) * (16 if unit == "rem" else 1) <= 360 for size, unit in widths)
        assert re.search(r"\.photo img \{[^}]*max-width: 100%", CSS)
        assert re.search(r"\.scroll \{[^}]*overflow-x: auto", CSS)
        assert re.search(r"body \{[^}]*overflow-wrap: anywhere", CSS)

    def test_every_class_of_the_page_that_is_drawn_is_known(self, page):
        """A drawing without its rule would be a black shape."""
        drawn = {c for n, a in page.elements if n in {"rect", "line", "polyline", "circle"} for c in a["class"].split()}
        assert drawn
        assert [name for name in sorted(drawn) if f".{name}" not in CSS and name not in {"dot"}] == []

    @pytest.mark.parametrize("scheme", ["light", "dark", "print"])
    def test_letters_stand_out_from_what_is_behind_them(self, scheme):
        blocks = re.findall(r":root \{([^}]*)\}", CSS)
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[0]))
        colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[{"light": 0, "dark": 1, "print": 2}[scheme]]))
        pairs = [(ink, ground) for ink in ("ink", "soft", "link") for ground in ("page", "card", "sunk")]
        pairs += [("ink", "warn"), ("mark-ink", "mark"), ("box", "halo"), ("soft", "right-soft"), ("ink", "right-soft")]
        pairs += [(kind, f"{kind}-soft") for kind in ("right", "wrong", "open")]
        pairs += [("wrong", "page"), ("wrong", "card"), ("right", "card")]
        for ink, ground in pairs:
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)

    def test_it_is_part_of_the_package(self):
        settings = tomllib.loads((FOLDER.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
        patterns = settings["tool"]["setuptools"]["package-data"]["dualway"]
        for file in FOLDER.iterdir():
            if file.is_file() and file.suffix != ".py":
                assert any(fnmatch(f"report/{file.name}", pattern) for pattern in patterns), file.name


def contrast(one: str, other: str) -> float:
    """Contrast of two colours by the formula of WCAG 2."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


class TestWriting:
    def test_the_same_report_is_the_same_file(self, report, tmp_path):
        for name in ("a.html", "b.html"):
            write_report(report, tmp_path / "new" / name)
        first = (tmp_path / "new" / "a.html").read_bytes()
        assert first == (tmp_path / "new" / "b.html").read_bytes()
        assert first.decode("utf-8") == render(report)
        assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.html", "b.html"]

    def test_an_older_file_stays_when_writing_fails(self, report, tmp_path):
        (tmp_path / "folder").mkdir()
        with pytest.raises(StorageError, match="not an ordinary file"):
            write_report(report, tmp_path / "folder")
        assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
