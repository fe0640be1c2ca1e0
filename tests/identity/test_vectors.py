"""Unit vectors, unusable rows, nearest centres."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import pairwise

from featflow.errors import AbsentGroupError, OptionError
from featflow.identity.vectors import centre_sums, embeddings_of, nearest, unit_rows


def test_lengths_are_one_and_directions_stay():
    unit, usable = unit_rows([[3.0, 4.0], [0.0, -2.0]])
    assert usable.all()
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, -1]], atol=1e-7)
    assert unit.dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_point_nowhere_are_left_out(bad):
    unit, usable = unit_rows([[1.0, 0.0], [bad, 1.0], [0.0, 0.0], [0.0, 1.0]])
    assert usable.tolist() == [True, False, False, True]
    np.testing.assert_array_equal(unit, np.eye(2))


@settings(deadline=None)
@given(arrays(np.float64, (4, 3), elements=st.floats(-1e300, 1e300)))
def test_any_finite_row_but_zero_becomes_a_unit_vector(values):
    unit, usable = unit_rows(values)
    assert usable.tolist() == (np.abs(values).max(1) > 0).tolist()
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)


def test_half_floats_and_whole_numbers_are_taken():
    for dtype in (np.float16, np.int64):
        np.testing.assert_allclose(unit_rows(np.array([[3, 4]], dtype))[0], [[0.6, 0.8]], atol=1e-6)


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((2, 0)), np.array([["a"]]), [[True]]])
def test_what_is_not_a_table_of_numbers_is_refused(bad):
    with pytest.raises(OptionError, match="embeddings must be numbers"):
        unit_rows(bad)


def test_embeddings_are_read_in_number_order_past_ten():
    names = [f"Identity_{i}" for i in range(12, 0, -1)]
    frame = pd.DataFrame([list(range(12, 0, -1))], columns=names)
    assert embeddings_of(frame).tolist() == [list(range(1, 13))]


def test_a_table_without_embeddings_names_the_slot():
    with pytest.raises(AbsentGroupError, match="'identity' slot"):
        embeddings_of(pd.DataFrame({"frame": [0]}))


def test_nearest_against_scikit_learn(make):
    unit = unit_rows(make.planted(300, 20)[0])[0]
    centres = unit_rows(make.planted(40, 40, seed=1)[0])[0]
    cosine = pairwise.cosine_similarity(unit, centres)
    index, best = nearest(unit, centres)
    np.testing.assert_array_equal(index, cosine.argmax(1))
    np.testing.assert_allclose(best, cosine.max(1), atol=1e-6)


def test_sums_leave_out_faces_of_nobody():
    sums = centre_sums(np.eye(3, dtype=np.float32), np.array([1, -1, 1]), 2)
    assert sums.tolist() == [[0, 0, 0], [1, 0, 1]]
