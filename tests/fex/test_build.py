"""From batches to rows: which rows there are and what stands in them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.errors import SchemaError
from featflow.fex import Fex, empty_fex, fex_from_batches
from featflow.fex.schema import GROUPS
from featflow.flow.batch import Batch, FaceBatch

Make = Callable[..., Any]


def test_values_land_in_their_columns(make_batch: Make) -> None:
    batch = make_batch([1, 2], seed=3)
    fex = fex_from_batches(batch)
    faces = batch.faces
    assert fex["frame"].tolist() == [0, 1, 1]
    assert fex["time"].tolist() == [0.0, 0.04, 0.04]
    assert fex["input"].tolist() == ["clip.mp4"] * 3
    assert fex[["FrameHeight", "FrameWidth"]].to_numpy().tolist() == [[40, 60]] * 3
    box = faces.fields["box"]
    np.testing.assert_array_equal(fex["FaceRectX"], box[:, 0])
    np.testing.assert_array_equal(fex["FaceRectHeight"], box[:, 3] - box[:, 1])
    np.testing.assert_array_equal(fex["FaceScore"], faces.fields["score"])
    np.testing.assert_array_equal(fex["x_30"], faces.fields["landmarks"][:, 30, 0])
    np.testing.assert_array_equal(fex["y_30"], faces.fields["landmarks"][:, 30, 1])
    np.testing.assert_array_equal(fex["LandmarkScore"], faces.fields["landmark_score"])
    np.testing.assert_array_equal(fex["Yaw"], faces.fields["pose"][:, 2])
    np.testing.assert_array_equal(fex["Z"], faces.fields["pose"][:, 5])
    assert fex["Keep"].all()
    assert (fex["FilterReason"] == "").all()


def test_dtypes_are_those_of_the_schema(make_batch: Make) -> None:
    fex = fex_from_batches(make_batch([1, 0], embedding=4))
    from featflow.fex.schema import column

    for name, dtype in fex.dtypes.items():
        known = column(name)
        assert known is not None
        assert dtype == known.dtype, name


def test_frame_without_face_is_one_row_with_score_0_and_its_size(make_batch: Make) -> None:
    fex = fex_from_batches(make_batch([0, 1, 0]))
    assert fex["frame"].tolist() == [0, 1, 2]
    row = fex.iloc[2]
    assert row["FaceScore"] == 0
    assert (row["FrameHeight"], row["FrameWidth"], row["Keep"]) == (40, 60, True)
    predictions = [c for g in ("landmark", "pose") for c in GROUPS[g].names()] + ["FaceRectX"]
    assert row[predictions].isna().all()


def test_unreadable_frame_is_one_row_that_says_why(make_batch: Make) -> None:
    fex = fex_from_batches(make_batch([1, 0], unreadable=[1]))
    row = fex.iloc[1]
    assert np.isnan(row["FaceScore"])
    assert np.isnan(row["time"])
    assert row["FilterReason"] == "unreadable: is cut short"
    assert fex["Keep"].tolist() == [True, False]


def test_absent_slots_have_no_columns(make_batch: Make) -> None:
    batch = make_batch([1])
    only_face = Batch(
        batch.frames,
        FaceBatch(batch.faces.frame_uid, {k: batch.faces.fields[k] for k in ("box", "score")}),
    )
    fex = fex_from_batches(only_face)
    assert list(fex.groups) == ["source", "facebox", "decision"]


def test_fields_decide_the_columns_where_no_face_was_found(
    make_batch: Make, make_fex: Make
) -> None:
    nothing = make_batch([0, 0])
    bare = Batch(nothing.frames, FaceBatch.empty())
    fields = ("box", "score", "points5", "landmarks", "landmark_score", "pose")
    with_all = fex_from_batches(bare, fields=[*fields, "embedding"], embedding_size=5)
    assert list(with_all.columns) == list(fex_from_batches(make_batch([1], embedding=5)).columns)
    assert with_all.identity_embeddings.shape == (2, 5)


def test_a_field_that_faces_lack_is_an_error(make_batch: Make) -> None:
    with pytest.raises(SchemaError, match="aus"):
        fex_from_batches(make_batch([1]), fields=["box", "score", "aus"])


def test_identity_labels_are_text_with_gaps(make_batch: Make) -> None:
    batch = make_batch([1, 0, 1])
    labels = {
        "identity": np.array(["Person_1", "Unknown"], object),
        "identity_score": np.array([0.9, 0.1], np.float32),
    }
    fex = fex_from_batches(batch.with_fields(labels))
    assert fex["Identity"].tolist()[::2] == ["Person_1", "Unknown"]
    assert fex["Identity"].isna().tolist() == [False, True, False]
    order = [c for g in GROUPS.values() for c in g.names() if c in fex.columns]
    assert list(fex.columns) == order
    np.testing.assert_array_equal(fex["IdentityScore"], np.array([0.9, np.nan, 0.1], np.float32))


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 3), min_size=1, max_size=9),
    cuts=st.sets(st.integers(1, 8), max_size=4),
    share=st.booleans(),
)
def test_rows_do_not_depend_on_how_frames_were_batched(
    make_batch: Make, counts: list[int], cuts: set[int], share: bool
) -> None:
    whole = make_batch(counts)
    edges = sorted({0, len(counts), *(c for c in cuts if c < len(counts))})
    parts = []
    for low, high in itertools.pairwise(edges):
        rows = (whole.faces.frame_uid >= low) & (whole.faces.frame_uid < high)
        # `share` repeats the frame before, as when its faces were split over two batches
        first = low - 1 if share and low else low
        parts.append(Batch(whole.frames[first:high], whole.faces[rows]))
    joined = fex_from_batches(parts)
    assert joined.equals(fex_from_batches(whole))
    assert len(joined) == sum(max(c, 1) for c in counts)


def test_empty_table_has_the_columns_of_a_run(make_batch: Make) -> None:
    full = fex_from_batches(make_batch([1]))
    empty = empty_fex(make_batch([1]).faces.fields)
    assert len(empty) == 0
    assert empty.dtypes.equals(full.dtypes)


def test_building_takes_well_below_a_third_of_a_millisecond_a_frame(
    make_batch: Make, meta: dict[str, Any]
) -> None:
    batch = make_batch([1] * 8)
    fex_from_batches(batch, meta)

    def once() -> float:
        start = time.process_time()
        for _ in range(20):
            assert isinstance(fex_from_batches(batch, meta), Fex)
        return (time.process_time() - start) / 20 / 8

    assert min(once() for _ in range(5)) < 0.3e-3
