"""A reference gallery: people whose faces are known, to be found again by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from featflow.datasets.sniff import PHOTO_SUFFIXES
from featflow.errors import InputError, MissingInputError, OptionError, SchemaError
from featflow.fex.io import read_fex, save_fex
from featflow.fex.meta import new_meta
from featflow.fex.schema import IDENTITY_EMBEDDING
from featflow.fex.table import Fex
from featflow.identity.labels import UNKNOWN, place, set_labels
from featflow.identity.order import appearance_order
from featflow.identity.tracking import tracks_of, vote_or_unknown
from featflow.identity.vectors import (
    ROUNDING,
    check_threshold,
    embeddings_of,
    nearest,
    unit_rows,
)

Several = Literal["skip", "all"]
"""What a photo with several faces gives: no reference, or all of its faces."""

_PHOTO_NUMBER = re.compile(r"[\s_\-]*(\(\d+\)|\d+)$")


class ReferenceGallery:
    """Embeddings of people with names.

    Args:
        names: a name for each embedding; several may be of one person.
        embeddings: (M, D) numbers, all usable.
        meta: metadata of the table that they came from, see :func:`featflow.fex.new_meta`.
        skipped: inputs that gave no reference, with the reason.

    Raises:
        OptionError: no embeddings, an unusable one, or a name that is empty or ``Unknown``.
    """

    def __init__(
        self,
        names: Iterable[str],
        embeddings: ArrayLike,
        meta: Mapping[str, Any] | None = None,
        skipped: Mapping[str, str] | None = None,
    ) -> None:
        self.names = tuple(names)
        self.vectors, usable = unit_rows(embeddings)
        self.meta = dict(meta) if meta is not None else new_meta()
        self.skipped = dict(skipped or {})
        if len(self.names) != len(usable) or not self.names:
            raise OptionError(
                f"{len(self.names)} names for {len(usable)} embeddings; give one name for each, "
                "and at least one"
            )
        if not usable.all():
            name = self.names[int(np.argmin(usable))]
            raise OptionError(f"an embedding of {name!r} is not finite, or has length 0")
        for name in self.names:
            _check_name(name)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"ReferenceGallery({len(self.people)} people, {len(self)} faces)"

    @property
    def people(self) -> tuple[str, ...]:
        """The names, each once, in the order of enrolling."""
        return tuple(dict.fromkeys(self.names))

    def match(
        self, embeddings: ArrayLike, threshold: float
    ) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
        """Name faces by the enrolled face that is most like each.

        Args:
            embeddings: (N, D) numbers.
            threshold: least cosine similarity of a match; equality counts.

        Returns:
            (N,) names, ``Unknown`` below the threshold, NaN for unusable embeddings; and (N,)
            the similarity to the most like enrolled face, 0..1, also where it is too low.

        Raises:
            OptionError: the embeddings have another length than the enrolled ones.
        """
        check_threshold(threshold)
        unit, usable = unit_rows(embeddings)
        codes, cosine = self._codes(unit, threshold)
        return self._labels(codes, cosine, usable)

    def identify(self, table: pd.DataFrame, threshold: float, track: bool | None = None) -> Fex:
        """Name the faces of a table.

        Args:
            table: a table with ``Identity_1..D``, rows in any order.
            threshold: least cosine similarity of a match; equality counts.
            track: let each track vote for one name, see
                :func:`featflow.identity.compute_identities`.

        Returns:
            A new table with ``Identity`` and ``IdentityScore``; the score is the similarity to
            the most like enrolled face of the person named, for ``Unknown`` of anyone.

        Raises:
            SchemaError: the table was made by another identity node or other weights.
            AbsentGroupError: the table has no embeddings.
        """
        check_threshold(threshold)
        self.check_made_by(table)
        vectors = embeddings_of(table)
        order = appearance_order(table, vectors)
        unit, usable = unit_rows(vectors[order])
        codes, cosine = self._codes(unit, threshold)
        tracks = tracks_of(table, track)
        if tracks is not None:
            codes = vote_or_unknown(codes, tracks[order][usable])
            cosine = self._support(unit, codes)
        labels, scores = self._labels(codes, cosine, usable)
        named = set_labels(table, place(labels, order), place(scores, order))
        return named.with_step("identify", threshold=float(threshold), people=len(self.people))

    def check_made_by(self, table: pd.DataFrame) -> None:
        """Raise :class:`SchemaError` unless table and gallery have embeddings of one kind."""
        mine, other = self._maker(self.meta), self._maker(getattr(table, "meta", {}))
        if mine != other and mine[0] and other[0]:
            raise SchemaError(
                f"the people were enrolled with {mine[0]} (weights {mine[1][:8] or 'unnamed'}) and "
                f"the table was made with {other[0]} (weights {other[1][:8] or 'unnamed'}); "
                "enroll them again with the same node"
            )

    @staticmethod
    def _maker(meta: Mapping[str, Any]) -> tuple[str, str]:
        node = str(meta.get("nodes", {}).get("identity", ""))
        return node, str(meta.get("weights", {}).get(node, ""))

    def _codes(
        self, unit: NDArray[np.float32], threshold: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Person of each vector (-1 for none) and its largest similarity."""
        if len(unit) and unit.shape[1] != self.vectors.shape[1]:
            raise OptionError(
                f"embeddings of {unit.shape[1]} numbers cannot be compared with enrolled ones "
                f"of {self.vectors.shape[1]}"
            )
        index, cosine = nearest(unit, self.vectors)
        person = np.array([self.people.index(name) for name in self.names], np.int64)
        return np.where(cosine >= threshold - ROUNDING, person[index], -1), cosine

    def _support(self, unit: NDArray[np.float32], codes: NDArray[np.int64]) -> NDArray[np.float32]:
        scores = nearest(unit, self.vectors)[1]
        for code, name in enumerate(self.people):
            rows = codes == code
            own = self.vectors[[other == name for other in self.names]]
            scores[rows] = nearest(unit[rows], own)[1]
        return scores

    def _labels(
        self, codes: NDArray[np.int64], cosine: NDArray[np.float32], usable: NDArray[np.bool_]
    ) -> tuple[NDArray[np.object_], NDArray[np.float32]]:
        labels = np.full(len(usable), np.nan, object)
        labels[usable] = np.array([*self.people, UNKNOWN], object)[codes]
        scores = np.full(len(usable), np.nan, np.float32)
        scores[usable] = np.clip(cosine, 0.0, 1.0)
        return labels, scores

    def save(self, path: str | Path) -> Path:
        """Write the gallery as a Parquet table, whole or not at all.

        Raises:
            OptionError: the name does not end in ``.parquet``.
            OutputError: no such folder, no permission, disk full.
        """
        path = Path(path)
        if path.suffix.lower() != ".parquet":
            raise OptionError(f"{path}: a gallery is saved as .parquet")
        width = self.vectors.shape[1]
        vectors = pd.DataFrame(self.vectors, columns=list(IDENTITY_EMBEDDING.names(width)))
        names = pd.DataFrame({"Identity": pd.array(self.names, dtype="str")})
        return save_fex(Fex(pd.concat([names, vectors], axis=1), meta=self.meta), path)

    @classmethod
    def load(cls, path: str | Path) -> ReferenceGallery:
        """Read a gallery that :meth:`save` wrote.

        Raises:
            MissingInputError: there is no such file.
            InputError: the file is damaged, or is a folder of photos.
            SchemaError: the table has no names or no embeddings.
        """
        if Path(path).is_dir():
            hint = f"make a gallery of its photos: featflow enroll {path} --save people.parquet"
            raise InputError(str(path), "is a folder, not a gallery", hint)
        fex = read_fex(path)
        if "Identity" not in fex.columns or fex["Identity"].isna().any():
            raise SchemaError(f"{path}: is not a gallery: a face has no name in 'Identity'")
        return cls(fex["Identity"].astype(str), embeddings_of(fex), fex.meta)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not name.strip() or name != name.strip():
        raise OptionError(f"{name!r} cannot be a person's name: give text without outer spaces")
    if name == UNKNOWN:
        raise OptionError(f"{UNKNOWN!r} stands for people not enrolled; choose another name")


def enroll(
    table: pd.DataFrame,
    names: Mapping[str, str] | Callable[[str], str],
    several: Several = "skip",
) -> ReferenceGallery:
    """Make a gallery from photos that show one person each.

    A photo with no face, or whose face has no usable embedding, gives no reference and is named
    in ``skipped``; faces that a filter marked do not count.

    Args:
        table: faces of the photos, with ``input`` and ``Identity_1..D``.
        names: name of the person for each value of ``input``, as a mapping or a function; see
            :func:`names_from_paths`.
        several: ``"all"`` takes every face of a photo with several, under its one name: what one
            wants of people to leave out, who may be a group.

    Raises:
        SchemaError: the table lacks ``input``.
        AbsentGroupError: the table has no embeddings.
        OptionError: an input has no name, or no photo gave a reference.
    """
    check_several(several)
    if "input" not in table.columns:
        raise SchemaError("people are enrolled by photo, and the table has no 'input' column")
    vectors = embeddings_of(table)
    usable = unit_rows(vectors)[1]
    kept = table["Keep"].to_numpy(bool) if "Keep" in table else np.ones(len(table), bool)
    seen = kept & _boxed(table, usable)
    rows: list[int] = []
    skipped = {}
    codes, photos = pd.factorize(table["input"].astype(str))
    for code, photo in enumerate(photos):
        faces = np.flatnonzero((codes == code) & seen)
        reason = _unfit(len(faces), bool(usable[faces].any()), several)
        if reason:
            skipped[str(photo)] = reason
        else:
            rows += faces[usable[faces]].tolist()
    if not rows:
        raise OptionError(f"no photo shows one usable face, so nobody was enrolled: {skipped}")
    found = [_name_for(photo, names) for photo in table["input"].iloc[rows].astype(str)]
    return ReferenceGallery(found, vectors[rows], getattr(table, "meta", None) or None, skipped)


def check_several(several: str) -> Several:
    """Raise :class:`OptionError` unless it is ``"skip"`` or ``"all"``."""
    if several not in get_args(Several):
        raise OptionError(f"several is 'skip' or 'all', got {several!r}")
    return "all" if several == "all" else "skip"


def _boxed(table: pd.DataFrame, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows that hold a face: by score where the table has one, else by embedding."""
    if "FaceScore" not in table.columns:
        return usable
    return np.asarray(table["FaceScore"].to_numpy(np.float64, na_value=np.nan) > 0)


def _unfit(faces: int, usable: bool, several: Several) -> str:
    if not faces:
        return "no face"
    if faces > 1 and several == "skip":
        return f"{faces} faces"
    return "" if usable else "no usable identity vector"


def _name_for(photo: str, names: Mapping[str, str] | Callable[[str], str]) -> str:
    if callable(names):
        return names(photo)
    if photo not in names:
        raise OptionError(f"{photo}: no name was given for this photo")
    return names[photo]


def photos_below(root: str | Path) -> list[str]:
    """Photos in a folder and in its folders, one for each person, in the order of their paths.

    Hidden files and folders are left out.

    Raises:
        MissingInputError: there is no such folder, or no photo in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingInputError(str(root), "is no folder", "name the folder of the photos")
    files = [*root.glob("*"), *root.glob("*/*")]
    seen = [f for f in files if not any(p.startswith(".") for p in f.relative_to(root).parts)]
    photos = sorted(str(f) for f in seen if f.suffix.lower() in PHOTO_SUFFIXES and f.is_file())
    if not photos:
        raise MissingInputError(str(root), "holds no photo", "expected Ada/1.jpg or Ada_01.jpg")
    return photos


def names_from_paths(photos: Iterable[str], root: str | Path) -> dict[str, str]:
    """Names of people from where their photos lie.

    ``root/Ada/1.jpg`` is of Ada; ``root/Ada Lovelace_02.jpg`` and ``root/Ada Lovelace (2).jpg``
    are of Ada Lovelace.

    Args:
        photos: paths below ``root``.
        root: the folder that was given to enroll.

    Returns:
        Path to name.

    Raises:
        OptionError: a path does not lie below ``root``.
    """
    names = {}
    for photo in photos:
        try:
            parts = PurePath(photo).relative_to(root).parts
        except ValueError as error:
            raise OptionError(f"{photo}: does not lie in the folder {root}") from error
        stem = PurePath(photo).stem
        names[photo] = parts[0] if len(parts) > 1 else _PHOTO_NUMBER.sub("", stem) or stem
    return names
