import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.datasets.splits import split_by
from featflow.errors import OptionError, SchemaError


def table(groups, column="Identity"):
    return pd.DataFrame({column: groups, "row": range(len(groups))})


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([*"abcdefgh", None, "Unknown"]), min_size=1, max_size=60),
    st.lists(st.floats(0.05, 1), min_size=2, max_size=4),
    st.integers(0, 5),
)
def test_nobody_stands_on_two_sides(groups, parts, seed):
    people = {g for g in groups if g not in (None, "Unknown")}
    if len(people) < len(parts):
        with pytest.raises(SchemaError):
            split_by(table(groups), "identity", parts, seed=seed)
        return
    sides = split_by(table(groups), "identity", parts, seed=seed)
    seen = [set(side["Identity"]) for side in sides]
    assert all(seen)
    assert sum(len(s) for s in seen) == len(set.union(*seen)) == len(people)
    rows = sorted(r for side in sides for r in side["row"])
    assert rows == [i for i, g in enumerate(groups) if g in people]
    assert all(side["row"].is_monotonic_increasing for side in sides)


def test_shares_are_met_and_the_seed_matters():
    groups = [f"p{i % 50}" for i in range(1000)]
    one, two = split_by(table(groups), "identity", (0.7, 0.3), seed=1)
    assert len(one) == 700
    assert len(two) == 300
    again = split_by(table(groups), "identity", (7, 3), seed=1)
    assert again[1]["row"].tolist() == two["row"].tolist()
    other = split_by(table(groups), "identity", (0.7, 0.3), seed=2)
    assert set(other[1]["Identity"]) != set(two["Identity"])


def test_time_is_cut_in_each_clip_with_a_gap():
    times = np.concatenate([np.arange(100) / 10, np.arange(50) / 10])
    fex = pd.DataFrame({"input": ["a"] * 100 + ["b"] * 50, "time": times})
    early, late = split_by(fex, "time", (0.6, 0.4), gap=1.0)
    for name, length in (("a", 9.9), ("b", 4.9)):
        cut = 0.6 * length
        first = early[early["input"] == name]["time"]
        second = late[late["input"] == name]["time"]
        assert first.min() == 0
        assert second.max() == length
        assert cut - 0.6 < first.max() <= cut - 0.5
        assert cut + 0.5 <= second.min() < cut + 0.61


def test_what_cannot_be_split_is_named():
    fex = pd.DataFrame({"input": ["a", "b"], "time": [np.nan, np.nan]})
    with pytest.raises(SchemaError, match="no times"):
        split_by(fex, "time")
    with pytest.raises(SchemaError, match="no column 'Identity'"):
        split_by(fex, "identity")
    with pytest.raises(OptionError, match="by must be"):
        split_by(fex, "colour")
    with pytest.raises(OptionError, match="positive"):
        split_by(fex, "input", (1.0, 0.0))
    with pytest.raises(SchemaError, match="cannot be split into 3"):
        split_by(fex, "input", (1, 1, 1))
