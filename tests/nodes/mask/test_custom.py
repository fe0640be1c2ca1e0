"""The constant mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featflow.datasets.frame import Frame
from featflow.errors import OptionError
from featflow.flow import Flow
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.mean_face import FACE68_CM
from featflow.nodes import card_of, make_node
from featflow.nodes.mask.custom import CustomMask
from featflow.testing import check_node


def faces_of(node: CustomMask) -> FaceBatch:
    """A face in the middle, one whose right half is off the frame, and one without points."""
    points = FACE68_CM[:, :2] * [5, -5]
    landmarks = np.stack([points + [150, 120], points + [300, 120], points * np.nan])
    fields = {
        "box": np.tile(np.float32([1, 1, 9, 9]), (3, 1)),
        "landmarks": landmarks.astype(np.float32),
    }
    frame = Frame(np.zeros((240, 300, 3), np.uint8), "x", size_px=(240, 300))
    batch = Batch(FrameBatch.from_frames([frame]), FaceBatch(np.zeros(3, np.int64), fields))
    return next(Flow([node], given=("box", "landmarks")).run([batch])).faces


def masks_of(node: CustomMask) -> np.ndarray:
    return faces_of(node).fields["mask"]


@pytest.mark.parametrize("centring", ["legacy", "face", "head"])
def test_full_scale_on_the_frame_and_exactly_zero_off_it(centring: Any) -> None:
    inside, half, unknown = masks_of(CustomMask(True, 64, centring))
    assert (inside == 255).all()
    assert set(np.unique(half)) == {0, 255}
    assert (half[:, :31] == 255).all()
    assert (half[:, 33:] == 0).all()
    assert (unknown == 0).all()
    assert (masks_of(CustomMask(False, 64, centring)) == 0).all()


def test_the_matrix_says_where_the_mask_lies() -> None:
    node = CustomMask(True, 64, "face")
    faces = faces_of(node)
    np.testing.assert_array_equal(faces.fields["mask_matrix"], node.crop.matrices(faces))
    assert np.isnan(faces.fields["mask_matrix"][2]).all()


def test_it_is_registered_and_keeps_the_contract() -> None:
    node = make_node("mask", "custom", {"fill": True, "size": 32})
    assert node.shape_of("mask") == (32, 32)
    assert check_node(node).node == "mask/custom"
    assert card_of("mask/custom").commercial_use
    with pytest.raises(OptionError, match="size"):
        CustomMask(size=0)
