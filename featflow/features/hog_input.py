"""From a crop and its landmarks to the HOG values of an aligned face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featflow.features.aligned import aligned_faces
from featflow.features.hog import hog
from featflow.geometry.crop import CropRule


@dataclass(frozen=True, slots=True)
class HogInput:
    """How a face reaches the HOG features.

    Attributes:
        crop: the picture from which the aligned face is sampled.
        fill: value beyond that picture, where black is 0 and white is 1.
        centred: landmarks are turned from featflow's coordinates (0 at the first pixel's edge)
            to those of the features (0 at its centre).
    """

    crop: CropRule
    fill: float
    centred: bool

    def features(
        self, crops: NDArray[np.uint8], landmarks: NDArray[np.floating[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Describe faces.

        Args:
            crops: (N, S, S, 3) RGB, cut by :attr:`crop`.
            landmarks: (N, 68, 2) in crop pixels, featflow's coordinates.

        Returns:
            HOG values (N, 5408) and the aligned landmarks (N, 68, 2), whole pixels.
        """
        marks = np.asarray(landmarks, np.float64) - (0.5 if self.centred else 0.0)
        pixels = crops.astype(np.float32) / np.float32(255)
        faces, points = aligned_faces(pixels, marks, fill=self.fill)
        return np.asarray(hog(faces), np.float32), points


HOG_INPUTS: Mapping[Literal["trained", "reference"], HogInput] = MappingProxyType(
    {
        # Training aligned faces in whole pictures and filled with mid-grey, 128 of 255. The
        # crop has room for a turned face and more pixels than the aligned 112 need.
        "trained": HogInput(CropRule(192, expansion=1.6), 128 / 255, centred=True),
        # The reference aligns within the stretched crop that its landmark network saw, fills
        # with 128 in a picture of 0 to 1, and is half a pixel off.
        "reference": HogInput(CropRule(112, expansion=1.2, square=False), 128.0, centred=False),
    }
)
