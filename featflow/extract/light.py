"""Evening out the light of the crops that one node sees."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.extract.wrap import Wrapped
from featflow.flow.batch import Batch
from featflow.flow.node import Node

Method = Literal["none", "clahe", "hist", "mean"]
Plane = NDArray[np.uint8]

_CLAHE_LIMIT = 2.0
_CLAHE_GRID = (4, 4)


def normalise(images: NDArray[np.uint8], method: Method) -> NDArray[np.uint8]:
    """Even out pictures, each channel by itself.

    Args:
        images: (N, H, W, C) uint8.
        method: ``"clahe"`` equalises the histogram locally and bounded (4 x 4 tiles, clip limit
            2), ``"hist"`` over the whole channel, ``"mean"`` stretches each channel to
            0..255, ``"none"`` changes nothing.

    Returns:
        (N, H, W, C) uint8; the same array for ``"none"``.

    Raises:
        OptionError: an unknown method.
    """
    change = _change_of(method)
    if change is None:
        return images
    result = np.empty_like(images)
    for image, into in zip(images, result, strict=True):
        for channel in range(images.shape[3]):
            into[..., channel] = change(np.ascontiguousarray(image[..., channel]))
    return result


class Normalised(Wrapped):
    """A node that sees its crops evened out; other nodes with the same crop rule do not.

    Args:
        node: a node with a crop rule.
        method: see :func:`normalise`.

    Raises:
        OptionError: an unknown method, or the node sees no crops.
    """

    def __init__(self, node: Node, method: Method) -> None:
        super().__init__(node, str(method))
        _change_of(method)
        if node.unit != "face" or node.spec.crop is None:
            raise OptionError(f"{node.id} sees no crops of faces that could be normalised")
        self.rule = node.spec.crop
        self.method: Method = method

    def pre_process(self, batch: Batch) -> Any:
        """What the node inside makes of the changed crops."""
        changed = normalise(batch.crops(self.rule), self.method)
        return self.node.pre_process(batch.with_crops({self.rule: changed}))


def _clahe(plane: Plane) -> Plane:
    # Made anew each time: one is not safe in two threads, and making it costs microseconds.
    return np.asarray(cv2.createCLAHE(_CLAHE_LIMIT, _CLAHE_GRID).apply(plane), np.uint8)


def _hist(plane: Plane) -> Plane:
    return np.asarray(cv2.equalizeHist(plane), np.uint8)


def _mean(plane: Plane) -> Plane:
    # cv2 wants an output array; None makes one.
    stretched = cv2.normalize(plane, None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    return np.asarray(stretched, np.uint8)


METHODS: MappingProxyType[str, Callable[[Plane], Plane] | None] = MappingProxyType(
    {"none": None, "clahe": _clahe, "hist": _hist, "mean": _mean}
)
"""What each method does to one channel."""


def _change_of(method: str) -> Callable[[Plane], Plane] | None:
    if method not in METHODS:
        known = ", ".join(METHODS)
        raise OptionError(f"there is no normalisation {method!r}; known methods: {known}")
    return METHODS[method]
