"""Nodes around the published HOG classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from featflow.errors import OptionError, WeightsError
from featflow.features.hog_classifiers import AU_COLUMNS, HogClassifiers, Region
from featflow.features.hog_input import HOG_INPUTS
from featflow.flow.batch import Batch
from featflow.flow.node import InputSpec
from featflow.geometry.similarity import apply
from featflow.hub.checkpoint import read_checkpoint
from featflow.hub.lookup import Weights
from featflow.nodes._published import PublishedNode
from featflow.nodes.networks.preprocessing import Preprocessing

Features = tuple[NDArray[np.float32], NDArray[np.int64]]


class HogModel(nn.Module):
    """Classifiers as a module, so that they are loaded and unloaded like a network."""

    def __init__(self, classifiers: HogClassifiers) -> None:
        super().__init__()
        self.classifiers = classifiers

    def forward(self, features: Features) -> NDArray[np.float64]:
        """HOG values (N, 5408) and aligned landmarks (N, 68, 2) to (N, columns)."""
        return self.classifiers.predict(*features)


class HogNode(PublishedNode):
    """Base of nodes that classify the HOG values of an aligned face and its landmarks.

    Attributes:
        columns: names of the outputs, in order.
        regions: which part of the face an output reads, where it is not the whole.
    """

    unit = "face"
    requires = ("box", "landmarks")
    layout = ""
    batch_size = 16
    columns: ClassVar[tuple[str, ...]]
    regions: ClassVar[Mapping[str, Region]]

    def __init__(
        self, weights: Weights | None = None, preprocessing: Preprocessing = "trained"
    ) -> None:
        super().__init__(weights, preprocessing)
        self.input = HOG_INPUTS[preprocessing]
        self.spec = InputSpec(self.input.crop)
        self.zero_regions = False

    def build(self) -> nn.Module:
        """There is nothing to build before the file is read."""
        raise OptionError(f"{self.id} is no network")

    def _filled(self, path: Path) -> nn.Module:
        # Copied, because arrays of a safetensors file are a view of it.
        arrays = {key: value.numpy().copy() for key, value in read_checkpoint(path).items()}
        try:
            # A plain dictionary, because nodes are copied and a read-only view cannot be.
            made = HogClassifiers.from_arrays(
                arrays, self.columns, dict(self.regions), zero_regions=self.zero_regions
            )
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from error
        return HogModel(made)

    def pre_process(self, batch: Batch) -> Features:
        """HOG values and aligned landmarks; both 0 where a face cannot be aligned."""
        rule = self.input.crop
        marks = apply(rule.matrices(batch.faces), batch.faces.landmarks)
        return self.input.features(batch.crops(rule), marks)

    def process(self, inputs: Features) -> NDArray[np.float64]:
        """Values (N, columns), NaN for faces that cannot be aligned."""
        values: NDArray[np.float64] = self.model(inputs)
        known = np.asarray(inputs[1].any((1, 2)), bool)
        return np.where(known[:, None], values, np.nan)

    def post_process(
        self, batch: Batch, outputs: NDArray[np.float64]
    ) -> Mapping[str, NDArray[Any]]:
        """The one field that the node provides."""
        return {self.provides[0]: outputs.astype(np.float32)}


class AUNode(HogNode):
    """Base of the two action unit nodes.

    Args:
        weights, preprocessing: see :class:`featflow.nodes._published.PublishedNode`.
        zero_regions: set HOG values outside an action unit's part of the face to 0, as the
            published training did and the published inference does not.
    """

    kind = "au"
    provides = ("aus",)
    shapes = MappingProxyType({"aus": (len(AU_COLUMNS),)})
    columns = AU_COLUMNS

    def __init__(
        self,
        weights: Weights | None = None,
        preprocessing: Preprocessing = "trained",
        zero_regions: bool = False,
    ) -> None:
        super().__init__(weights, preprocessing)
        self.zero_regions = zero_regions
