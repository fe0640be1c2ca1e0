from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featflow.datasets.frame import Frame
from featflow.errors import ImageError, SchemaError
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.crop import CropRule

RULE = CropRule(size=3)
counts = st.lists(st.integers(0, 5), min_size=0, max_size=12)


def batch_of(faces_per_frame, first_uid=7):
    """Every value differs, so that any mix-up shows."""
    rng = np.random.default_rng(len(faces_per_frame))
    frames = [
        Frame(
            rng.integers(0, 255, (20, 30, 3), np.uint8),
            f"s{i // 3}",
            i,
            i / 30,
            (40, 60),
            0.5,
            ImageError("s", "x") if i % 4 == 3 else None,
            np.array([[1.0, 0, i], [0, 1, 2]]) if i % 3 == 1 else None,
        )
        for i in range(len(faces_per_frame))
    ]
    uid = np.repeat(np.arange(len(frames)) + first_uid, faces_per_frame).astype(np.int64)
    n = len(uid)
    box = np.stack([np.arange(n), np.arange(n), np.arange(n) + 20, np.arange(n) + 20], 1)
    fields = {"box": box.astype(np.float32), "score": np.arange(n) / 100, "id": np.arange(n)}
    return Batch(FrameBatch.from_frames(frames, first_uid), FaceBatch(uid, fields), 0.25)


def assert_equal(one, two):
    a, b = one.frames, two.frames
    assert len(a) == len(b)
    assert all(x is y for x, y in zip(a.images, b.images, strict=True))
    assert a.sources == b.sources
    assert a.errors == b.errors
    assert all(x is y for x, y in zip(a.cuts, b.cuts, strict=True))
    for name in ("uids", "indices", "times_s", "sizes_px", "scales"):
        assert getattr(a, name).dtype == getattr(b, name).dtype
        assert np.array_equal(getattr(a, name), getattr(b, name))
    assert np.array_equal(one.faces.frame_uid, two.faces.frame_uid)
    if len(one.faces) or len(two.faces):
        assert one.faces.fields.keys() == two.faces.fields.keys()
        for name, values in one.faces.fields.items():
            assert np.array_equal(values, two.faces.fields[name])
            assert values.dtype == two.faces.fields[name].dtype
    assert one.min_score == two.min_score


@given(counts, st.data())
def test_concat_undoes_split_also_inside_a_frame(faces_per_frame, data):
    batch = batch_of(faces_per_frame)
    whole, parts = batch, []
    for _ in range(data.draw(st.integers(0, 4))):
        head, batch = batch.split(data.draw(st.integers(0, len(batch.faces))))
        parts.append(head)
    parts.append(batch)
    assert_equal(Batch.concat(parts), whole)
    assert sum(len(part.faces) for part in parts) == len(whole.faces)


@given(counts, st.data())
def test_concat_undoes_cutting_at_frames(faces_per_frame, data):
    batch = batch_of(faces_per_frame)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(faces_per_frame)), max_size=4)))
    edges = [0, *cuts, len(faces_per_frame)]
    parts = [batch.take_frames(a, b) for a, b in pairwise(edges)]
    for part, a, b in zip(parts, edges[:-1], edges[1:], strict=True):
        assert np.bincount(part.frame_rows, minlength=b - a).tolist() == faces_per_frame[a:b]
    assert_equal(Batch.concat(parts), batch)


def test_split_gives_the_frames_that_hold_the_faces():
    head, tail = batch_of([1, 0, 3, 0, 1], first_uid=0).split(2)
    assert head.frames.uids.tolist() == [0, 1, 2]
    assert tail.frames.uids.tolist() == [2, 3, 4]
    assert head.faces.fields["id"].tolist() == [0, 1]
    head, tail = batch_of([1, 0, 3, 0, 1], first_uid=0).split(4)
    assert (head.frames.uids.tolist(), tail.frames.uids.tolist()) == ([0, 1, 2], [3, 4])
    head, tail = batch_of([1, 0], first_uid=0).split(1)
    assert (head.frames.uids.tolist(), tail.frames.uids.tolist()) == ([0], [1])


@given(counts.filter(lambda c: sum(c) > 0), st.data())
def test_crops_travel_through_split_concat_and_take(faces_per_frame, data):
    batch = batch_of(faces_per_frame)
    fresh = batch_of(faces_per_frame).crops(RULE)
    batch.crops(RULE)
    head, tail = batch.split(data.draw(st.integers(0, len(batch.faces))))
    joined = Batch.concat([head, tail])
    joined.frames.images[:] = [np.zeros((1, 1, 3), np.uint8)] * len(joined.frames)
    assert np.array_equal(joined.crops(RULE), fresh)  # not cut again
    some = np.arange(len(fresh))[::2]
    assert np.array_equal(joined.take_faces(some).crops(RULE), fresh[some])


def test_crops_that_one_part_lacks_are_cut_again_and_are_never_short():
    batch = batch_of([2, 3])
    head, tail = batch.split(2)
    head.crops(RULE)
    joined = Batch.concat([head, tail])
    assert np.array_equal(joined.crops(RULE), batch_of([2, 3]).crops(RULE))


def test_with_faces_forgets_crops_and_with_fields_keeps_them():
    batch = batch_of([2])
    crops = batch.crops(RULE)
    assert batch.with_fields({"x": np.zeros(2)}).crops(RULE) is crops
    other = batch.with_faces(FaceBatch(batch.faces.frame_uid, {"box": batch.faces.box + 5}))
    assert not np.array_equal(other.crops(RULE), crops)


def test_released_drops_what_is_not_needed_and_keeps_sizes():
    batch = batch_of([1, 2])
    crops = batch.crops(RULE)
    bare = batch.released(images=True, keep_crops={RULE})
    assert bare.frames.nbytes == 0
    assert bare.frames.sizes_px.tolist() == [[40, 60], [40, 60]]
    assert np.array_equal(bare.crops(RULE), crops)
    kept = batch.released(images=False, keep_crops=())
    assert kept.frames.images == batch.frames.images
    assert kept._crops == {}


def test_frame_sizes_and_rows_follow_the_faces():
    batch = batch_of([0, 2, 0, 1])
    assert batch.frame_rows.tolist() == [1, 1, 3]
    assert batch.frame_sizes_px.tolist() == [[40, 60]] * 3


def test_parts_of_unlike_fields_cannot_be_joined():
    one = batch_of([1])
    two = batch_of([1], first_uid=8).with_fields({"more": np.zeros(1)})
    with pytest.raises(SchemaError, match="more"):
        Batch.concat([one, two])


def test_faces_without_rows_add_nothing_to_a_join():
    full = batch_of([2]).faces
    joined = FaceBatch.concat([FaceBatch.empty(), full, FaceBatch.empty(("box",))])
    assert joined.fields.keys() == full.fields.keys()
    assert len(FaceBatch.concat([])) == 0


def test_unknown_points_are_nan():
    faces = FaceBatch(np.zeros(2, np.int64), {"box": np.zeros((2, 4))})
    assert faces.points5.shape == (2, 5, 2)
    assert np.isnan(faces.landmarks).all()
