"""Converts data sets: any that can be read to our JSON Lines, and mentions to the published forms.

Nothing is lost in silence: what was written is read back and compared with what was to be written, mention by mention,
so that what a form cannot hold (a type, offsets, an id) is counted, with the first places. Without `lossy` the result
is then thrown away.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dualway.datasets.base import Dataset, Tally, is_folder
from dualway.datasets.entities import find_forms, find_own_files, read_entities
from dualway.datasets.jsonl import write_mentions
from dualway.datasets.picture_paths import PicturePaths
from dualway.datasets.published import published
from dualway.datasets.reader import list_splits, open_dataset
from dualway.errors import DataError, StorageError, UsageError
from dualway.schema import Entity, Mention
from dualway.storage import atomic_folder, atomic_path, check_target, storage_errors, write_json, write_text
from dualway.text import repair

FORMS = {"jsonl": ".jsonl", "melbench": ".json", "ghmfc": ".json", "dwe": ".json", "wikidiverse": ".json"}
ENTITIES = "entities.jsonl"
_FIELDS = ("id", "text", "surface", "start", "end", "type", "image", "date", "place", "language", "source")
_FILE_NAME = re.compile(r"\w[\w .-]{0,99}")

Note = Callable[[str], object]


@dataclass(frozen=True)
class Options:
    """How to convert.

    Attributes:
        form: One of `FORMS`.
        split: Only this split of a folder.
        entities: Form of the folder's entity files, as `read_entities` takes it; "none" leaves them out.
        lossy: Keep a result that lacks something.
        force: Replace files that are there.
        copy_pictures: Put the pictures into `images/` of the new folder.
    """

    form: str = "jsonl"
    split: str | None = None
    entities: str = "auto"
    lossy: bool = False
    force: bool = False
    copy_pictures: bool = False


@dataclass
class Conversion:
    """What was written: `files` by split, how many `entities`, what was `lost` and which `pictures` were copied."""

    out: Path
    form: str
    files: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    entities: int | None = None
    lost: dict[str, Tally] = field(default_factory=dict[str, Tally])
    pictures: dict[str, int] = field(default_factory=dict[str, int])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "out": str(self.out),
            "form": self.form,
            "splits": self.files,
            "entities": self.entities,
            "lost": {what: tally.to_dict() for what, tally in self.lost.items()},
            "pictures": self.pictures,
        }


def convert(path: Path, out: Path, options: Options = Options(), *, note: Note = lambda line: None) -> Conversion:
    """Write a data set in another form, whole or not at all, and return what was written and what was lost.

    A relative picture path is rewritten so that from the new file it leads to where it led; an absolute one and an
    address stay.

    Args:
        path: A folder (all its splits, and for "jsonl" its entity files) or a file.
        out: The folder to make; for one split or file it may be a file of the form's suffix.
        options: The form, and what is allowed.
        note: Told what reading dropped or repaired, and what else should be known.

    Raises:
        UsageError: An unknown form, an impossible `out`, or something would be lost (says what and how often).
        DataError: The data set cannot be read.
        StorageError: `out` is there, or cannot be written.
    """
    _check_options(options)
    datasets = _open_all(path, options.split)
    target = _Target(out, options, list(datasets))
    target.check(path)
    for dataset in datasets.values():
        for line in dataset.report.remarks():
            note(line)
    done = Conversion(out, options.form)
    with target.staged() as stage:
        pictures = PicturePaths(target.folder, stage if options.copy_pictures else None)
        for name, dataset in datasets.items():
            file = target.file(stage, name)
            _write_checked(dataset, file, options, pictures, done)
            done.files[name] = {"file": str(target.file(out, name)), **_counts(dataset)}
        if target.is_folder and is_folder(path) and options.form == "jsonl":
            done.entities = _write_entities(path, stage / ENTITIES, options, pictures)
        done.pictures = dict(pictures.counts)
        if done.lost and not options.lossy:
            raise UsageError(_would_lose(done))
    _say_what_to_know(path, options, target, done, note)
    return done


def _check_options(options: Options) -> None:
    if options.form not in FORMS:
        raise UsageError(f"unknown form {options.form!r}; choose one of {', '.join(FORMS)}")


def _open_all(path: Path, split: str | None) -> dict[str, Dataset]:
    """Return what is to be converted by the name that its file gets."""
    names = [split] if split is not None or not is_folder(path) else list_splits(path)
    opened = {path.stem if name is None else name: open_dataset(path, name) for name in names}
    for name in opened:
        if not _FILE_NAME.fullmatch(name):
            raise DataError(f"the split {name[:80]!r} cannot be a file's name; rename it", path=path)
    return opened


def _counts(dataset: Dataset) -> dict[str, int]:
    return {
        "mentions": len(dataset),
        "with_gold": len(dataset.gold),
        "nil": sum(answer is None for answer in dataset.gold.values()),
    }


def _would_lose(done: Conversion) -> str:
    losses = "; ".join(_loss(what, tally) for what, tally in done.lost.items())
    return f"as {done.form} this would be lost: {losses}. Nothing was written; --lossy converts it all the same"


def _loss(what: str, tally: Tally) -> str:
    id, text = tally.examples[0]
    return f"{what} of {tally.count:,} mentions (first: {id}: {text})"


def _say_what_to_know(path: Path, options: Options, target: _Target, done: Conversion, note: Note) -> None:
    for what, tally in done.lost.items():
        note(f"lost: {_loss(what, tally)}")
    for what, times in done.pictures.items():
        note(f"pictures {what}: {times:,}")
    if is_folder(path) and done.entities is None and options.entities != "none":
        left = [*find_forms(path), *(file.name for file in find_own_files(path))]
        if left:
            note(f"entities ({', '.join(left)}) are not part of this conversion; they stay in {path}")
    if options.form == "ghmfc" and target.is_folder and "train" in done.files and "dev" not in done.files:
        note("read as a folder, a tenth of train will be dev: that is how Richpedia is read where it has no dev")


class _Target:
    """The folder or the file that is made."""

    def __init__(self, out: Path, options: Options, splits: Sequence[str]) -> None:
        self._out, self._options, self._suffix = out, options, FORMS[options.form]
        self.is_folder = is_folder(out) or out.suffix not in {".json", ".jsonl"}
        self._splits = splits

    @property
    def folder(self) -> Path:
        """The folder in which the new files lie."""
        return self._out if self.is_folder else self._out.parent

    def file(self, out: Path, split: str) -> Path:
        """Return a split's file, `out` being the target or what stands for it meanwhile."""
        return out / f"{split}{self._suffix}" if self.is_folder else out

    def check(self, source: Path) -> None:
        """Check before the work that the target is possible and free.

        Raises:
            UsageError: A file for several splits or pictures, of another suffix, or the source itself.
            StorageError: Something is there already.
        """
        if not self.is_folder:
            self._check_file()
        inputs = source.resolve() if is_folder(source) == self.is_folder else None
        if self._out.resolve() == inputs or (self.is_folder and self._out.resolve() == source.resolve().parent):
            raise UsageError(f"--out {self._out}: is where the input lies; choose another place")
        with storage_errors(self._out):
            is_there = any(self._out.iterdir()) if self._out.is_dir() else self._out.exists()
        if is_there and (not self._options.force or (self.is_folder and not self._out.is_dir())):
            raise StorageError(f"{self._out}: already exists; remove it, choose another --out, or give --force")

    def _check_file(self) -> None:
        if len(self._splits) > 1:
            raise UsageError(f"--out {self._out}: one file for {', '.join(self._splits)}; give a folder, or --split")
        if self._out.suffix != self._suffix:
            raise UsageError(f"--out {self._out}: a file of this form ends in {self._suffix}")
        if self._options.copy_pictures:
            raise UsageError(f"--out {self._out}: --copy-pictures needs a folder to put them into")
        check_target(self._out)

    @contextmanager
    def staged(self) -> Generator[Path]:
        """Yield what stands for the target until all is done, beside it, so that relative paths mean the same."""
        if not self.is_folder:
            with atomic_path(self._out) as temporary:
                yield temporary
        elif self._options.force and self._out.is_dir() and any(self._out.iterdir()):
            with self._replacing() as temporary:
                yield temporary
        else:
            with atomic_folder(self._out.resolve() if self._out.is_symlink() else self._out) as temporary:
                yield temporary

    @contextmanager
    def _replacing(self) -> Generator[Path]:
        """Yield a folder whose files then replace those of the same names in the target; others stay."""
        place = self._out.resolve()
        with storage_errors(self._out):
            temporary = Path(tempfile.mkdtemp(prefix=".dualway.", suffix=".tmp", dir=place.parent))
        try:
            yield temporary
            with storage_errors(self._out):
                for file in sorted(path for path in temporary.rglob("*") if path.is_file()):
                    goal = place / file.relative_to(temporary)
                    goal.parent.mkdir(parents=True, exist_ok=True)
                    file.replace(goal)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_checked(dataset: Dataset, file: Path, options: Options, pictures: PicturePaths, done: Conversion) -> None:
    """Write a data set, read it back and note what is not as it was.

    Raises:
        UsageError: It would not be read as this form, or not all of it.
    """
    mentions = [pictures.renamed(dataset, mention) for mention in dataset.mentions]
    if options.form == "jsonl":
        write_mentions(file, mentions, dataset.gold)
    else:
        write_json(file, published(mentions, dataset.gold, options.form))
    try:
        back = open_dataset(file)
    except DataError as error:
        raise UsageError(f"{dataset.report.path}: cannot be written as {options.form}: {error.problem}") from error
    if back.report.format != options.form:
        raise UsageError(f"{dataset.report.path}: {_other_form(options.form, back.report.format)}")
    if len(back) != len(mentions):
        missing = len(mentions) - len(back)
        raise UsageError(f"{dataset.report.path}: {missing:,} mentions would not be read back from {options.form}")
    _compare(replace(dataset, mentions=mentions), back, done.lost)


def _other_form(form: str, found: str) -> str:
    if form == "ghmfc":
        return "ghmfc names its samples by Wikidata ids (Q..), and most of these mentions have others; choose dwe"
    if found == "ghmfc":
        return f"mentions named by Wikidata ids (Q..) would be read as ghmfc, not as {form}; choose ghmfc"
    return f"written as {form} it would be read as {found}; choose another form"


def _compare(meant: Dataset, back: Dataset, lost: dict[str, Tally]) -> None:
    """Count what the mentions read back do not have as they were meant, each by its place in the file."""
    for mention, other in zip(meant.mentions, back.mentions, strict=True):
        for name in _FIELDS:
            old, new = getattr(mention, name), getattr(other, name)
            if old != new:
                what = "offsets" if name in {"start", "end"} else name
                if name != "end" or mention.start == other.start:  # offsets count once
                    _lose(lost, what, mention.id, old, new)
        answers = (_answer(meant, mention), _answer(back, other))
        if answers[0] != answers[1]:
            _lose(lost, "entity id", mention.id, *answers)
        given = (meant.candidates.get(mention.id), back.candidates.get(other.id))
        if given[0] != given[1]:
            _lose(lost, "given candidates", mention.id, given[0], given[1])


def _answer(dataset: Dataset, mention: Mention) -> str:
    """Return a mention's gold for comparing: NIL and no gold are not the same."""
    if mention.id not in dataset.gold:
        return "no gold"
    answer = dataset.gold[mention.id]
    return "NIL" if answer is None else repr(answer)


def _lose(lost: dict[str, Tally], what: str, id: str, old: Any, new: Any) -> None:
    lost.setdefault(what, Tally()).add(id, f"{_short(old)} -> {_short(new)}")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _write_entities(path: Path, file: Path, options: Options, pictures: PicturePaths) -> int | None:
    """Write a folder's entities in the form that `kb build --from jsonl` reads; None where there are none."""
    if options.entities == "none" or (options.entities == "auto" and not find_forms(path)):
        return None
    entities, _ = read_entities(path, options.entities)
    lines = (json.dumps(_entity_record(entity, path, pictures), ensure_ascii=False) for entity in entities)
    write_text(file, repair("".join(f"{line}\n" for line in lines)))
    return len(entities)


def _entity_record(entity: Entity, root: Path, pictures: PicturePaths) -> dict[str, Any]:
    record: dict[str, Any] = {"id": entity.id, "name": entity.name}
    for key, values in (("aliases", entity.aliases), ("types", entity.types)):
        if values:
            record[key] = list(values)
    if entity.representations:
        record["representations"] = [_filled(text) for text in entity.representations]
    if entity.pictures:
        record["pictures"] = [
            _filled(picture) | {"path": _entity_picture(picture.path, root, pictures)} for picture in entity.pictures
        ]
    return record


def _filled(record: Any) -> dict[str, str]:
    """Return the fields of a record that are not empty."""
    return {name: getattr(record, name) for name in record.__slots__ if getattr(record, name)}


def _entity_picture(given: str, root: Path, pictures: PicturePaths) -> str:
    return pictures.name(given, None if "://" in given else root / given, root)
