"""Tracks of faces that move, cross, vanish and are cut away; the vote."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.errors import OptionError, SchemaError
from featflow.identity import track_faces, vote
from featflow.identity.tracking import TrackRule, vote_or_unknown

NAN = float("nan")
A, B = [1.0, 0.0], [0.0, 1.0]


def box(x, side=100):
    return [x, 50, side, side]


def test_two_faces_that_move_keep_their_tracks(make):
    rows = [(f, box(100 + 10 * f), A) for f in range(8)] + [
        (f, box(500 - 10 * f), B) for f in range(8)
    ]
    frames, boxes, vectors = zip(*rows, strict=True)
    assert track_faces(make.table(vectors, frames, boxes)).tolist() == [0] * 8 + [1] * 8


def test_faces_that_cross_are_told_apart_by_embedding_alone(make):
    rows = [(f, box(100 + 20 * f), A) for f in range(9)] + [
        (f, box(260 - 20 * f), B) for f in range(9)
    ]
    frames, boxes, vectors = zip(*rows, strict=True)
    assert track_faces(make.table(vectors, frames, boxes)).tolist() == [0] * 9 + [1] * 9
    swapped = track_faces(
        make.table(vectors, frames, boxes).drop(columns=["Identity_1", "Identity_2"])
    )
    assert swapped.tolist() != [0] * 9 + [1] * 9  # boxes alone cannot know


def test_another_person_at_the_same_place_is_another_track(make):
    table = make.table([A, A, B, B], range(4), [box(100)] * 4)
    assert track_faces(table).tolist() == [0, 0, 1, 1]


def test_a_face_without_embedding_goes_by_its_box(make):
    table = make.table([A, [NAN, NAN], A], range(3), [box(100)] * 3)
    assert track_faces(table).tolist() == [0, 0, 0]


def test_best_pairs_win_over_greedy_ones(make):
    # Greedy pairing would take the largest overlap (the second face on the first track).
    first, second = box(0), box(60)
    table = make.table([A] * 4, [0, 0, 1, 1], [first, second, box(-40), box(25)])
    assert track_faces(table, TrackRule(min_iou=0.2)).tolist() == [0, 1, 0, 1]


def test_a_short_absence_is_bridged_and_a_long_one_is_not(make):
    empty = [NAN] * 4
    boxes = [box(100), *[empty] * 3, box(100)]
    vectors = [A, *[[NAN, NAN]] * 3, A]
    table = make.table(vectors, range(5), boxes, scores=[1, 0, 0, 0, 1])
    assert track_faces(table).tolist() == [0, -1, -1, -1, 0]
    assert track_faces(table, TrackRule(max_gap=3)).tolist() == [0, -1, -1, -1, 1]


def test_a_gap_in_time_ends_a_track(make):
    table = make.table([A, A, A], [0, 1, 2], [box(100)] * 3, times=[0.0, 0.1, 9.0])
    assert track_faces(table).tolist() == [0, 0, 1]
    stills = make.table([A, A, A], [0, 1, 2], [box(100)] * 3, times=[NAN] * 3)
    assert track_faces(stills).tolist() == [0, 0, 0]


def test_tracks_do_not_lead_from_clip_to_clip(make):
    table = make.table([A] * 4, [0, 1, 0, 1], [box(100)] * 4, source=["b.mp4"] * 2 + ["a.mp4"] * 2)
    assert track_faces(table).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_rows_makes_no_difference(make, seed):
    draw = np.random.default_rng(1)
    frames = np.repeat(np.arange(6), 3)
    boxes = [box(150 * (i % 3) + draw.integers(0, 40)) for i in range(18)]
    fex = make.table(np.eye(3)[np.arange(18) % 3], frames, boxes)
    rows = np.random.default_rng(seed).permutation(18)
    np.testing.assert_array_equal(track_faces(fex.iloc[rows]), track_faces(fex)[rows])


@pytest.mark.parametrize("bad", [{"min_iou": 0}, {"min_similarity": 2}, {"max_gap": 0}])
def test_rules_are_checked(bad):
    with pytest.raises(OptionError):
        TrackRule(**bad)


def test_a_table_without_boxes_is_refused(make):
    table = make.table([A], [0], [box(0)]).drop(columns=["FaceRectX", "frame"])
    with pytest.raises(SchemaError, match="frame, FaceRectX"):
        track_faces(table)


pairs = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 3)), max_size=40)


@settings(deadline=None)
@given(pairs)
def test_the_vote_against_a_counter(rows):
    labels, tracks = (np.array(c, int) for c in (zip(*rows, strict=True) if rows else ([], [])))
    expected = labels.copy()
    for track in set(tracks[tracks >= 0]):
        inside = (tracks == track) & (labels >= 0)
        counts = collections.Counter(labels[inside].tolist())
        if counts:
            expected[inside] = min(counts, key=lambda name: (-counts[name], name))
    np.testing.assert_array_equal(vote(labels, tracks), expected)


def test_unknown_wins_a_majority_and_loses_a_tie():
    assert vote_or_unknown(np.array([-1, -1, 0, 1, -1]), np.array([0, 0, 0, 1, 1])).tolist() == [
        -1,
        -1,
        -1,
        1,
        1,
    ]
