"""The node around a stand-in for the network that sees painted rectangles exactly."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from featflow.datasets.frame import Frame
from featflow.errors import ImageError, OptionError
from featflow.flow.batch import Batch, FrameBatch
from featflow.flow.rebatch import Parcel
from featflow.flow.stage import NodeStage
from featflow.geometry.crop import FIVE_POINTS_IN_BOX
from featflow.nodes.face.tiny.look import first_look
from featflow.nodes.face.tiny.network import cell_grid
from featflow.nodes.face.tiny.node import SPEC, FaceTiny, View

SCORES = (0.9, 0.8, 0.7)
OVERVIEW_BONUS = 0.05


class Painted(nn.Module):
    """One face a colour channel: the rectangle painted in it, measured to a part of a pixel.

    Scores are 0.9, 0.8 and 0.7 for red, green and blue, and 0.05 more in pictures of at most
    640 pixels, so that a test can tell which view a face was taken from.
    """

    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        cells = cell_grid(*x.shape[2:])
        outputs = torch.zeros(len(x), len(cells), 15)
        outputs[..., 0] = -20.0
        bonus = OVERVIEW_BONUS if max(x.shape[2:]) <= 640 else 0.0
        for n, c in np.ndindex(len(x), 3):
            channel = (x[n, c].double() * 0.25 + 0.5).clamp(min=0)
            if channel.max() < 0.5:
                continue
            middle, size = self.measured(channel)
            cell = int(((cells[:, :2] - middle).abs().sum(1) + (cells[:, 2] != 8) * 1e6).argmin())
            outputs[n, cell, 0] = torch.logit(torch.tensor(SCORES[c] + bonus))
            outputs[n, cell, 1:3] = (middle - cells[cell, :2]) / 8
            outputs[n, cell, 3:5] = (size / 8).log()
            points = middle - size / 2 + torch.from_numpy(FIVE_POINTS_IN_BOX) * size
            outputs[n, cell, 5:] = ((points - cells[cell, :2]) / 8).flatten()
        return outputs

    @staticmethod
    def measured(channel):
        """Middle and size of a rectangle, from the light in its columns and rows."""
        found = []
        for axis in (0, 1):
            light = channel.sum(axis)
            at = torch.arange(len(light)) + 0.5
            found.append(((light * at).sum() / light.sum(), light.sum() / light.max()))
        return torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found])


@pytest.fixture
def node():
    # Its two opinions of a painted face differ by the bonus; tests/.../test_look.py has them.
    made = FaceTiny(second_look=False)
    made._model = Painted()
    return made


def frame(size, faces, scale=1.0, index=0):
    """A black frame with rectangles (channel, x0, y0, x1, y1) in original pixels."""
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    for channel, x0, y0, x1, y1 in faces:
        image[y0:y1, x0:x1, channel] = 255
    if scale != 1.0:
        working = round(width * scale), round(height * scale)
        image = cv2.resize(image, working, interpolation=cv2.INTER_AREA)
    return Frame(image, "s", index, size_px=size, scale=scale)


def detect(node, frames, min_score=0.5, first_uid=40):
    batch = Batch(FrameBatch.from_frames(frames, first_uid), min_score=min_score)
    return node.post_process(batch, node.process(node.pre_process(batch)))


def assert_found(found, expected, tolerance):
    """``expected``: (uid, score, channel rectangle) in the order of the answer."""
    assert found.frame_uid.tolist() == [e[0] for e in expected]
    assert found.score.tolist() == pytest.approx([e[1] for e in expected], abs=1e-5)
    for box, points, (_, _, wanted) in zip(found.box, found.points5, expected, strict=True):
        wanted = np.array(wanted, float)
        assert np.abs(box - wanted).max() <= tolerance, (box, wanted)
        at = wanted[:2] + FIVE_POINTS_IN_BOX * (wanted[2:] - wanted[:2])
        assert np.abs(points - at).max() <= tolerance
    assert {v.dtype for v in found.fields.values()} == {np.dtype(np.float32)}


SMALL = (30, 20, 70, 61)


@pytest.mark.parametrize("size", [(64, 128), (65, 127), (97, 333), (360, 640), (100, 90)])
def test_boxes_of_small_frames_are_exact_whatever_their_size(node, size):
    found = detect(node, [frame(size, [(0, *SMALL)])])
    assert_found(found, [(40, 0.95, SMALL)], 1e-3)
    (_, _, height, width) = node.model.shapes[0]
    assert (height % 64, width % 64) == (0, 0)
    assert 0 <= height - size[0] < 64
    assert 0 <= width - size[1] < 64
    assert len(node.model.shapes) == 1


@pytest.mark.parametrize(
    ("size", "scale"), [((600, 1000), 0.5), ((601, 999), 0.5), ((480, 640), 0.4), ((300, 500), 0.3)]
)
def test_boxes_are_original_pixels_where_the_frame_was_scaled(node, size, scale):
    face = (120, 60, 260, 240)
    found = detect(node, [frame(size, [(1, *face)], scale)])
    assert_found(found, [(40, 0.85, face)], 0.02)


def test_large_frames_are_seen_twice_and_faces_come_once(node):
    faces = [(0, 20, 30, 60, 80), (1, 300, 100, 700, 500), (2, 720, 30, 1000, 340)]
    found = detect(node, [frame((600, 1024), faces)])
    assert sorted(node.model.shapes) == [(1, 3, 384, 640), (1, 3, 640, 1024)]
    # All three are surest in the overview here, where their places round a little more.
    assert_found(
        found, [(40, 0.95, faces[0][1:]), (40, 0.85, faces[1][1:]), (40, 0.75, faces[2][1:])], 0.05
    )


def test_large_faces_come_from_the_overview_and_small_ones_may_not(node):
    """With a network that is less sure of the overview, each face shows where it was seen."""
    look = node.model.forward

    def doubtful(x):
        out = look(x)
        if max(x.shape[2:]) <= 640:
            out[..., 0] -= 1.0
        return out

    node.model.forward = doubtful
    found = detect(node, [frame((600, 1024), [(0, 20, 30, 60, 80), (1, 300, 100, 700, 500)])])
    overview = 1 / (1 + np.exp(-(np.log(0.85 / 0.15) - 1.0)))
    assert_found(found, [(40, 0.9, (20, 30, 60, 80)), (40, overview, (300, 100, 700, 500))], 0.05)


@pytest.mark.parametrize(("side", "count"), [(319, 1), (322, 0)])
def test_the_detail_view_answers_up_to_320_pixels(node, side, count):
    look = node.model.forward

    def blind_in_the_overview(x):
        out = look(x)
        if max(x.shape[2:]) <= 640:
            out[..., 0] = -20.0
        return out

    node.model.forward = blind_in_the_overview
    face = (100, 100, 100 + side, 400)
    found = detect(node, [frame((600, 1024), [(0, *face)])])
    assert_found(found, [(40, 0.9, face)] * count, 0.01)


def test_frames_above_max_side_are_shrunk_and_boxes_are_not(node):
    face = (400, 300, 800, 900)
    found = detect(node, [frame((1500, 2500), [(0, *face)])])
    assert sorted(s[2:] for s in node.model.shapes) == [(384, 640), (960, 1600)]
    assert_found(found, [(40, 0.95, face)], 0.2)
    smaller = FaceTiny(max_side=320, second_look=False)
    smaller._model = Painted()
    found = detect(smaller, [frame((1500, 2500), [(0, *face)])])
    assert [s[2:] for s in smaller.model.shapes] == [(192, 320)]
    assert_found(found, [(40, 0.95, face)], 0.2)


def test_frames_of_many_sizes_share_a_batch(node):
    failed = Frame.failed("s", ImageError("s", "broken"), 2)
    frames = [
        frame((90, 120), [(1, *SMALL), (0, 80, 20, 110, 50)]),
        frame((700, 700), [(2, 100, 100, 300, 300)]),
        failed,
        frame((100, 100), [(0, *SMALL)]),
        frame((90, 120), []),
        frame((900, 1400), [(0, 60, 80, 360, 480)], 0.5),
        frame((80, 128), [(2, *SMALL)]),
    ]
    found = detect(node, frames)
    assert_found(
        found,
        [
            (40, 0.95, (80, 20, 110, 50)),
            (40, 0.85, SMALL),
            (41, 0.75, (100, 100, 300, 300)),
            (43, 0.95, SMALL),
            (45, 0.95, (60, 80, 360, 480)),
            (46, 0.75, SMALL),
        ],
        0.05,
    )
    # 90 x 120, 100 x 100 and 80 x 128 pixels all become 128 x 128 and are run together.
    assert node.model.shapes[0] == (4, 3, 128, 128)
    alone = [detect(node, [f], first_uid=40 + i) for i, f in enumerate(frames)]
    assert np.array_equal(np.concatenate([a.box for a in alone]), found.box)


def test_the_flow_runs_it_and_leaves_broken_frames_out(node):
    frames = [Frame.failed("s", ImageError("s", "broken")), frame((90, 120), [(0, *SMALL)])]
    found = NodeStage(node, 8, {}).run(Parcel(Batch(FrameBatch.from_frames(frames, 7))))
    assert_found(found, [(8, 0.95, SMALL)], 1e-3)


@pytest.mark.parametrize("frames", [[], [Frame.failed("s", ImageError("s", "broken"))]])
def test_no_picture_gives_no_face(node, frames):
    found = detect(node, frames)
    assert len(found) == 0
    assert found.box.shape == (0, 4)
    assert found.points5.shape == (0, 5, 2)


def test_a_black_frame_gives_no_face_with_the_right_shapes(node):
    found = detect(node, [frame((64, 64), [])])
    assert {k: v.shape for k, v in found.fields.items()} == {
        "box": (0, 4),
        "score": (0,),
        "points5": (0, 5, 2),
    }


def view_of(boxes, logits, size=(128, 192), scale=(1.0, 1.0)):
    """A view and raw outputs in which the first cells of stride 8 say what is wanted."""
    cells = cell_grid(*size)
    raw = torch.zeros(1, len(cells), 15)
    raw[..., 0] = -20
    for cell, (box, logit) in enumerate(zip(boxes, logits, strict=True)):
        x0, y0, x1, y1 = box
        middle = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2])
        raw[0, cell, 0] = logit
        raw[0, cell, 1:3] = (middle - cells[cell, :2]) / 8
        raw[0, cell, 3:5] = (torch.tensor([x1 - x0, y1 - y0]) / 8).log()
    picture = np.zeros((1, *size, 3), np.uint8)
    return View(np.zeros(1, np.int64), np.array([scale]), np.array([np.inf]), picture), raw


def seen(raw, size=(128, 192), nms_iou=0.4):
    return first_look(raw, *size, nms_iou)


def answer(boxes, logits, min_score=0.5, **options):
    frames = FrameBatch.from_frames([frame((128, 192), [])], 3)
    view, raw = view_of(boxes, logits)
    found = [(view, seen(raw, **options))]
    return FaceTiny(**options).post_process(Batch(frames, min_score=min_score), found)


def test_the_least_score_is_included():
    boxes, logits = [(0, 0, 20, 20), (50, 0, 70, 20)], [0.0, -1e-3]
    assert answer(boxes, logits, 0.5).score.tolist() == [0.5]
    assert len(answer(boxes, logits, 0.4)) == 2
    assert len(answer(boxes, logits, 0.51)) == 0
    assert len(answer(boxes, logits, float(np.nextafter(np.float32(0.5), np.float32(1))))) == 0


def test_faces_come_strongest_first():
    boxes = [(x, 40, x + 15, 60) for x in range(0, 160, 20)]
    logits = [0.3, 2.0, -3.0, 1.0, 0.1, 4.0, 3.0, 0.0]
    found = answer(boxes, logits)
    order = [5, 6, 1, 3, 0, 4, 7]
    assert found.box[:, 0].tolist() == pytest.approx([boxes[i][0] for i in order], abs=1e-4)
    assert found.score.tolist() == pytest.approx(
        [1 / (1 + np.exp(-logits[i])) for i in order], abs=1e-6
    )


def test_of_two_overlapping_boxes_the_stronger_stays():
    boxes = [(0, 0, 40, 40), (14, 0, 54, 40), (0, 25, 40, 65)]  # overlaps 0.48, 0.23 and less
    found = answer(boxes, [1.0, 2.0, 0.5])
    assert np.allclose(found.box, [boxes[1], boxes[2]], atol=1e-3)
    assert len(answer(boxes, [1.0, 2.0, 0.5], nms_iou=0.5)) == 3
    assert len(answer(boxes, [1.0, 2.0, 0.5], nms_iou=0.1)) == 1


def test_of_two_nested_boxes_the_stronger_stays_whichever_is_larger():
    boxes = [(20, 20, 100, 100), (30, 40, 50, 60), (110, 20, 150, 60)]
    assert np.allclose(answer(boxes, [2.0, 1.0, 0.5]).box, [boxes[0], boxes[2]], atol=1e-3)
    assert np.allclose(answer(boxes, [1.0, 2.0, 0.5]).box, [boxes[1], boxes[2]], atol=1e-3)


def test_equal_boxes_of_two_frames_both_stay():
    frames = FrameBatch.from_frames([frame((128, 192), []), frame((128, 192), [], index=1)], 3)
    _, raw = view_of([(0, 0, 20, 20)], [3.0])
    both = View(np.arange(2), np.ones((2, 2)), np.full(2, np.inf), np.zeros((2, 128, 192, 3), "u1"))
    found = FaceTiny().post_process(Batch(frames), [(both, seen(raw.repeat(2, 1, 1)))])
    assert found.frame_uid.tolist() == [3, 4]


def test_x_and_y_are_scaled_each_by_its_own():
    frames = FrameBatch.from_frames([frame((128, 192), [])], 3)
    view, raw = view_of([(10, 20, 30, 60)], [3.0], scale=(0.5, 0.25))
    found = FaceTiny().post_process(Batch(frames), [(view, seen(raw))])
    assert np.allclose(found.box, [[20, 80, 60, 240]], atol=1e-3)


def test_the_network_sees_rgb_scaled_as_in_training(node):
    seen = []
    node._model = lambda x: seen.append(x) or torch.full((1, 85, 15), -9.0)
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[...] = (255, 0, 51)
    detect(node, [Frame(picture, "s", size_px=(64, 64))])
    assert seen[0][0, :, 5, 7].tolist() == pytest.approx([2.0, -2.0, (0.2 - 0.5) / 0.25], abs=1e-6)
    assert FaceTiny.spec is SPEC


def test_padding_is_black_and_only_right_and_below(node):
    picture = np.full((70, 100, 3), 200, np.uint8)
    batch = Batch(FrameBatch.from_frames([Frame(picture, "s", size_px=(70, 100))]))
    (view,) = node.pre_process(batch)
    assert view.pixels.shape == (1, 128, 128, 3)
    assert (view.pixels[0, :70, :100] == 200).all()
    assert (view.pixels[0, 70:] == 0).all()
    assert (view.pixels[0, :, 100:] == 0).all()
    assert view.scales.tolist() == [[1.0, 1.0]]


def test_frames_of_one_pixel_are_looked_at(node):
    found = detect(node, [Frame(np.zeros((1, 1, 3), np.uint8), "s", size_px=(1, 1))])
    assert len(found) == 0
    assert node.model.shapes == [(1, 3, 64, 64)]


@pytest.mark.parametrize("options", [{"max_side": 63}, {"nms_iou": 0.0}, {"nms_iou": 1.0}])
def test_bad_options_are_refused(options):
    with pytest.raises(OptionError, match="face/tiny"):
        FaceTiny(**options)
