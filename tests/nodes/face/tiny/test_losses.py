import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.nodes.face.tiny.losses import RANGES, Targets, assign, detection_loss, giou_loss
from featflow.nodes.face.tiny.network import cell_grid

face = st.tuples(
    st.floats(0, 255), st.floats(0, 255), st.floats(5, 250), st.floats(5, 250), st.booleans()
)


def assigned_by_loops(cells, boxes, certain):
    positive, ignored, owner = [], [], []
    for x, y, stride in cells.tolist():
        claims, doubtful, close = [], False, False
        for index, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            w, h = x1 - x0, y1 - y0
            dx, dy = abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)
            near = dx <= max(0.18 * w, 0.75 * stride) and dy <= max(0.18 * h, 0.75 * stride)
            low, high = RANGES[int(stride)]
            if certain[index] and near:
                close = True
                if low <= max(w, h) <= high:
                    claims.append((w * h, index))
            doubtful |= not certain[index] and dx <= w / 2 and dy <= h / 2
        positive.append(bool(claims))
        ignored.append(not claims and (close or doubtful))
        owner.append(min(claims)[1] if claims else None)
    return positive, ignored, owner


@given(st.lists(face, max_size=5))
@settings(max_examples=30, deadline=None)
def test_assign_is_the_plain_loops(faces):
    cells = cell_grid(256, 256)
    boxes = torch.tensor(
        [[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h, _ in faces]
    ).reshape(-1, 4)
    certain = torch.tensor([f[4] for f in faces], dtype=torch.bool)
    positive, ignored, owner = assign(cells, boxes.round(), certain)
    wanted, wanted_ignored, wanted_owner = assigned_by_loops(cells, boxes.round(), certain.tolist())
    assert positive.tolist() == wanted
    assert ignored.tolist() == wanted_ignored
    areas = (boxes.round()[:, 2:] - boxes.round()[:, :2]).prod(1).tolist()
    for cell, index in enumerate(wanted_owner):
        if index is not None:
            assert areas[int(owner[cell])] == areas[index]


@given(st.floats(0, 255), st.floats(0, 255), st.floats(4, 500), st.floats(0.6, 1.0))
@settings(max_examples=100, deadline=None)
def test_no_certain_face_is_left_without_a_cell(x, y, longer, ratio):
    w, h = longer * ratio, longer
    box = torch.tensor([[x - w / 2, y - h / 2, x + w / 2, y + h / 2]])
    positive, ignored, owner = assign(cell_grid(256, 256), box, torch.tensor([True]))
    assert positive.any()
    assert not (positive & ignored).any()
    assert (owner[positive] == 0).all()


def plain_giou(a, b):
    inter = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return inter / union - (hull - union) / hull, inter / union


corner = st.floats(-100, 100)
box = st.tuples(corner, corner, st.floats(0.5, 100), st.floats(0.5, 100)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(box, box)
@settings(deadline=None)
def test_giou_is_the_plain_formula(a, b):
    loss, iou = giou_loss(torch.tensor([a]).double(), torch.tensor([b]).double())
    wanted, plain = plain_giou(a, b)
    assert loss.item() == pytest.approx(1 - wanted, abs=1e-5)
    assert iou.item() == pytest.approx(plain, abs=1e-5)


def test_giou_of_equal_touching_and_far_boxes():
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3)
    others = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [1000, 0, 1010, 10]])
    loss, iou = giou_loss(boxes, others)
    assert loss.tolist() == pytest.approx([0.0, 1.0, 2 - 20 / 1010], abs=1e-5)
    assert iou.tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-5)


@pytest.fixture
def scene():
    """One picture with a face of 30 pixels, one of 100, and one that may be missed."""
    cells = cell_grid(256, 256)
    boxes = torch.tensor([[20.0, 20, 50, 50], [100, 100, 200, 180], [180, 10, 220, 50]])
    positive, ignored, owner = assign(cells, boxes, torch.tensor([True, True, False]))
    points = boxes[:, None, :2] + torch.rand(3, 5, 2, generator=torch.manual_seed(0)) * 30
    targets = Targets(positive[None], ignored[None], owner[None], boxes, points)
    logits = torch.where(positive, 12.0, -12.0)[None]
    return cells, targets, logits, boxes[owner][None].clone(), points[owner][None].clone()


def loss_of(cells, targets, logits, boxes, points):
    return {k: float(v) for k, v in detection_loss(logits, boxes, points, targets).items()}


def test_the_perfect_answer_costs_nothing(scene):
    cells, targets, logits, boxes, points = scene
    terms = loss_of(cells, targets, logits, boxes, points)
    assert terms["loss"] < 1e-4
    assert terms["iou"] == pytest.approx(1.0, abs=1e-5)


def test_ignored_cells_may_say_anything(scene):
    cells, targets, logits, boxes, points = scene
    before = loss_of(cells, targets, logits, boxes, points)
    assert targets.ignored.any()
    logits[targets.ignored] = 9.0
    boxes[targets.ignored] += 50
    assert loss_of(cells, targets, logits, boxes, points) == before


def test_every_mistake_costs(scene):
    cells, targets, logits, boxes, points = scene
    rest = ~targets.positive & ~targets.ignored
    false_alarm = logits.clone()
    false_alarm[0, rest[0].nonzero()[0]] = 5.0
    missed = torch.where(targets.positive, -5.0, logits)
    perfect = loss_of(cells, targets, logits, boxes, points)
    assert loss_of(cells, targets, false_alarm, boxes, points)["score"] > perfect["score"] + 0.1
    assert loss_of(cells, targets, missed, boxes, points)["score"] > perfect["score"] + 1
    assert loss_of(cells, targets, logits, boxes + 5, points)["box"] > 0.1
    assert loss_of(cells, targets, logits, boxes, points + 5)["points"] > 0.01
    swapped = points[:, :, [1, 0, 2, 3, 4]]
    assert loss_of(cells, targets, logits, boxes, swapped)["points"] > 0.01


def test_terms_are_their_formulas(scene):
    cells, targets, logits, boxes, points = scene
    rng = torch.manual_seed(4)
    logits = torch.randn(logits.shape, generator=rng)
    boxes = boxes + torch.randn(boxes.shape, generator=rng) * 3
    points = points + torch.randn(points.shape, generator=rng) * 3
    terms = loss_of(cells, targets, logits, boxes, points)
    score, box_losses, ious, point_losses = 0.0, [], [], []
    for cell in range(len(cells)):
        p = 1 / (1 + np.exp(-logits[0, cell].item()))
        quality = 0.0
        if targets.positive[0, cell]:
            face = int(targets.face[0, cell])
            wanted = targets.boxes[face].tolist()
            giou, iou = plain_giou(boxes[0, cell].tolist(), wanted)
            box_losses.append(1 - giou)
            ious.append(iou)
            quality = np.sqrt(iou)
            size = (wanted[2] - wanted[0] + wanted[3] - wanted[1]) / 2
            off = ((points[0, cell] - targets.points[face]) / size).abs().flatten().tolist()
            point_losses += [0.5 * e * e / 0.05 if e < 0.05 else e - 0.025 for e in off]
        if not targets.ignored[0, cell]:
            entropy = -(quality * np.log(p) + (1 - quality) * np.log(1 - p))
            score += (quality - p) ** 2 * entropy
    score /= len(box_losses)
    assert terms["score"] == pytest.approx(score, rel=1e-4)
    assert terms["box"] == pytest.approx(np.mean(box_losses), rel=1e-4)
    assert terms["iou"] == pytest.approx(np.mean(ious), rel=1e-4)
    assert terms["points"] == pytest.approx(np.mean(point_losses), rel=1e-4)
    total = score + 2 * np.mean(box_losses) + 5 * np.mean(point_losses)
    assert terms["loss"] == pytest.approx(total, rel=1e-4)


def test_unknown_points_cost_nothing_and_spoil_no_gradient(scene):
    _cells, targets, logits, boxes, points = scene
    unknown = torch.full_like(targets.points, torch.nan)
    blind = Targets(targets.positive, targets.ignored, targets.face, targets.boxes, unknown)
    points.requires_grad_()
    boxes.requires_grad_()
    logits.requires_grad_()
    terms = detection_loss(logits, boxes, points, blind)
    assert terms["points"].item() == 0.0
    terms["loss"].backward()
    for tensor in (points, boxes, logits):
        assert torch.isfinite(tensor.grad).all()
    assert (points.grad == 0).all()


def test_pictures_without_a_face_teach_silence():
    cells = cell_grid(64, 64)
    nothing = assign(cells, torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool))
    targets = Targets(*(t[None] for t in nothing), torch.zeros(0, 4), torch.zeros(0, 5, 2))
    logits = torch.full((1, len(cells)), 2.0, requires_grad=True)
    boxes = torch.rand(1, len(cells), 4, requires_grad=True)
    terms = detection_loss(logits, boxes, torch.rand(1, len(cells), 5, 2), targets)
    terms["loss"].backward()
    assert all(torch.isfinite(v) for v in terms.values())
    assert (logits.grad > 0).all()
    assert (boxes.grad == 0).all()
