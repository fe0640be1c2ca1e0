"""Who a detector names: labels and marks for the faces of a run, once all of them are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from featflow.errors import OptionError
from featflow.fex.schema import DECISION, IDENTITY, IDENTITY_EMBEDDING
from featflow.fex.table import Fex
from featflow.identity.compute import METHODS, Method, compute_identities
from featflow.identity.filters import filter_people
from featflow.identity.labels import set_labels
from featflow.identity.reference import ReferenceGallery
from featflow.identity.tracking import BOX_COLUMNS
from featflow.identity.vectors import DEFAULT_THRESHOLD, check_threshold

if TYPE_CHECKING:
    from featflow.flow.node import Node

People = ReferenceGallery | str | Path
"""People with names, or the ``.parquet`` file that they were saved in."""

_NEEDED = ("input", "frame", "time", *BOX_COLUMNS, "FaceScore", *DECISION.names())


@dataclass(frozen=True, slots=True)
class Naming:
    """What a detector does with the embeddings of a run.

    Attributes:
        threshold: cosine similarity from which two faces are one person.
        method: how people without names are told apart, see
            :func:`featflow.identity.compute_identities`; None gives no labels.
        track: let the faces of a track vote for one label; if None, where frames are known.
        people: enrolled people to name faces after, instead of ``method``.
        wanted, unwanted: people whose faces are kept, and marked; see
            :func:`featflow.identity.filter_people`.

    Raises:
        OptionError: an unknown method, or a threshold that is no cosine.
    """

    threshold: float = DEFAULT_THRESHOLD
    method: Method | None = "gallery"
    track: bool | None = None
    people: ReferenceGallery | None = None
    wanted: ReferenceGallery | None = None
    unwanted: ReferenceGallery | None = None

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        if self.method is not None and self.method not in METHODS:
            known = ", ".join(METHODS)
            raise OptionError(f"identity_method is one of {known} or None, got {self.method!r}")

    def __call__(self, table: pd.DataFrame) -> Fex:
        """A table of a whole run with labels, scores and marks."""
        fex = Fex(table)
        if self.people is not None:
            fex = self.people.identify(fex, self.threshold, self.track)
        elif self.method is not None:
            fex = compute_identities(fex, self.threshold, self.method, track=self.track)
        return self._marked(fex)

    def live(self, table: pd.DataFrame) -> Fex:
        """A part of a run that may never end: names of enrolled people and marks, face by face.

        People without names cannot be told apart before the end, and tracks have none.
        """
        fex = Fex(table)
        if self.people is not None:
            fex = self.people.identify(fex, self.threshold, track=False)
        return self._marked(fex)

    def _marked(self, fex: Fex) -> Fex:
        if self.wanted is None and self.unwanted is None:
            return fex
        return filter_people(fex, self.wanted, self.unwanted, self.threshold)

    def of_pieces(self, pieces: Iterable[Fex], meta: Mapping[str, Any]) -> Fex:
        """The same for the pieces of a table that is too long to hold.

        Only the columns that labels depend on are held together.

        Args:
            pieces: all pieces, in order.
            meta: metadata of the whole table.

        Returns:
            Labels, scores and marks of all rows, for :meth:`labels_of`; its metadata are those
            of the whole table with the steps that were done.
        """
        parts = []
        for piece in pieces:
            names = {*_NEEDED, *IDENTITY_EMBEDDING.present(piece.columns)}
            parts.append(pd.DataFrame(piece)[[name for name in piece.columns if name in names]])
        named = self(Fex(pd.concat(parts, ignore_index=True), meta=meta))
        decided = [name for name in (*IDENTITY.names(), *DECISION.names()) if name in named]
        return Fex(pd.DataFrame(named)[decided], meta=named.meta)

    @staticmethod
    def labels_of(named: Fex) -> Callable[[Fex, int], Fex]:
        """A change that gives a piece the labels and marks of its rows.

        Args:
            named: a table with the labels of all rows.

        Returns:
            A function of a piece and the number of rows before it.
        """

        def change(piece: Fex, before: int) -> Fex:
            own = named.iloc[before : before + len(piece)]
            if "Identity" in own:
                labels, scores = own["Identity"].to_numpy(object), own["IdentityScore"].to_numpy()
                piece = set_labels(piece, labels, scores)
            for name in DECISION.names():
                piece[name] = own[name].array
            return piece

        return change


def naming_for(
    node: Node | None,
    *,
    threshold: float | None = None,
    method: Method | None = "gallery",
    track: bool | None = None,
    people: People | None = None,
    wanted: People | None = None,
    unwanted: People | None = None,
) -> Naming | None:
    """What a detector with this identity node names; None where it has no embeddings.

    Args:
        node: node of the identity slot.
        threshold: see :class:`Naming`; the node's own (``same_person``) if None.

    Raises:
        OptionError: an option is given without an identity node, or cannot be used.
        InputError: a file of people cannot be read.
        SchemaError: people were enrolled with another node than this one.
    """
    galleries = {"identity_gallery": people, "wanted": wanted, "unwanted": unwanted}
    if node is None or "embedding" not in node.provides:
        given = [name for name, value in galleries.items() if value is not None]
        given += ["identity_threshold"] if threshold is not None else []
        if given:
            raise OptionError(f"{', '.join(given)} needs an identity node that gives embeddings")
        return None
    found = {name: _loaded(value) for name, value in galleries.items()}
    for name, gallery in found.items():
        _require_same_node(name, gallery, node)
    own = float(getattr(node, "same_person", DEFAULT_THRESHOLD))
    return Naming(own if threshold is None else threshold, method, track, *found.values())


def _loaded(people: People | None) -> ReferenceGallery | None:
    if people is None or isinstance(people, ReferenceGallery):
        return people
    return ReferenceGallery.load(people)


def _require_same_node(name: str, gallery: ReferenceGallery | None, node: Node) -> None:
    enrolled = str(gallery.meta.get("nodes", {}).get("identity", "")) if gallery else ""
    if enrolled and enrolled != node.id:
        raise OptionError(
            f"{name}: enrolled with {enrolled}, and the detector runs {node.id}; "
            "enroll them again, or choose the same node"
        )
