"""The vocabulary: what goes in (Mention, Entity) and what comes out (Link), as plain frozen records.

Gold never sits on a mention: a data set keeps it apart as `gold[mention_id] -> entity_id or None`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mention:
    """A span of a caption that names something, with its caption and picture (paper, section 4.1: x = {x_m; x_t; x_v}).

    `start` and `end` are character offsets into `text` (end exclusive), None where unknown.
    `image` is a path as given; a relative path is relative to the file it was read from.
    """

    text: str
    surface: str
    id: str = ""
    start: int | None = None
    end: int | None = None
    type: str | None = None
    image: str | None = None
    date: str | None = None
    place: str | None = None
    language: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Representation:
    """One text that stands for an entity (the paper's "entity representation", section 3)."""

    kind: str  # properties, properties_short, description, facts, profile, static, dynamic
    text: str
    source: str = ""
    language: str = ""
    revision: str = ""
    licence: str = ""
    created_at: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of an entity, with where it came from and under which licence."""

    path: str
    source: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """A fact about an entity that is kept as data, not only as text (its names: docs/kb.md).

    `value`: words, or in one form: a date as "1946-06-14", as "1946" or "1946-06" where no more is known, "194X" or
    "19XX" for a decade or a century, "-0043" for 44 BC (EDTF); coordinates as "LATITUDE,LONGITUDE" in degrees.
    `id`: of the entity that the value is, where that is known.
    """

    name: str
    value: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Entity:
    """A record of the knowledge base. Two entities may share a name; never an id."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    representations: tuple[Representation, ...] = ()
    pictures: tuple[Picture, ...] = ()
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture: box (x0, y0, x1, y1) in upright pixels, and the mention's attention on it."""

    box: tuple[float, float, float, float]
    label: str = ""
    score: float = 1.0
    attention: float | None = None


@dataclass(frozen=True, slots=True)
class Segment(Region):
    """A region whose outline is known.

    `mask`: lengths of runs over the pixels of the box (rounded outwards, cut at the picture), row by row, by turns
    outside and inside the outline, beginning outside; they sum to the box's area.
    """

    mask: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Face:
    """A face and what is said of it; the box is in `picture` where this names a cut-out of the picture.

    `landmarks`: (x, y) of the subject's right eye, left eye, nose, right and left corner of the mouth; or nothing.
    `attributes`: by name, in the order in which they stand in a sentence. `confidence`: of each, where it is known.
    """

    box: tuple[float, float, float, float] | None
    attributes: Mapping[str, str]
    picture: str = ""
    score: float = 1.0
    landmarks: tuple[tuple[float, float], ...] = ()
    confidence: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class IdentityLabel:
    """Whom something took somebody in the picture for (section 4.3.2).

    `entity_id`: where the knowledge base's gallery said so. `probe`: the face or object (0-based) that it was, -1: the
    whole picture or not known. `similarity`: the cosine behind the score.
    """

    label: str
    score: float
    entity_id: str | None = None
    probe: int = -1
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entity that a mention may mean. `probability` is None until calibrated; `evidence`: named raw similarities."""

    entity_id: str
    name: str
    score: float
    probability: float | None = None
    evidence: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Link:
    """The answer for one mention: candidates, best first; `entity_id` is None for "not in the KB"."""

    mention: Mention
    entity_id: str | None
    candidates: tuple[Candidate, ...]
    regions: tuple[Region, ...] = ()
    nil_probability: float | None = None
    kb: str = ""  # content fingerprint of the knowledge base that was linked against
    model: str = ""  # fingerprint of the model that linked

    @property
    def is_nil(self) -> bool:
        """True when no candidate is believable (or there is none)."""
        return self.entity_id is None


class Fingerprint(NamedTuple):
    """The two fingerprints of a knowledge base.

    `compatibility` (schema and kinds of representation) must match the run's; `content` is recorded and may advance.
    """

    compatibility: str
    content: str


class CandidateLists(NamedTuple):
    """Candidates of n mentions as arrays, best first.

    rows: int64 [n, k], row of each candidate in the knowledge base; -1 pads a short list at its end.
    scores: float32 [n, k], the source's score; 0 where padded.
    """

    rows: IntArray
    scores: FloatArray

    def take(self, index: Sequence[int] | IntArray | slice) -> CandidateLists:
        """Return the lists of the chosen mentions."""
        picked = index if isinstance(index, slice) else np.asarray(index, dtype=np.int64)
        return CandidateLists(self.rows[picked], self.scores[picked])
