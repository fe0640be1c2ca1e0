"""img2pose: its network against torchvision's detector, its parts against their definitions.

``tests/parity/img2pose.npz`` holds what the detection modules of torchvision 0.28 (its ResNet,
pyramid, proposal network and region pooling, composed as the authors compose them) computed
on the stand-in weights, with the proposals' deltas divided by 50: undivided, they move a box by
50 times its size.
"""

from __future__ import annotations

from collections.abc import Callable
from math import atan, floor, log2, sqrt

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from featflow.errors import WeightsError
from featflow.geometry.boxes import iou
from featflow.nodes.networks import network
from featflow.nodes.networks.img2pose_decode import (
    Img2PoseConfig,
    camera,
    globalise,
    img2pose_faces,
    projected_boxes,
)
from featflow.nodes.networks.regions import (
    apply_deltas,
    level_anchors,
    level_of,
    pool_regions,
    propose,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def loaded(expectation: Callable) -> tuple:
    """The network with stand-in weights and gentler proposals."""
    expected = expectation("img2pose")
    weights = expected.weights()
    weights["rpn.head.bbox_pred.weight"] *= 0.02
    module = network("img2pose")
    module.load_state_dict(weights, strict=True)
    return expected, module


def test_outputs_equal_torchvision(loaded: tuple) -> None:
    expected, module = loaded
    saved = expected.arrays()
    with torch.inference_mode():
        regions, scores, poses = (part[0].numpy() for part in module(expected.inputs()))
    count = len(saved["regions"])
    distance = np.abs(regions[None, :count] - saved["regions"][:, None]).max(2)
    match = distance.argmin(1)
    assert sorted(match) == list(range(count))
    # Almost equal objectness may swap neighbours, and nothing more.
    assert np.abs(match - np.arange(count)).max() <= 1
    assert distance.min(1).max() < 1e-3
    np.testing.assert_allclose(scores[match], saved["scores"], atol=1e-4)
    likely = saved["scores"] > 0.05
    assert 0 < likely.sum() < count
    np.testing.assert_allclose(poses[match][likely], saved["poses"][likely], atol=2e-3)
    assert np.isnan(poses[match][~likely]).all()
    assert not scores[count:].any()


def test_twenty_random_batches_equal_single_results(loaded: tuple) -> None:
    expected, module = loaded
    pool = expected.inputs((3, 3, 32, 48), seed=5)
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        single = [module(pool[i : i + 1]) for i in range(3)]
        for _ in range(20):
            rows = rng.integers(0, 3, rng.integers(1, 4))
            for number, batch in enumerate(module(pool[rows])):
                alone = torch.cat([single[row][number] for row in rows])
                torch.testing.assert_close(batch, alone, atol=2e-3, rtol=1e-4, equal_nan=True)


def test_anchors_equal_a_loop() -> None:
    found = level_anchors((2, 3), (16, 8), 32, CPU).numpy()
    expected = []
    for row in range(2):
        for column in range(3):
            for aspect in (0.5, 1.0, 2.0):
                w, h = 32 / sqrt(aspect), 32 * sqrt(aspect)
                x, y = round(w / 2), round(h / 2)
                expected.append([column * 8 - x, row * 16 - y, column * 8 + x, row * 16 + y])
    np.testing.assert_array_equal(found, expected)


def test_deltas_move_and_scale() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 20]])
    deltas = torch.tensor([[0.5, -0.25, np.log(2.0), 0.0]], dtype=torch.float32)
    torch.testing.assert_close(apply_deltas(deltas, anchors), torch.tensor([[0.0, -5, 20, 15]]))
    huge = apply_deltas(torch.tensor([[0.0, 0, 99.0, 0]]), anchors)
    assert float(huge[0, 2] - huge[0, 0]) == pytest.approx(625)


def test_proposals_are_suppressed_within_a_level_only() -> None:
    box = torch.tensor([[0.0, 0, 10, 10], [1.0, 0, 11, 10], [50.0, 50, 50, 60]])
    score = torch.tensor([1.0, 2.0, 9.0])
    options = {"most_before": 9, "most_after": 9, "iou_threshold": 0.4}
    one = propose([(box, score)], (100, 100), **options)
    torch.testing.assert_close(one, box[[1]])
    two = propose([(box[:1], score[:1]), (box[1:], score[1:])], (100, 100), **options)
    torch.testing.assert_close(two, box[[1, 0]])
    cut = propose([(box + 95, score)], (100, 100), **options)
    torch.testing.assert_close(cut, torch.tensor([[96.0, 95, 100, 100]]))


def looped_pooling(maps: list[np.ndarray], box: np.ndarray) -> np.ndarray:
    """RoIAlign of one box, one bilinear sample at a time."""
    side = sqrt((box[2] - box[0]) * (box[3] - box[1]))
    level = min(max(floor(4 + log2(side / 224) + 1e-6), 2), 5)
    features, scale = maps[level - 2], 1 / 2**level
    channels, height, width = features.shape
    x0, y0, x1, y1 = box * scale
    cell_w, cell_h = max(x1 - x0, 1) / 7, max(y1 - y0, 1) / 7
    result = np.zeros((channels, 7, 7))
    for row in range(7):
        for column in range(7):
            for i in (0.25, 0.75):
                for j in (0.25, 0.75):
                    y, x = y0 + (row + i) * cell_h, x0 + (column + j) * cell_w
                    if y > height or x > width:
                        continue
                    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                    top, left = int(y), int(x)
                    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
                    dy, dx = y - top, x - left
                    result[:, row, column] += 0.25 * (
                        (1 - dy) * (1 - dx) * features[:, top, left]
                        + (1 - dy) * dx * features[:, top, right]
                        + dy * (1 - dx) * features[:, below, left]
                        + dy * dx * features[:, below, right]
                    )
    return result


def test_pooling_equals_a_loop_at_every_level() -> None:
    rng = np.random.default_rng(2)
    maps = [rng.normal(size=(2, 640 >> s, 480 >> s)) for s in (2, 3, 4, 5)]
    boxes = np.array(
        [
            [10.3, 20.1, 40.2, 90.9],
            [100, 50, 260, 300],
            [10, 10, 400, 350],
            [0, 0, 480, 640],
            [478.5, 630.2, 480, 631],  # narrower than a cell, at the edge
            [0, 0, 0.5, 640],
        ]
    )
    levels = level_of(torch.from_numpy(boxes), 4)
    assert sorted(set(levels.tolist())) == [0, 1, 2, 3]
    found = pool_regions([torch.from_numpy(m) for m in maps], torch.from_numpy(boxes))
    for row, box in enumerate(boxes):
        np.testing.assert_allclose(found[row], looped_pooling(maps, box), atol=1e-9)


def config(template: np.ndarray | None = None) -> Img2PoseConfig:
    """A head of 68 points in a cube, and poses that are not standardised."""
    rng = np.random.default_rng(1)
    cube = rng.uniform(-0.5, 0.5, (68, 3)) if template is None else template
    return Img2PoseConfig(np.zeros(6), np.ones(6), cube)


SIZE = (300, 400)


def test_a_pose_in_the_whole_picture_stays() -> None:
    pose = np.array([[0.1, -0.2, 0.3, 0.4, -0.5, 6.0]])
    rotation, translation = globalise(pose, np.array([[0.0, 0, 400, 300]]), SIZE)
    np.testing.assert_allclose(rotation[0], Rotation.from_rotvec(pose[0, :3]).as_matrix())
    np.testing.assert_allclose(translation[0], pose[0, 3:])


def test_a_head_is_seen_where_its_region_shows_it() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        x, y, w, h = rng.uniform([0, 0, 20, 20], [200, 100, 200, 200])
        region = np.array([[x, y, x + w, y + h]])
        pose = np.array([[0, 0, 0, *rng.uniform([-1, -1, 2], [1, 1, 5])]])
        _, translation = globalise(pose, region, SIZE)
        in_region = pose[0, 3:5] / pose[0, 5] * (w + h)
        expected = in_region + np.array([x + w // 2, y + h // 2])
        seen = camera(*SIZE) @ translation[0]
        np.testing.assert_allclose(seen[:2] / seen[2], expected)


def test_a_head_beside_the_axis_turns() -> None:
    # The camera of a region 100 pixels right of the middle sees along a slanted axis; the
    # rotation closest to that shear by a has the angle atan(a / 2).
    region = np.array([[250.0, 100, 350, 200]])
    rotation, _ = globalise(np.array([[0.0, 0, 0, 0, 0, 3]]), region, SIZE)
    expected = Rotation.from_euler("y", atan(100 / 700 / 2)).as_matrix()
    np.testing.assert_allclose(rotation[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("turn", "grown"),
    [(0.0, "top"), (np.pi / 2, "right"), (-np.pi / 2, "left"), (np.pi, "bottom")],
)
def test_the_box_holds_the_template_and_a_forehead(turn: float, grown: str) -> None:
    corners = np.array([[x, y, 0.0] for x in (-1, 1) for y in (-2, 2)])
    head = config(np.resize(corners, (68, 3)))
    rotation = Rotation.from_rotvec([[0, 0, turn]]).as_matrix()
    box = projected_boxes(rotation, np.array([[0.0, 0, 35]]), SIZE, head)[0]
    upright = abs(np.cos(turn)) > 0.5
    w, h = (40, 80) if upright else (80, 40)  # 700 / 35 pixels a unit
    expected = [200 - 0.55 * w, 150 - 0.55 * h, 200 + 0.55 * w, 150 + 0.55 * h]
    side = {"left": 0, "top": 1, "right": 2, "bottom": 3}[grown]
    expected[side] += (0.3 * (h if upright else w)) * (1 if side > 1 else -1)
    np.testing.assert_allclose(box, expected)


def test_a_box_ends_with_the_picture() -> None:
    near = projected_boxes(np.eye(3)[None], np.array([[0.0, 0, 1.2]]), SIZE, config())
    np.testing.assert_array_equal(near, [[0, 0, 400, 300]])


def test_faces_are_chosen_best_first() -> None:
    regions = np.array([[100.0, 100, 160, 160]] * 3 + [[250.0, 50, 320, 120], [0, 0, 0, 0]])
    poses = np.tile([0.0, 0, 0, 0, 0, 2.0], (5, 1))
    poses[3, 1] = 0.3
    scores = np.array([0.6, 0.9, 0.3, 0.7, 0.99])
    boxes, found, pose = img2pose_faces(regions, scores, poses, SIZE, config())
    np.testing.assert_array_equal(found, [0.9, 0.7])
    assert boxes[0, 0] < 130 < boxes[0, 2]
    assert pose[1, 2] > 0.25  # yaw to the subject's right
    assert len(img2pose_faces(regions, scores, poses, SIZE, config(), 0.8)[0]) == 1
    poses[1] = np.nan
    assert img2pose_faces(regions, scores, poses, SIZE, config())[1].tolist() == [0.7, 0.6]
    nothing = img2pose_faces(regions[:0], scores[:0], poses[:0], SIZE, config())
    assert [part.shape for part in nothing] == [(0, 4), (0,), (0, 6)]


def test_faces_that_overlap_by_a_third_are_one_face() -> None:
    regions = np.array([[100.0, 100, 160, 160], [128.0, 100, 188, 160], [200.0, 100, 260, 160]])
    poses = np.tile([0.0, 0, 0, 0, 0, 2.0], (3, 1))
    boxes = projected_boxes(*globalise(poses, regions, SIZE), SIZE, config())
    assert 0.3 < iou(boxes[:1], boxes[1:2])[0, 0] < 0.5
    scores = np.array([0.9, 0.8, 0.7])
    assert img2pose_faces(regions, scores, poses, SIZE, config())[1].tolist() == [0.9, 0.7]


def test_the_published_configuration_is_read() -> None:
    data = {
        "pose_mean": list(range(6)),
        "pose_stddev": [1, 2, 3, 4, 5, 6],
        "threed_points": np.ones((68, 3)).tolist(),
        "bbox_x_factor": 1.2,
        "bbox_y_factor": 1.3,
        "expand_forehead": 0.4,
    }
    read = Img2PoseConfig.from_json(data)
    assert read.growth == (1.2, 1.3)
    assert read.forehead == 0.4
    np.testing.assert_array_equal(read.pose_std, [1, 2, 3, 4, 5, 6])
    assert read.side_limits is None
    sized = {**data, "min_size": 320, "max_size": 900}
    assert Img2PoseConfig.from_json(sized).side_limits == (320, 900)
    for wrong in ({"min_size": 0}, {"min_size": 901}, {"max_size": None}, {"min_size": "x"}):
        with pytest.raises(WeightsError, match=r"config\.json"):
            Img2PoseConfig.from_json({**sized, **wrong})
    with pytest.raises(WeightsError, match="shapes"):
        Img2PoseConfig.from_json({**data, "pose_mean": [0, 1]})
    del data["threed_points"]
    with pytest.raises(WeightsError, match="threed_points"):
        Img2PoseConfig.from_json(data)
