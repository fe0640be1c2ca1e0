import numpy as np
import pytest
import torch

from featflow.nodes.face.tiny import training
from featflow.nodes.face.tiny.calibration import (
    bare,
    best_threshold,
    detect_in,
    move_scores,
    padded,
)
from featflow.nodes.face.tiny.network import FaceNet, cell_grid
from featflow.nodes.face.tiny.node import SPEC
from featflow.nodes.face.tiny.training import CANVASES, FaceTask, collate, composer, grid
from featflow.train.recipe import Optim, Recipe
from featflow.train.scenes import Photo

MODEL = {"widths": [4, 4, 8, 8, 8], "pyramid": 8}


def photo(boxes, certain=None, size=(128, 192)):
    boxes = np.array(boxes, float).reshape(-1, 4)
    points = np.repeat(boxes[:, None, :2], 5, 1) + np.arange(5)[None, :, None]
    certain = np.ones(len(boxes), bool) if certain is None else np.array(certain)
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    return Photo(image, boxes, points, certain)


def outputs_for(scene, score=8.0):
    """What a perfect network says: every certain face at the stride-8 cell at its centre."""
    height, width = scene.image.shape[:2]
    cells = cell_grid(height, width)
    out = torch.zeros(len(cells), 15)
    out[:, 0] = -8.0
    for x0, y0, x1, y1 in scene.boxes[scene.certain]:
        cell = int((y0 + y1) / 2 // 8) * (width // 8) + int((x0 + x1) / 2 // 8)
        out[cell, 0] = score
        out[cell, 1] = ((x0 + x1) / 2 - cells[cell, 0]) / 8
        out[cell, 2] = ((y0 + y1) / 2 - cells[cell, 1]) / 8
        out[cell, 3], out[cell, 4] = np.log((x1 - x0) / 8), np.log((y1 - y0) / 8)
    return out[None]


def test_collate_points_every_cell_at_its_own_face():
    scenes = [
        photo([[10, 10, 40, 40]]),
        photo([]),
        photo([[100, 60, 130, 100], [20, 70, 50, 100], [150, 5, 180, 30]], [True, True, False]),
    ]
    batch = collate(scenes)
    assert batch["image"].shape == (3, 3, 128, 192)
    shown = SPEC.prepare(np.stack([s.image for s in scenes]), torch.device("cpu"))
    assert torch.equal(batch["image"], shown)
    boxes = np.concatenate([s.boxes for s in scenes])
    assert np.array_equal(batch["boxes"], boxes)
    assert np.array_equal(batch["points"], np.concatenate([s.points5 for s in scenes]))
    assert not batch["positive"][1].any()
    cells, seen = grid(128, 192), set()
    for picture, cell in batch["positive"].nonzero().tolist():
        face = int(batch["face"][picture, cell])
        seen.add(face)
        assert face in {0: [0], 2: [1, 2]}[picture]
        x0, y0, x1, y1 = boxes[face]
        assert x0 < cells[cell, 0] < x1
        assert y0 < cells[cell, 1] < y1
    assert seen == {0, 1, 2}
    assert batch["ignored"][2].any()


def test_detect_in_gives_the_boxes_above_the_threshold():
    scene = photo([[10, 10, 40, 40], [100, 60, 130, 100]])
    found, scores = detect_in(lambda image: outputs_for(scene), scene)
    assert np.allclose(found[np.argsort(found[:, 0])], scene.boxes, atol=1e-3)
    assert np.allclose(scores, 1 / (1 + np.exp(-8.0)))
    # 2.0 is .88: not looked at twice.
    assert len(detect_in(lambda image: outputs_for(scene, score=2.0), scene, 0.89)[0]) == 0
    assert len(detect_in(lambda image: outputs_for(scene, score=2.0), scene, 0.87)[0]) == 2


def test_best_threshold_lies_between_right_and_wrong_scores():
    scene = photo([[10, 10, 40, 40], [100, 60, 130, 100]])
    decoy = photo([[60, 20, 90, 50], [140, 80, 170, 110]])
    right, wrong = outputs_for(scene, score=2.5), outputs_for(decoy, score=-1.3)
    both = torch.where(right[..., :1] > -8, right, wrong)
    threshold = best_threshold(lambda image: both, [scene])
    # Scores are 0.92 where a face is and 0.21 where none is: neither is in doubt.
    assert 0.21 < threshold < 0.92


def test_the_less_recall_counts_the_higher_the_threshold():
    scenes = [photo([[10, 10, 40, 40], [100, 60, 130, 100]])]
    decoy = photo([[60, 90, 90, 120]])
    # One face is surer than the decoy, one is not: .90, .87, .85.
    places = ((scenes[0].boxes[0], 2.2), (decoy.boxes[0], 1.9), (scenes[0].boxes[1], 1.75))
    sure, false, weak = (outputs_for(photo([box]), score) for box, score in places)
    both = torch.where(sure[..., :1] > -8, sure, torch.where(false[..., :1] > -8, false, weak))

    def at(beta):
        return best_threshold(lambda image: both, scenes[:1], beta=beta)

    assert at(2.0) < 0.85
    assert at(0.2) == pytest.approx(0.88)


def test_moved_scores_are_one_half_where_the_threshold_was():
    torch.manual_seed(0)
    model = FaceNet(**MODEL).eval()
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        before = model(image)
        move_scores(model, 0.3)
        after = model(image)
    shift = after[..., 0] - before[..., 0]
    assert torch.allclose(shift, torch.full_like(shift, np.log(0.7 / 0.3)), atol=1e-4)
    assert torch.equal(after[..., 1:], before[..., 1:])


def test_finish_moves_the_scores_twice(task, monkeypatch):
    monkeypatch.setattr(training, "CALIBRATION_PHOTOS", 2)
    before = [head.bias.detach().clone() for head in task.model.heads]
    with torch.no_grad():
        found = task.finish(task.model.eval())
    thresholds = found["threshold_before"], found["threshold_then"]
    shift = sum(np.log((1 - threshold) / threshold) for threshold in thresholds)
    for head, old in zip(task.model.heads, before, strict=True):
        assert head.bias[0].item() == pytest.approx(old[0].item() + shift, abs=1e-5)
        assert torch.equal(head.bias[1:], old[1:])


@pytest.fixture(scope="module")
def task(mini_faces):
    return FaceTask(Recipe("face/tiny", 1, Optim(5, 2), MODEL, {"root": mini_faces}))


def test_batches_repeat_with_their_seed_and_hold_about_as_many_pixels(task):
    one, two, other = task.batches(3), task.batches(3), task.batches(4)
    sizes, differs = set(), False
    for _ in range(2):
        a, b, c = next(one), next(two), next(other)
        assert all(torch.equal(torch.nan_to_num(a[k]), torch.nan_to_num(b[k])) for k in a)
        count, _, height, width = a["image"].shape
        assert (height, width) in CANVASES
        assert count == max(2, 2 * 320 * 320 // (height * width))
        assert a["positive"].shape == (count, len(cell_grid(height, width)))
        sizes.add(height)
        differs |= a["image"].shape != c["image"].shape or not torch.equal(a["image"], c["image"])
    assert differs


def test_the_loss_has_a_gradient_for_every_weight(task):
    batch = next(task.batches(0))
    while not batch["positive"].any():
        batch = next(task.batches(1))
    terms = task.loss(task.model, batch, 0)
    terms["loss"].backward()
    for name, parameter in task.model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    task.model.zero_grad()


def test_validation_counts_hits_misses_and_false_alarms(task, monkeypatch):
    """A network that knows the scene is perfect, a silent one finds nothing.

    The scenes are drawn smaller than validation asks for, to save time.
    """
    scenes = []
    pasted = type(task.val).pasted

    def remembered(self, rng, height, width, sizes):
        assert (height, width, sizes) == (512, 640, (16.0, 200.0))
        scenes.append(pasted(self, rng, 192, 256, sizes))
        return scenes[-1]

    monkeypatch.setattr(type(task.val), "pasted", remembered)

    def knows(image):
        assert image.shape == (1, 3, 192, 256)
        return outputs_for(scenes[-1].photo())

    figures = task.validate(knows)
    certain = sum(int(s.photo().certain.sum()) for s in scenes)
    assert figures["faces"] == certain > 60
    assert figures["recall"] > 0.99
    assert figures["precision"] > 0.99
    first = [s.photo() for s in scenes]
    scenes.clear()
    silent = task.validate(lambda image: outputs_for(scenes[-1].photo(), score=-8.0))
    assert silent == {"recall": 0.0, "precision": 0.0, "faces": float(certain)}
    again = [s.photo() for s in scenes]
    assert all(np.array_equal(a.boxes, b.boxes) for a, b in zip(first, again, strict=True))


def test_splits_do_not_mix(mini_faces):
    train, val = composer(mini_faces, "train"), composer(mini_faces, "val", held_out=True)
    assert (len(train.context), len(val.context)) == (5 + 2, 2 + 2)
    assert (len(train.portraits), len(val.portraits)) == (4, 2)
    assert (len(train.empty), len(val.empty)) == (4, 2)
    shades = [{int(p.image[0, 0, 0]) for p in c.portraits} for c in (train, val)]
    assert not shades[0] & shades[1]


def test_padding_moves_nothing():
    scene = photo([[10, 10, 40, 40]], size=(70, 129))
    out = padded(scene)
    assert out.image.shape == (128, 192, 3)
    assert np.array_equal(out.image[:70, :129], scene.image)
    assert not out.image[70:].any()
    assert not out.image[:, 129:].any()
    assert np.array_equal(out.boxes, scene.boxes)
    assert bare(scene.image).boxes.shape == (0, 4)
