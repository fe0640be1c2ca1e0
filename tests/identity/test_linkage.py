"""Trees of merges against definitions, and the order to look through faces."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import leaves_list, linkage
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

import featflow.identity.linkage as module
from featflow.errors import OptionError
from featflow.identity import seriate
from featflow.identity.connected import connected_components
from featflow.identity.linkage import LINKAGE_METHODS, linkage_clusters
from featflow.identity.vectors import unit_rows


def test_single_linkage_is_the_connected_components(make):
    unit = unit_rows(make.planted(400, 15, 12, 0.8)[0])[0]
    for threshold in (0.3, 0.7, 0.9):
        single = linkage_clusters(unit, threshold, "single")
        assert adjusted_rand_score(single, connected_components(unit, threshold)) == 1


@pytest.mark.parametrize("method", LINKAGE_METHODS)
def test_planted_people_are_found(make, method):
    vectors, who = make.planted(300, 8, 64, 0.85)
    assert adjusted_rand_score(who, linkage_clusters(unit_rows(vectors)[0], 0.5, method)) == 1


@pytest.mark.parametrize("method", LINKAGE_METHODS)
def test_the_threshold_is_the_cosine_at_which_two_faces_merge(method):
    unit = unit_rows([[1.0, 0.0], [0.6, 0.8]])[0]
    assert len(set(linkage_clusters(unit, 0.6, method))) == 1
    assert len(set(linkage_clusters(unit, 0.601, method))) == 2


def test_ward_does_not_split_large_groups(make):
    vectors, _ = make.planted(400, 1, 64, 0.7)
    assert len(set(linkage_clusters(unit_rows(vectors)[0], 0.5, "ward"))) == 1


def test_ward_cuts_at_the_distance_of_centres():
    draw = np.random.default_rng(0)
    groups = [unit_rows(c + 0.01 * draw.standard_normal((30, 3)))[0] for c in np.eye(3)[:2]]
    unit = np.concatenate(groups)
    centres = [group.mean(0) for group in groups]
    cosine = 1 - np.sum((centres[0] - centres[1]) ** 2) / 2  # of two unit vectors so far apart
    assert len(set(linkage_clusters(unit, cosine + 0.001, "ward"))) == 2
    assert len(set(linkage_clusters(unit, cosine - 0.001, "ward"))) == 1


def test_order_is_that_of_scipys_leaves(make):
    vectors, _ = make.planted(120, 6)
    unit = unit_rows(vectors)[0].astype(float)
    for method in LINKAGE_METHODS:
        order = seriate(vectors, method).order
        np.testing.assert_array_equal(order, leaves_list(linkage(unit, method)))


def test_three_blobs_are_three_bins(make):
    vectors, who = make.planted(90, 3, 32, 0.97)
    before = vectors.copy()
    found = seriate(vectors, "ward", 0.5)
    assert adjusted_rand_score(who[found.order], found.bins) == 1
    assert found.bins.tolist() == sorted(found.bins)
    assert set(found.bins) == {0, 1, 2}
    np.testing.assert_array_equal(vectors, before)


@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_bins_are_scikit_learns_clusters_at_that_height(make, part):
    vectors, _ = make.planted(80, 6, 16, 0.7)
    unit = unit_rows(vectors)[0].astype(float)
    height = linkage(unit, "ward")[:, 2].max()
    model = AgglomerativeClustering(
        n_clusters=None, linkage="ward", distance_threshold=part * height
    )
    found = seriate(vectors, "ward", part)
    assert adjusted_rand_score(model.fit(unit).labels_[found.order], found.bins) == 1


def test_the_highest_merge_starts_a_bin_and_zero_parts_all(make):
    vectors, _ = make.planted(40, 4)
    assert seriate(vectors, "single", 1.0).bins.max() == 1
    assert seriate(vectors, "single", 0.0).bins.tolist() == list(range(40))
    assert seriate(vectors, "single").bins.max() == 0


def test_unusable_rows_are_left_out_of_the_order():
    found = seriate([[1, 0], [np.nan, 0], [0.9, 0.1], [0, 1]], "single", 0.5)
    assert sorted(found.order) == [0, 2, 3]
    assert len(seriate(np.zeros((3, 2))).order) == 0


def test_a_long_chain_needs_no_recursion():
    angles = np.cumsum(np.linspace(1e-4, 2e-4, 4000))
    order = seriate(np.stack([np.cos(angles), np.sin(angles)], 1), "single", 0.5).order
    assert sorted(order) == list(range(4000))


def test_twenty_thousand_faces_in_a_chain_are_walked(monkeypatch):
    """A tree as deep as it can be: each face is joined to all before it."""
    count = 20_000
    steps = np.arange(count - 1)
    left = np.where(steps == 0, 0, count + steps - 1)
    chain = np.stack([left, steps + 1, 0.1 + steps / count, steps + 2], 1).astype(float)
    monkeypatch.setattr(module, "tree", lambda unit, method: chain)
    found = seriate(np.tile([1.0, 0.0], (count, 1)), "single", 0.5)
    np.testing.assert_array_equal(found.order, leaves_list(chain))
    assert sorted(found.order) == list(range(count))
    cut = 0.5 * chain[:, 2].max()
    assert found.bins.max() == (chain[:, 2] >= cut).sum()


def test_too_many_faces_are_refused_with_a_way_out(monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    with pytest.raises(OptionError, match="'gallery' or 'connected'"):
        seriate(np.eye(20))


def test_bad_options():
    with pytest.raises(OptionError, match="unknown linkage method 'complete'"):
        seriate(np.eye(3), "complete")
    with pytest.raises(OptionError, match="bin_threshold"):
        seriate(np.eye(3), "ward", 1.5)
