"""How a table was made: schema version, nodes, weights, options, and the steps since.

A table's metadata is one JSON text. It rides in ``DataFrame.attrs``, which pandas carries
through slicing, copying and pickling, and in the metadata of Parquet and Feather files.
As a text it is cheap to copy and cannot be changed behind the table's back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from featflow import __version__
from featflow.errors import SchemaError
from featflow.fex.schema import SCHEMA_VERSION

META_KEY = "featflow"
"""Key of the metadata in ``attrs`` and in files."""

_MUST_AGREE = ("schema_version", "nodes", "weights")


def new_meta(
    nodes: Mapping[str, str] | None = None,
    weights: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    provenance: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Metadata of a table made by this version of featflow.

    Args:
        nodes: slot to node id, as in ``{"face": "face/tiny"}``.
        weights: node id to sha256 of its weights.
        options: options of the run that change its values.
        provenance: steps done to the table, oldest first.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "featflow": __version__,
        "nodes": dict(nodes or {}),
        "weights": dict(weights or {}),
        "options": dict(options or {}),
        "provenance": [dict(step) for step in provenance],
    }


def dump_meta(meta: Mapping[str, Any]) -> str:
    """Metadata as a text that is the same for equal metadata."""
    try:
        return json.dumps(dict(meta), sort_keys=True, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise SchemaError(
            f"metadata must be JSON (text, finite numbers, lists, mappings): {error}"
        ) from error


def load_meta(text: str | bytes | None) -> dict[str, Any]:
    """Metadata from its text; empty where there is none."""
    if not text:
        return {}
    try:
        meta = json.loads(text)
    except ValueError as error:
        raise SchemaError(f"the table's metadata is not JSON: {error}") from error
    if not isinstance(meta, dict):
        raise SchemaError(f"the table's metadata is a {type(meta).__name__}, not a mapping")
    return meta


def join_meta(texts: Iterable[str]) -> str:
    """Metadata of tables put under each other.

    Schema version, nodes and weights must agree. Options on which the tables differ are
    listed under ``options_differ``; steps are kept once each.

    Raises:
        SchemaError: the tables were made by unlike nodes.
    """
    unique = list(dict.fromkeys(texts))
    if len(unique) == 1:
        return unique[0]
    metas = [load_meta(text) for text in unique]
    for key in _MUST_AGREE:
        values = [meta.get(key) for meta in metas]
        if any(value != values[0] for value in values):
            raise SchemaError(
                f"tables with unlike {key} cannot be joined: "
                f"{' and '.join(json.dumps(value) for value in values)}; "
                "run the same detector on all inputs, or set `meta` yourself"
            )
    joined = {**metas[0], **_join_options(metas)}
    steps = [step for meta in metas for step in meta.get("provenance", [])]
    joined["provenance"] = [step for i, step in enumerate(steps) if step not in steps[:i]]
    return dump_meta(joined)


def _join_options(metas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    options = [meta.get("options", {}) for meta in metas]
    keys = sorted(set().union(*options))
    values = {key: [option.get(key) for option in options] for key in keys}
    agree = {key: v[0] for key, v in values.items() if all(x == v[0] for x in v)}
    differ = {key: v for key, v in values.items() if key not in agree}
    return {"options": agree, **({"options_differ": differ} if differ else {})}
