"""One pass over embeddings, with memory in the number of identities."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featflow.errors import OptionError
from featflow.identity.vectors import ROUNDING, Floats, check_threshold, unit_rows

_BLOCK = 256
"""Faces in a block. Larger blocks make better matrix products, and more centres that each face
must look up again."""
_TABLE = 1 << 24
"""Most similarities held at once."""


class Gallery:
    """Identities that grow as faces come in.

    A face joins the identity whose centre it is most like, where the cosine similarity
    reaches the threshold (equality counts), and founds a new identity otherwise. A centre is
    the sum of the unit vectors of its faces, scaled to length 1. What a face becomes depends
    on the faces before it and on none after it, so feeding one block or many is the same.

    Args:
        threshold: least cosine similarity, -1..1.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = check_threshold(threshold)
        self._least = np.float32(self.threshold - ROUNDING)
        self._count = 0
        self._sums = np.zeros((0, 0), np.float64)
        self._centres = np.zeros((0, 0), np.float32)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"Gallery({self._count} identities, threshold={self.threshold:g})"

    @property
    def centres(self) -> NDArray[np.float32]:
        """(K, D) unit vectors, in the order in which the identities were founded."""
        return self._centres[: self._count].copy()

    def add(self, embeddings: ArrayLike) -> NDArray[np.int64]:
        """Take in faces, in order of time.

        Args:
            embeddings: (N, D) numbers.

        Returns:
            (N,) identity of each face, counted from 0; -1 where the embedding is unusable.

        Raises:
            OptionError: not (N, D), or another D than before.
        """
        unit, usable = unit_rows(embeddings)
        labels = np.full(len(usable), -1, np.int64)
        labels[usable] = self.add_unit(unit)
        return labels

    def add_unit(self, unit: NDArray[np.float32]) -> NDArray[np.int64]:
        """:meth:`add` for vectors that are of length 1 already."""
        labels = np.empty(len(unit), np.int64)
        start = 0
        while start < len(unit):
            self._make_room(_BLOCK, unit.shape[1])
            stop = start + min(_BLOCK, max(1, _TABLE // max(1, self._count)))
            labels[start:stop] = _Block(self, unit[start:stop]).labels()
            start = stop
        return labels

    def _make_room(self, more: int, size: int) -> None:
        if self._count and size != self._centres.shape[1]:
            raise _unlike_size(self._centres.shape[1], size)
        if self._count + more > len(self._centres) or not self._count:
            room = max(1024, 2 * len(self._centres))
            for name in ("_sums", "_centres"):
                old = getattr(self, name)
                new = np.zeros((room, size), old.dtype)
                if self._count:
                    new[: self._count] = old[: self._count]
                setattr(self, name, new)


def _unlike_size(before: int, now: int) -> OptionError:
    return OptionError(f"embeddings of {now} numbers cannot join a gallery of {before} numbers")


class _Block:
    """A run of faces against one gallery.

    Similarities to the centres as they stood before the run come from one matrix product.
    Centres that move in the run are looked up again, so that the answers are those of going
    face by face.
    """

    def __init__(self, gallery: Gallery, rows: NDArray[np.float32]) -> None:
        self.gallery = gallery
        self.rows = rows
        self.table = rows @ gallery._centres[: gallery._count].T
        self.moved = np.empty((len(rows), rows.shape[1]), np.float32)
        self.moved_ids = np.empty(len(rows), np.int64)
        self.slots: dict[int, int] = {}

    def labels(self) -> NDArray[np.int64]:
        """Identity of each face of the run."""
        found = np.empty(len(self.rows), np.int64)
        for i, row in enumerate(self.rows):
            identity, cosine = self._best(i, row)
            if cosine < self.gallery._least:
                identity = self.gallery._count
                self.gallery._count += 1
            self._move(i, identity, row)
            found[i] = identity
        return found

    def _best(self, i: int, row: Floats) -> tuple[int, float]:
        best, cosine = -1, -np.inf
        if self.table.shape[1]:
            best = int(self.table[i].argmax())
            cosine = float(self.table[i, best])
        count = len(self.slots)
        if count:
            again = self.moved[:count] @ row
            top = float(again.max())
            if top >= cosine:
                other = int(self.moved_ids[:count][again == top].min())
                best = other if top > cosine else min(best, other)
                cosine = top
        return best, cosine

    def _move(self, i: int, identity: int, row: Floats) -> None:
        gallery = self.gallery
        total = gallery._sums[identity]
        total += row
        length = np.sqrt(total @ total)
        # Opposite faces may cancel (only for thresholds below 0): the newest then stands alone.
        centre = total / length if length > 1e-12 else row
        gallery._centres[identity] = centre
        slot = self.slots.get(identity)
        if slot is None:
            slot = self.slots[identity] = len(self.slots)
            self.moved_ids[slot] = identity
            if identity < self.table.shape[1]:
                self.table[i + 1 :, identity] = -np.inf
        self.moved[slot] = centre
