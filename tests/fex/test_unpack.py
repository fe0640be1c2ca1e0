"""Fields that come back from a table are those that made it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.datasets.frame import Frame
from featflow.errors import SchemaError
from featflow.fex import Fex, fex_from_batches, new_meta
from featflow.fex.unpack import fields_of, set_fields
from featflow.flow.batch import Batch, FaceBatch, FrameBatch

SHAPES = {
    "box": (4,), "score": (), "landmarks": (68, 2), "landmark_score": (), "pose": (6,),
    "aus": (20,), "emotions": (7,), "gaze": (3,), "embedding": (5,), "face_share": (),
    "aligned_roll": (), "wanted_score": (),
}  # fmt: skip


def table_of(fields: dict[str, np.ndarray], rows: int) -> Fex:
    """Every face in a frame of its own."""
    frames = [Frame(np.zeros((2, 2, 3), np.uint8), "a", i, i / 25, (2, 2)) for i in range(rows)]
    faces = FaceBatch(np.arange(rows), fields)
    return fex_from_batches(Batch(FrameBatch.from_frames(frames), faces), new_meta())


def random_fields(names: list[str], rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {n: rng.normal(size=(rows, *SHAPES[n])).astype(np.float32) for n in names}
    if "box" in made:
        # Halves survive the subtraction to a width and the addition back.
        made["box"] = rng.integers(0, 4000, (rows, 4)).astype(np.float32) / 2
    return made


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, unique=True),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_unpacking_undoes_writing(names: list[str], rows: int, seed: int) -> None:
    fields = random_fields(names, rows, seed)
    back = fields_of(table_of(fields, rows))
    assert back.keys() == fields.keys()
    for name, values in fields.items():
        assert back[name].shape == values.shape
        assert back[name].dtype == np.float32
        np.testing.assert_array_equal(back[name], values)


def test_a_group_that_is_not_whole_is_no_field() -> None:
    table = table_of(random_fields(["box", "landmarks", "pose"], 3, 0), 3)
    assert set(fields_of(table.drop(columns=["x_67", "Pitch"]))) == {"box"}


def test_texts_are_no_numbers() -> None:
    table = table_of(random_fields(["pose"], 2, 0), 2)
    with pytest.raises(SchemaError, match=r"Pitch\.\.Z must hold numbers"):
        fields_of(table.assign(Roll="left"))


@settings(deadline=None, max_examples=30)
@given(st.permutations(["pose", "aus", "gaze", "embedding", "landmarks"]), st.data())
def test_setting_fields_gives_the_table_that_one_run_would(order: list[str], data) -> None:
    fields = random_fields(["box", "score", *order], 4, 1)
    whole = table_of(fields, 4)
    cut = data.draw(st.integers(0, len(order)))
    first = {"box": fields["box"], "score": fields["score"], **{n: fields[n] for n in order[:cut]}}
    table = table_of(first, 4)
    later = set_fields(table, {name: fields[name] for name in order[cut:]})
    pd.testing.assert_frame_equal(pd.DataFrame(later), pd.DataFrame(whole))
    assert later.attrs == table.attrs


def test_rows_that_are_not_named_get_missing_values_and_old_ones_are_replaced() -> None:
    table = table_of(random_fields(["box", "pose", "embedding"], 4, 2), 4)
    table["mine"] = ["a", "b", "c", "d"]
    table.index = [9, 7, 5, 3]
    new = np.arange(12, dtype=np.float32).reshape(2, 6)
    words = np.array(["Person_1", "Unknown"], object)
    short = np.ones((2, 3), np.float32)
    done = set_fields(table, {"pose": new, "identity": words, "embedding": short}, np.array([3, 1]))
    assert done.index.tolist() == [9, 7, 5, 3]
    assert done["Pitch"].tolist()[1::2] == [6, 0]
    assert done["Pitch"].isna().tolist() == [True, False, True, False]
    assert done["Z"].iloc[3] == 5
    assert done["Identity"].iloc[3] == "Person_1"
    assert done["Identity"].isna().tolist() == [True, False, True, False]
    assert done.columns[-1] == "mine"
    assert done["mine"].tolist() == ["a", "b", "c", "d"]
    # A vector of 3 numbers took the place of one of 5.
    assert "Identity_3" in done
    assert "Identity_4" not in done
    assert "mine" in table
    assert table["Pitch"].notna().all()
