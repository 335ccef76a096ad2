"""From features of many mentions to the tensors of one batch.

Lists of different lengths (objects, faces, labels, tokens) stay packed: their vectors one after the other, each with
its sample and its place in that sample's list. A model maps the packed rows, so nothing is computed for padding, and
pads only where an attention needs the lists side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dualway.features.arrays import Features, Ragged
from dualway.schema import FloatArray, IntArray


class Packed(NamedTuple):
    """Lists of vectors of `size` samples, without padding. Rows may come in any order.

    values: float [N, dim].
    owner: int64 [N], the sample of each row.
    slot: int64 [N], the place of each row in its sample's list, 0-based and without gaps.
    counts: int64 [b], the length of each sample's list.
    size: b, the number of samples.
    width: the length of the longest list.
    """

    values: Tensor
    owner: Tensor
    slot: Tensor
    counts: Tensor
    size: int
    width: int

    @property
    def present(self) -> Tensor:
        """Return bool [b]: whose list is not empty."""
        return self.counts > 0

    def first(self) -> Tensor:
        """Return the only vector of each list of width 1, float [b, dim]; 0 where a list is empty."""
        return self.values.new_zeros(self.size, self.values.shape[1]).index_copy(0, self.owner, self.values)

    def padded(self) -> Tensor:
        """Return float [b, width, dim], 0 in padded places."""
        flat = self.values.new_zeros(self.size * self.width, self.values.shape[1])  # [b * r, dim]
        flat = flat.index_copy(0, self.owner * self.width + self.slot, self.values)
        return flat.view(self.size, self.width, -1)  # [b, r, dim]

    def mask(self) -> Tensor:
        """Return bool [b, width], True where a vector is."""
        return torch.arange(self.width, device=self.counts.device) < self.counts[:, None]

    def zero_filled(self, lengths: Tensor) -> Packed:
        """Return the lists with zero vectors appended up to `lengths` (int64 [b]); old rows keep their positions."""
        missing = (lengths - self.counts).clamp_min(0)
        owner = torch.repeat_interleave(torch.arange(self.size, device=missing.device), missing)
        starts = torch.cumsum(missing, 0) - missing
        slot = torch.arange(len(owner), device=missing.device) - starts[owner] + self.counts[owner]
        return Packed(
            torch.cat([self.values, self.values.new_zeros(len(owner), self.values.shape[1])]),
            torch.cat([self.owner, owner]),
            torch.cat([self.slot, slot]),
            self.counts + missing,
            self.size,
            int((self.counts + missing).max()) if self.size else 0,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """The inputs of b mentions. A part is None when no mention of the batch has anything of its kind.

    Attributes:
        index: int64 [b] (numpy), the mentions' rows in their Features; for messages and negatives.
        mention: float [b, dt], m.
        text: float [b, dt], the pooled caption t.
        picture: int64 [b], which picture each mention has; -1 for none. Equal numbers, same picture.
        tokens: Packed of dt, the caption's tokens.
        image: Packed of dv, the whole picture v: one row for each mention with a picture.
        objects: Packed of dv, Eq. 3's d.
        faces: Packed of dt, Eq. 5's f.
        face_object: int64 [rows of faces], the row of `objects.values` that holds each face; -1 where unknown.
        labels: Packed of dt, Eq. 6's s: the labels of the mention's picture, then its own identities.
    """

    index: IntArray
    mention: Tensor
    text: Tensor
    picture: Tensor
    tokens: Packed | None = None
    image: Packed | None = None
    objects: Packed | None = None
    faces: Packed | None = None
    face_object: Tensor | None = None
    labels: Packed | None = None

    def __len__(self) -> int:
        return len(self.mention)

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Batch:
        """Return the batch on `device`, its vectors as `dtype`."""
        moved = {f.name: _move(getattr(self, f.name), device, dtype) for f in fields(self)}
        return Batch(**moved)


def _move(part: Any, device: torch.device | str, dtype: torch.dtype) -> Any:
    if isinstance(part, Packed):
        values, owner, slot, counts = (_move(tensor, device, dtype) for tensor in part[:4])
        return Packed(values, owner, slot, counts, part.size, part.width)
    if isinstance(part, Tensor):
        return part.to(device, dtype if part.is_floating_point() else part.dtype)
    return part


def make_batch(features: Features, index: IntArray) -> Batch:
    """Return the batch of the chosen mentions (int64 [b], rows of `features`), on the CPU.

    A mention's rows depend on that mention alone: neither order nor company changes them.
    """
    picture = features.picture[index]
    objects = None if features.objects is None else _pack(features.objects, picture)
    faces = None if features.faces is None else _pack(features.faces, index)
    return Batch(
        index=index,
        mention=_rows(features.mention, index),
        text=_rows(features.text, index),
        picture=torch.from_numpy(picture),
        tokens=None if features.text_tokens is None else _pack(features.text_tokens, index),
        image=None if features.image is None else _pack_dense(features.image, picture),
        objects=objects,
        faces=faces,
        face_object=None if faces is None else _face_rows(features, index, faces, objects),
        labels=_joined(
            None if features.labels is None else _pack(features.labels, picture),
            None if features.identities is None else _pack(features.identities, index),
        ),
    )


def _rows(values: FloatArray, index: IntArray) -> Tensor:
    """Gather rows straight into a tensor of torch's own: its alignment, hence its sums, do not vary between runs."""
    out = torch.empty(len(index), values.shape[1])
    if len(index):
        np.take(values, index, axis=0, out=out.numpy(), mode="clip")  # "clip": unbuffered; positions are valid
    return out


def _pack(ragged: Ragged, lists: IntArray) -> Packed | None:
    """Pack the lists of b samples (int64 [b], positions in `ragged`; -1: the sample has none)."""
    has = lists >= 0
    chosen = lists[has]
    counts = np.zeros(len(lists), dtype=np.int64)
    counts[has] = ragged.offsets[chosen + 1] - ragged.offsets[chosen]
    if not counts.any():
        return None
    owner = np.repeat(np.arange(len(lists)), counts)
    slot = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Packed(
        _rows(ragged.values, ragged.offsets[lists[owner]] + slot),
        torch.from_numpy(owner),
        torch.from_numpy(slot),
        torch.from_numpy(counts),
        len(lists),
        int(counts.max()),
    )


def _joined(first: Packed | None, second: Packed | None) -> Packed | None:
    """Return lists that hold the rows of the first and then those of the second."""
    if first is None or second is None:
        return second if first is None else first
    counts = first.counts + second.counts
    return Packed(
        torch.cat([first.values, second.values]),
        torch.cat([first.owner, second.owner]),
        torch.cat([first.slot, second.slot + first.counts[second.owner]]),
        counts,
        first.size,
        int(counts.max()),
    )


def _pack_dense(values: FloatArray, lists: IntArray) -> Packed | None:
    """Pack one vector for each sample that has one (int64 [b], rows of `values`; -1: none)."""
    owner = np.flatnonzero(lists >= 0)
    if not len(owner):
        return None
    counts = (lists >= 0).astype(np.int64)
    slot = np.zeros(len(owner), dtype=np.int64)
    rows = _rows(values, lists[owner])
    return Packed(rows, torch.from_numpy(owner), torch.from_numpy(slot), torch.from_numpy(counts), len(lists), 1)


def _face_rows(features: Features, index: IntArray, faces: Packed, objects: Packed | None) -> Tensor:
    """Return the row of the packed objects that holds each packed face, int64 [F]; -1 where unknown."""
    if features.face_object is None or features.faces is None or objects is None:
        return torch.full((len(faces.owner),), -1, dtype=torch.int64)
    place = torch.from_numpy(features.face_object[features.faces.positions(index)])  # within the picture
    starts = torch.cumsum(objects.counts, 0) - objects.counts
    known = (place >= 0) & (place < objects.counts[faces.owner])
    return torch.where(known, starts[faces.owner] + place, -1)
