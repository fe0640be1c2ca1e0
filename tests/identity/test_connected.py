"""Connected components without the N by N table, against scipy on the whole table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csgraph, csr_matrix

import featflow.identity.connected as connected
from featflow.identity.connected import connected_components
from featflow.identity.vectors import unit_rows


def by_scipy(unit, threshold):
    table = unit.astype(np.float64) @ unit.T.astype(np.float64)
    return csgraph.connected_components(csr_matrix(table >= threshold), directed=False)[1]


def clear_of(unit, threshold):
    """Whether no pair lies so near the threshold that float32 decides."""
    table = unit.astype(np.float64) @ unit.T.astype(np.float64)
    return np.abs(table - threshold).min() > 3e-6


def assert_same_partition(a, b):
    pairs = np.unique(np.stack([a, b], 1), axis=0)
    assert len(pairs) == len(np.unique(a)) == len(np.unique(b))


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles and blocks so small that a few hundred faces use all of the search."""
    for name, value in {
        "_ROW_BLOCK": 16,
        "_COLUMN_BLOCK": 32,
        "_TILE_ROWS": 64,
        "_TILE_GROUPS": 8,
        "_FEWEST_A_GROUP": 1,
        "_PAIR_COST": 0,
    }.items():
        monkeypatch.setattr(connected, name, value)


CASES = [
    (20, 32, 0.9, 0.5),
    (20, 32, 0.7, 0.45),
    (100, 8, 0.8, 0.9),
    (1, 32, 0.4, 0.45),
    (8, 32, 0.6, 0.62),
    (10, 32, 0.5, -0.1),
    (400, 32, 0.5, 0.6),
]


@pytest.mark.parametrize(("people", "size", "alike", "threshold"), CASES)
def test_equals_scipy(make, people, size, alike, threshold):
    unit = unit_rows(make.planted(900, people, size, alike)[0])[0]
    assert_same_partition(connected_components(unit, threshold), by_scipy(unit, threshold))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("cost", [0, 10**9])
@pytest.mark.parametrize(("people", "size", "alike", "threshold"), CASES)
def test_equals_scipy_in_small_tiles(make, monkeypatch, people, size, alike, threshold, cost):
    monkeypatch.setattr(connected, "_PAIR_COST", cost)
    unit = unit_rows(make.planted(300, people, size, alike, seed=3)[0])[0]
    assert_same_partition(connected_components(unit, threshold), by_scipy(unit, threshold))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.floats(-0.5, 0.98), st.integers(2, 120))
def test_equals_scipy_for_few_dimensions(seed, size, threshold, faces):
    draw = np.random.default_rng(seed)
    unit = unit_rows(draw.standard_normal((faces, size)))[0]
    if clear_of(unit, threshold):
        assert_same_partition(connected_components(unit, threshold), by_scipy(unit, threshold))


def test_a_chain_of_faces_is_one_person():
    angles = np.arange(0, 2.0, 0.1)  # neighbours .995, ends -.32
    unit = unit_rows(np.stack([np.cos(angles), np.sin(angles)], 1))[0]
    assert connected_components(unit, 0.99).max() == 0
    assert connected_components(np.delete(unit, 10, axis=0), 0.99).max() == 1


def test_far_groups_are_passed_over(make, monkeypatch):
    looked = []
    whole = connected._Links._join_block

    def counted(self, a, b):
        looked.append(len(a) * len(b))
        whole(self, a, b)

    monkeypatch.setattr(connected._Links, "_join_block", counted)
    unit = unit_rows(make.planted(2500, 50, 128, 0.9)[0])[0]
    assert connected_components(unit, 0.5).max() == 49
    assert sum(looked) < 0.1 * len(unit) ** 2 / 2


def test_numbers_follow_first_appearance():
    unit = np.eye(3, dtype=np.float32)[[2, 0, 2, 1, 0]]
    assert connected_components(unit, 0.5).tolist() == [0, 1, 0, 2, 1]


def test_equality_links():
    unit = unit_rows([[1.0, 0.0], [0.6, 0.8]])[0]
    assert connected_components(unit, 0.6).tolist() == [0, 0]
    assert connected_components(unit, 0.601).tolist() == [0, 1]


@pytest.mark.parametrize("faces", [0, 1])
def test_few_faces(faces):
    assert connected_components(np.ones((faces, 1), np.float32), 0.5).tolist() == [0] * faces
