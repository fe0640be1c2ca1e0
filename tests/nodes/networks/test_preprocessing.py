"""The table of inputs: every colour order, range, crop and size, by value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch

from featflow.errors import OptionError, UnknownNodeError
from featflow.geometry.similarity import apply
from featflow.nodes.networks import network_names
from featflow.nodes.networks.preprocessing import (
    image_networks,
    network_input,
    network_inputs,
)

PUBLISHED = [name for name in network_names() if not name.startswith("tha3_")]
"""Those of THA3 have tests of their own, in tests/animate."""

Mode = Literal["trained", "reference"]

RED = np.zeros((1, 8, 8, 3), np.uint8)
RED[..., 0] = 255

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def first_pixel(name: str, mode: Mode) -> list[float]:
    """What a pure red pixel becomes, channel by channel."""
    prepared = network_input(name, mode).prepare(RED, "cpu")
    assert prepared.dtype == torch.float32
    return [float(v) for v in prepared[0, :, 0, 0]]


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("retinaface_r34", "trained", [-104, -117, 255 - 123]),
        ("retinaface_r34", "reference", [255 - 123, -117, -104]),
        ("img2pose", "trained", ([1, 0, 0] - MEAN) / STD),
        ("mobilefacenet", "trained", [0, 0, 1]),
        ("mobilefacenet", "reference", [1, 0, 0]),
        ("pfld", "trained", [0, 0, 1]),
        ("pfld", "reference", [1, 0, 0]),
        ("mobilenet_gdconv", "trained", ([0, 0, 1] - MEAN) / STD),
        ("mobilenet_gdconv", "reference", ([1, 0, 0] - MEAN) / STD),
        ("resmasknet", "trained", [0.299, 0.299, 0.299]),
        ("resmasknet", "reference", [1, 0, 0]),
        ("arcface_r50", "trained", [1, -1, -1]),
        ("arcface_r50", "reference", [1, -1, -1]),
        ("facenet", "trained", [127.5 / 128, -127.5 / 128, -127.5 / 128]),
        ("facenet", "reference", [1, 0, 0]),
        ("l2cs_r50", "trained", ([1, 0, 0] - MEAN) / STD),
        ("l2cs_r50", "reference", ([1, 0, 0] - MEAN) / STD),
    ],
)
def test_a_red_pixel(name: str, mode: Mode, expected: list[float]) -> None:
    np.testing.assert_allclose(first_pixel(name, mode), expected, atol=1e-5)


@dataclass
class OneFace:
    """A box twice as high as wide, with five points where the template has them."""

    box: np.ndarray
    points5: np.ndarray
    landmarks: np.ndarray


FACE = OneFace(
    np.array([[100.0, 200, 200, 400]]),
    np.full((1, 5, 2), np.nan),
    np.full((1, 68, 2), np.nan),
)


@pytest.mark.parametrize(
    ("name", "mode", "corners"),
    [
        # Where the box's corners come to lie, in parts of the crop.
        ("mobilefacenet", "trained", [[1 / 12, -1 / 3], [11 / 12, 4 / 3]]),
        ("pfld", "trained", [[1 / 12, -1 / 3], [11 / 12, 4 / 3]]),
        ("mobilenet_gdconv", "trained", [[1 / 12, -1 / 3], [11 / 12, 4 / 3]]),
        ("mobilefacenet", "reference", [[1 / 12, 1 / 12], [11 / 12, 11 / 12]]),
        ("mobilenet_gdconv", "reference", [[1 / 12, 1 / 12], [11 / 12, 11 / 12]]),
        ("resmasknet", "trained", [[0.5 - 50 / 165, 0.5 - 100 / 165]]),
        ("resmasknet", "reference", [[0.5 - 1 / 2.2, 0.5 - 1 / 2.2]]),
        ("arcface_r50", "reference", [[1 / 12, 1 / 12]]),
        ("facenet", "trained", [[0.1, 0.1], [0.9, 0.9]]),
        ("facenet", "reference", [[1 / 12, 1 / 12]]),
        ("l2cs_r50", "trained", [[0, 0], [1, 1]]),
        ("l2cs_r50", "reference", [[1 / 12, 1 / 12], [11 / 12, 11 / 12]]),
    ],
)
def test_where_the_box_lies_in_the_crop(name: str, mode: Mode, corners: list) -> None:
    rule = network_input(name, mode).spec.crop
    assert rule is not None
    matrix = rule.matrices(FACE)[0]
    box = np.array([[100.0, 200], [200, 400]])[: len(corners)]
    np.testing.assert_allclose(apply(matrix, box) / rule.size, corners, atol=1e-9)


def test_arcface_aligns_by_points() -> None:
    rule = network_input("arcface_r50").spec.crop
    assert rule is not None
    template = np.array(
        [
            [38.2946, 51.6963],
            [73.5318, 51.5014],
            [56.0252, 71.7366],
            [41.5493, 92.3655],
            [70.7299, 92.2041],
        ]
    )
    turn = np.array([[0.0, -2.0], [2.0, 0.0]])
    face = OneFace(FACE.box, (template @ turn.T + [300, 90])[None], FACE.landmarks)
    np.testing.assert_allclose(apply(rule.matrices(face)[0], face.points5[0]), template, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "trained", "reference"),
    [
        ("mobilefacenet", 112, 112),
        ("pfld", 112, 112),
        ("mobilenet_gdconv", 224, 224),
        ("resmasknet", 224, 224),
        ("arcface_r50", 112, 112),
        ("facenet", 160, 112),
        ("l2cs_r50", 448, 224),
    ],
)
def test_size_that_enters_the_network(name: str, trained: int, reference: int) -> None:
    for mode, size in (("trained", trained), ("reference", reference)):
        entry = network_input(name, mode)
        assert entry.spec.crop is not None
        crop = np.zeros((2, entry.spec.crop.size, entry.spec.crop.size, 3), np.uint8)
        assert tuple(entry.prepare(crop, "cpu").shape) == (2, 3, size, size)


def test_enlarging_keeps_a_ramp() -> None:
    entry = network_input("l2cs_r50", "reference")
    ramp = np.broadcast_to(np.arange(112, dtype=np.uint8)[:, None], (1, 112, 112))
    crop = np.stack([ramp] * 3, -1)
    green = entry.prepare(crop, "cpu")[0, 1, 2:-2, 5].numpy() * 0.224 + 0.456
    between = np.arange(112).repeat(2)[2:-2] + np.tile([-0.25, 0.25], 110)
    np.testing.assert_allclose(green * 255, between, atol=1e-4)


def test_every_network_that_sees_pixels_is_listed() -> None:
    assert set(image_networks()) == set(PUBLISHED) - {"mp_blendshapes", "pose_mlp"}


def test_what_differs_is_said_where_something_differs() -> None:
    for name in image_networks():
        inputs = network_inputs(name)
        assert bool(inputs.differs) == (inputs.trained != inputs.reference)


def test_unknown_names_and_modes_are_refused() -> None:
    with pytest.raises(UnknownNodeError, match="pose_mlp"):
        network_input("pose_mlp")
    with pytest.raises(OptionError, match="'fast'"):
        network_input("pfld", "fast")  # type: ignore[arg-type]
