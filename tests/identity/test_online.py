"""The one-pass gallery against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.errors import OptionError
from featflow.identity import Gallery
from featflow.identity.vectors import unit_rows


def plain_gallery(vectors, threshold):
    """The definition, face by face, in float64."""
    sums, labels = [], []
    for row in vectors.astype(np.float64):
        row = row / np.linalg.norm(row)
        table = np.array(sums).reshape(-1, len(row))
        cosines = (table @ row / np.linalg.norm(table, axis=1)).tolist()
        if cosines and max(cosines) >= threshold:
            label = int(np.argmax(cosines))
            sums[label] = sums[label] + row
        else:
            label = len(sums)
            sums.append(row)
        labels.append(label)
    return labels


@pytest.mark.parametrize("threshold", [-0.2, 0.5, 0.8])
@pytest.mark.parametrize("alike", [0.3, 0.6, 0.9])
def test_equals_the_definition(make, threshold, alike):
    vectors, _ = make.planted(400, 25, alike=alike)
    assert Gallery(threshold).add(vectors).tolist() == plain_gallery(vectors, threshold)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(0, 99))
def test_blocks_make_no_difference(sizes, seed):
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal((sum(sizes), 6)).astype(np.float32)
    whole = Gallery(0.6).add(vectors)
    gallery = Gallery(0.6)
    parts = [gallery.add(part) for part in np.split(vectors, np.cumsum(sizes)[:-1])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_equality_reaches_the_threshold_and_less_does_not():
    at = [[1.0, 0.0], [0.6, 0.8]]
    assert Gallery(0.6).add(at).tolist() == [0, 0]
    assert Gallery(0.6001).add(at).tolist() == [0, 1]
    assert Gallery(1.0).add([[1, 2, 3], [10, 20, 30]]).tolist() == [0, 0]


def test_centres_follow_their_faces():
    gallery = Gallery(0.5)
    gallery.add([[2.0, 0.0], [0.0, -3.0], [4.0, 4.0]])
    middle = np.array([1 + np.sqrt(0.5), np.sqrt(0.5)])
    np.testing.assert_allclose(gallery.centres, [middle / np.linalg.norm(middle), [0, -1]], 1e-6)
    assert len(gallery) == 2


def test_memory_is_in_the_number_of_identities(make):
    vectors, _ = make.planted(20000, 5, size=8, alike=0.95)
    gallery = Gallery(0.5)
    gallery.add(vectors)
    assert len(gallery) <= 5
    assert gallery._sums.nbytes + gallery._centres.nbytes < 200_000


def test_many_identities_outgrow_the_first_room():
    vectors = np.random.default_rng(0).standard_normal((1500, 64))
    labels = Gallery(0.99).add(vectors)
    np.testing.assert_array_equal(labels, np.arange(1500))


def test_unusable_rows_are_nobody():
    assert Gallery(0.5).add([[np.nan, 1], [1, 0], [0, 0], [1, 0]]).tolist() == [-1, 0, -1, 0]


def test_no_faces():
    assert Gallery(0.5).add(np.zeros((0, 4))).tolist() == []


def test_another_length_is_refused():
    gallery = Gallery(0.5)
    gallery.add(np.eye(3))
    with pytest.raises(OptionError, match="4 numbers cannot join a gallery of 3"):
        gallery.add(np.eye(4))


@pytest.mark.parametrize("threshold", [1.1, -1.1, float("nan")])
def test_thresholds_are_cosines(threshold):
    with pytest.raises(OptionError, match="cosine similarity"):
        Gallery(threshold)


def test_opposite_faces_cancel_without_nan():
    labels = Gallery(-1.0).add([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert labels.tolist() == [0, 0, 0]
    assert unit_rows([[1.0, 0.0]])[1].all()
