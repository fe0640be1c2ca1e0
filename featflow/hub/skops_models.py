"""From py-feat's skops files to the HOG classifiers that featflow evaluates."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import WeightsError
from featflow.features.classical import Calibration, LinearClassifier, Projection
from featflow.features.hog_classifiers import (
    AU_COLUMNS,
    EMOTION_COLUMNS,
    EMOTION_REGIONS,
    SVM_REGIONS,
    XGB_REGIONS,
    Classifier,
    HogClassifiers,
    Region,
)
from featflow.features.trees import TreeEnsemble
from featflow.hub.skops import Record, read_skops
from featflow.hub.ubjson import parse_ubjson

_PARTS: tuple[Region, ...] = ("upper", "lower", "full")
_PUBLISHED_EMOTIONS = {"happ": "happiness", "sad": "sadness", "sur": "surprise"}


def skops_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read one of py-feat's HOG classifiers from its skops file.

    Args:
        path: ``xgb_au_classifier_v2.skops``, ``svm_au_classifier_v2.skops``,
            ``svm_emo_classifier.skops`` or one of their older versions.

    Returns:
        The arrays of :meth:`featflow.features.hog_classifiers.HogClassifiers.arrays`.

    Raises:
        WeightsError: the file cannot be read (:func:`featflow.hub.skops.read_skops`), or holds
            something else.
    """
    content = read_skops(path)
    try:
        return hog_classifiers(content).arrays()
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def hog_classifiers(content: Any) -> HogClassifiers:
    """Classifiers of what :func:`featflow.hub.skops.read_skops` found.

    Raises:
        WeightsError: a part is missing, of an unknown kind or trained with an option that is
            not evaluated here.
    """
    given = _attribute(content, "classifiers")
    if not isinstance(given, dict) or not given:
        raise WeightsError("holds no classifiers")
    names = {key: _column(key) for key in given}
    columns = EMOTION_COLUMNS if set(AU_COLUMNS).isdisjoint(names.values()) else AU_COLUMNS
    unknown = sorted(set(names.values()) - set(columns))
    if unknown:
        raise WeightsError(f"holds a classifier of {unknown[0]!r}, which is no known output")
    classifiers = {names[key]: _classifier(key, found) for key, found in given.items()}
    calibrators = content.attributes.get("calibrators") or {}
    return HogClassifiers(
        columns,
        _regions(columns, classifiers),
        {part: _projection(content, part) for part in _PARTS if _has(content, part)},
        classifiers,
        {names[key]: _calibration(found) for key, found in calibrators.items() if key in names},
    )


def _regions(
    columns: tuple[str, ...], classifiers: Mapping[str, Classifier]
) -> Mapping[str, Region]:
    if columns == EMOTION_COLUMNS:
        return EMOTION_REGIONS
    trees = any(isinstance(each, TreeEnsemble) for each in classifiers.values())
    return XGB_REGIONS if trees else SVM_REGIONS


def _has(content: Record, part: Region) -> bool:
    return content.attributes.get(f"scaler_{part}") is not None


def _column(key: str) -> str:
    """Name of an output in featflow's tables, from the published one."""
    if key.startswith("AU") and key[2:].isdigit():
        return f"AU{int(key[2:]):02d}"
    return _PUBLISHED_EMOTIONS.get(key, key)


def _attribute(content: Any, name: str) -> Any:
    if not isinstance(content, Record):
        raise WeightsError(f"has {type(content).__name__} where an object with {name!r} must be")
    if name not in content.attributes:
        raise WeightsError(f"the {content.type.rsplit('.', 1)[-1]} in it has no {name!r}")
    return content.attributes[name]


def _array(content: Any, name: str) -> NDArray[np.float64]:
    value = np.asarray(_attribute(content, name))
    if value.dtype.kind not in "biuf":
        raise WeightsError(f"{name!r} of {content.type} holds no numbers")
    return value.astype(np.float64)


def _projection(content: Record, part: Region) -> Projection:
    scaler, pca = (_attribute(content, f"{name}_{part}") for name in ("scaler", "pca_model"))
    components = _array(pca, "components_")
    if components.ndim != 2:
        raise WeightsError(f"principal components have shape {components.shape}")
    if _attribute(pca, "whiten"):
        components = components / np.sqrt(_array(pca, "explained_variance_"))[:, None]
    # A scaler keeps a mean that it was told not to subtract; what it does not keep is None.
    size = components.shape[1]
    plain: list[tuple[Any, str, bool, Callable[[int], NDArray[np.float64]]]] = [
        (scaler, "mean_", bool(_attribute(scaler, "with_mean")), np.zeros),
        (scaler, "scale_", bool(_attribute(scaler, "with_std")), np.ones),
        (pca, "mean_", True, np.zeros),
    ]
    mean, scale, centre = (
        _array(owner, name) if used and _attribute(owner, name) is not None else default(size)
        for owner, name, used, default in plain
    )
    return Projection(mean, scale, centre, components)


def _classifier(key: str, content: Any) -> Classifier:
    kind = content.type if isinstance(content, Record) else type(content).__name__
    readers: Mapping[str, Callable[[Any], Classifier]] = {
        "sklearn.svm._classes.LinearSVC": _linear,
        "xgboost.sklearn.XGBClassifier": _trees,
    }
    if kind not in readers:
        raise WeightsError(f"the classifier {key!r} is a {kind}, which is not evaluated here")
    return readers[kind](content)


def _linear(content: Record) -> LinearClassifier:
    classes = np.asarray(_attribute(content, "classes_"))
    weight, bias = _array(content, "coef_"), _array(content, "intercept_")
    if classes.tolist() != [0, 1] or len(weight) != 1 or bias.size != 1:
        raise WeightsError(f"a LinearSVC tells {classes.tolist()} apart; only 0 and 1 can be")
    return LinearClassifier(weight[0], bias.reshape(()))


def _trees(content: Record) -> TreeEnsemble:
    missing = content.attributes.get("missing")
    if isinstance(missing, int | float) and not np.isnan(missing):
        raise WeightsError(f"an XGBClassifier takes {missing} for a missing value, not NaN")
    handle = _attribute(_attribute(content, "_Booster"), "handle")
    if not isinstance(handle, bytes):
        raise WeightsError("a Booster has no model in it")
    return TreeEnsemble.from_xgboost(booster_document(handle))


def booster_document(data: bytes) -> Mapping[str, Any]:
    """What XGBoost keeps in a pickled or skops ``Booster``, as its JSON document of a model.

    Args:
        data: UBJSON (XGBoost 1.6 and later) or JSON (from 1.1 on), with or without the
            training configuration around it.

    Raises:
        WeightsError: it is neither.
    """
    if data[:1] != b"{":
        raise WeightsError(
            "a Booster was written by XGBoost before 1.1, in a form that is not read; load and "
            "dump the file with newer libraries, or take the published _v2 file"
        )
    # A key of UBJSON begins with its length, one of JSON with a quotation mark.
    if data[1:2] in b"iUIlL":
        document = parse_ubjson(data)
    else:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"a Booster holds no usable JSON ({error})") from error
    found = document.get("Model", document)
    if not isinstance(found, dict):
        raise WeightsError("a Booster has no model in it")
    return found


def _calibration(content: Any) -> Calibration:
    if _attribute(content, "out_of_bounds") != "clip":
        raise WeightsError("a calibration gives no value beyond its ends; only 'clip' is read")
    return Calibration.from_arrays(
        {"raw": _array(content, "X_thresholds_"), "calibrated": _array(content, "y_thresholds_")}
    )
