"""Action units and emotions from HOG features: py-feat's ``xgb``, ``svm`` and ``svm_emo``.

Three projections (for the upper face, the lower face and the whole) turn 5,408 HOG values
into principal components; those and the 136 aligned landmark coordinates feed one classifier
an output. Each output belongs to one projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featflow.errors import ArrayError, WeightsError
from featflow.features.classical import Calibration, LinearClassifier, Projection
from featflow.features.trees import TreeEnsemble

Region = Literal["upper", "lower", "full"]
Classifier = TreeEnsemble | LinearClassifier

HOG_VALUES = 5408
UPPER_END = 2414
"""Features before this index describe the upper face in py-feat's training scripts."""

AU_COLUMNS = tuple(
    f"AU{n:02d}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
)
EMOTION_COLUMNS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")

# Which face part each published classifier reads; what is not listed reads the whole face.
XGB_REGIONS: Mapping[str, Region] = MappingProxyType(
    {
        **dict.fromkeys(("AU01", "AU02", "AU07"), "upper"),
        **dict.fromkeys(("AU11", "AU14", "AU17", "AU23", "AU24", "AU26"), "lower"),
    }
)
SVM_REGIONS: Mapping[str, Region] = MappingProxyType(
    {
        **dict.fromkeys(("AU01", "AU04", "AU06"), "upper"),
        **dict.fromkeys(("AU11", "AU12", "AU17"), "lower"),
    }
)
EMOTION_REGIONS: Mapping[str, Region] = MappingProxyType({})


def only_region(features: NDArray[Any], region: Region, border: int = UPPER_END) -> NDArray[Any]:
    """Features with the cells outside a region set to 0, as in py-feat's training scripts."""
    kept = features.copy()
    if region == "upper":
        kept[:, border:] = 0
    elif region == "lower":
        kept[:, :border] = 0
    return kept


@dataclass(frozen=True, slots=True)
class HogClassifiers:
    """Classifiers of one kind, with the projections in front of them.

    Attributes:
        columns: names of the outputs, in order.
        regions: output to face part; ``"full"`` where it is not listed.
        projections: face part to projection.
        classifiers: output to classifier; an output without one is NaN.
        calibrations: output to calibration, where there is one.
        zero_regions: set what lies outside a part to 0 before its projection. The published
            training scripts did, the published inference does not.
        border: first HOG value of the lower face, with ``zero_regions``.
    """

    columns: tuple[str, ...]
    regions: Mapping[str, Region]
    projections: Mapping[Region, Projection]
    classifiers: Mapping[str, Classifier]
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    zero_regions: bool = False
    border: int = UPPER_END

    def __post_init__(self) -> None:
        needed = {self.regions.get(name, "full") for name in self.classifiers}
        lacking = sorted(needed - set(self.projections))
        if lacking:
            raise WeightsError(f"no projection for the {lacking[0]} face")
        for name, classifier in self.classifiers.items():
            made = len(self.projections[self.regions.get(name, "full")].components) + 136
            if not classifier.reads(made):
                raise WeightsError(
                    f"the classifier of {name} does not fit the {made} inputs it has"
                )

    def predict(self, hog: NDArray[Any], landmarks: NDArray[Any]) -> NDArray[np.float64]:
        """Evaluate all classifiers.

        Args:
            hog: (N, F) features of :func:`featflow.features.hog.hog`.
            landmarks: (N, 68, 2) whole aligned pixels of the same faces.

        Returns:
            (N, columns), 0 to 1.
        """
        points = np.asarray(landmarks, np.float64)
        if points.shape != (len(hog), 68, 2):
            raise ArrayError("landmarks", f"have shape {points.shape}, need ({len(hog)}, 68, 2)")
        inputs = {part: self._inputs(hog, points, part) for part in self.projections}
        result = np.full((len(hog), len(self.columns)), np.nan)
        for column, name in enumerate(self.columns):
            if name in self.classifiers:
                values = inputs[self.regions.get(name, "full")]
                raw = self.classifiers[name].probability(values)
                calibrate = self.calibrations.get(name)
                result[:, column] = raw if calibrate is None else calibrate(raw)
        return result

    def _inputs(
        self, hog: NDArray[Any], points: NDArray[np.float64], region: Region
    ) -> NDArray[np.float64]:
        features = only_region(hog, region, self.border) if self.zero_regions else hog
        components = self.projections[region](features)
        return np.concatenate([components, points.reshape(len(points), 136)], 1)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All parts as named arrays, such as ``classifier.AU01.weight``, for a weight file."""
        groups: dict[str, Mapping[str, Any]] = {
            "projection": {str(part): made for part, made in self.projections.items()},
            "classifier": self.classifiers,
            "calibration": self.calibrations,
        }
        return {
            f"{group}.{name}.{attribute.name}": getattr(part, attribute.name)
            for group, parts in groups.items()
            for name, part in parts.items()
            for attribute in fields(part)
        }

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        columns: tuple[str, ...],
        regions: Mapping[str, Region],
        *,
        zero_regions: bool = False,
    ) -> HogClassifiers:
        """The inverse of :meth:`arrays`.

        Raises:
            WeightsError: an array is missing, misshapen or not one of this kind of file.
        """
        parts = _grouped(arrays)
        unknown = sorted(set(parts["classifier"]) - set(columns))
        if unknown or not parts["classifier"]:
            raise WeightsError(f"no classifier of these outputs, but of {unknown or 'nothing'}")
        return cls(
            columns,
            regions,
            {_region(name): Projection.from_arrays(a) for name, a in parts["projection"].items()},
            {name: _classifier(a) for name, a in parts["classifier"].items()},
            {name: Calibration.from_arrays(a) for name, a in parts["calibration"].items()},
            zero_regions,
        )


def _grouped(arrays: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, dict[str, NDArray[Any]]]]:
    """``group.name.attribute`` keys as nested dictionaries."""
    parts: dict[str, dict[str, dict[str, NDArray[Any]]]] = {
        "projection": {},
        "classifier": {},
        "calibration": {},
    }
    for key, array in arrays.items():
        group, *rest = key.split(".")
        if group not in parts or len(rest) != 2:
            raise WeightsError(f"{key!r} is no array of a HOG classifier")
        parts[group].setdefault(rest[0], {})[rest[1]] = array
    return parts


def _region(name: str) -> Region:
    known: tuple[Region, ...] = ("upper", "lower", "full")
    for region in known:
        if name == region:
            return region
    raise WeightsError(f"a HOG classifier has no {name!r} face part; parts: {', '.join(known)}")


def _classifier(arrays: Mapping[str, NDArray[Any]]) -> Classifier:
    if "roots" in arrays:
        return TreeEnsemble.from_arrays(arrays)
    return LinearClassifier.from_arrays(arrays)
