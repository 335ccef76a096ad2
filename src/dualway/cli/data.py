"""`dualway data`: looks at data sets before work starts on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dualway.cli.output import JsonFlag, Output, QuietFlag

app = typer.Typer(help="Check data sets.", no_args_is_help=True)

_ROWS = {
    "samples": ("samples",),
    "mentions": ("mentions",),
    "  without gold": ("unlabelled",),
    "  NIL": ("nil",),
    "  not literally in their sentence": ("not_literal",),
    "    found without case and accents": ("located", "folded"),
    "    found fuzzily": ("located", "fuzzy"),
    "    not found": ("located", "not"),
    "  without picture": ("pictures", "mentions_without"),
    "gold entities": ("entities",),
    "pictures named": ("pictures", "named"),
    "  present": ("pictures", "present"),
    "  missing": ("pictures", "missing"),
    "  unreadable": ("pictures", "unreadable"),
    "  too large": ("pictures", "too_large"),
    "  linked out of the folder": ("pictures", "outside"),
    "picture addresses": ("pictures", "addresses"),
}
# Rows that are always shown; the others only where one of their numbers is not zero.
_ALWAYS = {"samples", "mentions", "  NIL", "gold entities", "pictures named", "  present", "  missing"}


@app.callback()
def _group() -> None:
    pass


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A data set's folder, or one file of it.", show_default=False)],
    split: Annotated[str | None, typer.Option(help="Only this split of the folder.")] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Say what a data set holds, what is missing, and what is repaired or dropped and why.

    Exits with 0 even when records are repaired or dropped; with 2 or 3 when the data set cannot be read.
    """
    from dualway.datasets.audit import audit

    output = Output(json=json, quiet=quiet)
    output.note(f"checking {path}")
    found = audit(path, split)
    output.show(_describe(found))
    output.result(found)


def _describe(found: dict[str, Any]) -> str:
    splits: dict[str, dict[str, Any]] = found["splits"]
    lines = [f"{found['path']}: {', '.join(sorted({split['format'] for split in splits.values()}))}", ""]
    lines += _table(splits)
    for name, split in splits.items():
        for title in ("repaired", "dropped", "notes"):
            lines += _reasons(f"{name}, {title}", split[title])
    for shared in found["shared_sentences"]:
        first, second = shared["splits"]
        lines += ["", f"sentences shared by {first} and {second}: {shared['sentences']:,}"]
        lines[-1] += f" ({shared['mentions']:,} mentions of {second})" if shared["sentences"] else ""
    for files in found["entity_files"]:
        lines += _entity_lines(files)
    if not found["entity_files"]:
        lines += ["", "entity files: none in this folder"]
    return "\n".join(lines)


def _table(splits: dict[str, dict[str, Any]]) -> list[str]:
    cells = {label: [_number(split, keys) for split in splits.values()] for label, keys in _ROWS.items()}
    shown = {label: row for label, row in cells.items() if label in _ALWAYS or any(row)}
    first = max(len(label) for label in shown)
    widths = [max(len(name), 9) for name in splits]
    lines = [" " * first + "".join(f"  {name:>{width}}" for name, width in zip(splits, widths))]
    for label, row in shown.items():
        lines.append(f"{label:<{first}}" + "".join(f"  {number:>{width},}" for number, width in zip(row, widths)))
    return lines


def _number(split: dict[str, Any], keys: tuple[str, ...]) -> int:
    value: Any = split
    for key in keys:
        value = value[key]
    return int(value)


def _reasons(title: str, tallies: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["", f"{title}:"] if tallies else []
    for reason, tally in tallies.items():
        lines.append(f"  {tally['count']:,}  {reason}")
        lines += [f"       {example['id']}: {_one_line(example['text'])}".rstrip(": ") for example in tally["examples"]]
    return lines


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _entity_lines(files: dict[str, Any]) -> list[str]:
    counts = files["counts"]
    lines = ["", f"entity files ({files['format']}): {', '.join(files['files'])}"]
    lines += [f"  {counts[key]:,}  {key}" for key in counts if counts[key]]
    for name, gold in files["gold"].items():
        lines.append(f"  {gold['missing']:,}  gold entities of {name} are not among them")
        lines[-1] += f": {', '.join(gold['missing_examples'])}" if gold["missing"] else ""
        if gold["sentence_in_entity_text"]:
            lines.append(f"  {gold['sentence_in_entity_text']:,}  captions of {name} stand in their own entity's text")
    for title in ("repaired", "dropped", "notes"):
        lines += [f"  {line}" for line in _reasons(title, files[title])[1:]]
    return lines
