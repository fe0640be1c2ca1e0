"""The node ``mask/hull``: its crop, its field, its options."""

from __future__ import annotations

import numpy as np
import pytest

from featflow.datasets.frame import Frame
from featflow.errors import OptionError
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.hull_masks import hull_masks
from featflow.geometry.landmarks import five_points
from featflow.geometry.mean_face import FACE68_CM
from featflow.geometry.similarity import apply
from featflow.nodes.mask.hull import HullMask
from featflow.testing import check_node


def _batch(turn: float = 0.0) -> Batch:
    """A face 110 pixels wide in a black frame, the second one hanging over the right edge."""
    c, s = np.cos(turn), np.sin(turn)
    face = FACE68_CM[:, :2] * [7.5, -7.5] @ np.array([[c, s], [-s, c]])
    inside, over_the_edge = np.add(face, [150, 100]), np.add(face, [295, 100])
    landmarks = np.stack([inside, over_the_edge, np.full((68, 2), np.nan)])
    corners = np.concatenate([landmarks.min(1), landmarks.max(1)], 1)
    fields = {
        "box": np.where(np.isfinite(corners), corners, [[10, 10, 60, 60]]),
        "points5": five_points(landmarks),
        "landmarks": landmarks,
    }
    frame = Frame(np.zeros((200, 300, 3), np.uint8), "memory", size_px=(200, 300))
    return Batch(FrameBatch.from_frames([frame]), FaceBatch(np.zeros(3, np.int64), fields))


def _masks(node: HullMask, batch: Batch) -> np.ndarray:
    node.load()
    return node.post_process(batch, node.process(node.pre_process(batch)))["mask"]


def test_mask_is_drawn_on_the_declared_crop() -> None:
    batch, node = _batch(), HullMask("face")
    masks = _masks(node, batch)
    assert masks.shape == (3, 128, 128)
    assert masks.dtype == np.uint8
    matrices = node.crop.matrices(batch.faces)
    expected = hull_masks(batch.faces.landmarks, matrices, batch.frame_sizes_px, 128, "face")
    np.testing.assert_array_equal(masks, expected)
    tip = apply(matrices, batch.faces.landmarks)[0, 30].astype(int)
    assert masks[0, tip[1], tip[0]] == 255
    assert not masks[2].any()


def test_the_crop_holds_the_whole_extended_face() -> None:
    batch, node = _batch(), HullMask("extended")
    mask = _masks(node, batch)[0]
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert not edge.any()
    assert 0.15 < mask.mean() / 255 < 0.5


def test_a_turned_face_gives_the_same_upright_mask() -> None:
    upright, turned = (_masks(HullMask(), _batch(turn))[0].astype(int) for turn in (0.0, 0.7))
    assert np.abs(upright - turned).mean() < 2


def test_off_the_frame_is_zero() -> None:
    batch, node = _batch(), HullMask("face")
    mask = _masks(node, batch)[1]
    assert (_masks(node, batch)[0] > 0).sum() > 1.6 * (mask > 0).sum() > 0
    edge = apply(node.crop.matrices(batch.faces)[1], np.array([[300.0, 100.0]]))[0, 0]
    assert not mask[:, int(np.ceil(edge)) :].any()
    assert mask[:, : int(edge)].any()


def test_options() -> None:
    assert _masks(HullMask("eyes", size=64), _batch()).shape == (3, 64, 64)
    with pytest.raises(OptionError, match=r"'hair'.*brows"):
        HullMask("hair")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="size"):
        HullMask(size=0)


def test_no_faces_give_no_masks() -> None:
    batch = _batch()
    assert _masks(HullMask(), batch.with_faces(batch.faces[:0])).shape == (0, 128, 128)


@pytest.mark.parametrize("size", [128, 96])
def test_keeps_the_node_contract(size: int) -> None:
    node = HullMask(size=size)
    assert check_node(node).faces == 8
    assert node.shape_of("mask") == (size, size)
