"""The node around a stand-in that sees where three painted marks lie."""

import numpy as np
import pytest
import torch
from torch import nn

from featflow.datasets.frame import Frame
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.crop import FIVE_POINT_TEMPLATE
from featflow.nodes.identity.tiny.node import CROP, LARGEST_SCALE, SPEC, IdentityTiny
from featflow.testing import check_node
from featflow.testing.face68 import FACE68_CM

RED, BLUE = (250, 0, 0), (0, 0, 250)


class Recorder(nn.Module):
    """Keeps what it is shown; the vector is the mean of the crop."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return nn.functional.pad(x.mean((2, 3)), (0, 125), value=0.1)


@pytest.fixture
def node():
    made = IdentityTiny()
    made._model = Recorder()
    return made


def face(scale=9.0, angle=0.0, centre=(150.0, 140.0)):
    """68 points; a positive angle turns x towards y, clockwise as seen."""
    c, s = np.cos(angle), np.sin(angle)
    points = FACE68_CM[:, :2] * [scale, -scale]
    return (points @ np.array([[c, s], [-s, c]]) + centre).astype(np.float32)


def picture(points, size=(300, 300)):
    """The subject's right eye (image left) red, the left one blue."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    image = np.full((*size, 3), 90, np.uint8)
    radius = 0.1 * np.linalg.norm(points[36] - points[45]) + 0.6
    for place, colour in ((points[36:42].mean(0), RED), (points[42:48].mean(0), BLUE)):
        image[((np.stack([x, y], -1) - place) ** 2).sum(-1) <= radius**2] = colour
    return image


def batch_of(points, images=None):
    points = np.asarray(points, np.float32)
    images = [picture(p) for p in points] if images is None else images
    frames = FrameBatch.from_frames(
        [Frame(image, str(i), size_px=image.shape[:2]) for i, image in enumerate(images)]
    )
    boxes = np.concatenate([points.min(1), points.max(1)], 1)
    fields = {"box": boxes, "landmarks": points}
    return Batch(frames, FaceBatch(frames.uids, fields))


def run(node, batch):
    return node.post_process(batch, node.process(node.pre_process(batch)))["embedding"]


def place(crop, colour):
    y, x = np.mgrid[0 : CROP.size, 0 : CROP.size] + 0.5
    same = np.abs(crop.astype(int) - colour).max(-1) < 80
    return np.array([x[same].mean(), y[same].mean()])


@pytest.mark.parametrize("angle", [0.0, 0.6, -1.2, np.pi])
@pytest.mark.parametrize("scale", [5.0, 9.0])
def test_eyes_come_to_rest_on_the_template_image_left_first(node, angle, scale):
    """Fails if left and right, or up and down, change places in the alignment."""
    crop = node.pre_process(batch_of([face(scale, angle)]))[0]
    wanted = FIVE_POINT_TEMPLATE * CROP.size
    assert np.abs(place(crop, RED) - wanted[0]).max() < 2.0
    assert np.abs(place(crop, BLUE) - wanted[1]).max() < 2.0


def test_a_mirrored_picture_gives_the_same_vector(node):
    points = face()
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    mirrored = points * [-1, 1] + [300, 0]
    from featflow.geometry.landmarks import MIRROR_68

    one = run(node, batch_of([points], [image]))
    other = run(node, batch_of([mirrored[MIRROR_68]], [np.ascontiguousarray(image[:, ::-1])]))
    np.testing.assert_allclose(one, other, atol=5e-3)


def test_the_network_sees_rgb_scaled_as_in_training_and_mirrored(node):
    image = np.zeros((300, 300, 3), np.uint8)
    image[...] = (255, 0, 51)
    image[:, :150] = (0, 0, 0)
    run(node, batch_of([face()], [image]))
    straight, flipped = node._model.seen
    middle = CROP.size // 2
    assert straight[0, :, middle, -2].tolist() == pytest.approx([2.0, -2.0, -1.2], abs=1e-6)
    assert straight[0, :, middle, 1].tolist() == pytest.approx([-2.0] * 3, abs=1e-6)
    assert torch.equal(flipped, straight.flip(-1))
    assert SPEC.channels == "RGB"


def test_vectors_have_length_1(node):
    found = run(node, batch_of([face(), face(5.0, 0.4)]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)


def test_what_cannot_be_known_is_not_a_number(node):
    """Too small, of one colour, off the picture, or with points that coincide."""
    small = face(9.0 * CROP.size / 300 / LARGEST_SCALE)
    fits = face(9.0 * CROP.size / 60 / LARGEST_SCALE)
    away, points = face(centre=(-900.0, 140.0)), np.full((68, 2), 150.0)
    batch = batch_of([small, fits, face(), away, points, face()], None)
    blank = np.full((300, 300, 3), 90, np.uint8)
    images = [*(picture(p) for p in (small, fits)), blank, blank, picture(face()), picture(face())]
    found = run(node, batch_of(batch.faces.landmarks, images))
    known = np.isfinite(found).all(1)
    assert known.tolist() == [False, True, False, False, False, True]
    assert np.isnan(found[~known]).all()


def test_the_limit_of_size_is_that_of_the_crop(node):
    """The eyes of the template are 20 pixels apart, so 5 pixels are enlarged four times."""
    apart = np.linalg.norm(FIVE_POINT_TEMPLATE[0] - FIVE_POINT_TEMPLATE[1]) * CROP.size
    assert apart / LARGEST_SCALE == pytest.approx(5.0, abs=0.1)


def test_it_keeps_the_node_contract():
    assert check_node(IdentityTiny).faces == 8
