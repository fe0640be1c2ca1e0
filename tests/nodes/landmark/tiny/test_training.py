import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featflow.geometry.landmarks import five_points, interocular
from featflow.nodes.landmark.tiny.node import CROP, SPEC
from featflow.nodes.landmark.tiny.training import (
    CropSet,
    LandmarkTask,
    collate,
    jitter,
    mirrored,
    turn,
    wing_loss,
)
from featflow.testing.face68 import FACE68_CM
from featflow.train.recipe import Optim, Recipe

RED, BLUE, YELLOW = (255, 0, 0), (0, 0, 255), (255, 255, 0)
MARKS = {36: RED, 45: BLUE, 8: YELLOW}
"""The subject's right eye corner (image left), the left one, and the chin."""


def face(scale=9.0, centre=(130.0, 110.0)):
    """68 points of a face that looks into the camera, x to the image right, y down."""
    return FACE68_CM[:, :2] * [scale, -scale] + centre


class Faces:
    """Two labelled photographs in memory: one with RetinaFace's answer, one without."""

    def __init__(self, marks=True):
        self.landmarks = np.stack([face(), face(7.0, (120.0, 120.0))]).astype(np.float32)
        low, high = self.landmarks.min(1), self.landmarks.max(1)
        self.boxes = np.concatenate([low, high], 1)
        self.boxes[1] = np.nan
        self.points5 = five_points(self.landmarks).astype(np.float32)
        self.points5[1] = np.nan
        self.marks = marks

    def read_all(self):
        y, x = np.mgrid[0:240, 0:260] + 0.5
        pictures = []
        for points in self.landmarks:
            image = np.full((240, 260, 3), 60, np.uint8)
            for index, colour in MARKS.items():
                image[((np.stack([x, y], -1) - points[index]) ** 2).sum(-1) <= 25] = colour
            pictures.append(image)
        return pictures


def place(crop, colour):
    y, x = np.mgrid[0 : crop.shape[0], 0 : crop.shape[1]] + 0.5
    same = np.abs(crop.astype(int) - colour).max(-1) < 90
    return np.array([x[same].mean(), y[same].mean()]) if same.sum() >= 8 else None


def assert_points_on_marks(sample, order=(36, 45, 8)):
    found = 0
    for index, colour in zip(order, MARKS.values(), strict=True):
        centre = place(sample["crop"], colour)
        inside = ((sample["points"][index] > 6) & (sample["points"][index] < 106)).all()
        if inside:
            assert centre is not None
            assert np.abs(centre - sample["points"][index]).max() < 1.0
            found += 1
    return found


@pytest.fixture(scope="module")
def crops():
    return CropSet(Faces())


@pytest.mark.parametrize("row", [0, 1])
def test_plain_crops_show_the_points_where_they_are_said_to_be(crops, row):
    sample = crops.plain(row)
    assert sample["crop"].shape == (112, 112, 3)
    assert assert_points_on_marks(sample) == 3
    assert sample["interocular"] == pytest.approx(interocular(sample["points"]))
    expected = CROP.template()
    if row == 0:
        assert np.abs(five_points(sample["points"]) - expected).max() < 6
    assert sample["points"][36, 0] < sample["points"][45, 0]


def test_augmented_crops_too_also_mirrored(crops, monkeypatch):
    """Light and noise are left out, for colours are how the points are found again."""
    module = "featflow.nodes.landmark.tiny.training."
    for name in ("degrade", "relight", "cover"):
        monkeypatch.setattr(module + name, lambda image, rng: image)
    found = flipped = 0
    for seed in range(80):
        sample = crops.augmented(seed % 2, np.random.default_rng(seed))
        # A mirror shows the subject's left eye corner (blue) on the image left, as point 36.
        blue, red = place(sample["crop"], BLUE), place(sample["crop"], RED)
        if blue is None or red is None:
            continue
        assert sample["points"][36, 0] < sample["points"][45, 0]
        mirror = bool(blue[0] < red[0])
        found += assert_points_on_marks(sample, (45, 36, 8) if mirror else (36, 45, 8))
        flipped += mirror
    assert found > 180
    assert 20 < flipped < 60


def test_mirroring_twice_is_nothing(crops):
    sample = crops.plain(0)
    once = mirrored(sample)
    assert np.allclose(once["points"][36], [112 - sample["points"][45, 0], sample["points"][45, 1]])
    assert np.allclose(once["points"][48], [112 - sample["points"][54, 0], sample["points"][54, 1]])
    twice = mirrored(once)
    assert np.array_equal(twice["crop"], sample["crop"])
    assert np.allclose(twice["points"], sample["points"])


@given(st.floats(-3, 3), st.integers(16, 128))
def test_turn_is_about_the_centre(angle, size):
    matrix = turn(angle, size)
    assert np.allclose(matrix[:, :2] @ [size / 2, size / 2] + matrix[:, 2], size / 2)
    right = matrix[:, :2] @ [1.0, 0.0]
    assert np.allclose(right, [np.cos(angle), np.sin(angle)])


def test_jitter_has_the_spread_that_is_written_down():
    rng = np.random.default_rng(0)
    drawn = np.array([jitter(rng, 112) for _ in range(4000)])
    moved = np.einsum("nij,j->ni", drawn[:, :, :2], [56.0, 56.0]) + drawn[:, :, 2] - 56
    angle = np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0])
    zoom = np.log(np.hypot(drawn[:, 0, 0], drawn[:, 1, 0]))
    assert moved.std(0) == pytest.approx([3.36, 3.36], rel=0.1)
    assert angle.std() == pytest.approx(0.12, rel=0.1)
    assert zoom.std() == pytest.approx(0.07, rel=0.1)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8))
def test_wing_loss_is_the_formula(errors):
    width, curvature = 0.15, 0.03
    constant = width - width * np.log(1 + width / curvature)
    wanted = [
        width * np.log(1 + abs(e) / curvature) if abs(e) < width else abs(e) - constant
        for e in errors
    ]
    assert wing_loss(torch.tensor(errors).double()).item() == pytest.approx(np.mean(wanted))


def test_wing_loss_is_continuous_and_costs_nothing_at_zero():
    assert wing_loss(torch.zeros(3)).item() == 0.0
    low, high = (wing_loss(torch.tensor([e])).item() for e in (0.149999, 0.150001))
    assert low == pytest.approx(high, abs=1e-4)


def test_a_batch_is_what_the_node_shows_the_network(crops):
    samples = [crops.plain(0), crops.plain(1)]
    batch = collate(samples)
    shown = SPEC.prepare(np.stack([s["crop"] for s in samples]), torch.device("cpu"))
    assert torch.equal(batch["crop"], shown)
    assert np.allclose(batch["points"], [s["points"] for s in samples], atol=1e-4)
    assert np.allclose(batch["interocular"], [s["interocular"] for s in samples], atol=1e-4)


def test_loss_and_its_parts():
    task = LandmarkTask.__new__(LandmarkTask)
    truth = torch.rand(2, 68, 2, generator=torch.manual_seed(0)) * 100
    batch = {
        "crop": torch.zeros(2, 3, 1, 1),
        "points": truth,
        "interocular": torch.tensor([40.0, 50]),
    }
    off = torch.zeros(2, 68, 2)
    off[0, :, 0] = 8.0  # 20 % of the eye distance: not found
    off[1, :, 1] = 2.5  # 5 %: found
    logits = torch.tensor([-20.0, 20.0])
    terms = task.loss(lambda crop: (truth + off, logits), batch, 0)
    assert terms["nme"].item() == pytest.approx((0.2 + 0.05) / 2, rel=1e-4)
    assert terms["found"].item() == pytest.approx(0.0, abs=1e-6)
    wing = (0.2 - (0.15 - 0.15 * np.log(6)) + 0.15 * np.log(1 + 0.05 / 0.03)) / 4
    assert terms["wing"].item() == pytest.approx(wing, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(wing, rel=1e-4)
    wrong = task.loss(lambda crop: (truth + off, -logits), batch, 0)
    assert wrong["found"].item() == pytest.approx(20.0, rel=1e-4)


def test_too_few_photographs_are_an_error_not_a_hang(mini_faces):
    from featflow.errors import TrainingError

    recipe = Recipe(
        "landmark/tiny", 0, Optim(1, 64), {"widths": [4, 4, 4, 4]}, {"root": mini_faces}
    )
    with pytest.raises(TrainingError, match="64"):
        LandmarkTask(recipe)


def test_batches_and_validation_on_photographs(mini_faces):
    model = {"widths": [4, 4, 4, 4], "blocks": [0, 0, 0]}
    recipe = Recipe("landmark/tiny", 0, Optim(1, 5), model, {"root": mini_faces})
    task = LandmarkTask(recipe)
    one, two = next(task.batches(4)), next(task.batches(4))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["crop"], next(task.batches(5))["crop"])
    assert one["crop"].shape == (5, 3, 112, 112)
    truth = [task.val.plain(row) for row in range(len(task.val))]

    def oracle(crop):
        """Right about all but the first photograph, which is off by half an eye distance."""
        points = torch.tensor(np.stack([t["points"] for t in truth]))
        points[0, :, 0] += truth[0]["interocular"] / 2
        return points, torch.zeros(len(truth))

    figures = task.validate(oracle)
    count = len(truth)
    assert figures["nme"] == pytest.approx(0.5 / count, abs=1e-4)
    assert figures["nme_median"] == pytest.approx(0.0, abs=1e-4)
    assert figures["above_010"] == pytest.approx(1 / count)
    assert figures["confidence"] == pytest.approx(0.5)
