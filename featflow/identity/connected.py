"""Connected components of the graph of faces that are alike, without the N by N table.

Two faces are linked where their cosine similarity reaches the threshold; an identity is all
faces that a chain of links joins. The answer is exact. Faces are first put into groups about
a common centre, and pairs of groups that are too far apart for any link are passed over.

For unit vectors x of a group with centre a, and y of a group with centre b,
``x.y = (y.b)(x.b) + (x.a)(a.s) + r.s``, where r and s are what is left of x and y square to
their centres. Each term has a bound that costs one product a face and centre, not one a pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from featflow.identity.online import Gallery
from featflow.identity.order import by_appearance
from featflow.identity.vectors import ROUNDING, Floats, centre_sums

Rows = NDArray[np.int64]

_ROW_BLOCK, _COLUMN_BLOCK = 512, 2048
_TILE_ROWS, _TILE_GROUPS = 8192, 1024
_FEWEST_A_GROUP = 8
_PAIR_COST = 20_000
"""What it costs to look at one pair of groups by itself, in products of two faces."""


def connected_components(unit: NDArray[np.float32], threshold: float) -> Rows:
    """Component of each face.

    Args:
        unit: (N, D) unit vectors.
        threshold: least cosine similarity of a link (equality counts).

    Returns:
        (N,) components, numbered from 0 in the order of their first faces.
    """
    if len(unit) < 2:
        return np.zeros(len(unit), np.int64)
    groups = _groups(unit, threshold)
    if groups is None:
        links = _Links(unit, threshold)
        links.join_all(np.arange(len(unit)))
        return by_appearance(links.roots(np.arange(len(unit))))
    order = np.argsort(groups, kind="stable")
    links = _Links(unit[order], threshold)
    _GroupedSearch(links, groups[order]).run()
    components = np.empty(len(unit), np.int64)
    components[order] = links.roots(np.arange(len(unit)))
    return by_appearance(components)


def _groups(unit: NDArray[np.float32], threshold: float) -> Rows | None:
    """Groups of like faces; None where there are too few faces in a group to be of use."""
    gallery = Gallery(max(threshold, 0.0))
    labels = np.empty(len(unit), np.int64)
    for start in range(0, len(unit), _TILE_ROWS):
        stop = min(start + _TILE_ROWS, len(unit))
        labels[start:stop] = gallery.add_unit(unit[start:stop])
        if len(gallery) > max(_TILE_ROWS, len(unit)) // _FEWEST_A_GROUP:
            return None
    return labels


class _Links:
    """Vectors, the links found among them, and the sets that these join (union-find)."""

    def __init__(self, unit: NDArray[np.float32], threshold: float) -> None:
        self.unit = unit
        self.least = np.float32(threshold - ROUNDING)
        self.parent = np.arange(len(unit))

    def roots(self, rows: Rows) -> Rows:
        """The set that each row belongs to, named by one of its rows."""
        found = self.parent[rows]
        while True:
            further = self.parent[found]
            if np.array_equal(further, found):
                self.parent[rows] = found
                return found
            found = further

    def join_all(self, rows: Rows) -> None:
        """Find every link that joins sets among some rows."""
        self.join(rows[:_ROW_BLOCK], rows)
        roots = self.roots(rows)
        names, counts = np.unique(roots, return_counts=True)
        if len(names) < 2:
            return
        # Most faces may be of one person by now; pairs inside that set need no look.
        largest = roots == names[counts.argmax()]
        rest = rows[~largest]
        self.join(rest, rows[largest])
        for start in range(0, len(rest), _ROW_BLOCK):
            self.join(rest[start : start + _ROW_BLOCK], rest[start:])

    def join(self, a: Rows, b: Rows) -> None:
        """Find every link that joins sets between the rows ``a`` and the rows ``b``."""
        for i in range(0, len(a), _ROW_BLOCK):
            left = a[i : i + _ROW_BLOCK]
            for j in range(0, len(b), _COLUMN_BLOCK):
                self._join_block(left, b[j : j + _COLUMN_BLOCK])

    def _join_block(self, a: Rows, b: Rows) -> None:
        roots_a, roots_b = self.roots(a), self.roots(b)
        if (roots_a == roots_b[0]).all() and (roots_b == roots_b[0]).all():
            return
        linked = self.unit[a] @ self.unit[b].T >= self.least
        if not linked.any():
            return
        # One link to each column comes first: after it few of the others join anything.
        first = linked.argmax(0)
        reached = np.flatnonzero(linked[first, np.arange(len(b))])
        self._unite(roots_a[first[reached]], roots_b[reached])
        i, j = np.nonzero(linked)
        self._unite(self.roots(a)[i], self.roots(b)[j])

    def _unite(self, a: Rows, b: Rows) -> None:
        """Make one set of each pair of sets, given by their names."""
        apart = a != b
        names, compact = np.unique(np.r_[a[apart], b[apart]], return_inverse=True)
        if not len(names):
            return
        one, other = np.split(compact, 2)
        shape = (len(names), len(names))
        graph = sparse.coo_array((np.ones(len(one), bool), (one, other)), shape=shape)
        joined = csgraph.connected_components(graph, directed=False)[1]
        lowest = np.full(len(names), len(self.parent))
        np.minimum.at(lowest, joined, names)
        self.parent[names] = lowest[joined]


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far the faces of some groups reach towards other centres, each (groups, centres).

    Attributes:
        whole: largest product of a face with the centre, at least 0.
        rest: the same for what is left of the face square to its own centre.
    """

    whole: Floats
    rest: Floats


class _GroupedSearch:
    """Finds the links of vectors that lie sorted by group."""

    def __init__(self, links: _Links, groups: Rows) -> None:
        self.links = links
        self.groups = groups
        self.starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
        self.stops = np.r_[self.starts[1:], len(groups)]
        sums = centre_sums(links.unit, groups, len(self.starts))
        # The bounds hold for any centre of length 1 or less, and are tight for good ones.
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        self.centres = (sums / np.maximum(lengths, 1e-6)).astype(np.float32)
        cosine = np.empty(len(groups), np.float32)
        for rows in _pieces(0, len(groups), _TILE_ROWS):
            cosine[rows] = (links.unit[rows] * self.centres[groups[rows]]).sum(1)
        self.own = np.maximum(cosine, 0)
        self.rest = np.sqrt(1 - np.minimum(self.own, 1) ** 2 + np.float32(1e-6))
        self.widest = np.maximum.reduceat(self.rest, self.starts)

    def run(self) -> None:
        """Join all that is linked."""
        for start, stop in zip(self.starts.tolist(), self.stops.tolist(), strict=True):
            self.links.join_all(np.arange(start, stop))
        tiles = self._tiles()
        for i, left in enumerate(tiles):
            for right in tiles[i:]:
                self._search_tiles(left, right)

    def _tiles(self) -> list[slice]:
        """Runs of groups that hold a few thousand faces each, or one larger group."""
        tiles, first = [], 0
        while first < len(self.starts):
            room = int(np.searchsorted(self.stops, self.starts[first] + _TILE_ROWS, side="right"))
            last = max(first + 1, min(room, first + _TILE_GROUPS))
            tiles.append(slice(first, last))
            first = last
        return tiles

    def _rows(self, tile: slice) -> slice:
        return slice(int(self.starts[tile.start]), int(self.stops[tile.stop - 1]))

    def _search_tiles(self, left: slice, right: slice) -> None:
        one, other = self._reach(left, right), self._reach(right, left)
        spread = self.widest[left, None] * self.widest[None, right]
        bound = np.minimum(one.whole + other.rest.T, other.whole.T + one.rest) + spread
        wanted = (bound >= self._least()) & self._apart(left, right)
        if left == right:
            wanted = np.triu(wanted, 1)
        pairs = np.argwhere(wanted)
        sizes = self.stops - self.starts
        products = int((sizes[left][pairs[:, 0]] * sizes[right][pairs[:, 1]]).sum())
        everything = int(sizes[left].sum() * sizes[right].sum())
        if len(pairs) > 1 and products + _PAIR_COST * len(pairs) > everything:
            self._search_all(left, right)
            return
        for a, b in pairs.tolist():
            near_a = self._near(left.start + a, right.start + b, other.rest[b, a])
            near_b = self._near(right.start + b, left.start + a, one.rest[a, b])
            self.links.join(near_a, near_b)

    def _search_all(self, left: slice, right: slice) -> None:
        rows_a, rows_b = self._rows(left), self._rows(right)
        a, b = np.arange(rows_a.start, rows_a.stop), np.arange(rows_b.start, rows_b.stop)
        if left == right:
            self.links.join_all(a)
        else:
            self.links.join(a, b)

    def _least(self) -> np.float32:
        return np.float32(self.links.least - 1e-5)

    def _reach(self, tile: slice, towards: slice) -> _Reach:
        centres = self.centres[towards].T
        whole = np.zeros((tile.stop - tile.start, centres.shape[1]), np.float32)
        rest = np.zeros_like(whole)
        between = self.centres[tile] @ centres
        rows = self._rows(tile)
        for piece in _pieces(rows.start, rows.stop, _TILE_ROWS):
            product = self.links.unit[piece] @ centres
            group = self.groups[piece] - self.groups[rows.start]
            cuts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
            seen = slice(int(group[0]), int(group[-1]) + 1)
            np.maximum(whole[seen], np.maximum.reduceat(product, cuts), out=whole[seen])
            product -= self.own[piece, None] * between[group]
            np.maximum(rest[seen], np.maximum.reduceat(product, cuts), out=rest[seen])
        return _Reach(whole, rest)

    def _apart(self, left: slice, right: slice) -> NDArray[np.bool_]:
        """Which pairs of groups do not lie in one set already."""
        return np.asarray(self._sets(left)[:, None] != self._sets(right)[None])

    def _sets(self, tile: slice) -> Rows:
        """The set that holds each group; a name of its own where several sets share it."""
        rows = self._rows(tile)
        roots = self.links.roots(np.arange(rows.start, rows.stop))
        cuts = self.starts[tile] - rows.start
        low, high = np.minimum.reduceat(roots, cuts), np.maximum.reduceat(roots, cuts)
        return np.where(low == high, low, -1 - np.arange(tile.start, tile.stop))

    def _near(self, group: int, other: int, reach: float) -> Rows:
        """Faces of a group that may be linked to a face of the other group.

        Args:
            reach: how far the faces of the other group reach to this one's centre, besides
                what lies along their own.
        """
        rows = slice(int(self.starts[group]), int(self.stops[group]))
        along = np.maximum(self.links.unit[rows] @ self.centres[other], 0)
        bound = along + self.own[rows] * reach + self.rest[rows] * self.widest[other]
        return rows.start + np.flatnonzero(bound >= self._least())


def _pieces(start: int, stop: int, step: int) -> list[slice]:
    return [slice(i, min(i + step, stop)) for i in range(start, stop, step)]
