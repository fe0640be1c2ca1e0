import io

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from featflow.datasets.expressions import (
    OTHER_VOTES,
    FaceVotes,
    emotion_labels,
    majority,
    teacher_emotions,
)
from featflow.errors import MissingInputError, OptionError
from featflow.fex.schema import EMOTIONS


@pytest.fixture
def folder(tmp_path):
    """Three pictures: a row of rising tones; votes are written in another order than ours."""
    ramp = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (48, 1))
    encoded = []
    for turn in range(3):
        file = io.BytesIO()
        Image.fromarray(np.rot90(ramp, turn).copy()).save(file, "JPEG", quality=95)
        encoded.append(file.getvalue())
    columns = ["NF", "neutral", "unknown", *reversed(EMOTIONS[:6]), "contempt"]
    votes = {f"votes_{name}": [i, 10 * i, 100 * i] for i, name in enumerate(columns)}
    pl.DataFrame(
        {
            "name": ["a.png", "b.png", "c.png"],
            "split": ["train", "val", "train"],
            "image": encoded,
            **votes,
        }
    ).write_parquet(tmp_path / "ferplus.parquet")
    return tmp_path, dict(zip(columns, range(10), strict=True))


def test_votes_come_in_the_order_of_the_table_then_the_others(folder):
    root, place = folder
    votes = FaceVotes.open(root, "train").votes
    expected = [place[name] for name in (*EMOTIONS, *OTHER_VOTES)]
    assert votes.tolist() == [expected, [100 * v for v in expected]]
    assert FaceVotes.open(root, "val").votes.tolist() == [[10 * v for v in expected]]


def test_pictures_are_upright_grey_in_three_channels(folder):
    root, _ = folder
    one, other = FaceVotes.open(root, "train").read_all()
    assert one.shape == (48, 48, 3)
    assert one.dtype == np.uint8
    assert (one == one[..., :1]).all()
    assert np.abs(one[24, :, 0].astype(int) - np.arange(0, 240, 5)).max() < 5  # rises to the right
    assert np.abs(other[24, ::-1, 0].astype(int) - np.arange(0, 240, 5)).max() < 5


def test_what_is_missing_is_named(folder, tmp_path):
    root, _ = folder
    with pytest.raises(OptionError, match="'test'"):
        FaceVotes.open(root, "test")
    with pytest.raises(MissingInputError, match=r"nowhere.*ferplus\.parquet"):
        FaceVotes.open(root / "nowhere", "val")
    table = pl.read_parquet(root / "ferplus.parquet")
    table.with_columns(image=pl.lit(b"no picture")).write_parquet(root / "ferplus.parquet")
    with pytest.raises(MissingInputError, match=r"b\.png"):
        FaceVotes.open(root, "val").read_all()


def test_labels_that_are_not_ours_are_unknown():
    table = pl.DataFrame({"emotion": ["neutral", "anger", "contempt", None, "surprise"]})
    assert emotion_labels(table).tolist() == [6, 0, -1, -1, 5]


def test_teachers_are_read_by_name_not_by_place():
    columns = {f"emotion_stacked_{name}": [float(i)] for i, name in enumerate(EMOTIONS)}
    columns |= {f"emotion_{name}": [float(-i)] for i, name in enumerate(EMOTIONS)}
    table = pl.DataFrame(dict(reversed(columns.items())))
    assert teacher_emotions(table, "emotion_stacked_").tolist() == [[0, 1, 2, 3, 4, 5, 6]]
    assert teacher_emotions(table, "emotion_").tolist() == [[0, -1, -2, -3, -4, -5, -6]]


@given(arrays(np.int64, (5, 10), elements=st.integers(0, 6)))
def test_a_majority_is_more_than_any_other(votes):
    for row, winner in zip(votes, majority(votes), strict=True):
        ranked = sorted(range(10), key=lambda k: -row[k])
        clear = row[ranked[0]] > row[ranked[1]]
        assert winner == (ranked[0] if clear and ranked[0] < 7 else -1)
