"""What each published network expects to see: the one table of colour, range, crop and size.

Each network has two entries. ``"trained"`` is what its authors fed it, as far as their own
code says. ``"reference"`` is what py-feat 2.0.3 feeds the same weights, kept so that its
numbers can be reproduced. Where both agree, both entries are one object.

In every reference crop of a single face ("stretched") the box's width and height are
enlarged by the same factor and squeezed into a square each on its own, so a face is distorted
unless its box is square.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from featflow.errors import OptionError, UnknownNodeError
from featflow.flow.node import InputSpec
from featflow.geometry.crop import CropRule

Preprocessing = Literal["trained", "reference"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """How a picture becomes a network's input.

    Attributes:
        spec: colour order, range, mean, std and crop rule (None for whole frames).
        size: side of the picture that enters the network, where it is not the crop's: the
            normalised crop is resized to it, bilinear.
        copies: times the one channel of a grey picture is repeated.
        side_limits: for whole frames, (least, most) pixels: the frame is scaled until its
            shorter side has the first, unless its longer side would exceed the second. None
            leaves frames at their own size.
    """

    spec: InputSpec = field(default_factory=InputSpec)
    size: int | None = None
    copies: int = 1
    side_limits: tuple[int, int] | None = None

    def prepare(self, images: NDArray[np.uint8], device: torch.device | str) -> torch.Tensor:
        """Turn (N, H, W, 3) uint8 RGB crops into the (N, C, S, S) float32 input."""
        tensor = self.spec.prepare(images, torch.device(device))
        if self.copies > 1:
            tensor = tensor.repeat(1, self.copies, 1, 1)
        if self.size is not None and tensor.shape[2] != self.size:
            tensor = torch.nn.functional.interpolate(
                tensor, size=(self.size, self.size), mode="bilinear", align_corners=False
            )
        return tensor


@dataclass(frozen=True, slots=True)
class NetworkInputs:
    """Both ways to feed a network, and what sets them apart (for its model card)."""

    trained: NetworkInput
    reference: NetworkInput
    differs: str = ""


def _stretched(size: int, expansion: float) -> CropRule:
    return CropRule(size, expansion=expansion, square=False)


def _imagenet(crop: CropRule | None, channels: Literal["RGB", "BGR"] = "RGB") -> InputSpec:
    return InputSpec(crop, channels, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _same(only: NetworkInput) -> NetworkInputs:
    return NetworkInputs(only, only)


# The authors of the three landmark networks (github.com/cunjian/pytorch_face_landmark) read
# pictures with OpenCV, so channels are BGR; for MobileNet they subtract ImageNet's RGB means
# from them in that order, and so does this table. Their crop is a square on the shorter side.
_LANDMARK_DIFFERS = (
    "py-feat feeds RGB and a stretched crop; the network was trained on BGR and square crops "
    "of 1.2 times the box's shorter side."
)


def _landmark_crop(size: int) -> CropRule:
    return CropRule(size, expansion=1.2, side="shorter")


_TABLE: Mapping[str, NetworkInputs] = MappingProxyType(
    {
        # Deng et al. train on BGR less OpenCV's BGR means. The reference orders the means for
        # RGB but does not swap the channels, so red and blue are exchanged at the first layer.
        "retinaface_r34": NetworkInputs(
            NetworkInput(InputSpec(None, "BGR", (0.0, 255.0), (104.0, 117.0, 123.0))),
            NetworkInput(InputSpec(None, "RGB", (0.0, 255.0), (123.0, 117.0, 104.0))),
            "py-feat feeds RGB; the network was trained on BGR.",
        ),
        "img2pose": _same(NetworkInput(_imagenet(None), side_limits=(400, 1400))),
        "mobilefacenet": NetworkInputs(
            NetworkInput(InputSpec(_landmark_crop(112), "BGR")),
            NetworkInput(InputSpec(_stretched(112, 1.2))),
            _LANDMARK_DIFFERS,
        ),
        "pfld": NetworkInputs(
            NetworkInput(InputSpec(_landmark_crop(112), "BGR")),
            NetworkInput(InputSpec(_stretched(112, 1.2))),
            _LANDMARK_DIFFERS,
        ),
        "mobilenet_gdconv": NetworkInputs(
            NetworkInput(_imagenet(_landmark_crop(224), "BGR")),
            NetworkInput(_imagenet(_stretched(224, 1.2))),
            _LANDMARK_DIFFERS,
        ),
        # FER2013 is a set of grey pictures; the authors repeat the grey channel and cut a
        # square of 1.1 times the mean of the box's sides.
        "resmasknet": NetworkInputs(
            NetworkInput(InputSpec(CropRule(224, expansion=1.1, side="mean"), "grey"), copies=3),
            NetworkInput(InputSpec(_stretched(224, 1.1))),
            "py-feat feeds colour and a stretched crop; the network was trained on grey "
            "pictures and square crops.",
        ),
        "arcface_r50": NetworkInputs(
            NetworkInput(InputSpec(CropRule(112, anchor="points5"), value_range=(-1.0, 1.0))),
            NetworkInput(InputSpec(_stretched(112, 1.2), value_range=(-1.0, 1.0))),
            "py-feat feeds a stretched crop of the box; the network was trained on faces "
            "aligned by five points.",
        ),
        # Its authors cut the box with 32 pixels of margin at 160 (160 / 128 = 1.25) and scale
        # with (x - 127.5) / 128.
        "facenet": NetworkInputs(
            NetworkInput(
                InputSpec(_stretched(160, 1.25), "RGB", (0.0, 255.0), (127.5,) * 3, (128.0,) * 3)
            ),
            NetworkInput(InputSpec(_stretched(112, 1.2))),
            "py-feat feeds 112 pixels in 0..1; the network was trained on 160 pixels, about -1..1.",
        ),
        # The authors squeeze the bare box into a square and enlarge it to 448; 112-pixel crops
        # have lost the eyes' detail before they are enlarged.
        "l2cs_r50": NetworkInputs(
            NetworkInput(_imagenet(_stretched(448, 1.0))),
            NetworkInput(_imagenet(_stretched(112, 1.2)), size=224),
            "py-feat feeds crops of 1.2 times the box at 112 pixels, enlarged to 224; the "
            "network was trained on the bare box at 448.",
        ),
    }
)


def image_networks() -> tuple[str, ...]:
    """Names of the networks that see pixels, in alphabetical order."""
    return tuple(sorted(_TABLE))


def network_inputs(name: str) -> NetworkInputs:
    """Both ways to feed a network.

    Raises:
        UnknownNodeError: no network of that name sees pixels.
    """
    if name not in _TABLE:
        raise UnknownNodeError("network", name, _TABLE)
    return _TABLE[name]


def network_input(name: str, preprocessing: Preprocessing = "trained") -> NetworkInput:
    """How to feed a network.

    Args:
        name: one of :func:`image_networks`.
        preprocessing: ``"trained"`` for what the network learned on, ``"reference"`` for what
            py-feat 2.0.3 feeds it.

    Raises:
        UnknownNodeError: no network of that name sees pixels.
        OptionError: another ``preprocessing``.
    """
    inputs = network_inputs(name)
    choices: dict[Any, NetworkInput] = {"trained": inputs.trained, "reference": inputs.reference}
    if preprocessing not in choices:
        raise OptionError(f"preprocessing is 'trained' or 'reference', got {preprocessing!r}")
    return choices[preprocessing]
