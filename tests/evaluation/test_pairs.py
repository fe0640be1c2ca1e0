"""Pairs to verify: who is with whom, how many, never twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.errors import OptionError
from featflow.evaluation.pairs import draw_pairs

NAMES = ["a"] * 6 + ["b"] * 2 + ["c"] + [""] * 3 + ["d"] * 40


def test_all_pairs_of_one_person_and_as_many_of_two():
    names = ["a"] * 4 + ["b"] * 2 + ["c", "d", ""]
    one, two, same = draw_pairs(names)
    drawn = {frozenset(p) for p in zip(one[same].tolist(), two[same].tolist(), strict=True)}
    wanted = {frozenset({i, j}) for i in range(4) for j in range(i)} | {frozenset({4, 5})}
    assert drawn == wanted
    assert (~same).sum() == len(wanted)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12))
def test_pairs_are_what_they_say_and_none_comes_twice(seed, most):
    who = np.array(NAMES)
    one, two, same = draw_pairs(NAMES, most, seed)
    assert ((who[one] == who[two]) == same).all()
    assert (who[one] != "").all()
    assert (who[two] != "").all()
    pairs = {frozenset(p) for p in zip(one.tolist(), two.tolist(), strict=True)}
    assert len(pairs) == len(one)
    assert all(len(p) == 2 for p in pairs)
    assert same.sum() * 2 == len(same)
    counts = [int((who[one[same]] == name).sum()) for name in "abcd"]
    assert counts == [min(most, n) for n in (15, 1, 0, 780)]


def test_the_choice_is_that_of_the_seed():
    first, again, other = (draw_pairs(NAMES, 5, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_kinds_of_pairs_are_mixed_so_that_folds_hold_both():
    same = draw_pairs(NAMES, 10)[2]
    assert 0 < same[: len(same) // 2].mean() < 1


@pytest.mark.parametrize(
    ("names", "message"), [(["a", "b", ""], "two photographs"), (["a", "a", "a", "b"], "fewer")]
)
def test_what_has_no_pairs_is_refused(names, message):
    if message == "fewer":
        assert len(draw_pairs(names)[0]) == 6
        names = ["a", "a", "a"]
    with pytest.raises(OptionError, match=message):
        draw_pairs(names)
