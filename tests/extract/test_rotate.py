"""Rotation search with a detector of pure arithmetic: boxes land where the face is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.datasets.frame import Frame
from featflow.errors import ImageError, OptionError
from featflow.extract import RotationSearch, rotation_angles
from featflow.extract.rotate import Turn
from featflow.flow import Flow
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.flow.node import Node
from featflow.geometry.similarity import apply
from featflow.geometry.warp import warp

Make = Callable[..., Any]
MODES = ("threads", "sequential")


class UprightOnly(Node):
    """Finds a red patch, if a green patch of the same width lies right above it."""

    kind, name, unit = "face", "arrow", "frame"
    provides = ("box", "score", "points5")

    def __init__(self, score: float = 0.9) -> None:
        super().__init__()
        self.face_score = score
        self.seen: list[int] = []

    def pre_process(self, batch: Batch) -> Any:
        self.seen.append(len(batch.frames))
        return [image.astype(int) for image in batch.frames.images]

    def process(self, inputs: Any) -> Any:
        return [_find(image) for image in inputs]

    def post_process(self, batch: Batch, outputs: Any) -> FaceBatch:
        hits = [i for i, found in enumerate(outputs) if found is not None]
        scale = batch.frames.sizes_px[hits][:, ::-1] / [
            batch.frames.images[i].shape[1::-1] for i in hits or [0]
        ]
        box = np.array([outputs[i] for i in hits], np.float64).reshape(-1, 2, 2)
        box = (box * scale[: len(hits), None]).astype(np.float32).reshape(-1, 4)
        x, y = box[:, 0::2], box[:, 1::2]
        points = np.stack([np.stack([x[:, 0], y[:, 0]], -1)] * 5, 1)  # the top left corner
        score = np.full(len(hits), self.face_score, np.float32)
        return FaceBatch(batch.frames.uids[hits], {"box": box, "score": score, "points5": points})


def _find(image: np.ndarray) -> tuple[int, int, int, int] | None:
    red = (image[..., 0] > 200) & (image[..., 1] < 50)
    green = (image[..., 1] > 200) & (image[..., 0] < 50)
    if not red.any():
        return None
    ys, xs = np.nonzero(red)
    x0, y0, x1, y1 = int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
    above = np.nonzero(green)
    level = abs(above[1].min() - x0) <= 1 and abs(above[1].max() + 1 - x1) <= 1
    return (x0, y0, x1, y1) if level and above[0].max() < y0 else None


def picture(height: int = 60, width: int = 90, at: tuple[int, int] = (20, 30)) -> np.ndarray:
    """Red patch 12 wide and 8 high at (x, y); green above it."""
    image = np.zeros((height, width, 3), np.uint8)
    x, y = at
    image[y : y + 8, x : x + 12, 0] = 255
    image[y - 6 : y, x : x + 12, 1] = 255
    return image


def run(frames: list[Frame], node: Node, mode: str = "sequential") -> Batch:
    return Batch.concat(
        list(Flow([node], mode=mode, frame_batch=8, keep_images=True).run([frames]))
    )


def turned_frame(index: int, quarters: int, scale: int = 1) -> Frame:
    """A frame whose face lies turned clockwise by quarter turns; the original may be larger."""
    image = np.ascontiguousarray(np.rot90(picture(), -quarters))
    size = (image.shape[0] * scale, image.shape[1] * scale)
    return Frame(image, "clip", index, size_px=size, scale=1 / scale)


def true_box(quarters: int, scale: int = 1) -> list[float]:
    red = np.rot90(picture(), -quarters)[..., 0] > 200
    ys, xs = np.nonzero(red)
    return [scale * v for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_quarter_turns_are_exact(quarters: int, scale: int) -> None:
    node = UprightOnly()
    batch = run([turned_frame(0, quarters, scale)], RotationSearch(node, 90))
    assert batch.faces.box.tolist() == [true_box(quarters, scale)]
    assert node.seen == [1] * (quarters + 1)
    # The point is the patch's top left corner as the head sees it.
    x0, y0, x1, y1 = true_box(quarters, scale)
    corner = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)][quarters]
    assert batch.faces.points5[0].tolist() == [list(corner)] * 5


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_of_hits_and_misses_keeps_boxes_on_the_right_frames(mode: str) -> None:
    quarters = [0, 2, None, 1, 0, "broken", 3, 2]
    frames = []
    for i, turn in enumerate(quarters):
        if turn == "broken":
            frames.append(Frame.failed("clip", ImageError("clip", "broken"), i))
        elif turn is None:
            frames.append(Frame(np.zeros((40, 50, 3), np.uint8), "clip", i, size_px=(40, 50)))
        else:
            frames.append(turned_frame(i, turn, scale=1 + i))
    node = UprightOnly()
    batch = run(frames, RotationSearch(node, 90), mode)
    wanted = [(i, q) for i, q in enumerate(quarters) if isinstance(q, int)]
    assert batch.frames.indices.tolist() == list(range(8))
    assert batch.frame_rows.tolist() == [i for i, _ in wanted]
    assert batch.faces.box.tolist() == [true_box(q, 1 + i) for i, q in wanted]
    assert node.seen == [7, 5, 4, 2]  # only frames that still have no face are tried again
    sizes = [f.size_px for f in frames]
    assert [tuple(s) for s in batch.frames.sizes_px.tolist()] == sizes
    assert all(a is f.image for a, f in zip(batch.frames.images, frames, strict=True))


def test_at_45_degrees_the_box_contains_the_face() -> None:
    truth = Turn.of((60, 90), -45.0)  # the face lies turned clockwise
    image = truth.image(picture())
    frame = Frame(image, "clip", 0, size_px=image.shape[:2])
    assert len(run([frame], RotationSearch(UprightOnly(), [90, 180])).faces) == 0
    box = run([frame], RotationSearch(UprightOnly(), 45)).faces.box[0]
    corners = apply(truth.matrix, np.array([[20.0, 30], [32, 30], [32, 38], [20, 38]]))
    assert (box[:2] <= corners.min(0) + 1).all()
    assert (box[2:] >= corners.max(0) - 1).all()
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, corners.mean(0), atol=1.0)


def test_the_sign_a_head_tilted_clockwise_is_found_by_its_angle() -> None:
    frame = turned_frame(0, 1)
    assert len(run([frame], RotationSearch(UprightOnly(), [90])).faces) == 1
    assert len(run([frame], RotationSearch(UprightOnly(), [270])).faces) == 0
    assert len(run([frame], RotationSearch(UprightOnly(), [-270])).faces) == 1


def test_a_face_below_the_threshold_does_not_end_the_search() -> None:
    class Doubtful(UprightOnly):
        """Upright it half sees something that is not there."""

        def post_process(self, batch: Batch, outputs: Any) -> FaceBatch:
            if len(self.seen) > 1:
                return super().post_process(batch, outputs)
            uids = batch.frames.uids
            ghost = np.zeros((len(uids), 5, 2), np.float32)
            score = np.full(len(uids), 0.4, np.float32)
            return FaceBatch(
                uids.copy(), {"box": ghost[:, :2].reshape(-1, 4), "score": score, "points5": ghost}
            )

    batch = run([turned_frame(0, 2)], RotationSearch(Doubtful(), 180))
    assert batch.faces.box.tolist() == [true_box(2)]
    assert batch.faces.score.tolist() == [np.float32(0.9)]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(-720, 720))
def test_a_turn_holds_the_whole_picture(height: int, width: int, angle: float) -> None:
    turn = Turn.of((height, width), angle)
    corners = np.array([[0.0, 0], [width, 0], [width, height], [0, height]])
    there = apply(turn.matrix, corners)
    assert (there >= -1e-6).all()
    assert (there <= np.array(turn.size[::-1]) + 1e-6).all()
    assert (np.array(turn.size[::-1]) - np.ptp(there, axis=0) < 1 + 1e-6).all()
    middle = apply(turn.matrix, np.array([[width / 2, height / 2]]))[0]
    np.testing.assert_allclose(middle, np.array(turn.size[::-1]) / 2, atol=1e-6)
    step = apply(turn.matrix, np.array([[1.0, 0], [0, 0]]))
    angle_seen = np.degrees(np.arctan2(-(step[0] - step[1])[1], (step[0] - step[1])[0]))
    assert abs((angle_seen - angle + 180) % 360 - 180) < 1e-6


@pytest.mark.parametrize("angle", [90, 180, 270, -90, 450])
def test_quarter_turns_of_pixels_equal_the_matrix(angle: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 11, 3)).astype(np.uint8)
    turn = Turn.of((7, 11), angle)
    np.testing.assert_array_equal(turn.image(image), warp(image, turn.matrix, turn.size))


@pytest.mark.parametrize(
    ("spec", "angles"),
    [
        (90, (90, 180, 270)),
        ("90", (90, 180, 270)),
        (100, (100, 200, 300)),
        (250, (250,)),
        ([0, 45, 315, 0], (45, 315)),
        ("0, 45,270", (45, 270)),
        ([30], (30,)),
        ([-30, 30, 30], (-30, 30)),
    ],
)
def test_angles(spec: Any, angles: tuple[float, ...]) -> None:
    assert rotation_angles(spec) == angles


@pytest.mark.parametrize("spec", [0, 360, -10, "no", "", [], [0], [float("nan")], None, ["a"]])
def test_angles_that_make_no_sense(spec: Any) -> None:
    with pytest.raises(OptionError):
        rotation_angles(spec)


def test_it_is_the_node_inside_by_everything_else() -> None:
    node = UprightOnly()
    node.weights_hash = lambda: "ab"  # type: ignore[method-assign]
    search = RotationSearch(node, 90)
    assert (search.id, search.unit, search.provides) == (
        "face/arrow+rotate",
        "frame",
        node.provides,
    )
    assert search.weights_hash() == "ab"
    frame = Frame(np.zeros((8, 8, 3), np.uint8), "clip", 0, size_px=(8, 8))
    sample = Batch(FrameBatch.from_frames([frame]))
    found = search.post_process(sample, search.process(search.pre_process(sample)))
    assert len(found) == 0
    assert found.fields.keys() == {"box", "score", "points5"}


def test_nodes_that_cannot_be_turned() -> None:
    class WithPose(UprightOnly):
        provides = ("box", "score", "pose")

    class Face(UprightOnly):
        unit = "face"

    with pytest.raises(OptionError, match=r"\['pose'\] of face/arrow"):
        RotationSearch(WithPose(), 90)
    with pytest.raises(OptionError, match="finds faces"):
        RotationSearch(Face(), 90)
