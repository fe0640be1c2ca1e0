"""Normalisation, re-feeding and re-aligning, with a landmarker that reads pure arithmetic.

Frames are ramps: red is the column, green is the row. So a crop tells by its colours which
part of the frame it shows, how large, and how it is turned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.datasets.frame import Frame
from featflow.errors import OptionError
from featflow.extract import Normalised, Realign, Refeed, normalise
from featflow.flow import Flow
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.flow.node import InputSpec, Node
from featflow.geometry.centring import align51
from featflow.geometry.crop import CropRule
from featflow.geometry.landmarks import box_of_landmarks, five_points
from featflow.geometry.similarity import apply, invert, scale_of

Make = Callable[..., Any]
METHODS = ("none", "clahe", "hist", "mean")
SIDE = 160
"""Larger than any crop here, so that no colours are averaged and rounded."""


def ramp() -> np.ndarray:
    rows, columns = np.mgrid[0:240, 0:240]
    return np.stack([columns, rows, rows * 0 + 128], -1).astype(np.uint8)


def faces_at(points: np.ndarray, frames: int = 1) -> Batch:
    """Faces with true points, spread over ramps; each box is what a detector would draw."""
    ramps = [Frame(ramp(), "ramp", i, size_px=(240, 240)) for i in range(frames)]
    rows = np.sort(np.arange(len(points)) % frames)
    fields = {
        "box": box_of_landmarks(points).astype(np.float32),
        "score": np.ones(len(points), np.float32),
        "points5": five_points(points).astype(np.float32),
        "truth": points.astype(np.float32),
    }
    return Batch(FrameBatch.from_frames(ramps), FaceBatch(rows.astype(np.int64), fields))


class ReadsColours(Node):
    """Knows from the colours where each crop lies, and finds the points that ``answer`` says."""

    kind, name, unit = "landmark", "oracle", "face"
    requires = ("box", "truth")
    provides: tuple[str, ...] = ("landmarks",)

    def __init__(self, anchor: Any = "box", answer: Any = None) -> None:
        super().__init__()
        self.spec = InputSpec(crop=CropRule(SIDE, anchor, 1.1))
        self.answer = answer or (lambda shown, truth: apply(invert(shown), truth))
        self.shown: list[np.ndarray] = []
        self.sizes: list[int] = []

    def pre_process(self, batch: Batch) -> Any:
        crops = batch.crops(self.spec.crop)
        self.sizes.append(len(crops))
        return np.stack([_map_of(crop) for crop in crops]), batch.faces.fields["truth"]

    def process(self, inputs: Any) -> Any:
        shown, truth = inputs
        self.shown.append(shown)
        return self.answer(shown, truth)

    def post_process(self, batch: Batch, outputs: Any) -> dict[str, np.ndarray]:
        back = invert(self.spec.crop.matrices(batch.faces))
        return {"landmarks": apply(back, outputs).astype(np.float32)}


def _map_of(crop: np.ndarray) -> np.ndarray:
    """(2, 3) from crop pixels to frame pixels, by least squares over the crop's colours."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    known = crop[..., 2] == 128  # not beyond the frame
    known[np.arange(SIDE) % 4 > 0] = False  # a quarter of the rows is enough
    design = np.stack([columns[known], rows[known], np.ones(known.sum())], 1)
    return np.linalg.lstsq(design, crop[known][:, :2] + 0.5, rcond=None)[0].T


def run(batch: Batch, node: Node, **options: Any) -> FaceBatch:
    flow = Flow([node], given=tuple(batch.faces.fields), mode="sequential", **options)
    return Batch.concat(list(flow.run([batch]))).faces


# --- normalisation ------------------------------------------------------------------------


def oracle(plane: np.ndarray, method: str) -> np.ndarray:
    if method == "clahe":
        return cv2.createCLAHE(clipLimit=2.0, tileGridSize=(4, 4)).apply(plane)
    if method == "hist":
        return cv2.equalizeHist(plane)
    if method == "mean":
        return cv2.normalize(plane, None, 0, 255, cv2.NORM_MINMAX)
    return plane


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(METHODS),
    st.sampled_from([(8, 8), (31, 17), (112, 112)]),
)
def test_normalisation_equals_opencv_channel_by_channel(
    seed: int, method: Any, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    low, high = sorted(rng.integers(0, 256, 2).tolist())
    images = rng.integers(low, high + 1, (3, *size, 3)).astype(np.uint8)
    images[1, ..., 2] = 77  # a channel without contrast
    before = images.copy()
    result = normalise(images, method)
    for image, changed in zip(images, result, strict=True):
        for channel in range(3):
            want = oracle(np.ascontiguousarray(image[..., channel]), method)
            np.testing.assert_array_equal(changed[..., channel], want)
    np.testing.assert_array_equal(images, before)


def test_mean_spans_the_whole_range_in_each_channel() -> None:
    images = np.random.default_rng(1).integers(90, 140, (2, 16, 16, 3)).astype(np.uint8)
    images[..., 1] //= 3
    result = normalise(images, "mean")
    assert (result.min((1, 2)) == 0).all()
    assert (result.max((1, 2)) == 255).all()
    low, high = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
    formula = (images - low) * (255.0 / (high - low))
    assert np.abs(result - formula).max() <= 0.5 + 1e-3


def test_only_the_wrapped_node_sees_the_change(make_face: Make) -> None:
    seen: dict[str, np.ndarray] = {}

    class Looks(ReadsColours):
        def pre_process(self, batch: Batch) -> Any:
            seen[self.provides[0]] = batch.crops(self.spec.crop).copy()
            return super().pre_process(batch)

        def post_process(self, batch: Batch, outputs: Any) -> dict[str, np.ndarray]:
            return {self.provides[0]: super().post_process(batch, outputs)["landmarks"]}

    plain, inside = Looks(), Looks()
    plain.name, plain.provides, plain.shapes = "plain", ("plain",), {"plain": (68, 2)}
    batch = faces_at(make_face((120, 120), 80)[None])
    node = Normalised(inside, "hist")
    assert node.id == "landmark/oracle+hist"
    flow = Flow([node, plain], given=tuple(batch.faces.fields))
    list(flow.run([batch]))
    np.testing.assert_array_equal(seen["landmarks"], normalise(seen["plain"], "hist"))
    assert (seen["landmarks"] != seen["plain"]).any()


def test_normalisation_misused(make_face: Make) -> None:
    with pytest.raises(OptionError, match="known methods: none, clahe, hist, mean"):
        Normalised(ReadsColours(), "median")  # type: ignore[arg-type]
    no_crop = ReadsColours()
    no_crop.spec = InputSpec()
    for wrap in (lambda n: Normalised(n, "mean"), lambda n: Refeed(n, 2), Realign):
        with pytest.raises(OptionError, match="landmark/oracle"):
            wrap(no_crop)
    for count, share in ((0, 0.05), (3, 0.0), (3, 0.7)):
        with pytest.raises(OptionError, match="count >= 1"):
            Refeed(ReadsColours(), count, share=share)


# --- re-feeding ---------------------------------------------------------------------------


@pytest.mark.parametrize("anchor", ["box", "points5"])
def test_an_oracle_is_not_changed_by_refeeding(make_face: Make, anchor: str) -> None:
    points = np.stack([make_face((100, 110), 60), make_face((120, 120), 80, 0.3)])
    faces = run(faces_at(points), Refeed(ReadsColours(anchor), 6))
    np.testing.assert_allclose(faces.landmarks, points, atol=0.1)
    assert (faces.fields["landmark_score"] > 0.97).all()
    assert faces.fields["landmark_score"].dtype == np.float32


@pytest.mark.parametrize("anchor", ["box", "points5"])
def test_crops_move_and_grow_within_their_share(make_face: Make, anchor: str) -> None:
    node = ReadsColours(anchor)
    batch = faces_at(make_face((120, 120), 60, 0.2)[None])
    run(batch, Refeed(node, 200, seed=5))
    shown = np.concatenate(node.shown)
    assert len(shown) == 201
    plain = invert(node.spec.crop.matrices(batch.faces))
    np.testing.assert_allclose(shown[0], plain[0], atol=0.02)
    grown = scale_of(shown) / scale_of(plain)
    middle = apply(shown, np.full((1, 2), SIDE / 2))[:, 0]
    moved = (middle - middle[0]) / (SIDE * scale_of(plain))
    assert grown.min() > 0.95 - 2e-3 and grown.max() < 1.05 + 2e-3  # noqa: PT018
    assert np.abs(moved).max() < 0.05 + 2e-3
    assert grown.min() < 0.955 and grown.max() > 1.045  # noqa: PT018
    assert moved.min() < -0.045 and moved.max() > 0.045  # noqa: PT018
    assert abs(grown.mean() - 1) < 0.01


def test_points_are_the_mean_and_confidence_the_spread(make_face: Make) -> None:
    def stuck(shown: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """The same crop pixels whatever is shown: a feed disagrees by as much as it moved."""
        first.setdefault("points", apply(invert(shown), truth))
        return first["points"]

    first: dict[str, np.ndarray] = {}
    node = ReadsColours(answer=stuck)
    points = make_face((120, 120), 70)[None]
    faces = run(faces_at(points), Refeed(node, 5, seed=1))
    in_crop = apply(invert(node.shown[0]), points)
    feeds = np.stack([apply(shown, in_crop) for shown in node.shown])
    np.testing.assert_allclose(faces.landmarks, feeds.mean(0), atol=0.1)
    spread = np.sqrt(((feeds - feeds.mean(0)) ** 2).sum(-1).mean((0, 2)))
    eyes = np.linalg.norm(feeds.mean(0)[:, 36] - feeds.mean(0)[:, 45], axis=-1)
    want = 1 - spread / eyes / 0.08
    assert 0.05 < want[0] < 0.9
    np.testing.assert_allclose(faces.fields["landmark_score"], want, atol=0.01)


def test_refeeding_is_seeded_and_does_not_depend_on_the_batch(make_face: Make) -> None:
    def shifted(shown: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return apply(invert(shown), truth) + np.sin(shown[:, :1, 2:] * 40)

    points = np.stack([make_face((110 + 3 * i, 120), 60 + i, i / 9) for i in range(7)])
    batch = faces_at(points, frames=3)

    def found(seed: int, **options: Any) -> FaceBatch:
        return run(batch, Refeed(ReadsColours(answer=shifted), 4, seed=seed), **options)

    whole, again, single = found(3), found(3), found(3, face_batch=1)
    for name in ("landmarks", "landmark_score"):
        np.testing.assert_array_equal(whole.fields[name], again.fields[name])
        np.testing.assert_array_equal(whole.fields[name], single.fields[name])
    assert (whole.landmarks != found(4).landmarks).any()


def test_each_feed_is_one_pass_over_all_faces_in_order(make_face: Make) -> None:
    node = ReadsColours()
    points = np.stack([make_face((90 + 20 * i, 120), 50) for i in range(3)])
    run(faces_at(points), Refeed(node, 4))
    assert node.sizes == [3] * 5
    middles = [apply(shown, np.full((1, 2), SIDE / 2))[:, 0, 0] for shown in node.shown]
    assert all(np.diff(middle).min() > 15 for middle in middles)


def test_a_score_of_the_node_is_replaced_and_one_is_added(make_face: Make) -> None:
    class Sure(ReadsColours):
        provides = ("landmarks", "landmark_score")

        def post_process(self, batch: Batch, outputs: Any) -> dict[str, np.ndarray]:
            score = np.full(len(batch.faces), 0.25, np.float32)
            return {**super().post_process(batch, outputs), "landmark_score": score}

    batch = faces_at(make_face((120, 120), 60)[None])
    assert Refeed(ReadsColours(), 2).provides == ("landmarks", "landmark_score")
    assert Refeed(Sure(), 2).provides == ("landmarks", "landmark_score")
    assert run(batch, Refeed(Sure(), 2)).fields["landmark_score"][0] > 0.9


# --- re-aligning --------------------------------------------------------------------------


def tilt_of(shown: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Degrees by which each face is turned in its crop."""
    matrix = align51(apply(invert(shown), truth))
    return np.degrees(np.arctan2(matrix[:, 0, 1], matrix[:, 0, 0]))


def errs_when_tilted(shown: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """True points, blurred by as much as the face is tilted."""
    noise = np.random.default_rng(0).normal(0, 1, truth.shape)
    wrong = np.abs(np.sin(np.radians(tilt_of(shown, truth)))) * 0.3
    return apply(invert(shown), truth) + noise * wrong[:, None, None]


@pytest.mark.parametrize("turn", [60, -60, 150])
@pytest.mark.parametrize("anchor", ["box", "points5"])
def test_the_second_pass_sees_an_upright_face(make_face: Make, turn: float, anchor: str) -> None:
    points = np.stack(
        [make_face((120, 125), 60, np.radians(turn)), make_face((115, 120), 70, -0.4)]
    )
    batch = faces_at(points)
    if anchor == "points5":  # without them such a crop is turned already
        batch = replace(batch, faces=batch.faces.updated({"points5": np.full((2, 5, 2), np.nan)}))
    node = ReadsColours(anchor, errs_when_tilted)
    plain = run(batch, ReadsColours(anchor, errs_when_tilted)).landmarks
    faces = run(batch, Realign(node))
    first, second = (tilt_of(shown, points) for shown in node.shown)
    assert abs(abs(first[0]) - abs(turn)) < 1
    assert np.abs(second).max() < 1
    error = np.linalg.norm(faces.landmarks - points, axis=-1)
    assert error.max() < 0.5
    assert np.linalg.norm(plain - points, axis=-1).max() > 0.3
    if anchor == "box":
        box = box_of_landmarks(apply(invert(node.shown[1]), points))
        np.testing.assert_allclose((box[:, 2:] - box[:, :2]).max(1), SIDE / 1.1, rtol=0.02)


def test_a_refed_second_pass_behind_a_plain_first_one(make_face: Make) -> None:
    node = ReadsColours(answer=errs_when_tilted)
    final = Realign(node, Refeed(node, 3))
    assert final.id == "landmark/oracle+refeed+realign"
    assert final.provides == ("landmarks", "landmark_score")
    points = make_face((120, 125), 60, 0.9)[None]
    faces = run(faces_at(points), final)
    assert len(node.shown) == 1 + 4
    assert all(abs(tilt_of(shown, points)[0]) < 1.2 for shown in node.shown[1:])
    np.testing.assert_allclose(faces.landmarks, points, atol=0.5)
    assert faces.fields["landmark_score"][0] > 0.9


def test_frames_that_were_shrunk_and_threads_change_nothing(make_face: Make) -> None:
    points = make_face((120, 125), 60, 0.9)[None]
    batch = faces_at(points)
    frames = replace(
        batch.frames, sizes_px=batch.frames.sizes_px * 2, scales=batch.frames.scales / 2
    )
    large = {name: v * 2 if v.ndim > 1 else v for name, v in batch.faces.fields.items()}
    large["truth"] = batch.faces.fields["truth"]  # what the colours tell: working pixels
    twice = Batch(frames, FaceBatch(batch.faces.frame_uid, large))
    node = Realign(ReadsColours(answer=errs_when_tilted))
    np.testing.assert_allclose(run(twice, node).landmarks / 2, points, atol=0.5)
    flow = Flow([node], given=tuple(large), mode="threads")
    threaded = next(flow.run([twice])).faces.landmarks
    np.testing.assert_array_equal(threaded, run(twice, node).landmarks)


def test_a_face_whose_points_are_unknown_stays_so(make_face: Make) -> None:
    def lost(shown: np.ndarray, truth: np.ndarray) -> np.ndarray:
        found = apply(invert(shown), truth)
        found[0] = np.nan
        return found

    points = np.stack([make_face((100, 120), 60), make_face((140, 120), 60)])

    class Blind(ReadsColours):
        def pre_process(self, batch: Batch) -> Any:
            crops = batch.crops(self.spec.crop)
            maps = [_map_of(c) if c.any() else np.eye(2, 3) for c in crops]
            return np.stack(maps), batch.faces.fields["truth"]

    faces = run(faces_at(points), Realign(Blind(answer=lost)))
    assert np.isnan(faces.landmarks[0]).all()
    np.testing.assert_allclose(faces.landmarks[1], points[1], atol=0.5)


def test_loading_reaches_both_passes() -> None:
    loaded = []

    class Loads(ReadsColours):
        def load(self, device: Any = "cpu") -> None:
            loaded.append(self.name)
            super().load(device)

    first, second = Loads(), Loads()
    second.name = "other"
    node = Realign(first, Refeed(second, 1))
    node.load("cpu")
    assert loaded == ["oracle", "other"]
    assert node.shape_of("landmarks") == (68, 2)
    strange = ReadsColours()
    strange.kind = "mesh"
    with pytest.raises(OptionError, match="two landmark nodes"):
        Realign(first, strange)


def test_box_of_landmarks_reaches_over_the_brows(make_face: Make) -> None:
    points = make_face((100, 100), 60)
    box = box_of_landmarks(points)
    low, high = points.min(0), points.max(0)
    np.testing.assert_allclose(box[[0, 2, 3]], [low[0], high[0], high[1]])
    assert box[1] == pytest.approx(low[1] - 0.3 * (high[1] - low[1]))
