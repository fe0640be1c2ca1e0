"""What the engine checks of every node's output, and how it names what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import NodeError, OptionError
from featflow.flow.batch import Batch, FaceBatch
from featflow.flow.node import Node


def describe(batch: Batch) -> str:
    """Name the inputs of a batch: each source with its first and last frame."""
    spans: dict[str, tuple[int, int]] = {}
    frames = batch.frames
    for source, index in zip(frames.sources, frames.indices.tolist(), strict=True):
        spans[source] = (spans.get(source, (index, index))[0], index)
    named = [
        f"{source} frame {first}" + (f" to {last}" if last != first else "")
        for source, (first, last) in spans.items()
    ]
    return ", ".join([*named[:3], f"and {len(named) - 3} more"] if len(named) > 3 else named)


def refuse_cuts(node: Node, batch: Batch) -> None:
    """A node that finds faces is shown whole frames alone.

    Raises:
        OptionError: a picture shows a part of its frame, as an aligned face does.
    """
    for source, cut in zip(batch.frames.sources, batch.frames.cuts, strict=True):
        if cut is not None:
            raise OptionError(
                f"{source}: {node.id} finds faces in whole frames, and this picture is an aligned "
                f"face; bring its face with it, in a flow made with given="
            )


def checked_faces(node: Node, batch: Batch, result: Any) -> FaceBatch:
    """The faces that a frame node found, as promised: fields, rows, frames and boxes.

    Raises:
        NodeError: the node broke its contract.
    """
    if not isinstance(result, FaceBatch):
        raise _breach(node, batch, f"returned {type(result).__name__}; a frame node returns faces")
    _check_fields(node, batch, result.fields, len(result))
    uids = batch.frames.uids
    rows = np.minimum(np.searchsorted(uids, result.frame_uid), len(uids) - 1)
    if (uids[rows] != result.frame_uid).any():
        strangers = result.frame_uid[uids[rows] != result.frame_uid].tolist()
        raise _breach(node, batch, f"found faces in frames it was not shown: {strangers}")
    for name in ("box", "score"):
        if not np.isfinite(result.fields[name]).all():
            raise _breach(node, batch, f"field {name!r} has values that are not finite")
    return result


def checked_fields(node: Node, batch: Batch, result: Any) -> dict[str, NDArray[Any]]:
    """The fields that a face node computed, as promised: names, rows and shapes.

    Raises:
        NodeError: the node broke its contract.
    """
    if not isinstance(result, Mapping):
        raise _breach(node, batch, f"returned {type(result).__name__}; a face node returns fields")
    _check_fields(node, batch, result, len(batch.faces))
    return dict(result)


def _check_fields(node: Node, batch: Batch, fields: Mapping[str, Any], rows: int) -> None:
    missing = [name for name in node.provides if name not in fields]
    extra = [name for name in fields if name not in node.provides]
    if missing or extra:
        told = f"declares {list(node.provides)} but returned {list(fields)}"
        raise _breach(node, batch, f"{told}: missing {missing}, not declared {extra}")
    for name, values in fields.items():
        if not isinstance(values, np.ndarray):
            kind = type(values).__name__
            raise _breach(node, batch, f"field {name!r} is a {kind}; it must be a numpy array")
        shape = node.shape_of(name)
        good = values.shape[:1] == (rows,) and (shape is None or values.shape[1:] == shape)
        if not good:
            wanted = f"({rows}, ...)" if shape is None else str((rows, *shape))
            raise _breach(node, batch, f"field {name!r} has shape {values.shape}, not {wanted}")


def _breach(node: Node, batch: Batch, told: str) -> NodeError:
    return NodeError(f"{node.id} {told} (in {describe(batch)})")
