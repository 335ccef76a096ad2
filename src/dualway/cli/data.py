"""`dualway data`: looks at data sets before work starts on them, converts and downloads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dualway.cli.output import JsonFlag, Output, QuietFlag

if TYPE_CHECKING:
    from dualway.downloads import Entry

app = typer.Typer(help="Check, convert and download data sets.", no_args_is_help=True)

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
    "  found by md5": ("pictures", "by_md5"),
    "mentions with candidates of their own": ("candidates", "mentions"),
    "  gold among them": ("candidates", "gold_among"),
    "  gold not among them": ("candidates", "gold_missed"),
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
    kb: Annotated[
        Path | None, typer.Option(help="A knowledge base: are captions among its texts? Then it holds the answers.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Say what a data set holds, what is missing, and what is repaired or dropped and why.

    Exits with 0 even when records are repaired or dropped; with 2 or 3 when the data set cannot be read.
    """
    from dualway.datasets.audit import audit

    output = Output(json=json, quiet=quiet)
    output.note(f"checking {path}")
    if kb is None:
        found = audit(path, split)
    else:
        from dualway.datasets.overlaps import entity_texts
        from dualway.kb.store import KnowledgeBase

        with KnowledgeBase.open(kb) as opened:
            found = audit(path, split, kb_texts=entity_texts(opened.entities()))
    output.show(_describe(found))
    output.result(found)


@app.command()
def convert(
    path: Annotated[Path, typer.Argument(help="A data set's folder, or one file of it.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to make; for one split also a file.")],
    form: Annotated[str, typer.Option("--to", help="jsonl, melbench, ghmfc, dwe or wikidiverse.")] = "jsonl",
    split: Annotated[str | None, typer.Option(help="Only this split of the folder.")] = None,
    entities: Annotated[
        str, typer.Option(help="Form of the folder's entity files, as for `kb build --from`; none leaves them out.")
    ] = "auto",
    lossy: Annotated[bool, typer.Option("--lossy", help="Convert even when something is lost, and say what.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files of the same names that are there.")] = False,
    copy_pictures: Annotated[
        bool, typer.Option("--copy-pictures", help="Put copies of the pictures into images/ of the folder.")
    ] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Write a data set in another form: ours (JSON Lines), or a published one where nothing is lost.

    What was written is read back and compared. Exits with 2 when something would be lost, unless --lossy is given.
    """
    from dualway.datasets.convert import Options
    from dualway.datasets.convert import convert as convert_data

    output = Output(json=json, quiet=quiet)
    options = Options(form, split, entities, lossy, force, copy_pictures)
    done = convert_data(path, out, options, note=output.note)
    output.result(done.to_dict())
    lines = [
        f"{split['file']}: {split['mentions']:,} mentions, {split['with_gold']:,} with gold, {split['nil']:,} NIL"
        for split in done.files.values()
    ]
    if done.entities is not None:
        lines.append(f"{out / 'entities.jsonl'}: {done.entities:,} entities")
    lines += [f"lost: {what} of {tally.count:,} mentions" for what, tally in done.lost.items()]
    output.show("\n".join(lines))


@app.command()
def regions(
    folder: Annotated[
        Path, typer.Argument(help="Holds *_detection, *_segement and total2part_map.json.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The regions file to write (JSON Lines).")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the whole pictures; else those that the data set in FOLDER names.")
    ] = None,
    attributes: Annotated[
        str, typer.Option(help="Facial attributes to keep, with commas: age, gender, race, emotion.")
    ] = "age,gender",
    all_faces: Annotated[
        bool, typer.Option("--all-faces", help="Also keep faces that the face model answered for without finding one.")
    ] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Make a regions file of DWE's detection files, for --regions of other commands.

    Objects are the persons cut out of the pictures, with the faces and identity labels that were found in them.
    """
    from dualway.features.detections import write_regions_file

    output = Output(json=json, quiet=quiet)
    wanted = [name.strip() for name in attributes.split(",") if name.strip()]
    report = write_regions_file(folder, out, images=images, attributes=wanted, all_faces=all_faces)
    for line in report.remarks():
        output.note(line)
    found = {
        key.removeprefix("faces with "): number for key, number in report.counts.items() if key.startswith("faces ")
    }
    output.result({"regions": str(out), "attributes": found, **report.to_dict()})
    counts = ", ".join(f"{report.counts[key]:,} {key}" for key in ("pictures", "objects", "faces", "labels"))
    said = ", ".join(f"{key} of {number:,}" for key, number in found.items()) or "none"
    output.show(f"{out}: {counts}\nattributes of faces: {said}")


@app.command()
def download(
    names: Annotated[
        list[str] | None, typer.Argument(help="What to download; --list says what there is.", show_default=False)
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="Say what can be downloaded, and stop; no network is used.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder; each name gets one below it.")] = Path(
        "downloads"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask the hosts what is not known, say what would come, and stop.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the download.")] = False,
    base_url: Annotated[
        str | None, typer.Option(help="A mirror: https://HOST/PATH is fetched from BASE_URL/HOST/PATH.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Download data sets and models: shown first, then held against their hashes; goes on after a kill.

    Exits with 8 when a download fails or is not what it should be, with 7 when the disk is full.
    """
    from dualway.downloads import CATALOGUE, fetch_plan, plan
    from dualway.errors import UsageError

    output = Output(json=json, quiet=quiet)
    if not names and not listing:
        raise UsageError(f"name what to download, or give --list; there are {', '.join(CATALOGUE)}")
    ready = plan(names or list(CATALOGUE), folder=out, base_url=base_url, ask=not listing)
    output.show(ready.describe())
    if listing or dry_run:
        output.result(ready.to_dict())
        return
    _agree(ready.total_bytes, yes=yes)
    with output.progress("bytes", ready.total_bytes) as meter:
        paths = fetch_plan(ready, out, meter.update)
    output.result(ready.to_dict() | {"paths": {name: str(path) for name, path in paths.items()}})
    output.show("\n".join(["", *(line for entry in ready.entries for line in _next_steps(entry, paths[entry.name]))]))


def _agree(num_bytes: int, *, yes: bool) -> None:
    """Ask whether to download, unless told not to.

    Raises:
        UsageError: Nobody is there to be asked.
        typer.Exit: The answer was no.
    """
    import sys

    from dualway.errors import UsageError

    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():  # None: closed
        raise UsageError("nothing is downloaded without a word of yours: give --yes")
    if not typer.confirm(f"Download {num_bytes:,} bytes?", err=True):
        raise typer.Exit


def _next_steps(entry: Entry, path: Path) -> list[str]:
    """Return where a download lies and the commands that use it."""
    lines = [f"{entry.name}: {path}"]
    if entry.kind == "data set":
        folders = sorted({file.parent for file in path.rglob("*.json") if "__MACOSX" not in file.parts})
        lines += [f"  dualway data check {folder}" for folder in folders if _is_data_set(folder)]
    if entry.follows:
        lines.append(f"  {entry.follows.format(folder=path)}")
    return lines


def _is_data_set(folder: Path) -> bool:
    from dualway.datasets import list_splits
    from dualway.errors import DualwayError

    try:
        return bool(list_splits(folder))
    except DualwayError:
        return False


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
    for file in found["candidate_files"]:
        lines += _candidate_lines(file)
    if found["knowledge_base"] is not None:
        lines += ["", "captions in texts of the knowledge base:"]
        lines += _overlap_lines(found["knowledge_base"]) or ["  none"]
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


def _candidate_lines(file: dict[str, Any]) -> list[str]:
    """Say how a file of candidates is keyed and how far it reaches; one keyed by gold is of no use to a linker."""
    how = "by surface" if file["keyed_by"] == "surface" else "by GOLD entity: --candidates refuses it"
    lines = ["", f"candidate file {file['file']}: {file['counts']['lists']:,} lists, keyed {how}"]
    for name, split in file["splits"].items():
        lines.append(
            f"  {name}: has {split['mentions']:,} of {split['of']:,} mentions, {split['mean']:,.1f} candidates each; "
            f"gold among them {split['gold_among']:,} of {split['with_gold']:,}"
        )
    return lines


def _entity_lines(files: dict[str, Any]) -> list[str]:
    counts = files["counts"]
    lines = ["", f"entity files ({files['format']}): {', '.join(files['files'])}"]
    lines += [f"  {counts[key]:,}  {key}" for key in counts if counts[key]]
    for name, gold in files["gold"].items():
        lines.append(f"  {gold['missing']:,}  gold entities of {name} are not among them")
        lines[-1] += f": {', '.join(gold['missing_examples'])}" if gold["missing"] else ""
    lines += _overlap_lines(files["overlaps"])
    for title in ("repaired", "dropped", "notes"):
        lines += [f"  {line}" for line in _reasons(title, files[title])[1:]]
    return lines


def _overlap_lines(splits: dict[str, dict[str, Any]]) -> list[str]:
    """Say how many captions stand in entities' texts, their own entity's first, with the closest examples."""
    lines: list[str] = []
    for name, found in splits.items():
        for whose, words in (("gold", "their own entity"), ("others", "another entity")):
            tally = found[whose]
            if tally["mentions"]:
                lines.append(
                    f"  {tally['mentions']:,}  captions of {name} stand in the text of {words} "
                    f"({tally['exact']:,} exactly, {tally['near']:,} nearly)"
                )
                lines += [
                    f"       {example['mention']} in {example['entity']}: {100 * example['share']:.0f} %"
                    for example in tally["examples"]
                ]
    return lines
