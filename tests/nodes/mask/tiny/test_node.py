"""The shipped mask node: where it lies, off the frame, by skin tone, and what it agrees with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featflow.datasets import sample_photo
from featflow.datasets.frame import Frame
from featflow.detector import Detector
from featflow.evaluation.shapes import mask_iou
from featflow.fex.masks import StoredMask
from featflow.fex.table import Fex
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.hull_masks import fill_hulls, on_frame
from featflow.nodes.mask.tiny import NODE
from featflow.nodes.mask.tiny.data import MaskedFaces, MaskSet
from featflow.nodes.mask.tiny.node import CROP, SPEC, MaskTiny, only_on_frame
from featflow.testing import check_node


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.only(face="tiny", landmark="tiny", mask="tiny", device="cpu")


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.asarray(Image.open(sample_photo()).convert("RGB"))


@pytest.fixture(scope="module")
def portrait(detector: Detector, picture: np.ndarray) -> Fex:
    return detector.detect(picture, progress_bar=False)


def points(fex: Fex) -> np.ndarray:
    return np.stack([fex.landmarks_x.to_numpy(float), fex.landmarks_y.to_numpy(float)], -1)[0]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(mask_iou(a[None], b[None])[0])


def test_the_portraits_mask_is_its_face(portrait: Fex, picture: np.ndarray) -> None:
    mask = portrait.mask(0) >= 128
    assert mask.shape == picture.shape[:2]
    at = points(portrait)
    size = max(mask.shape)
    inner = fill_hulls([at[27:]], size)[: mask.shape[0], : mask.shape[1]] > 127
    assert mask[inner].mean() > 0.97
    low, high = at.min(0), at.max(0)
    y, x = np.nonzero(mask)
    assert x.min() > low[0] - 0.12 * (high - low)[0]
    assert x.max() < high[0] + 0.12 * (high - low)[0]
    assert y.max() < high[1] + 0.10 * (high - low)[1]
    assert mask[int(at[27, 1]) - 2, int(at[27, 0])]  # between the eyes
    assert y.min() < at[17:27, 1].min()  # some forehead


def test_a_mirrored_picture_has_the_mirrored_mask(
    detector: Detector, portrait: Fex, picture: np.ndarray
) -> None:
    mirror = detector.detect(np.ascontiguousarray(picture[:, ::-1]), progress_bar=False)
    assert overlap(mirror.mask(0)[:, ::-1] >= 128, portrait.mask(0) >= 128) > 0.93


@pytest.mark.parametrize("angle", [-30, 40])
def test_a_turned_picture_has_the_turned_mask(
    detector: Detector, portrait: Fex, picture: np.ndarray, angle: int
) -> None:
    found = detector.detect(np.asarray(Image.fromarray(picture).rotate(angle)), progress_bar=False)
    best = int(found["FaceScore"].to_numpy().argmax())
    expected = np.asarray(Image.fromarray(portrait.mask(0)).rotate(angle)) >= 128
    assert overlap(found.mask(best) >= 128, expected) > 0.9


def test_off_the_frame_is_exactly_zero(portrait: Fex, picture: np.ndarray) -> None:
    """The portrait's face, cut in half by the picture's edge."""
    at = points(portrait)
    edge = int(at[27, 0])
    cut = np.ascontiguousarray(picture[:, :edge])
    frames = FrameBatch.from_frames([Frame(cut, "", size_px=cut.shape[:2])])
    fields = {"box": np.array([[*at.min(0), *at.max(0)]]), "landmarks": at[None]}
    batch, node = Batch(frames, FaceBatch(frames.uids, fields)), MaskTiny()
    node.load("cpu")
    said = node.post_process(batch, node.process(node.pre_process(batch)))
    off = ~on_frame(said["mask_matrix"][0], np.array(cut.shape[:2]), CROP.size)
    assert 0.3 < off.mean() < 0.7
    assert not said["mask"][0][off].any()
    # The cut's edge is slanted on the upright crop, so the halves are compared on the frame.
    whole = portrait.mask(0)[:, : edge - 3] >= 128
    half = StoredMask(said["mask"][0], said["mask_matrix"][0], "face").on_frame(*cut.shape[:2])
    assert overlap(half[:, : edge - 3] >= 128, whole) > 0.85


def test_only_what_is_on_the_frame_is_kept() -> None:
    masks = np.full((2, 4, 4), 200, np.uint8)
    matrices = np.array([[[1.0, 0, 0], [0, 1, 0]], [[1.0, 0, 2], [0, 1, 0]]])
    kept = only_on_frame(masks, matrices, np.array([[3, 9], [9, 9]]))
    assert kept[0].tolist() == [[200] * 4] * 3 + [[0] * 4]  # a frame of three rows
    assert kept[1].tolist() == [[0, 0, 200, 200]] * 4  # it begins at the third column
    assert only_on_frame(masks[:0], matrices[:0], np.zeros((0, 2), int)).shape == (0, 4, 4)


def test_masks_do_not_depend_on_the_batch_size(detector: Detector, picture: np.ndarray) -> None:
    frames = [np.asarray(Image.fromarray(picture).rotate(4 * i)) for i in range(9)]
    one, three, eight = (
        detector.detect(frames, batch_size=n, progress_bar=False) for n in (1, 3, 8)
    )
    for row in range(len(one)):
        first = one.stored_mask(row)
        assert first is not None
        for other in (three.stored_mask(row), eight.stored_mask(row)):
            assert other is not None
            np.testing.assert_allclose(other.matrix, first.matrix, atol=1e-3)
            # A probability times 255: rounding may fall either way.
            away = np.abs(other.pixels.astype(int) - first.pixels)
            assert away.max() <= 1
            assert (away > 0).mean() < 0.01


@pytest.fixture(scope="module")
def agreement(shared: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Overlap with the labels of people never trained on, plain, as grey, and darkened."""
    labelled = MaskedFaces.open(shared / "faces", "val", "ytf")
    faces, node = MaskSet(labelled), MaskTiny()
    node.load("cpu")
    samples = [faces.plain(row) for row in range(0, len(faces), 4)]
    truth = np.stack([s.mask for s in samples]) > 0.5
    crops = np.stack([s.crop for s in samples])
    grey = crops.mean(-1, keepdims=True).astype(np.uint8).repeat(3, -1)
    dark = (255 * (crops / 255.0) ** 1.8).astype(np.uint8)
    found = [mask_iou(truth, node.process(c).numpy() > 0.5) for c in (crops, grey, dark)]
    return found[0], found[1], found[2]


def test_agrees_with_the_labels(agreement: tuple[np.ndarray, ...]) -> None:
    plain, grey, dark = agreement
    assert plain.mean() > 0.89
    assert grey.mean() > plain.mean() - 0.04
    assert dark.mean() > plain.mean() - 0.04


def test_the_crop_is_the_one_that_training_cut() -> None:
    assert SPEC.crop == CROP == MaskTiny.crop
    assert (CROP.size, CROP.anchor, CROP.centring) == (96, "landmarks", "face")


def test_keeps_the_node_contract() -> None:
    assert check_node(NODE()).faces == 8
