"""The training plot: gaps, the kept model, ceilings, axes."""

from __future__ import annotations

import re

import pytest

from dualway.report import Ceiling, Curve, CurvePoint, Report, render
from dualway.report.plot import training_plot

from .reading import Page

NAN = float("nan")


def curve(losses, hits=None, *, label="seed 0", best=None, step=100):
    hits = hits or [None] * len(losses)
    points = [CurvePoint(i * step, i / 2, loss, hit) for i, (loss, hit) in enumerate(zip(losses, hits, strict=True))]
    return Curve(label, tuple(points), best)


def lines(plot: str) -> list[list[tuple[float, float]]]:
    found = re.findall(r'<polyline points="([^"]*)"', plot)
    return [[tuple(map(float, pair.split(","))) for pair in points.split()] for points in found]


def labels(plot: str, kind: str) -> list[tuple[str, float]]:
    """Words and height of the letters of a kind."""
    return [(t, float(y)) for y, t in re.findall(rf'class="{kind}" x="[\d.]+" y="([\d.-]+)">([^<]*)<', plot)]


def test_both_panels_share_the_steps():
    loss, hits = lines(training_plot([curve([3.0, 2.0, 1.0], [0.2, 0.5, 0.9])]))
    assert [x for x, _ in loss] == [x for x, _ in hits]
    assert [y for _, y in loss] == sorted(y for _, y in loss)  # falling loss: further down
    assert [y for _, y in hits] == sorted((y for _, y in hits), reverse=True)
    assert max(y for _, y in loss) < min(y for _, y in hits)


def test_what_is_not_finite_or_not_measured_is_a_gap():
    plot = training_plot([curve([3.0, 2.5, NAN, 1.0, 0.5], [None, 0.2, 0.4, None, 0.9])])
    assert [len(line) for line in lines(plot)] == [2, 2, 2]
    assert plot.count("<circle") == 4 + 3
    page = Page(render(Report("R", curves=(curve([3.0, NAN]),))))
    assert "the loss was not finite at 1 evaluation: gaps in the line" in page.text


def test_the_kept_model_is_ringed_and_told():
    kept = curve([3.0, 2.0, 1.0], [0.2, 0.875, 0.5], best=100)
    assert training_plot([kept]).count('class="best') == 2
    page = Page(render(Report("R", curves=(kept,))))
    assert "seed 0: kept at step 100 (epoch 0.5, dev T@1 87.50 %)" in page.text
    assert "100 ★ kept" in page.texts("th")


@pytest.mark.parametrize(
    ("losses", "ticks"),
    [
        ([2.9, 0.1], ["0", "1", "2", "3"]),
        ([0.04, 0.01], ["0", "0.02", "0.04"]),
        ([1.0, -1.4], ["-2", "-1", "0", "1"]),
        ([0.0, 0.0], ["0", "1"]),
        ([NAN, NAN], ["0", "1"]),
        ([-1e308, 1e308], ["0", "1"]),
    ],
)
def test_the_axis_of_the_loss_holds_zero_and_all_values(losses, ticks):
    plot = training_plot([curve(losses)])
    found = [words for words, _ in labels(plot, "tick tick-y")]
    assert found == [*ticks, "0", "25", "50", "75", "100"]


@pytest.mark.parametrize(("last", "steps"), [(1, ["0", "1"]), (3, ["0", "1", "2", "3"]), (120_000, ["0", "25,000"])])
def test_the_axis_of_the_steps_is_in_whole_steps(last, steps):
    plot = training_plot([Curve("c", (CurvePoint(last, 1, 1.0, 0.5),), None)])
    found = [words for words, _ in labels(plot, "tick tick-x")][:-1]
    assert found[: len(steps)] == steps
    assert len(found) == len(set(found)) <= 6


def test_ceilings_are_lines_whose_names_do_not_overlap():
    ceilings = [Ceiling("oracle", 0.65, "n"), Ceiling("other", 0.66, "n"), Ceiling("broken", NAN, "n")]
    plot = training_plot([curve([1.0, 0.5], [0.1, 0.9])], ceilings)
    assert plot.count('class="ceiling-line"') == 2
    (first, low), (second, high) = labels(plot, "ceiling-name")
    assert (first, second) == ("oracle 65", "other 66")
    assert low - high >= 12


def test_ceilings_of_other_protocols_than_devs_are_not_in_the_plot():
    ceilings = (Ceiling("mine", 0.5, "n", "top100"), Ceiling("theirs", 0.6, "n", "full-kb"), Ceiling("all", 0.7, "n"))
    page = Page(render(Report("R", curves=(curve([1.0, 0.5]),), ceilings=ceilings)))
    assert page.texts("text", "ceiling-name") == ["mine 50", "all 70"]


def test_every_curve_has_its_numbers_and_a_line_of_its_own():
    curves = tuple(curve([1.0, 0.5 + i / 10], [0.1, 0.2], label=f"seed {i}") for i in range(6))
    page = Page(render(Report("R", curves=curves)))
    assert len(page.find("details")) == 6
    samples = [a["class"] for n, a in page.elements if n == "line" and a["class"].startswith("line ")]
    assert len(set(samples)) == 6


def test_a_training_without_evaluations_is_told():
    page = Page(render(Report("R", curves=(Curve("c", (), None),))))
    assert "No evaluations were recorded in training." in page.text
