"""Fex: accessors, and metadata that survive what people do with tables."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featflow.errors import AbsentGroupError, SchemaError
from featflow.fex import Fex, empty_fex, fex_from_batches, new_meta
from featflow.fex.meta import META_KEY
from featflow.fex.schema import GROUPS

Make = Callable[..., Any]

SURVIVE: dict[str, Callable[[Fex], Any]] = {
    "slice": lambda f: f.iloc[1:3],
    "loc": lambda f: f.loc[f["frame"] > 0],
    "columns": lambda f: f[["FaceScore", "Yaw"]],
    "head": lambda f: f.head(1),
    "no rows": lambda f: f[f["frame"] < 0],
    "copy": lambda f: f.copy(),
    "copy.copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "assign": lambda f: f.assign(condition="a"),
    "drop": lambda f: f.drop(columns="Yaw"),
    "sort": lambda f: f.sort_values("FaceScore"),
    "reset_index": lambda f: f.reset_index(drop=True),
    "set_index": lambda f: f.set_index("frame"),
    "query": lambda f: f.query("FaceScore >= 0"),
    "fillna": lambda f: f.fillna({"Yaw": 0}),
    "dropna": lambda f: f.dropna(),
    "astype": lambda f: f.astype({"Yaw": "float64"}),
    "sample": lambda f: f.sample(2, random_state=0),
    "rename": lambda f: f.rename(columns={"Yaw": "yaw"}),
    "where": lambda f: f.faceboxes.where(f.faceboxes > 0),
    "concat": lambda f: pd.concat([f, f]),
    "concat one": lambda f: pd.concat([f]),
    "concat with no rows": lambda f: pd.concat([f.iloc[:0], f]),
    "concat sideways": lambda f: pd.concat([f, pd.Series(range(len(f)), name="n")], axis=1),
    "merge": lambda f: f.merge(pd.DataFrame({"frame": [0, 1], "stimulus": ["a", "b"]}), on="frame"),
    "groupby piece": lambda f: next(iter(f.groupby("frame")))[1],
    "groupby head": lambda f: f.groupby("frame").head(1),
    "groupby apply": lambda f: f.groupby("frame", group_keys=False)[f.columns].apply(
        lambda g: g.head(1)
    ),
    "pickle": lambda f: pickle.loads(pickle.dumps(f)),
    "Fex": Fex,
    "plain frame with attrs": lambda f: Fex(_plain_copy(f)),
    "accessor": lambda f: f.aus if "au" in f.groups else f.poses,
}


def _plain_copy(fex: Fex) -> pd.DataFrame:
    plain = pd.DataFrame(fex)  # pandas drops attrs here, so a user must carry them over
    plain.attrs = dict(fex.attrs)
    return plain


@pytest.mark.parametrize("what", SURVIVE)
def test_metadata_survive(what: str, make_fex: Make) -> None:
    fex = make_fex([1, 2, 0, 1])
    result = SURVIVE[what](fex)
    assert isinstance(result, Fex)
    assert result.meta == fex.meta
    assert result.meta["nodes"] == {"face": "face/tiny"}


def test_one_column_is_a_plain_series(make_fex: Make) -> None:
    fex = make_fex([1])
    assert type(fex["Yaw"]) is pd.Series
    assert type(fex.iloc[0]) is pd.Series
    assert type(fex.times) is pd.Series


def test_metadata_cannot_be_changed_behind_the_tables_back(make_fex: Make) -> None:
    fex = make_fex([1])
    other = fex.copy()
    with pytest.raises(TypeError):
        other.meta["nodes"] = {}
    other.meta = {**other.meta, "nodes": {"face": "face/other"}}
    other.meta["options"]["face_detection_threshold"] = 9
    assert fex.meta["nodes"] == {"face": "face/tiny"}
    assert other.meta["options"]["face_detection_threshold"] == 0.5


def test_metadata_must_be_json(make_fex: Make) -> None:
    fex = make_fex([1])
    with pytest.raises(SchemaError, match="JSON"):
        fex.meta = {"options": {"device": object()}}
    with pytest.raises(SchemaError, match="JSON"):
        fex.meta = {"options": {"threshold": float("nan")}}


def test_steps_are_kept_in_order(make_fex: Make) -> None:
    fex = make_fex([1])
    done = fex.with_step("baseline", by="median").with_step("clean")
    assert [s["step"] for s in done.meta["provenance"]] == ["baseline", "clean"]
    assert fex.meta["provenance"] == []


def test_accessors_select_their_columns(make_batch: Make) -> None:
    batch = make_batch([1, 1], embedding=3)
    extra = {
        "aus": np.arange(40, dtype=np.float32).reshape(2, 20) / 40,
        "emotions": np.full((2, 7), 1 / 7, np.float32),
        "gaze": np.zeros((2, 3), np.float32),
        "identity": np.array(["Person_1", "Person_2"], object),
    }
    fex = fex_from_batches(batch.with_fields(extra))
    expected = {
        "faceboxes": GROUPS["facebox"].names(),
        "landmarks": GROUPS["landmark"].names(),
        "landmarks_x": tuple(f"x_{i}" for i in range(68)),
        "landmarks_y": tuple(f"y_{i}" for i in range(68)),
        "poses": GROUPS["pose"].names(),
        "aus": GROUPS["au"].names(),
        "emotions": GROUPS["emotion"].names(),
        "gazes": GROUPS["gaze"].names(),
        "identity_embeddings": ("Identity_1", "Identity_2", "Identity_3"),
    }
    for accessor, names in expected.items():
        assert tuple(getattr(fex, accessor).columns) == names, accessor
    assert fex.aus.iloc[1]["AU01"] == 0.5
    assert fex.identities.tolist() == ["Person_1", "Person_2"]
    assert fex.inputs.tolist() == ["clip.mp4"] * 2
    assert fex.times.tolist() == [0.0, 0.04]


@pytest.mark.parametrize(
    ("accessor", "slot"),
    [("aus", "au"), ("emotions", "emotion"), ("gazes", "gaze"), ("identities", "identity")],
)
def test_absent_group_names_the_slot(accessor: str, slot: str, make_fex: Make) -> None:
    fex = make_fex([1])
    with pytest.raises(AbsentGroupError, match=f"no {accessor}.*'{slot}' slot"):
        getattr(fex, accessor)
    assert not hasattr(fex, accessor)


def test_accessors_have_help() -> None:
    assert Fex.aus.__doc__ == "Facial action units."
    assert "x coordinates" in str(Fex.landmarks_x.__doc__)


def test_concat_of_unlike_nodes_raises(make_fex: Make) -> None:
    one, other = make_fex([1]), make_fex([1])
    other.meta = {**other.meta, "nodes": {"face": "face/retina"}}
    with pytest.raises(SchemaError, match=r"unlike nodes.*face/retina"):
        pd.concat([one, other])


def test_concat_of_unlike_weights_raises(make_fex: Make) -> None:
    one, other = make_fex([1]), make_fex([1])
    other.meta = {**other.meta, "weights": {"face/tiny": "cd34"}}
    with pytest.raises(SchemaError, match="unlike weights"):
        pd.concat([one, other])


def test_concat_of_unlike_columns_raises(make_fex: Make, make_batch: Make) -> None:
    with_embedding = fex_from_batches(make_batch([1], embedding=2), make_fex([1]).meta)
    with pytest.raises(SchemaError, match="identity_embedding"):
        pd.concat([make_fex([1]), with_embedding])
    with pytest.raises(SchemaError, match="pose"):
        pd.concat([make_fex([1])[["Yaw"]], make_fex([1])[["FaceScore"]]])


def test_concat_with_a_table_of_unknown_origin_raises(make_fex: Make) -> None:
    with pytest.raises(SchemaError, match="unlike"):
        pd.concat([make_fex([1]), Fex(pd.DataFrame(make_fex([1]).to_dict("list")))])


def test_concat_keeps_what_agrees_and_lists_what_differs(make_fex: Make) -> None:
    one, other = (
        make_fex([1]).with_step("read", file="a"),
        make_fex([1]).with_step("read", file="b"),
    )
    options = {"face_detection_threshold": 0.4}
    other.meta = {**other.meta, "options": options}
    joined = pd.concat([one, other, one])
    assert joined.meta["options"] == {}
    assert joined.meta["options_differ"] == {"face_detection_threshold": [0.5, 0.4]}
    assert [s["file"] for s in joined.meta["provenance"]] == ["a", "b"]


def test_own_columns_do_not_hinder_a_concat(make_fex: Make) -> None:
    joined = pd.concat([make_fex([1]).assign(condition="a"), make_fex([1])])
    assert joined["condition"].isna().tolist() == [False, True]


def test_a_table_without_metadata_has_an_empty_mapping() -> None:
    fex = Fex({"Yaw": [0.1]})
    assert fex.meta == {}
    assert META_KEY not in fex.attrs
    assert pd.concat([fex, fex]).meta == {}


def test_metadata_of_a_fresh_table_say_version_and_schema() -> None:
    fex = empty_fex(["box", "score"], new_meta())
    assert fex.meta["schema_version"] == 1
    assert fex.meta["featflow"].count(".") == 2
