"""What a feature store says of one picture, for people: found by a mention or a name, in words and as a drawing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dualway.datasets.base import Dataset, is_folder
from dualway.datasets.reader import list_splits, open_dataset
from dualway.errors import CompatibilityError, DataError, PictureError, UsageError
from dualway.features.drawing import Mark, Row, Section, draw, writable
from dualway.features.manifest import Origin
from dualway.features.models import compares_faces
from dualway.features.regions import CutOut, PictureRegions, read_regions
from dualway.features.seeing import WHOLE
from dualway.features.seen import Seen, label_record
from dualway.features.shards import Source
from dualway.features.store import open_features
from dualway.images import open_picture, picture_size
from dualway.schema import Face, IdentityLabel, Mention, Region
from dualway.storage import atomic_path

if TYPE_CHECKING:
    from dualway.features.store import FeatureStore

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_NAMED = 5  # ids that an error names
_ROWS = 24  # objects, faces or labels that are told one by one
_MENTIONS = 4
_CAPTION = 500  # characters
_ONLY = "compared only with the candidates of this mention"
_DOTS = "dots: red on the subject's right (eye, mouth), green on the left, white on the nose"


@dataclass(frozen=True)
class Told:
    """A mention of the picture, and whom the gallery takes the people in it for: best first."""

    mention: Mention
    identities: tuple[IdentityLabel, ...] = ()


@dataclass(frozen=True)
class Found:
    """A picture of a data set, and what a feature store says of it.

    Attributes:
        split: The store's.
        path: Where the picture lies.
        record: What was seen in it.
        told: The mention that was asked for, or all that have the picture.
        origin: What the store was made with.
        notes: What to bear in mind, as that the picture has changed since.
        folders: Those that a link to the picture may not lead out of; None: any link is followed.
    """

    split: str
    path: Path
    record: Seen
    told: tuple[Told, ...]
    origin: Origin
    notes: tuple[str, ...] = ()
    folders: tuple[Path, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values; "probe" of an identity is the position of a face or object, from 0."""
        return {
            "split": self.split,
            "path": str(self.path),
            "seen": self.record.to_dict(),
            "mentions": [
                {
                    "id": item.mention.id,
                    "surface": item.mention.surface,
                    "text": item.mention.text,
                    "identities": [label_record(label) for label in item.identities],
                }
                for item in self.told
            ],
            "identity_threshold": self.origin.features_config.identity_threshold,
            "models": dict(self.origin.models),
            "notes": list(self.notes),
        }

    def sections(self) -> list[Section]:
        """Return the words beside the drawing; objects and faces are numbered from 1, as they are drawn."""
        width, height = self.record.size
        size = f"{width:,} x {height:,} pixels; " if width and height else ""
        title = Section(_last_part(self.record.image), [Row(f"{size}split {self.split}", minor=True)])
        title.rows.extend(map(Row, self.notes))
        captions = dict.fromkeys(item.mention.text for item in self.told)
        if len(captions) == 1:
            title.rows.extend(Row(_shorten(caption, _CAPTION)) for caption in captions)
        mentions = [self._mention(item, caption=len(captions) > 1) for item in self.told[:_MENTIONS]]
        if len(self.told) > _MENTIONS:
            mentions[-1].rows.append(Row(f"and {len(self.told) - _MENTIONS:,} more with this picture"))
        labels = [Section("Labels", self._labels())] if self.record.labels else []
        return [
            title,
            *mentions,
            Section("Objects", self._objects()),
            Section("Faces", self._faces()),
            *labels,
            Section("Models", [Row(line, minor=True) for line in self._models()]),
        ]

    def describe(self, out: Path) -> str:
        """Return the same words for a terminal."""
        lines = [f"{out}: {self.path}"]
        for title, rows in self.sections():
            lines += [title, *(f"  {row.text}" for row in rows)]
        return "\n".join(lines)

    def _mention(self, item: Told, *, caption: bool) -> Section:
        mention, rows = item.mention, list[Row]()
        if caption:
            rows.append(Row(_shorten(mention.text, _CAPTION)))
        threshold = self.origin.features_config.identity_threshold
        if self.origin.gallery is not None:
            rows.append(Row(f"{'recognised' if item.identities else 'nobody recognised'} ({_ONLY})"))
        for label in item.identities:
            cosine = "" if label.similarity is None else f", cosine {label.similarity:.2f}"
            who = f"{label.label} ({label.entity_id}), probability {label.score:.2f}{cosine}, {self._probe(label)}"
            rows.append(_judged(who, label, threshold, self._mark(label)))
        return Section(f"“{_shorten(mention.surface, _CAPTION)}” ({mention.id})", rows)

    def _objects(self) -> list[Row]:
        objects = self.record.objects
        if [region.label for region in objects] == [WHOLE]:
            return [Row("none; the whole picture is its one object")]
        rows = [Row(f"{region.label or 'object'} {region.score:.2f}, {_size(region)}") for region in objects]
        return _numbered(rows, "object") or [Row("not looked for")]

    def _faces(self) -> list[Row]:
        faces = self.record.faces
        asked = self.origin.encoders_config.faces is not None or "regions" in self.origin.files
        rows = _numbered([Row(_face_words(face)) for face in faces], "face")
        legend = [Row(_DOTS, minor=True)] if any(face.landmarks for face in faces) else []
        return [*rows, *legend] if rows else [Row("none" if asked else "not looked for")]

    def _labels(self) -> list[Row]:
        threshold = self.origin.features_config.identity_threshold
        rows = [
            _judged(f"{label.label} {label.score:.2f}, {self._place(label)}", label, threshold, None)
            for label in self.record.labels
        ]
        return _numbered(rows, None)

    def _models(self) -> list[str]:
        named = {part: getattr(self.origin.encoders_config, part, None) for part in self.origin.models}
        lines = [
            f"{part}: {fingerprint[:8]}{f' {Path(str(name)).name}' if (name := named[part]) else ''}"
            for part, fingerprint in self.origin.models.items()
        ]
        lines += [f"{part} from a file: {str(of['sha256'])[:8]}" for part, of in self.origin.files.items()]
        return lines + ([f"gallery: {self.origin.gallery[:8]}"] if self.origin.gallery else [])

    def _mark(self, label: IdentityLabel) -> Mark | None:
        """Return what of the picture an identity was read from; None: all of it."""
        if compares_faces(self.origin.encoders_config):
            return ("face", label.probe) if 0 <= label.probe < len(self.record.faces) else None
        return ("object", label.probe) if 0 <= label.probe < len(self.record.objects) else None

    def _probe(self, label: IdentityLabel) -> str:
        mark = self._mark(label)
        return "the whole picture" if mark is None else f"{mark[0]} {mark[1] + 1}"

    def _place(self, label: IdentityLabel) -> str:
        inside = 0 <= label.probe < len(self.record.objects)
        return f"object {label.probe + 1}" if inside else "the whole picture"

    def named(self) -> dict[Mark, str]:
        """Return who was recognised above the threshold, by what of the picture it was read from."""
        threshold = self.origin.features_config.identity_threshold
        labels = [label for item in self.told for label in item.identities if label.score > threshold]
        labels.sort(key=lambda label: label.score)  # the surest last: it stays
        return {mark: _short_name(label) for label in labels if (mark := self._mark(label)) is not None}


def find_picture(store: Path, data: Path, id: str) -> Found:
    """Return what a store says of a mention's picture, or of a picture.

    Args:
        store: The feature store.
        data: The data set's folder or file.
        id: A mention's id, or the name of a picture: as mentions have it, or without its folders.

    Raises:
        UsageError: There is no such mention or picture, or several pictures of this name.
        CompatibilityError: The store is not one of these mentions.
        DataError: The picture could not be used (says why), or the store is damaged.
    """
    opened = open_features(store)
    known: list[str] = []
    refused: list[CompatibilityError] = []
    for dataset in each_split(data):
        try:
            split = opened.find(dataset)
        except CompatibilityError as error:
            refused.append(error)
            continue
        if chosen := _look_up(dataset, id):
            return _open(opened, split, dataset, chosen)
        known += [mention.id for mention in dataset.mentions[:_NAMED]]
    if refused and not known:
        raise refused[0]
    skipped = f"; {len(refused)} splits of it are not in the store" if refused else ""
    raise UsageError(
        f"{id!r}: no mention of {data} has this id or a picture of this name (some ids: "
        f"{', '.join(map(repr, known[:_NAMED])) or 'none'}{skipped})"
    )


def draw_features(found: Found, out: Path) -> None:
    """Draw what was found onto the picture, and beside it the words.

    Args:
        found: What `find_picture` returned.
        out: The file, replaced whole or not at all: .png or .jpg.

    Raises:
        UsageError: Another suffix, or the picture itself.
        PictureError: The picture cannot be opened now.
        StorageError: The file cannot be written.
    """
    kind = SUFFIXES.get(out.suffix.lower())
    if kind is None:
        raise UsageError(f"--out {str(out)!r}: give the name of a picture, .png or .jpg")
    if _is_same(out, found.path):
        raise UsageError(f"--out {str(out)!r}: is the picture itself; choose another name")
    drawing = draw(open_picture(found.path, found.folders), found.record, found.sections(), found.named())
    with atomic_path(out) as temporary:
        drawing.save(temporary, kind, **({"quality": 92} if kind == "JPEG" else {}))


def each_split(data: Path) -> Iterator[Dataset]:
    """Yield the splits of a data set's folder, each read when it is asked for, or what is in a file."""
    if is_folder(data):
        for split in list_splits(data):
            yield open_dataset(data, split)
    else:
        yield open_dataset(data)


def _look_up(dataset: Dataset, id: str) -> list[int]:
    """Return the positions of the mention with an id, else of those with a picture of this name."""
    by_id = [i for i, mention in enumerate(dataset.mentions) if mention.id == id]
    if by_id:
        return by_id[:1]
    named = [i for i, mention in enumerate(dataset.mentions) if mention.image and mention.image == id]
    named = named or [
        i for i, mention in enumerate(dataset.mentions) if mention.image and _last_part(mention.image) == id
    ]
    names = dict.fromkeys(str(dataset.mentions[i].image) for i in named)
    if len(names) > 1:
        shown = ", ".join(map(repr, list(names)[:_NAMED]))
        raise UsageError(f"{id!r}: {len(names)} pictures of this name ({shown}); give one with its folders")
    return named


def _open(store: FeatureStore, split: str, dataset: Dataset, chosen: Sequence[int]) -> Found:
    """Return what the store says of the picture that the chosen mentions have."""
    mention = dataset.mentions[chosen[0]]
    path = dataset.image_path(mention)
    if path is None:
        has = f"its picture is not on disk: {mention.image!r}" if mention.image else "it has no picture"
        raise DataError(f"{has}; give the id of another mention", id=mention.id)
    reader = store.reader(split)
    kept, positions = reader.kept(len(dataset)), reader.positions()
    row = int(np.searchsorted(kept, chosen[0]))
    place = int(positions[row]) if row < len(kept) and kept[row] == chosen[0] else -1
    if place < 0:
        raise _not_there(reader.report().failures, mention, path)
    found = reader.identities()
    record = reader.table.records[place]
    return Found(
        split=split,
        path=path,
        record=record,
        told=tuple(Told(m, found.get(m.id, ())) for m in (dataset.mentions[i] for i in chosen)),
        origin=store.origin,
        notes=tuple(_notes(path, dataset.picture_folders, record, int(reader.table.keys[place]), store.origin)),
        folders=dataset.picture_folders,
    )


def _not_there(failures: dict[str, str], mention: Mention, path: Path) -> DataError:
    """Return the error for a mention whose picture is not in the store: why it could not be used, where that is known.

    Failures have the path that the data had when features were made; the same picture may be called otherwise now.
    """
    alike = (name for name in failures if Path(name).name == path.name and _is_same(Path(name), path))
    why = failures.get(str(path)) or next(map(failures.__getitem__, alike), None)
    if why is None:
        return DataError("the store holds nothing of this picture: no model looked at it", path=path, id=mention.id)
    return DataError(f"the picture could not be used when features were made: {why}", path=path, id=mention.id)


def _notes(path: Path, folders: Sequence[Path], record: Seen, key: int, origin: Origin) -> Iterator[str]:
    """Yield what tells that the picture is not what was read; a picture that cannot be opened is told by drawing it."""
    try:
        size = picture_size(path, folders)
    except PictureError:
        return
    if record.size != (0, 0) and record.size != size:
        yield (
            f"the picture has changed: it had {record.size[0]:,} x {record.size[1]:,} pixels when it was read and has "
            f"{size[0]:,} x {size[1]:,} now; what is drawn does not fit"
        )
    elif key and not _as_read(path, key, origin):
        yield (
            "the picture is not in the place and state in which it was read (moved, copied or changed since); what is "
            "drawn may not fit"
        )


def _as_read(path: Path, key: int, origin: Origin) -> bool:
    """Tell whether a picture's key is that of its place and state now, however its place is written."""
    known = _known(path, origin)
    absolute = path.absolute()
    spellings = dict.fromkeys([path, absolute, path.resolve(), Path(os.path.relpath(absolute))])
    return any(Source.find(spelling, "", known).key == key for spelling in spellings)


def _known(path: Path, origin: Origin) -> PictureRegions:
    """Return what the regions file that the store was made with says of a picture, as far as it is still there."""
    if "regions" not in origin.files:
        return PictureRegions()
    try:
        regions = read_regions(Path(str(origin.files["regions"].get("path", ""))))
    except DataError:
        return PictureRegions()
    target = path.resolve()
    alike = (found for listed, found in regions.items() if listed.name == path.name and _is_same(listed, target))
    return next(alike, PictureRegions())


def _judged(words: str, label: IdentityLabel, threshold: float, mark: Mark | None) -> Row:
    if label.score > threshold:
        return Row(f"{words}: above {threshold:g}, used", mark)
    return Row(f"{words}: not above {threshold:g}, not used", mark, minor=True)


def _numbered(rows: Sequence[Row], kind: Literal["object", "face"] | None) -> list[Row]:
    """Return rows with the numbers of the drawing, and how many more there are."""
    shown = list(rows[:_ROWS])
    if kind is not None:
        shown = [row._replace(text=f"{i + 1}: {row.text}", mark=(kind, i)) for i, row in enumerate(shown)]
    return shown + ([Row(f"and {len(rows) - _ROWS:,} more")] if len(rows) > _ROWS else [])


def _face_words(face: Face) -> str:
    said = [f"{name}: {value}{_sure(face, name)}" for name, value in face.attributes.items()]
    place = "no place given" if face.box is None else _measures(face.box)
    if face.picture:
        place = f"in the cut-out {Path(face.picture).name}"
    return ", ".join([f"{face.score:.2f}", place, *said])


def _sure(face: Face, name: str) -> str:
    return f" ({face.confidence[name]:.2f})" if name in face.confidence else ""


def _size(region: Region) -> str:
    return f"cut out as {Path(region.picture).name}" if isinstance(region, CutOut) else _measures(region.box)


def _measures(box: Iterable[float]) -> str:
    x0, y0, x1, y1 = box
    return f"{x1 - x0:,.0f} x {y1 - y0:,.0f} px"


def _short_name(label: IdentityLabel) -> str:
    """Return a name; an id where the drawing's font lacks its letters."""
    name = writable(label.label)
    return label.entity_id if "\\u" in name and label.entity_id is not None else name


def _shorten(text: str, length: int) -> str:
    words = " ".join(text.split())
    return words if len(words) <= length else words[: length - 1] + "…"


def _last_part(image: str) -> str:
    return image.replace("\\", "/").rpartition("/")[2]


def _is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths are one file; one that is not there is no other's."""
    try:
        return one.resolve() == other.resolve()
    except (OSError, RuntimeError, ValueError):
        return False
