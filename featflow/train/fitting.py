"""Teaching a node from your own table: a new head on what a shipped network sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featflow.datasets.faces import FaceDataset
from featflow.errors import OptionError, SchemaError, UnknownNodeError
from featflow.fex.schema import GROUPS
from featflow.nodes._network import NetworkNode
from featflow.nodes.registry import make_node
from featflow.train.fitted import SUGGESTED, FittedNode, Head, features_of, network_node

Floats = NDArray[np.floating[Any]]

KINDS = ("emotion", "au")
_BATCH = 64


def fit_node(
    kind: str,
    fex: pd.DataFrame | str | Path,
    labels: str | Sequence[str],
    *,
    base: str | None = None,
    penalty: float = 10.0,
    **data: Any,
) -> FittedNode:
    """Fit a node's head to labels of a table, in seconds.

    The features are what the base node's network knows before its first linear layer, and the
    aligned landmarks. The head is a multinomial logistic regression for texts, a ridge regression
    for numbers; five folds that keep people (or inputs) apart say how good it is.

    Args:
        kind: ``emotion`` or ``au``.
        fex: faces with labels, or the file of them.
        labels: for ``emotion`` a column of texts such as ``happiness``; for ``au`` columns such
            as ``AU12`` with values in 0..1.
        base: node whose network sees the crop; the ``tiny`` one of the kind if there is one.
        penalty: how strongly weights are held back.
        data: arguments of :class:`featflow.datasets.FaceDataset`: ``root``, ``missing``,
            ``unlabelled``, ``cache``.

    Returns:
        A node for ``Detector(emotion=node)``.

    Raises:
        OptionError: an option cannot be used.
        SchemaError: there are no faces, labels are missing, of one class only, or unknown.
    """
    if kind not in KINDS:
        raise OptionError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if not penalty > 0:
        raise OptionError(f"penalty must be above 0, got {penalty}")
    columns = (labels,) if isinstance(labels, str) else tuple(labels)
    node = network_node(base or _default_base(kind))
    assert node.spec.crop is not None  # noqa: S101 - network_node checked it
    faces = FaceDataset(fex, targets=columns, crop=node.spec.crop, **data)
    if not faces.faces.has_landmarks:
        raise SchemaError("a head is fitted to landmarks too, and the table has none")
    names, targets = _targets(kind, faces, columns)
    features = _all_features(node, faces)
    known = np.isfinite(features).all(1)
    head = _fit(features[known], targets[known], names, penalty)
    groups = _groups(faces.table)[known]
    metrics = _cross_validated(features[known], targets[known], names, penalty, groups)
    about = {"faces": int(known.sum()), "labels": list(columns), "metrics": metrics}
    return FittedNode(kind, node, head, about)


def _default_base(kind: str) -> str:
    try:
        make_node(kind, "tiny")
    except UnknownNodeError:
        return SUGGESTED
    return f"{kind}/tiny"


def _targets(
    kind: str, faces: FaceDataset, columns: tuple[str, ...]
) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Columns of the table and (N,) class numbers or (N, columns) values."""
    allowed, read = GROUPS[kind].names(), faces.targets
    if kind == "emotion":
        if len(columns) != 1 or columns[0] not in read.classes:
            raise SchemaError(f"labels of emotion must be one column of texts, got {columns}")
        names = read.classes[columns[0]]
        unknown = sorted(set(names) - set(allowed))
        if unknown:
            raise SchemaError(f"unknown emotions {unknown}; known: {', '.join(allowed)}")
        if len(set(read.values[:, 0].tolist())) < 2:
            raise SchemaError(f"all labels are {names}; at least two classes are needed")
        return names, read.values[:, 0].astype(np.int64)
    unknown = sorted(set(columns) - set(allowed))
    if unknown or read.classes:
        raise SchemaError(f"labels of au must be numbers in columns such as AU12, got {columns}")
    if np.nanmin(read.values) < 0 or np.nanmax(read.values) > 1:
        raise SchemaError(f"labels of {', '.join(columns)} must lie in 0..1")
    return columns, read.values.astype(np.float64)


def _all_features(base: NetworkNode, faces: FaceDataset) -> Floats:
    base.load(base.device)
    parts = []
    for start in range(0, len(faces), _BATCH):
        rows = range(start, min(start + _BATCH, len(faces)))
        crops = np.stack([faces[row]["crop"].numpy() for row in rows])
        parts.append(features_of(base, crops, faces.faces.landmarks[start : start + len(crops)]))
    return np.concatenate(parts)


def _fit(features: Floats, targets: NDArray[Any], names: tuple[str, ...], penalty: float) -> Head:
    from sklearn.linear_model import LogisticRegression, Ridge

    mean = features.mean(0)
    scale = np.maximum(features.std(0), 1e-6)
    scaled = (features - mean) / scale
    if targets.ndim == 1:
        model: Any = LogisticRegression(C=1 / penalty, max_iter=2000).fit(scaled, targets)
        weight, offset = model.coef_, model.intercept_
        if len(weight) == 1:  # two classes have one log odds; a soft-max takes half for each
            weight, offset = np.concatenate([-weight, weight]) / 2, np.r_[-offset, offset] / 2
        names = tuple(names[int(number)] for number in model.classes_)
    else:
        model = Ridge(alpha=penalty * features.shape[1] / 10).fit(scaled, targets)
        weight, offset = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    # In C's order: safetensors writes an array's bytes as if it were.
    mean, scale, weight, offset = (
        np.ascontiguousarray(value, np.float32) for value in (mean, scale, weight, offset)
    )
    return Head(names, mean, scale, weight, offset, classes=targets.ndim == 1)


def _groups(table: pd.DataFrame) -> NDArray[np.int64]:
    """Number of the person of each row, or of its input where persons are not known."""
    column = table.get("Identity")
    if column is None or column.isna().all() or column.nunique() < 2:
        column = table["input"]
    return np.asarray(pd.factorize(column.astype(str))[0], np.int64)


def _cross_validated(
    features: Floats,
    targets: NDArray[Any],
    names: tuple[str, ...],
    penalty: float,
    groups: NDArray[np.int64],
) -> dict[str, float]:
    """Figures on faces of people who were left out; empty where there are too few people."""
    from sklearn.model_selection import GroupKFold

    folds = min(5, len(np.unique(groups)))
    if folds < 2:
        return {}
    found = np.full((len(features), len(names)), np.nan)
    for train, test in GroupKFold(folds).split(features, groups=groups):
        if targets.ndim == 1 and len(np.unique(targets[train])) < 2:
            continue
        head = _fit(features[train], targets[train], names, penalty)
        found[np.ix_(test, [names.index(name) for name in head.columns])] = head(features[test])
    seen = ~np.isnan(found).all(1)
    if not seen.any():
        return {}
    if targets.ndim == 1:
        right = np.nan_to_num(found[seen], nan=-1.0).argmax(1) == targets[seen]
        return {"accuracy": round(float(right.mean()), 4), "folds": folds}
    error = np.abs(found[seen] - targets[seen]).mean()
    return {"mean_absolute_error": round(float(error), 4), "folds": folds}
