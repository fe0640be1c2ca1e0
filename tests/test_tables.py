"""A table in place of a detector: rows keep their place, and pictures are read once or never."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from featflow import Detector, errors
from featflow.datasets import sample_clip, sample_photo
from featflow.fex import Fex, read_fex
from featflow.flow.batch import Batch
from featflow.flow.node import InputSpec, Node
from featflow.geometry.crop import CropRule
from featflow.nodes.mask.custom import CustomMask


class Colour(Node):
    """Emotion columns from a crop: mean red, green, blue in 0..1, and 4 numbers of the box."""

    kind, name, unit = "emotion", "colour", "face"
    requires, provides = ("box",), ("emotions",)
    shapes = {"emotions": (7,)}  # noqa: RUF012
    spec = InputSpec(crop=CropRule(8))

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0

    def load(self, device: Any = "cpu") -> None:
        self.loads += 1
        super().load(device)

    def pre_process(self, batch: Batch) -> Any:
        colour = batch.crops(self.spec.crop).mean((1, 2)) / 255
        return np.concatenate([colour, batch.faces.box], 1)

    def process(self, inputs: Any) -> Any:
        return inputs

    def post_process(self, batch: Batch, outputs: Any) -> dict[str, np.ndarray]:
        return {"emotions": outputs.astype(np.float32)}


class Sizes(Node):
    """Gaze columns from the frame's size alone; no picture is looked at."""

    kind, name, unit = "gaze", "sizes", "face"
    requires, provides = ("box",), ("gaze",)
    shapes = {"gaze": (3,)}  # noqa: RUF012

    def pre_process(self, batch: Batch) -> Any:
        height, width = batch.frame_sizes_px.T
        return np.stack([height, width, batch.faces.box[:, 0]], 1)

    def process(self, inputs: Any) -> Any:
        return inputs

    def post_process(self, batch: Batch, outputs: Any) -> dict[str, np.ndarray]:
        return {"gaze": outputs.astype(np.float32)}


def taker(**nodes: Any) -> Detector:
    return Detector.only(**{"device": "cpu", **nodes})


def painted(folder: Path, name: str, level: int, size: tuple[int, int] = (40, 60)) -> str:
    image = np.zeros((*size, 3), np.uint8)
    image[...] = [level, 2 * level, 0]
    Image.fromarray(image).save(folder / name)
    return str(folder / name)


@pytest.fixture
def table(tmp_path: Path) -> Fex:
    """Six rows over three photos, shuffled; the third photo has no face."""
    one, two = painted(tmp_path, "one.png", 50), painted(tmp_path, "two.png", 100)
    none = painted(tmp_path, "none.png", 25)
    rows = [(two, 4.0), (one, 1.0), (none, np.nan), (one, 2.0), (two, 5.0), (one, 3.0)]
    x = np.array([x for _, x in rows])
    return Fex(
        {
            "input": [name for name, _ in rows],
            "frame": 0,
            "time": np.nan,
            "FrameHeight": 40,
            "FrameWidth": 60,
            "FaceRectX": x,
            "FaceRectY": x * 0 + 2,
            "FaceRectWidth": x * 0 + 10,
            "FaceRectHeight": x * 0 + 10,
            "FaceScore": np.where(np.isnan(x), 0.0, 0.9),
            "Keep": [True, False, True, True, True, True],
            "FilterReason": ["", "dark", "", "", "", ""],
            "note": list("abcdef"),
        },
        index=[3, 1, 4, 1, 5, 9],
    )


@pytest.mark.parametrize("mode", ["threads", "sequential"])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_each_row_gets_what_its_own_face_says(table: Fex, mode: Any, batch_size: int) -> None:
    before = table.copy()
    node = Colour()
    fex = taker(emotion=node, mode=mode).detect_from(
        table, batch_size=batch_size, progress_bar=False
    )
    red = np.float32([100, 50, np.nan, 50, 100, 50]) / 255
    np.testing.assert_allclose(fex["anger"], red, atol=1e-6)
    np.testing.assert_allclose(fex["disgust"], 2 * red, atol=1e-6)
    np.testing.assert_array_equal(fex["happiness"], table["FaceRectX"].astype(np.float32))
    kept = list(before.columns)
    pd.testing.assert_frame_equal(pd.DataFrame(fex[kept]), pd.DataFrame(before))
    pd.testing.assert_frame_equal(pd.DataFrame(table), pd.DataFrame(before))
    assert node.loads > 0


def test_a_detector_with_nothing_to_do_gives_the_same_table_and_starts_nothing(
    table: Fex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was read or started")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr("featflow.pictures.take_apart", refuse)
    monkeypatch.setattr(Node, "load", refuse)
    table.meta = {"nodes": {"face": "face/x"}, "schema_version": 1}
    fex = taker().detect_from(table, progress_bar=False)
    pd.testing.assert_frame_equal(pd.DataFrame(fex), pd.DataFrame(table))
    assert fex.meta == table.meta
    assert fex is not table


def test_pictures_are_not_opened_where_no_node_looks_at_them(
    table: Fex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featflow.pictures.take_apart", lambda _: pytest.fail("opened"))
    fex = taker(gaze=Sizes()).detect_from(table, progress_bar=False)
    assert fex["gaze_pitch"].iloc[0] == 40
    assert fex["gaze_yaw"].iloc[0] == 60
    np.testing.assert_array_equal(fex["gaze_angle"], table["FaceRectX"].astype(np.float32))


def test_sizes_that_a_table_lacks_are_read_from_the_pictures(table: Fex) -> None:
    fex = taker(gaze=Sizes()).detect_from(
        table.drop(columns=["FrameHeight", "FrameWidth"]), progress_bar=False
    )
    assert fex["gaze_yaw"].iloc[0] == 60


def test_two_passes_equal_one(tmp_path: Path) -> None:
    inputs = [sample_photo(), str(sample_clip().path)]
    whole = Detector.only(face="tiny", landmark="tiny", pose="mlp", device="cpu").detect(
        inputs, skip_frames=7, progress_bar=False
    )
    boxes = Detector.only(face="tiny", landmark="tiny", device="cpu").detect(
        inputs, skip_frames=7, progress_bar=False
    )
    path = tmp_path / "boxes.parquet"
    boxes.save(path)
    fex = taker(pose="mlp").detect_from(path, progress_bar=False, save=tmp_path / "all.csv")
    pd.testing.assert_frame_equal(pd.DataFrame(fex), pd.DataFrame(whole))
    assert fex.meta["nodes"] == whole.meta["nodes"]
    assert fex.meta["weights"] == whole.meta["weights"]
    assert fex.meta["provenance"][-1] == {"step": "detect_from", "nodes": {"pose": "pose/mlp"}}
    assert len(read_fex(tmp_path / "all.csv")) == len(whole)


def test_frames_of_a_clip_are_those_of_the_first_pass() -> None:
    """Every seventh frame, rows in no order: what a node sees must be the frame of the row."""
    clip = str(sample_clip().path)
    first = Detector.only(face="tiny", emotion=Colour(), device="cpu")
    whole = first.detect([clip, sample_photo()], skip_frames=7, progress_bar=False)
    mixed = whole.sample(frac=1, random_state=3)
    blank = mixed.drop(columns=list(whole.emotions.columns))
    fex = taker(emotion=Colour()).detect_from(blank, batch_size=3, progress_bar=False)
    pd.testing.assert_frame_equal(pd.DataFrame(fex), pd.DataFrame(mixed))
    assert whole["anger"].nunique() > 5


def test_marks_add_to_those_of_the_table(table: Fex) -> None:
    detector = taker(extract={"min_size": 0.3})
    fex = detector.detect_from(table, progress_bar=False)
    assert fex["FaceShare"].iloc[0] == 0.25
    assert fex["Keep"].tolist() == [False, False, True, False, False, False]
    assert fex["FilterReason"].iloc[1] == "dark; size 0.25 is below 0.3"
    assert fex["FilterReason"].iloc[2] == ""
    bare = table.drop(columns=["Keep", "FilterReason"])
    again = detector.detect_from(bare, progress_bar=False)
    assert again["Keep"].tolist() == [False, False, True, False, False, False]


def test_people_are_compared_by_the_vectors_of_the_table(table: Fex) -> None:
    from featflow.extract import people_rules
    from featflow.identity import ReferenceGallery

    table["Identity_1"] = np.float32([1, 0, np.nan, 0.8, np.nan, 1])
    table["Identity_2"] = np.float32([0, 1, np.nan, 0.6, np.nan, 1])
    rules = people_rules(ReferenceGallery(["Ada"], [[1.0, 0.0]]), None, 0.8)
    fex = taker(extract={"rules": tuple(rules)}).detect_from(table, progress_bar=False)
    np.testing.assert_allclose(fex["WantedScore"], [1, 0, np.nan, 0.8, np.nan, 0.5**0.5], atol=1e-6)
    assert fex["Keep"].tolist() == [True, False, True, True, False, False]
    assert fex["FilterReason"].iloc[4] == "no identity vector to compare"
    assert fex["FilterReason"].iloc[1].startswith("dark; likeness to the people wanted 0 is below")


def test_faces_of_a_table_are_named_as_those_of_a_run(table: Fex) -> None:
    class Side(Colour):
        """Faces left of x = 3 are one person, the others another."""

        kind, name, provides = "identity", "side", ("embedding",)
        shapes = {"embedding": (2,)}  # noqa: RUF012

        def post_process(self, batch: Batch, outputs: Any) -> dict[str, np.ndarray]:
            left = batch.faces.box[:, 0] < 3
            return {"embedding": np.stack([left, ~left], 1).astype(np.float32)}

    fex = taker(identity=Side()).detect_from(table, progress_bar=False)
    names = fex["Identity"].tolist()
    assert names[1] == names[3] != names[0] == names[4] == names[5]
    assert pd.isna(names[2])
    assert fex["note"].tolist() == list("abcdef")


def test_pictures_that_moved_or_lie_in_memory(table: Fex, tmp_path: Path) -> None:
    table["input"] = table["input"].str.replace(str(tmp_path), "/gone", regex=False)
    detector = taker(emotion=Colour())
    with pytest.raises(errors.MissingInputError, match="/gone/two"):
        detector.detect_from(table, progress_bar=False)
    image = np.full((40, 60, 3), 200, np.uint8)
    fex = detector.detect_from(
        table,
        progress_bar=False,
        pictures={"/gone/two.png": image, "/gone/one.png": tmp_path / "one.png"},
    )
    assert fex["anger"].tolist()[:2] == pytest.approx([200 / 255, 50 / 255])
    assert fex["input"].iloc[0] == "/gone/two.png"


def test_a_picture_that_cannot_be_read_again(table: Fex, tmp_path: Path) -> None:
    painted(tmp_path, "two.png", 100, size=(41, 60))  # another picture of that name
    with pytest.raises(errors.InputError, match="is 60 x 41 pixels, but 60 x 40 in the table"):
        taker(emotion=Colour()).detect_from(table, progress_bar=False)
    marked = taker(emotion=Colour()).detect_from(table, progress_bar=False, on_error="row")
    assert marked["Keep"].tolist() == [False, False, True, True, False, True]
    assert marked["FilterReason"].iloc[0].startswith("unreadable: is 60 x 41")
    assert np.isnan(marked["anger"].iloc[0])
    assert marked["anger"].iloc[1] == pytest.approx(50 / 255)
    assert marked.meta["errors"][0]["input"].endswith("two.png")
    left = taker(emotion=Colour()).detect_from(table, progress_bar=False, on_error="skip")
    assert left["note"].tolist() == list("bcdf")


def test_a_frame_that_the_clip_does_not_have() -> None:
    clip = str(sample_clip().path)
    row = {"input": clip, "frame": [3, 5000], "FaceRectX": 1.0, "FaceRectY": 1.0}
    table = Fex({**row, "FaceRectWidth": 9.0, "FaceRectHeight": 9.0})
    detector = taker(emotion=Colour())
    with pytest.raises(errors.InputError, match="has no frame 5000"):
        detector.detect_from(table, progress_bar=False)
    fex = detector.detect_from(table, progress_bar=False, on_error="row")
    assert fex["Keep"].tolist() == [True, False]


def test_what_cannot_be_run_is_told(table: Fex, tmp_path: Path) -> None:
    with pytest.raises(errors.OptionError, match=r"face/tiny finds faces.*face=None"):
        Detector.only(face="tiny").detect_from(table)
    with pytest.raises(errors.UnmetNeedsError, match=r"needs 'landmarks'.*the table has box"):
        taker(pose="mlp").detect_from(table)
    with pytest.raises(errors.OptionError, match="detect_from"):
        taker().detect(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(errors.SchemaError, match="no column 'input'"):
        taker(emotion=Colour()).detect_from(table.drop(columns="input"))
    with pytest.raises(errors.SchemaError, match="'frame' must hold numbers"):
        taker(emotion=Colour()).detect_from(table.assign(frame="first"))
    with pytest.raises(errors.MissingInputError):
        taker().detect_from(tmp_path / "nothing.parquet")
    with pytest.raises(errors.OptionError, match="batch_size"):
        taker().detect_from(table, batch_size=0)


def test_landmarks_alone_stand_for_a_box(tmp_path: Path, make_points: Any) -> None:
    """As in the tables of programs that give no box."""
    from featflow.geometry.landmarks import box_of_landmarks

    name = painted(tmp_path, "one.png", 50)
    points = make_points
    columns = {f"x_{i}": [points[i, 0]] for i in range(68)}
    columns |= {f"y_{i}": [points[i, 1]] for i in range(68)}
    table = Fex({"input": [name], "frame": [0], **columns})
    fex = taker(emotion=Colour()).detect_from(table, progress_bar=False)
    expected = box_of_landmarks(points.astype(np.float32))
    np.testing.assert_allclose(
        fex[["fear", "happiness", "sadness", "surprise", "neutral"]].iloc[0, 1:],
        expected,
        atol=1e-3,
    )
    assert "FaceRectX" not in fex


@pytest.fixture
def make_points() -> np.ndarray:
    from featflow.testing.face68 import FACE68_CM

    return FACE68_CM[:, :2] * [1.0, -1.0] + [30.0, 20.0]


def test_masks_of_a_table_are_those_of_one_run(tmp_path: Path) -> None:
    whole = Detector.only(face="tiny", landmark="tiny", mask="hull", device="cpu").detect(
        sample_photo(), progress_bar=False
    )
    points = Detector.only(face="tiny", landmark="tiny", device="cpu").detect(
        sample_photo(), progress_bar=False
    )
    fex = taker(mask="hull").detect_from(
        points, progress_bar=False, save=tmp_path / "faces.parquet"
    )
    full = taker(mask=CustomMask(fill=True)).detect_from(fex, progress_bar=False)
    stored, again = whole.stored_mask(0), read_fex(tmp_path / "faces.parquet").stored_mask(0)
    assert stored is not None
    assert again is not None
    # Five points are those of the landmarks here, so the crop is nearly the same.
    apart = np.abs(again.on_frame(600, 512).astype(int) - stored.on_frame(600, 512))
    assert (apart > 128).mean() < 1e-3
    assert again.pixels.mean() > 30
    assert again.centring == stored.centring == "points5"
    blank = full.stored_mask(0)
    assert blank is not None
    assert (blank.pixels == 255).all()
    assert blank.centring == "face"
    assert full.meta["nodes"]["mask"] == "mask/custom"
    # A later pass without a mask node keeps them.
    later = taker(pose="mlp").detect_from(fex, progress_bar=False).stored_mask(0)
    assert later is not None
    np.testing.assert_array_equal(later.pixels, again.pixels)
    with pytest.raises(errors.SchemaError, match="masks are kept by input"):
        taker(mask="hull").detect_from(fex.drop(columns=["FaceRectX"]), progress_bar=False)


def test_a_table_without_faces(table: Fex) -> None:
    none = table.iloc[[2]]
    fex = taker(emotion=Colour()).detect_from(none, progress_bar=False)
    assert fex["note"].tolist() == ["c"]
    empty = taker(emotion=Colour()).detect_from(table.iloc[:0], progress_bar=False)
    assert len(empty) == 0
