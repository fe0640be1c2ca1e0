"""The node around a stand-in for the network that sees one painted disc."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from featflow.datasets.frame import Frame
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.crop import FIVE_POINTS_IN_BOX
from featflow.nodes.landmark.tiny.node import CROP, LandmarkTiny


class SeesRed(nn.Module):
    """All points where the red is; in doubt about crops without any."""

    def forward(self, x):
        red = (x[:, 0].double() - x[:, 1].double()).clamp(min=0)
        light = red.sum((1, 2))
        at = torch.arange(x.shape[-1]) + 0.5
        place = torch.stack([(red.sum(1) * at).sum(1), (red.sum(2) * at).sum(1)], -1)
        points = (place / light[:, None]).nan_to_num(0.0).float()
        return points[:, None].repeat(1, 68, 1), torch.where(light > 1, 3.0, -3.0)


@pytest.fixture
def node():
    made = LandmarkTiny()
    made._model = SeesRed()
    return made


def frame(size, discs, scale=1.0):
    """Grey, with red discs (x, y, radius) in original pixels."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width] + 0.5
    image = np.full((height, width, 3), 90, np.uint8)
    for cx, cy, radius in discs:
        image[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] = (250, 0, 0)
    if scale != 1:
        working = round(width * scale), round(height * scale)
        image = cv2.resize(image, working, interpolation=cv2.INTER_AREA)
    return Frame(image, "s", size_px=size, scale=scale)


def run(node, frames, uids, boxes, points=None):
    boxes = np.array(boxes, np.float32)
    if points is None:
        points = np.full((len(boxes), 5, 2), np.nan, np.float32)
    faces = FaceBatch(np.array(uids), {"box": boxes, "points5": points})
    batch = Batch(FrameBatch.from_frames(frames), faces)
    return node.post_process(batch, node.process(node.pre_process(batch)))


def five(box, angle=0.0):
    """Five points of a face turned about the middle of its box."""
    box = np.array(box, float)
    points = box[:2] + FIVE_POINTS_IN_BOX * (box[2:] - box[:2])
    middle = (box[:2] + box[2:]) / 2
    c, s = np.cos(angle), np.sin(angle)
    return ((points - middle) @ np.array([[c, s], [-s, c]]) + middle).astype(np.float32)


@pytest.mark.parametrize("angle", [0.0, 0.7, -2.0, np.pi])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_points_are_original_pixels_however_the_face_is_turned(node, angle, scale):
    box = (100, 80, 260, 290)
    disc = (190, 160, 11)
    out = run(node, [frame((400, 500), [disc], scale)], [0], [box], five(box, angle)[None])
    assert out["landmarks"].shape == (1, 68, 2)
    assert np.abs(out["landmarks"] - disc[:2]).max() < 0.5
    assert out["landmark_score"].tolist() == pytest.approx([1 / (1 + np.exp(-3))], abs=1e-6)
    assert {v.dtype for v in out.values()} == {np.dtype(np.float32)}


def test_faces_of_two_frames_do_not_mix(node):
    boxes = [(20, 20, 90, 110), (120, 20, 190, 110), (50, 40, 250, 280)]
    frames = [frame((150, 220), [(60, 60, 6), (150, 70, 6)]), frame((300, 300), [(140, 150, 15)])]
    out = run(node, frames, [0, 0, 1], boxes, np.stack([five(b) for b in boxes]))
    expected = [(60, 60), (150, 70), (140, 150)]
    assert np.abs(out["landmarks"][:, 33] - expected).max() < 0.5


def test_a_face_without_points_is_cut_by_its_box(node):
    box = (100, 80, 260, 290)
    picture = frame((400, 500), [(190, 160, 11)])
    with_points = run(node, [picture], [0], [box], five(box)[None])
    without = run(node, [picture], [0], [box])
    assert np.allclose(with_points["landmarks"], without["landmarks"], atol=1e-2)


def test_the_score_is_low_where_the_network_doubts(node):
    box = (100, 80, 260, 290)
    out = run(node, [frame((400, 500), [])], [0], [box])
    assert out["landmark_score"].tolist() == pytest.approx([1 / (1 + np.exp(3))], abs=1e-6)


def test_what_cannot_be_cut_is_not_a_number(node):
    box = (100, 80, 260, 290)
    same = np.full((5, 2), 150.0, np.float32)
    out = run(
        node, [frame((400, 500), [(190, 160, 11)])], [0, 0], [box, box], np.stack([same, five(box)])
    )
    assert np.isnan(out["landmarks"][0]).all()
    assert np.isnan(out["landmark_score"][0])
    assert np.isfinite(out["landmarks"][1]).all()
    assert np.isfinite(out["landmark_score"][1])


def test_the_crop_shows_the_face_upright_from_brows_to_chin(node):
    """Eyes above the mouth, the image-left eye on the left, the chin inside."""
    template = CROP.template()
    assert template[0, 0] < template[1, 0]
    assert (template[:2, 1] < template[3:, 1].min()).all()
    eyes, mouth = template[:2].mean(0), template[3:].mean(0)
    chin = eyes + (mouth - eyes) * 2.05  # of FACE68_CM: (eyes - chin) / (eyes - mouth)
    assert eyes[1] > 15
    assert chin[1] < CROP.size


def test_the_network_sees_rgb_scaled_as_in_training(node):
    seen = []
    real = node._model
    node._model = lambda x: seen.append(x) or real(x)
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[...] = (255, 0, 51)
    run(node, [Frame(picture, "s", size_px=(200, 200))], [0], [(60, 60, 140, 150)])
    values = seen[0][0, :, 56, 56].tolist()
    assert values == pytest.approx([2.0, -2.0, (0.2 - 0.5) / 0.25], abs=1e-6)
