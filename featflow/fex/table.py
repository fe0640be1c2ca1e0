"""``Fex``: a pandas table of faces that knows its columns and how it was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.errors import AbsentGroupError, SchemaError
from featflow.fex.masks import Masks, StoredMask, faces_of
from featflow.fex.meta import META_KEY, dump_meta, join_meta, load_meta
from featflow.fex.schema import GROUPS, present_groups

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

    from featflow.identity.compute import Method

__all__ = ["Fex"]


class GroupAccessor:
    """Attribute of a :class:`Fex` that selects the columns of one group.

    Args:
        group: key in :data:`featflow.fex.schema.GROUPS`.
        prefix: only the columns that the group lists under this axis (``"x"``, ``"y"``).
    """

    def __init__(self, group: str, prefix: str = "") -> None:
        self.group = GROUPS[group]
        self.prefix = prefix
        axis = f", {prefix} coordinates" if prefix else ""
        self.__doc__ = f"{self.group.description.rstrip('.')}{axis}."

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, fex: Fex | None, owner: type | None = None) -> Fex:
        if fex is None:
            return self  # type: ignore[return-value]  # the class attribute, for help()
        wanted = self.group.present(fex.columns)
        if self.prefix:
            wanted = [name for name in wanted if name.split("_")[0] == self.prefix]
        if not wanted:
            raise _absent(self.name, self.group.name)
        selected: Fex = fex.loc[:, wanted]
        return selected


class ColumnAccessor:
    """Attribute of a :class:`Fex` that is one column of the schema, as a plain Series."""

    def __init__(self, group: str, column: str) -> None:
        self.group = GROUPS[group]
        self.column = column
        described = {c.name: c.description for c in self.group.columns}
        self.__doc__ = described[column]

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, fex: Fex | None, owner: type | None = None) -> pd.Series[Any]:
        if fex is None:
            return self  # type: ignore[return-value]  # the class attribute, for help()
        if self.column not in fex.columns:
            raise _absent(self.name, self.group.name)
        return fex[self.column]


def _absent(attribute: str, group: str) -> AbsentGroupError:
    slot = GROUPS[group].slot
    cause = f"the detector ran without a node in its {slot!r} slot" if slot else "they were dropped"
    names = GROUPS[group].names() or (f"{group} columns",)
    listed = names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"
    return AbsentGroupError(f"this table has no {attribute} ({listed}): {cause}")


def _no_mask(fex: Fex, name: str, frame: int) -> AbsentGroupError:
    if fex._masks:
        return AbsentGroupError(
            f"there is no mask of this face in frame {frame} of {name}: its box, frame or input "
            "was changed, or the row came from a table without masks"
        )
    if "mask" in fex.meta.get("nodes", {}):
        return AbsentGroupError(
            "the masks of this table are not here: they lie beside a saved table as "
            "<name>.masks.parquet, and are lost when a table becomes a plain DataFrame"
        )
    return AbsentGroupError(
        "this table has no masks: the detector ran without a node in its 'mask' slot"
    )


class Fex(pd.DataFrame):
    """A table of faces, one row each.

    A frame without a face is one row with missing predictions and score 0. Columns, units
    and ranges are in :data:`featflow.fex.schema.GROUPS`. Everything pandas does works; what
    featflow adds is the accessors, :attr:`meta`, and reading and writing.

    Args:
        data: anything that ``pandas.DataFrame`` takes.
        meta: how the table was made; taken from ``data`` where it is a Fex.
    """

    faceboxes = GroupAccessor("facebox")
    landmarks = GroupAccessor("landmark")
    landmarks_x = GroupAccessor("landmark", "x")
    landmarks_y = GroupAccessor("landmark", "y")
    poses = GroupAccessor("pose")
    aus = GroupAccessor("au")
    emotions = GroupAccessor("emotion")
    gazes = GroupAccessor("gaze")
    identity_embeddings = GroupAccessor("identity_embedding")
    identities = ColumnAccessor("identity", "Identity")
    times = ColumnAccessor("source", "time")
    inputs = ColumnAccessor("source", "input")

    # pandas hands what is named here on to every table that is made from this one.
    _metadata = ["_masks"]  # noqa: RUF012 - pandas asks for a list
    _masks: tuple[Masks, ...] = ()

    def __init__(
        self, data: Any = None, *args: Any, meta: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        # pandas-stubs declares the constructor as __new__ alone
        super().__init__(data, *args, **kwargs)  # type: ignore[call-arg]
        if isinstance(data, pd.DataFrame) and META_KEY in data.attrs and not self.attrs:
            self.attrs = dict(data.attrs)
        if isinstance(data, Fex):
            self._masks = data._masks
        if meta is not None:
            self.meta = meta

    @property
    def _constructor(self) -> Callable[..., Fex]:
        return Fex

    @property
    def meta(self) -> Mapping[str, Any]:
        """How the table was made, a read-only mapping; assign a mapping to replace it."""
        return MappingProxyType(load_meta(self.attrs.get(META_KEY)))

    @meta.setter
    def meta(self, meta: Mapping[str, Any]) -> None:
        self.attrs = {**self.attrs, META_KEY: dump_meta(meta)}

    @property
    def groups(self) -> dict[str, list[str]]:
        """Groups of the schema that are there, with their columns."""
        return present_groups(self.columns)

    def with_step(self, step: str, **arguments: Any) -> Fex:
        """A copy whose metadata says that ``step`` was done with ``arguments``."""
        meta = dict(self.meta)
        meta["provenance"] = [*meta.get("provenance", []), {"step": step, **arguments}]
        return Fex(self.copy(), meta=meta)

    def __finalize__(self, other: Any, method: str | None = None, **kwargs: Any) -> Fex:
        """Carry metadata to a new table; joined tables must be alike (see pandas)."""
        super().__finalize__(other, method=method, **kwargs)  # type: ignore[misc]  # absent from pandas-stubs
        if method == "concat":
            _finalize_concat(self, getattr(other, "input_objs", None) or other.objs)
        elif method == "merge":
            left = getattr(other, "left", None)
            if left is not None and META_KEY in left.attrs:
                self.attrs = dict(left.attrs)
            self._masks = getattr(left, "_masks", ())
        return self

    def stored_mask(self, row: int) -> StoredMask | None:
        """The mask of the face in a row, on its own crop, with size, centring and matrix.

        Args:
            row: place in the table as in ``iloc``, whatever the index says.

        Returns:
            The mask; None where the row holds no face.

        Raises:
            AbsentGroupError: no mask node ran, or the masks of this face are not here.
            InputError: the file of masks is missing, damaged, or of a later run.
        """
        name, frame, box = next(iter(faces_of(self.iloc[[row]])))
        if not np.isfinite(box).all():
            return None
        for store in self._masks:
            found = store.find(name, frame, box)
            if found is not None:
                return store.read(found)
        raise _no_mask(self, name, frame)

    def face_mask(self, row: int) -> NDArray[np.uint8]:
        """The mask of the face in a row as it lies on the original frame.

        Args:
            row: place in the table as in ``iloc``, whatever the index says.

        Returns:
            (FrameHeight, FrameWidth) uint8, 0 outside to 255 inside; all 0 where the row holds
            no face.

        Raises:
            AbsentGroupError: no mask node ran, or the masks of this face are not here.
            InputError: the file of masks is missing, damaged, or of a later run.
        """
        stored = self.stored_mask(row)
        height, width = (int(self[side].iloc[row]) for side in ("FrameHeight", "FrameWidth"))
        if stored is None:
            return np.zeros((height, width), np.uint8)
        return stored.on_frame(height, width)

    def mask(self, cond: Any, *args: Any, **kwargs: Any) -> Any:
        """:meth:`face_mask` of a row number; with anything else, what pandas' ``mask`` does."""
        if isinstance(cond, int | np.integer) and not isinstance(cond, bool):
            return self.face_mask(int(cond), *args, **kwargs)
        return super().mask(cond, *args, **kwargs)

    def save(self, path: str | Path) -> Path:
        """Write the table; the suffix says how: ``.csv``, ``.parquet``, ``.feather``, ``.json``.

        See :func:`featflow.fex.io.save_fex`.
        """
        from featflow.fex.io import save_fex

        return save_fex(self, path)

    def to_polars(self) -> pl.DataFrame:
        """The rows as a polars table; missing values are null. polars keeps no metadata."""
        from featflow.fex.arrow import to_polars

        return to_polars(self)

    @classmethod
    def from_polars(cls, table: pl.DataFrame, meta: Mapping[str, Any] | None = None) -> Fex:
        """A Fex from a polars table; pass the ``meta`` of the table that it came from."""
        from featflow.fex.arrow import from_polars

        return from_polars(table, meta)

    def compute_identities(
        self, threshold: float | None = None, method: Method = "gallery", **options: Any
    ) -> Fex:
        """Find which faces are the same person; a new table with ``Identity`` and its score.

        See :func:`featflow.identity.compute_identities` for the arguments.
        """
        from featflow.identity import compute_identities
        from featflow.identity.vectors import DEFAULT_THRESHOLD

        limit = DEFAULT_THRESHOLD if threshold is None else threshold
        return compute_identities(self, limit, method, **options)

    def plot_detections(self, *args: Any, **kwargs: Any) -> list[Axes]:
        """Draw boxes, points and pose axes on the frames.

        See :func:`featflow.plot.detections.plot_detections` for the arguments.
        """
        from featflow.plot import plot_detections

        return plot_detections(self, *args, **kwargs)


def _finalize_concat(result: Fex, parts: Any) -> None:
    frames = [part for part in parts if isinstance(part, pd.DataFrame)]
    texts = [part.attrs.get(META_KEY, "") for part in frames]
    if not _is_stacked(result, frames):
        texts = [text for text in texts if text]
    else:
        _require_like_groups(frames)
    result._masks = tuple(dict.fromkeys(m for part in frames for m in getattr(part, "_masks", ())))
    if any(texts):
        result.attrs = {**result.attrs, META_KEY: join_meta(text or "{}" for text in texts)}


def _is_stacked(result: pd.DataFrame, parts: list[pd.DataFrame]) -> bool:
    """Whether the parts were put under each other and not side by side.

    pandas does not say which, so it is read from the shape of what came out.
    """
    width = sum(part.shape[1] for part in parts)
    if len(parts) < 2 or result.shape[1] < width:
        return len(parts) > 1
    return all(len(part) for part in parts) and len(result) == sum(len(part) for part in parts)


def _require_like_groups(parts: list[pd.DataFrame]) -> None:
    first = present_groups(parts[0].columns)
    for part in parts[1:]:
        other = present_groups(part.columns)
        if other == first:
            continue
        unlike = sorted(k for k in {*first, *other} if first.get(k) != other.get(k))
        raise SchemaError(
            f"tables with unlike columns cannot be joined; they differ in {', '.join(unlike)}. "
            "Run the same nodes on all inputs, or select the columns that both have"
        )
