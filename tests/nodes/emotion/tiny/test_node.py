"""The node around stand-ins for the network."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from torch import nn

from featflow.datasets.frame import Frame
from featflow.fex.schema import EMOTIONS
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.similarity import apply
from featflow.nodes import make_node
from featflow.nodes.emotion.tiny.node import CROP, SPEC, EmotionTiny
from featflow.testing.face68 import FACE68_CM


class Says(nn.Module):
    """The same logits for every crop; keeps what it was shown."""

    def __init__(self, logits, prior=None):
        super().__init__()
        self.logits = torch.tensor(logits, dtype=torch.float32)
        self.register_buffer("prior", torch.full((7,), 1 / 7) if prior is None else prior)
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return self.logits.expand(len(x), 7)


def face(scale=6.0, centre=(130.0, 110.0), angle=0.0):
    """68 points of a face that looks into the camera, x to the image right, y down."""
    c, s = np.cos(angle), np.sin(angle)
    return FACE68_CM[:, :2] * [scale, -scale] @ np.array([[c, s], [-s, c]]) + centre


def run(node, landmarks, image=None):
    landmarks = np.asarray(landmarks, np.float32)
    picture = np.full((240, 260, 3), 90, np.uint8) if image is None else image
    frames = FrameBatch.from_frames([Frame(picture, "s", size_px=picture.shape[:2])])
    rows = np.zeros(len(landmarks), np.int64)
    box = np.zeros((len(landmarks), 4), np.float32)
    batch = Batch(frames, FaceBatch(rows, {"box": box, "landmarks": landmarks}))
    return node.post_process(batch, node.process(node.pre_process(batch)))["emotions"]


def stands_in(model, **options):
    node = EmotionTiny(**options)
    node._model = model
    return node


def test_probabilities_are_the_softmax_in_the_order_of_the_columns():
    assert EMOTIONS == (
        "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"
    )  # fmt: skip
    logits = [0.5, -1.0, 0.0, 3.0, 0.2, 1.0, 2.5]
    told = run(stands_in(Says(logits)), [face(), face(5.0)])
    assert told.dtype == np.float32
    assert np.allclose(told, softmax(logits), atol=1e-6)


@given(
    st.lists(st.floats(-30, 30, width=32), min_size=7, max_size=7),
    st.lists(st.floats(0.001, 1), min_size=7, max_size=7),
)
def test_the_balanced_reading_divides_by_the_prior(logits, prior):
    prior = np.array(prior) / np.sum(prior)
    model = Says(logits, torch.from_numpy(prior).float())
    plain, balanced = (run(stands_in(model, balanced=b), [face()])[0] for b in (False, True))
    assert plain == pytest.approx(softmax(logits), abs=1e-5)
    divided = softmax(np.array(logits) - np.log(prior))
    assert balanced == pytest.approx(divided, abs=1e-4)
    assert balanced.sum() == pytest.approx(1, abs=1e-5)


def test_a_face_without_landmarks_has_no_emotions():
    lost = np.full((68, 2), np.nan)
    flat = np.full((68, 2), 40.0)
    told = run(stands_in(Says([0.0] * 7)), [lost, face(), flat])
    assert np.isnan(told[[0, 2]]).all()
    assert np.allclose(told[1], 1 / 7)


@pytest.mark.parametrize("angle", [0.0, 0.8, np.pi])
def test_the_crop_is_upright_from_the_forehead_to_the_chin(angle):
    points = face(angle=angle)
    faces = FaceBatch(np.zeros(1, np.int64), {"landmarks": points[None]})
    seen = apply(CROP.matrices(faces)[0], points) / CROP.size
    left_eye, right_eye = seen[42:48].mean(0), seen[36:42].mean(0)
    assert right_eye[0] < 0.4 < 0.6 < left_eye[0]  # the subject's right eye on the image left
    assert abs(left_eye[1] - right_eye[1]) < 0.01
    assert 0.1 < seen[17:27, 1].min() < 0.3  # room above the brows
    assert 0.9 < seen[8, 1] < 1.0  # the chin just inside


def test_the_network_sees_grey_as_in_training():
    model = Says([0.0] * 7)
    image = np.zeros((240, 260, 3), np.uint8)
    image[...] = (255, 0, 51)
    run(stands_in(model), [face()], image)
    grey = (0.299 * 255 + 0.114 * 51) / 255
    assert model.seen[0].shape == (2, 1, 64, 64)  # and its mirror image
    assert model.seen[0][0, 0, 32, 32].item() == pytest.approx((grey - 0.5) / 0.25, abs=1e-5)
    assert SPEC.channels == "grey"


def test_balanced_is_an_option_of_the_slot():
    assert make_node("emotion", "tiny", {"balanced": True}).balanced is True
    assert make_node("emotion", "tiny").balanced is False
