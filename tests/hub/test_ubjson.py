"""UBJSON against a writer after draft 12, and what XGBoost 3.2 itself wrote."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featflow.errors import WeightsError
from featflow.hub.skops import read_skops
from featflow.hub.ubjson import parse_ubjson


def number(value):
    for marker, code in (("i", ">b"), ("U", ">B"), ("I", ">h"), ("l", ">i"), ("L", ">q")):
        try:
            return marker.encode() + struct.pack(code, value)
        except struct.error:
            continue
    raise ValueError(value)


def text(value):
    data = value.encode()
    return number(len(data)) + data


def write(value, counted):
    if value is None or isinstance(value, bool):
        return {None: b"Z", True: b"T", False: b"F"}[value]
    if isinstance(value, int):
        return number(value)
    if isinstance(value, float):
        return b"D" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"S" + text(value)
    size = b"#" + number(len(value)) if counted else b""
    if isinstance(value, list):
        inside, (start, end) = b"".join(write(v, counted) for v in value), (b"[", b"]")
    else:
        inside = b"".join(text(k) + write(v, counted) for k, v in value.items())
        start, end = b"{", b"}"
    return start + size + inside + (b"" if counted else end)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_is_written_is_read(value, counted):
    assert parse_ubjson(write(value, counted)) == value


@pytest.mark.parametrize("marker", ["i", "U", "I", "l", "L", "d", "D"])
def test_arrays_of_one_type(marker):
    code = {"i": "b", "U": "B", "I": "h", "l": "i", "L": "q", "d": "f", "D": "d"}[marker]
    values = [1, 2, 100]
    data = b"[$" + marker.encode() + b"#" + number(3) + struct.pack(f">3{code}", *values)
    found = parse_ubjson(data)
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.dtype(code)
    assert found.dtype.isnative


def test_single_precision_is_not_rounded_again():
    data = b"d" + struct.pack(">f", 0.1)
    assert parse_ubjson(data) == float(np.float32(0.1))


@given(VALUES.filter(lambda v: v is not None and not isinstance(v, bool)), st.data())
def test_what_is_cut_short_is_refused(value, data):
    whole = write(value, True)
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(WeightsError, match="not usable UBJSON"):
        parse_ubjson(whole[:length])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"TT",
        b"H",
        b"[$S#i\x01",
        b"[$d",
        b"{$d#i\x00",
        b"[#L" + struct.pack(">q", -1),
        b"[$D#L" + struct.pack(">q", 1 << 60),
        b"[#d" + struct.pack(">f", 2.0),
        b"S" + b"i\x01\xff",
        b"[" * 5000,
        b"{L",
    ],
)
def test_nonsense_is_refused(data):
    with pytest.raises(WeightsError, match="not usable UBJSON"):
        parse_ubjson(data)


def test_a_booster_of_xgboost():
    content = read_skops(Path(__file__).parent / "expected" / "xgb.skops")
    booster = content.attributes["classifiers"]["AU11"].attributes["_Booster"]
    found = parse_ubjson(booster.attributes["handle"])
    learner = found["Model"]["learner"]
    assert learner["objective"]["name"] == "binary:logistic"
    assert learner["learner_model_param"]["base_score"] == "[4E-1]"
    (tree, *_) = learner["gradient_booster"]["model"]["trees"]
    assert len(tree["left_children"]) == int(tree["tree_param"]["num_nodes"])
    assert tree["split_conditions"].dtype == np.float32
    assert json.dumps(learner["attributes"]) == "{}"
