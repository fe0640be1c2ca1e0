"""The second look, with models whose answers are known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from featflow.nodes.face.tiny.look import (
    CANVAS,
    CHUNK,
    FACE_SIDE,
    FLOOR,
    NOTHING_SEEN,
    Candidates,
    find_candidates,
    first_look,
    look_again,
    mirrored_patch,
)
from featflow.nodes.face.tiny.network import cell_grid

CPU = torch.device("cpu")


def raw_for(size, faces):
    """Raw predictions of one picture: (score, box) at the stride-8 cell at each box's centre."""
    height, width = size
    cells = cell_grid(height, width)
    raw = torch.zeros(len(cells), 15)
    raw[:, 0] = -20.0
    for score, (x0, y0, x1, y1) in faces:
        middle = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2])
        cell = int(middle[1] // 8) * (width // 8) + int(middle[0] // 8)
        raw[cell, 0] = torch.logit(torch.tensor(score))
        raw[cell, 1:3] = (middle - cells[cell, :2]) / 8
        raw[cell, 3:5] = (torch.tensor([x1 - x0, y1 - y0]) / 8).log()
    return raw


class Says(nn.Module):
    """Answers ``first`` for large pictures and ``second`` for the patches of the second look."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second, self.seen = first, second, []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        size = tuple(x.shape[2:])
        faces = self.second if size == (CANVAS, CANVAS) else self.first
        return torch.stack([raw_for(size, faces)] * len(x))


MIDDLE = (CANVAS - FACE_SIDE) / 2
CENTRED = (MIDDLE, MIDDLE, CANVAS - MIDDLE, CANVAS - MIDDLE)
"""Where a square box lies in its patch."""
BOX = (60.0, 50.0, 100.0, 90.0)


def scores(first, second, box=CENTRED, **options):
    model = Says([(first, BOX)], [(second, box)] if second else [])
    pixels = np.zeros((1, 192, 256, 3), np.uint8)
    return find_candidates(model, pixels, CPU, **options).scores.tolist(), model


def logit(p):
    return np.log(p / (1 - p))


@pytest.mark.parametrize(("first", "second"), [(0.6, 0.3), (0.4, 0.8), (0.3, 0.3), (0.8, 0.9)])
def test_a_doubtful_score_becomes_the_mean_of_two_logits(first, second):
    (score,), _ = scores(first, second)
    mean = (logit(first) + logit(second)) / 2
    assert score == pytest.approx(1 / (1 + np.exp(-mean)), abs=1e-5)


def test_what_is_not_seen_again_loses_most_of_its_score():
    (score,), _ = scores(0.7, None)
    mean = (logit(0.7) + logit(NOTHING_SEEN)) / 2
    assert score == pytest.approx(1 / (1 + np.exp(-mean)), abs=1e-5)
    (elsewhere,), _ = scores(0.7, 0.9, (5.0, 5.0, 45.0, 45.0))
    assert elsewhere == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("first", [0.2, 0.9])
def test_what_is_not_in_doubt_is_looked_at_once(first):
    (score,), model = scores(first, 0.5)
    assert score == pytest.approx(first, abs=1e-5)
    assert len(model.seen) == 1


def test_the_second_look_can_be_switched_off():
    (score,), model = scores(0.6, 0.2, second_look=False)
    assert score == pytest.approx(0.6, abs=1e-5)
    assert len(model.seen) == 1


def test_below_the_floor_nothing_is_kept():
    raw = raw_for((128, 192), [(FLOOR - 0.01, (10, 10, 40, 40)), (FLOOR + 0.01, (90, 30, 120, 60))])
    found = first_look(raw[None], 128, 192)
    assert found.boxes.tolist() == [pytest.approx([90, 30, 120, 60], abs=1e-3)]


def test_overlapping_boxes_are_thinned_in_each_picture_for_itself():
    here = [(0.9, (10, 10, 50, 50)), (0.8, (18, 18, 58, 58))]
    raw = torch.stack([raw_for((128, 192), here), raw_for((128, 192), here[1:])])
    found = first_look(raw, 128, 192, nms_iou=0.4)
    assert found.picture.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.8], abs=1e-6)
    assert len(first_look(raw, 128, 192, nms_iou=0.6).scores) == 3


def test_each_patch_answers_for_its_own_candidate():
    """Many candidates at once: the brightness of each patch is its second score."""

    class Bright(nn.Module):
        def forward(self, x):
            level = (x[:, 0, 64, 64].double() * 0.25 + 0.5).clamp(0.05, 0.95)
            return torch.stack([raw_for((CANVAS, CANVAS), [(float(v), CENTRED)]) for v in level])

    rng = np.random.default_rng(0)
    count = CHUNK + 21
    pixels = np.zeros((3, 128, 64 * 10, 3), np.uint8)
    picture = rng.integers(0, 3, count)
    boxes, levels = np.zeros((count, 4)), np.zeros(count)
    for row in range(count):
        place = int(np.sum(picture[:row] == picture[row]))
        x, y = 8 + 16 * (place % 39), 8 + 16 * (place // 39)
        levels[row] = rng.integers(60, 200)
        pixels[picture[row], y : y + 12, x : x + 12] = levels[row]
        boxes[row] = x, y, x + 12, y + 12
    before = boxes.copy()
    found = Candidates(picture, boxes, np.zeros((count, 5, 2)), np.full(count, 0.5))
    seen = look_again(Bright(), pixels, found, CPU)
    wanted = logit((levels / 255).clip(0.05, 0.95)) / 2
    assert logit(seen.scores) == pytest.approx(wanted, abs=1e-4)
    assert seen.boxes == pytest.approx(before, abs=0.3)
    assert (found.boxes == before).all()


def test_the_patch_is_a_mirror_image():
    image = np.zeros((200, 200, 3), np.uint8)
    image[80:120, 80:100] = (255, 0, 0)
    image[80:120, 100:120] = (0, 0, 255)
    made = mirrored_patch(image, np.array([80.0, 80.0, 120.0, 120.0]))
    patch = made.pixels
    assert made.box.tolist() == [44.0, 44.0, 84.0, 84.0]
    assert patch[64, 54].tolist() == [0, 0, 255]
    assert patch[64, 74].tolist() == [255, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    x=st.integers(0, 150),
    y=st.integers(0, 150),
    width=st.integers(9, 240),
    height=st.integers(9, 240),
)
def test_the_box_lies_in_the_patch_where_it_is_said_to_lie(x, y, width, height):
    image = np.zeros((400, 400, 3), np.uint8)
    x1, y1 = min(x + width, 400), min(y + height, 400)
    image[y:y1, x:x1] = 255
    made = mirrored_patch(image, np.array([x, y, x1, y1], float))
    patch, box = made.pixels, made.box
    light = patch[..., 0] / 255.0
    assert max(box[2:] - box[:2]) == pytest.approx(FACE_SIDE, rel=0.06)
    measured = [
        float((light.sum(axis) * (np.arange(CANVAS) + 0.5)).sum() / light.sum()) for axis in (0, 1)
    ]
    assert measured == pytest.approx(((box[:2] + box[2:]) / 2).tolist(), abs=0.6)
    assert light.sum() == pytest.approx((box[2] - box[0]) * (box[3] - box[1]), rel=0.12)


def test_the_patch_is_black_outside_the_picture():
    image = np.full((100, 100, 3), 200, np.uint8)
    made = mirrored_patch(image, np.array([0.0, 0.0, 40.0, 40.0]))
    patch = made.pixels
    assert made.box.tolist() == [44.0, 44.0, 84.0, 84.0]
    # Mirrored: what lies left of the picture is on the patch's right.
    assert (patch[:, 84:] == 0).all()
    assert (patch[:44] == 0).all()
    assert (patch[44:, :84] == 200).all()


def test_a_box_outside_its_picture_gives_a_black_patch():
    image = np.full((50, 50, 3), 200, np.uint8)
    assert not mirrored_patch(image, np.array([300.0, 300.0, 330.0, 330.0])).pixels.any()


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(-20, 300),
    y=st.floats(-20, 300),
    width=st.floats(9, 240),
    height=st.floats(9, 240),
    seed=st.integers(0, 99),
)
def test_what_a_patch_shows_comes_back_to_the_picture(x, y, width, height, seed):
    box = np.array([x, y, x + width, y + height])
    made = mirrored_patch(np.zeros((320, 320, 3), np.uint8), box)
    rng = np.random.default_rng(seed)
    points = box[:2] + rng.uniform(0, 1, (5, 2)) * [width, height]
    # The way there, written out: about the corner, zoomed, mirrored, left and right renamed.
    there = (points - made.corner) * made.zoom
    there[:, 0] = CANVAS - there[:, 0]
    back, five = made.to_picture(made.box, there[[1, 0, 2, 4, 3]])
    assert back == pytest.approx(box, abs=1e-9)
    assert five == pytest.approx(points, abs=1e-9)


def test_boxes_of_two_opinions_are_averaged():
    shifted = (CENTRED[0] + 4, CENTRED[1] + 2, CENTRED[2] + 4, CENTRED[3] + 2)
    model = Says([(0.6, BOX)], [(0.6, shifted)])
    found = find_candidates(model, np.zeros((1, 192, 256, 3), np.uint8), CPU)
    # Four pixels to the right in a mirror image are four to the left; BOX is shown at its size.
    assert found.boxes[0] == pytest.approx(np.array(BOX) + [-2, 1, -2, 1], abs=1e-3)


@pytest.mark.parametrize("score", [0.6, 0.95])
def test_a_large_box_is_placed_by_the_second_look(score):
    large = (40.0, 24.0, 240.0, 224.0)
    smaller = (MIDDLE + 4, MIDDLE + 4, CANVAS - MIDDLE - 4, CANVAS - MIDDLE - 4)
    model = Says([(score, large)], [(score, smaller)])
    found = find_candidates(model, np.zeros((1, 256, 320, 3), np.uint8), CPU)
    assert found.boxes[0] == pytest.approx([60, 44, 220, 204], abs=0.1)
    assert found.scores[0] == pytest.approx(score, abs=1e-4)
    unseen = Says([(score, large)], [])
    kept = find_candidates(unseen, np.zeros((1, 256, 320, 3), np.uint8), CPU)
    assert kept.boxes[0] == pytest.approx(large, abs=1e-3)


def test_no_candidates_are_no_work():
    model = Says([], [])
    found = find_candidates(model, np.zeros((2, 128, 192, 3), np.uint8), CPU)
    assert len(found.scores) == 0
    assert found.boxes.shape == (0, 4)
    assert found.points.shape == (0, 5, 2)
    assert model.seen == [(2, 3, 128, 192)]
