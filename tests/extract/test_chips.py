"""Faces as PNGs: the row comes back from the picture, and the picture is the face."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from featflow import Detector
from featflow.datasets import sample_photo
from featflow.errors import (
    AbsentGroupError,
    InputError,
    MissingInputError,
    OptionError,
    OutputError,
    SchemaError,
)
from featflow.extract import export_faces, read_face, read_faces
from featflow.fex import Fex, new_meta
from featflow.fex.unpack import set_fields
from featflow.flow.batch import FaceBatch
from featflow.geometry.crop import CropRule
from featflow.geometry.similarity import apply


def wave(seed: float, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """A picture without sharp edges."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    one = 120 + 60 * np.sin(x / 17 + seed) + 60 * np.cos(y / 23)
    return np.stack([one, one[::-1], one[:, ::-1]], -1).clip(0, 255).astype(np.uint8)


@pytest.fixture
def table(tmp_path: Path, make_face: Any) -> Fex:
    """Four faces in two pictures of one name, one of them marked, and a picture without."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(wave(len(folder) + ord(folder))).save(tmp_path / folder / "photo.png")
    one, two = (str(tmp_path / folder / "photo.png") for folder in "ab")
    frame = pd.DataFrame(
        {
            "input": pd.array([two, one, one, two, two], dtype="str"),
            "frame": np.zeros(5, np.int64),
            "time": np.full(5, np.nan),
            "FrameHeight": np.full(5, 240),
            "FrameWidth": np.full(5, 320),
            "FaceScore": np.float32([0.9, 0.8, 0.1 + 0.2, 0, 0.7]),
            "Keep": [True, True, False, True, True],
            "FilterReason": pd.array(["", "", "dark", "", ""], dtype="str"),
            "mine": pd.array(["é\n\"'", "", "x", "y", None], dtype="str"),
            "count": np.arange(5),
        }
    )
    places = [(90, 120), (160, 110), (200, 130), (220, 140)]
    points = np.stack([make_face(p, 60, 0.2 * i) for i, p in enumerate(places)])
    rows = np.array([0, 1, 2, 4])
    fields = {"landmarks": points.astype(np.float32), "embedding": points[:, :3, 0]}
    fex = set_fields(frame, fields, rows)
    return Fex(fex, meta=new_meta({"face": "face/x"}, {"face/x": "ab"}, {"batch_size": 3}))


def test_rows_come_back_as_they_were(table: Fex, tmp_path: Path) -> None:
    out = tmp_path / "out"
    paths = export_faces(table, out, 64)
    assert paths.index.tolist() == [0, 1, 4]
    assert sorted(Path(p).name for p in paths) == sorted(p.name for p in out.iterdir())
    back = read_faces(out)
    assert back.index.tolist() == paths.tolist()
    wanted = table.iloc[[0, 1, 4]].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.DataFrame(back.reset_index(drop=True)), pd.DataFrame(wanted))
    assert back.meta == table.meta
    every = export_faces(table, tmp_path / "every", 64, marked=True)
    assert every.index.tolist() == [0, 1, 2, 4]
    marked = read_faces(tmp_path / "every")
    assert marked["FilterReason"].tolist() == ["", "", "dark", ""]


@pytest.mark.parametrize("centring", ["legacy", "face", "head"])
def test_the_picture_shows_the_face_where_the_matrix_says(
    table: Fex, tmp_path: Path, centring: Any
) -> None:
    paths = export_faces(table, tmp_path / "out", 128, centring)
    chip = read_face(paths[1])
    assert chip.image.shape == (128, 128, 3)
    assert chip.centring == centring
    assert chip.number == 1
    landmarks = np.stack(
        [table.landmarks_x.iloc[1].to_numpy(), table.landmarks_y.iloc[1].to_numpy()], -1
    )
    rule = CropRule.centred(128, centring)
    faces = FaceBatch(np.zeros(1, np.int64), {"landmarks": landmarks[None]})
    np.testing.assert_allclose(chip.matrix, rule.matrices(faces)[0], atol=1e-9)
    # Pixels: the frame's colour at each landmark stands where the matrix carries it.
    picture = np.asarray(Image.open(table["input"].iloc[1]).convert("RGB"))
    at = apply(chip.matrix[None], landmarks[None])[0]
    inside = ((at > 2) & (at < 126)).all(1)
    assert inside.sum() > 20
    for (x, y), (u, v) in zip(landmarks[inside], at[inside], strict=True):
        assert abs(int(chip.image[int(v), int(u), 0]) - int(picture[int(y), int(x), 0])) < 15


def test_a_stored_head_gives_the_other_crops(table: Fex, tmp_path: Path) -> None:
    head = read_face(export_faces(table, tmp_path / "head", 512)[1])
    for centring in ("legacy", "face"):
        direct = read_face(export_faces(table, tmp_path / centring, 128, centring)[1])
        again = head.crop(CropRule.centred(128, centring))
        assert np.abs(again.astype(int) - direct.image)[2:-2, 2:-2].max() <= 2
    with pytest.raises(OptionError, match="not by box"):
        head.crop(CropRule(64))


def test_the_row_survives_copying_and_renaming_but_not_a_new_picture(
    table: Fex, tmp_path: Path
) -> None:
    (first, *_) = export_faces(table, tmp_path / "out", 64)
    copy = tmp_path / "renamed.png"
    shutil.copy(first, copy)
    assert read_face(copy).row["FaceScore"].iloc[0] == table["FaceScore"].iloc[0]
    Image.open(first).save(copy)
    with pytest.raises(InputError, match=r"renamed\.png: carries no row.*saved anew"):
        read_face(copy)


def test_what_lies_in_the_picture_is_json_and_has_a_version(table: Fex, tmp_path: Path) -> None:
    (first, *_) = export_faces(table, tmp_path / "out", 64)
    document = json.loads(Image.open(first).text["featflow"])
    assert document["featflow_face"] == 1
    cells = dict(zip([n for n, _ in document["columns"]], document["values"], strict=True))
    assert cells["mine"] == "é\n\"'"
    assert cells["time"] is None
    assert cells["x_30"] == pytest.approx(float(table["x_30"].iloc[0]))


def written(path: Path, text: Any) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("featflow", text if isinstance(text, str) else json.dumps(text), zip=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"featflow_face": 2}, "version 2, known is 1"),
        ({"values": []}, "differ in number"),
        ({"matrix": [1, 2]}, "cannot be read"),
        ({"centring": "nose"}, "centring 'nose'"),
        ({"columns": [["a", "__import__"]], "values": [1]}, "type '__import__'"),
        ({"number": None}, "cannot be read"),
    ],
)
def test_rows_that_are_not_ours_are_refused(
    table: Fex, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    (first, *_) = export_faces(table, tmp_path / "out", 64)
    document = json.loads(Image.open(first).text["featflow"])
    with pytest.raises(InputError, match=told):
        read_face(written(tmp_path / "x.png", {**document, **change}))


def test_texts_that_are_no_json_are_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for text in (f"__import__('pathlib').Path({str(trap)!r}).touch()", "{'a': 1}", "[]", "7"):
        with pytest.raises(InputError):
            read_face(written(tmp_path / "x.png", text))
    assert not trap.exists()


def test_files_that_are_none(tmp_path: Path, table: Fex) -> None:
    with pytest.raises(MissingInputError):
        read_face(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match="not a readable PNG"):
        read_face(tmp_path / "text.png")
    jpeg = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(jpeg, "JPEG")
    (tmp_path / "x.png").write_bytes(jpeg.getvalue())
    with pytest.raises(InputError, match="not a readable PNG"):
        read_face(tmp_path / "x.png")
    with pytest.raises(MissingInputError, match="no such folder"):
        read_faces(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match="holds no PNG"):
        read_faces(tmp_path / "empty")
    (first, *_) = export_faces(table, tmp_path / "out", 64)
    whole = Path(first).read_bytes()
    Path(first).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError):
        read_face(first)


def test_what_cannot_be_exported(table: Fex, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(AbsentGroupError):
        export_faces(table[["input", "frame"]], out)
    with pytest.raises(SchemaError, match="not all of"):
        export_faces(table.drop(columns="x_3"), out)
    with pytest.raises(OptionError, match="centring"):
        export_faces(table, out, centring="nose")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="size"):
        export_faces(table, out, 0)
    with pytest.raises(MissingInputError):
        export_faces(table.assign(input="/gone.png"), out)
    with pytest.raises(SchemaError, match="column 'mine' holds"):
        export_faces(table.assign(mine=[{1}] * 5), out)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        export_faces(table, tmp_path / "file")


def test_pictures_may_lie_elsewhere(table: Fex, tmp_path: Path) -> None:
    real = dict.fromkeys(table["input"])
    moved = table.assign(input=["/moved/" + str(list(real).index(n)) for n in table["input"]])
    where = {f"/moved/{i}": name for i, name in enumerate(real)}
    paths = export_faces(moved, tmp_path / "out", 64, pictures=where)
    assert len(paths) == 3


def test_commands_there_and_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from featflow.cli.app import run
    from featflow.fex import read_fex

    table, out, again = tmp_path / "t.parquet", tmp_path / "out", tmp_path / "again.parquet"
    Detector.only(face="tiny", landmark="tiny", device="cpu").detect(
        sample_photo(), save=table, progress_bar=False
    )
    assert run(["export-faces", str(table), str(out), "--size", "64"]) == 0
    assert run(["import-faces", str(out), "--save", str(again)]) == 0
    pd.testing.assert_frame_equal(pd.DataFrame(read_fex(again)), pd.DataFrame(read_fex(table)))
    assert run(["export-faces", str(table), str(out), "--centring", "nose"]) == 2
    assert run(["import-faces", str(tmp_path / "none"), "--save", str(again)]) == 1
