"""Rules mark one crafted face each, keep what lies on a limit, and nothing is dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from featflow.errors import OptionError
from featflow.extract import (
    Marks,
    Rule,
    aligned_rules,
    distance_rule,
    order_rule,
    roll_rule,
    scale_rule,
    size_rule,
)
from featflow.fex import fex_from_batches
from featflow.flow import Flow
from featflow.flow.batch import Batch, FaceBatch
from featflow.geometry.centring import align51
from featflow.geometry.landmarks import MIRROR_68
from featflow.geometry.mean_face import TEMPLATE51
from featflow.geometry.similarity import apply

Make = Callable[..., Any]


def judged(batch: Batch, *rules: Rule) -> FaceBatch:
    flow = Flow([Marks(rules)], given=tuple(batch.faces.fields), mode="sequential")
    return next(flow.run([batch])).faces


def test_size_is_the_longer_side_over_the_shorter_and_both_limits_are_inclusive(
    make_batch: Make,
) -> None:
    # Frames of 100 x 400 and 300 x 200: shorter sides 100 and 200.
    box = [[0, 0, 10, 5], [0, 0, 9, 9], [5, 5, 15, 55], [0, 0, 51, 2], [0, 0, 20, 3]]
    batch = make_batch([(100, 400), (300, 200)], [0, 0, 0, 0, 1], box=box)
    faces = judged(batch, size_rule(0.1, 0.5))
    np.testing.assert_allclose(faces.fields["face_share"], [0.1, 0.09, 0.5, 0.51, 0.1])
    assert faces.fields["keep"].tolist() == [True, False, True, False, True]
    assert faces.fields["filter_reason"].tolist() == [
        "",
        "size 0.09 is below 0.1",
        "",
        "size 0.51 is above 0.5",
        "",
    ]
    assert judged(batch, size_rule()).fields["keep"].all()


def template_face(make_face: Make, **moved: tuple[float, float]) -> np.ndarray:
    """A face whose inner points are exactly the template, 100 px wide, at (50, 40)."""
    points = make_face((100, 100), 100)
    points[17:] = TEMPLATE51 * 100 + [50, 40]
    return points


def test_features_out_of_order_are_marked(make_batch: Make, make_face: Make) -> None:
    good = template_face(make_face)
    jumbled = good.copy()
    jumbled[48:] -= [0, 60]  # the mouth lies on the brows
    batch = make_batch([(200, 200)], [0, 0], landmarks=[good, jumbled])
    faces = judged(batch, order_rule())
    inner = TEMPLATE51[:, 1]
    gap = inner[31:].min() - inner[[*range(10), *range(19, 31)]].max()
    assert faces.fields["aligned_order"][0] == pytest.approx(gap, abs=1e-6)
    assert faces.fields["aligned_order"][1] < 0
    assert faces.fields["keep"].tolist() == [True, False]
    assert faces.fields["filter_reason"][1].startswith("space between eyes and mouth -")
    turned = make_batch([(200, 200)], [0], landmarks=[make_face((99, 99), 80, 3.0)])
    assert judged(turned, order_rule()).fields["keep"].all()  # upright once it is aligned


def test_exactly_touching_features_are_kept() -> None:
    assert order_rule().reasons(np.array([0.0, -1e-9])) == [
        "",
        "space between eyes and mouth -1e-09 is below 0",
    ]


def test_scale_is_the_side_of_the_face_crop(make_batch: Make, make_face: Make) -> None:
    # The unit square is 100 px wide, the face crop twice that: 200 of 400 px.
    face = template_face(make_face)
    batch = make_batch([(400, 640), (5000, 5000)], [0, 1], landmarks=[face, face])
    np.testing.assert_allclose(
        judged(batch, scale_rule()).fields["aligned_scale"], [0.5, 0.04], rtol=1e-5
    )
    marked = judged(batch, scale_rule(0.05, 0.49)).fields["filter_reason"].tolist()
    assert marked == ["scale 0.5 is above 0.49", "scale 0.04 is below 0.05"]
    assert scale_rule().reasons(np.array([0.03, 4.0, 0.0299, 4.001])) == [
        "",
        "",
        "scale 0.0299 is below 0.03",
        "scale 4.001 is above 4",
    ]


def test_distance_is_the_mean_deviation_per_coordinate(make_batch: Make, make_face: Make) -> None:
    rng = np.random.default_rng(2)
    noisy = template_face(make_face)
    noisy[17:] += rng.normal(0, 8, (51, 2))
    batch = make_batch([(400, 400)], [0, 0], landmarks=[template_face(make_face), noisy])
    carried = apply(align51(noisy.astype(np.float32)[None]), noisy.astype(np.float32)[None])
    wanted = np.abs(carried[0, 17:] - TEMPLATE51).sum() / 102
    faces = judged(batch, distance_rule(0.02))
    np.testing.assert_allclose(faces.fields["aligned_distance"], [0, wanted], atol=1e-6)
    assert faces.fields["keep"].tolist() == [True, False]
    assert distance_rule(0.25).reasons(np.array([0.25])) == [""]


def test_roll_has_the_sign_of_head_roll_and_two_limits(make_batch: Make, make_face: Make) -> None:
    turns = [0.0, 0.4, -0.4, 3.0]
    batch = make_batch(
        [(400, 400)], [0] * 4, landmarks=[make_face((200, 200), 90, t) for t in turns]
    )
    faces = judged(batch, roll_rule(0.5))
    np.testing.assert_allclose(faces.fields["aligned_roll"], turns, atol=1e-5)
    assert faces.fields["keep"].tolist() == [True, True, True, False]
    tilted = make_face((200, 200), 90, 0.4)
    # + is to the subject's right: the head's top lies image left of its chin.
    assert tilted[27, 0] < tilted[8, 0]
    assert roll_rule(0.5).reasons(np.array([0.5, -0.5, -0.51])) == [
        "",
        "",
        "roll -0.51 is below -0.5",
    ]


def test_a_mirrored_face_is_as_good(make_batch: Make, make_face: Make) -> None:
    face = make_face((150, 150), 90, 0.3)
    mirror = face[MIRROR_68] * [-1, 1] + [400, 0]
    batch = make_batch([(400, 400)], [0, 0], landmarks=[face, mirror])
    faces = judged(batch, *aligned_rules(roll=1.0))
    for field in ("aligned_order", "aligned_scale", "aligned_distance"):
        values = faces.fields[field]
        np.testing.assert_allclose(values[0], values[1], atol=1e-5)
    np.testing.assert_allclose(faces.fields["aligned_roll"], [0.3, -0.3], atol=1e-5)


def test_a_face_that_cannot_be_judged_is_kept_with_its_number_missing(
    make_batch: Make, make_face: Make
) -> None:
    unknown = np.full((68, 2), np.nan)
    batch = make_batch([(400, 400)], [0, 0], landmarks=[unknown, make_face((99, 99), 50)])
    faces = judged(batch, *aligned_rules(roll=0.1))
    assert faces.fields["keep"].tolist() == [True, True]
    for field in ("aligned_order", "aligned_scale", "aligned_distance", "aligned_roll"):
        assert np.isnan(faces.fields[field]).tolist() == [True, False]


def test_all_reasons_are_told_in_the_order_of_the_rules(make_batch: Make, make_face: Make) -> None:
    batch = make_batch([(400, 400)], [0], box=[[0, 0, 8, 8]], landmarks=[make_face((9, 9), 50, 2)])
    faces = judged(batch, size_rule(0.1), *aligned_rules(distance=0, roll=1))
    told = faces.fields["filter_reason"][0].split("; ")
    assert [text.split(" ")[0] for text in told] == ["size", "distance", "roll"]


@pytest.mark.parametrize("mode", ["threads", "sequential"])
def test_marks_reach_the_table_and_no_row_is_lost(make_batch: Make, mode: Any) -> None:
    box = [[0, 0, 10, 10], [0, 0, 50, 50], [0, 0, 30, 30]]
    batch = make_batch([(100, 100)] * 4, [0, 2, 2], box=box)
    broken = replace(batch.frames, errors=[None, None, None, ValueError("is cut short")])
    broken.images[3] = np.zeros((0, 0, 3), np.uint8)
    batch = replace(batch, frames=broken)
    node = Marks([size_rule(0.2, 0.4)])
    flow = Flow([node], given=("box", "score"), mode=mode)
    fex = fex_from_batches(flow.run([batch]), fields=["box", "score", *node.provides])
    assert fex["frame"].tolist() == [0, 1, 2, 2, 3]
    assert fex["Keep"].tolist() == [False, True, False, True, False]
    assert fex["FilterReason"].tolist() == [
        "size 0.1 is below 0.2",
        "",
        "size 0.5 is above 0.4",
        "",
        "unreadable: is cut short",
    ]
    np.testing.assert_array_equal(fex["FaceShare"], np.float32([0.1, np.nan, 0.5, 0.3, np.nan]))
    assert fex["Keep"].dtype == bool
    assert fex["FilterReason"].dtype == "str"


def test_a_run_without_faces_has_the_same_columns(make_batch: Make) -> None:
    node = Marks([size_rule(0.2)])
    flow = Flow([node], given=("box", "score"))
    none = fex_from_batches(
        flow.run([make_batch([(9, 9)], [], box=np.zeros((0, 4)))]),
        fields=["box", "score", *node.provides],
    )
    some = fex_from_batches(
        flow.run([make_batch([(9, 9)], [0])]), fields=["box", "score", *node.provides]
    )
    assert none.dtypes.to_dict() == some.dtypes.to_dict()
    assert none["Keep"].tolist() == [True]


def test_rules_of_your_own(make_batch: Make) -> None:
    blue = Rule("score", "confidence", ("score",), lambda batch: batch.faces.score, low=0.5)
    with pytest.raises(OptionError, match=r"two rules fill \['score'\]"):
        Marks([blue, blue])
    odd = replace(blue, field="odd", title="oddness", measure=lambda b: b.faces.score * 2, low=1.5)
    batch = make_batch([(9, 9)], [0, 0], score=[0.5, 0.75])
    faces = judged(batch, odd)
    assert faces.fields["odd"].tolist() == [1.0, 1.5]
    assert faces.fields["keep"].tolist() == [False, True]


@pytest.mark.parametrize(
    "make",
    [
        lambda: size_rule(-0.1),
        lambda: size_rule(0.5, 0.4),
        lambda: distance_rule(-1),
        lambda: roll_rule(float("nan")),
        lambda: Marks([]),
    ],
)
def test_limits_that_make_no_sense_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(OptionError):
        make()
