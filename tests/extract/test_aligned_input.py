"""Aligned faces in place of the frames that they were cut from: the same values come out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from featflow import Detector
from featflow.datasets.frame import Frame
from featflow.errors import ArrayError, MissingInputError, OptionError, SchemaError
from featflow.extract import export_faces, read_face, read_faces
from featflow.fex import Fex
from featflow.fex.unpack import set_fields
from featflow.flow import Flow
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.flow.node import InputSpec, Node
from featflow.geometry.crop import CropRule
from featflow.nodes.mask.custom import CustomMask

MODES = ("threads", "sequential")
NONE = dict.fromkeys(("face", "landmark", "pose", "mask", "au", "emotion", "identity", "gaze"))


class Looks(Node):
    """Keeps its crop of each face, and says where the face lies and how large its frame is."""

    kind, name, unit = "gaze", "looks", "face"
    requires, provides = ("landmarks",), ("gaze",)
    shapes = {"gaze": (3,)}  # noqa: RUF012
    spec = InputSpec(crop=CropRule.centred(64, "face"))

    def __init__(self) -> None:
        super().__init__()
        self.crops: list[np.ndarray] = []

    def pre_process(self, batch: Batch) -> Any:
        assert self.spec.crop is not None
        self.crops.extend(batch.crops(self.spec.crop))
        return np.concatenate([batch.faces.box[:, :1], batch.frame_sizes_px], 1)

    def process(self, inputs: Any) -> Any:
        return inputs

    def post_process(self, batch: Batch, outputs: Any) -> dict[str, np.ndarray]:
        return {"gaze": outputs.astype(np.float32)}


def wave(seed: float) -> np.ndarray:
    y, x = np.mgrid[0:240, 0:320]
    one = 120 + 60 * np.sin(x / 17 + seed) + 60 * np.cos(y / 23)
    return np.stack([one, one[::-1], one[:, ::-1]], -1).clip(0, 255).astype(np.uint8)


@pytest.fixture
def table(tmp_path: Path, make_face: Any) -> Fex:
    """Three faces in two pictures; the last hangs over the edge."""
    names = []
    for name in ("one", "two"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        names.append(str(tmp_path / "photos" / f"{name}.png"))
        Image.fromarray(wave(len(names))).save(names[-1])
    places, turns = [(110, 120), (180, 130), (300, 140)], [0.0, 0.5, -0.3]
    points = np.stack([make_face(p, 50, t) for p, t in zip(places, turns, strict=True)])
    box = np.concatenate([points.min(1), points.max(1)], 1).astype(np.float32)
    frame = pd.DataFrame(
        {
            "input": pd.array([names[0], names[1], names[1]], dtype="str"),
            "frame": 0,
            "time": np.nan,
            "FrameHeight": 240,
            "FrameWidth": 320,
        }
    )
    fields = {"box": box, "score": np.float32([0.9, 0.8, 0.7])}
    return set_fields(frame, {**fields, "landmarks": points.astype(np.float32)})


def taker(**nodes: Any) -> Detector:
    return Detector(**{**NONE, **nodes}, device="cpu")


@pytest.mark.parametrize("mode", MODES)
def test_a_node_gets_from_face_pictures_what_it_gets_from_frames(
    table: Fex, tmp_path: Path, mode: Any
) -> None:
    whole, cut = Looks(), Looks()
    direct = taker(gaze=whole, mode=mode).detect_from(table, progress_bar=False)
    export_faces(table, tmp_path / "faces", 512)
    shutil.rmtree(tmp_path / "photos")  # what they were cut from is not needed
    fex = taker(gaze=cut, mode=mode).detect_from(tmp_path / "faces", progress_bar=False)
    pd.testing.assert_frame_equal(
        pd.DataFrame(fex.reset_index(drop=True)), pd.DataFrame(direct.reset_index(drop=True))
    )
    assert fex["gaze_yaw"].tolist() == [240.0] * 3
    assert fex["gaze_angle"].tolist() == [320.0] * 3
    apart = [np.abs(a.astype(int) - b) for a, b in zip(whole.crops, cut.crops, strict=True)]
    assert max(each.max() for each in apart[:2]) <= 2
    assert (apart[2] > 2).mean() < 0.05  # where the frame ends, a pixel is half on it
    assert all(crop.std() > 5 for crop in cut.crops)
    assert (cut.crops[2] == 0).mean() > 0.05  # off the frame


def test_coordinates_stay_those_of_the_frame(table: Fex, tmp_path: Path) -> None:
    """A mask is placed on the frame, and 0 off the frame, not off the picture."""
    export_faces(table, tmp_path / "faces", 128, "face")
    masks = [
        taker(mask=CustomMask(True, 64, "head")).detect_from(source, progress_bar=False)
        for source in (table, tmp_path / "faces")
    ]
    for row in range(3):
        one, two = (fex.stored_mask(row) for fex in masks)
        assert one is not None
        assert two is not None
        np.testing.assert_array_equal(one.pixels, two.pixels)
        np.testing.assert_allclose(one.matrix, two.matrix, atol=1e-9)
    last = masks[1].stored_mask(2)
    assert last is not None
    assert 0.1 < (last.pixels == 0).mean() < 0.7


@pytest.mark.parametrize("mode", MODES)
def test_aligned_and_whole_frames_may_be_mixed(table: Fex, tmp_path: Path, mode: Any) -> None:
    """In one batch, each picture by its own map."""
    chips = [read_face(path) for path in export_faces(table, tmp_path / "faces", 512)]
    whole = Frame(wave(2), "two", size_px=(240, 320))
    points = table.landmarks.to_numpy(np.float32)
    fields = [
        {"box": np.zeros((1, 4), np.float32), "landmarks": np.stack([p[:68], p[68:]], -1)[None]}
        for p in points
    ]
    node, alone = Looks(), Looks()
    given = ("box", "landmarks")
    with Flow([node], given=given, mode=mode).open() as session:
        session.put_frame(whole, fields[1])
        session.put_frame(chips[1].frame(), fields[1])
        session.put_frame(whole, fields[2])
        session.put_frame(chips[0].frame(), fields[0])
        sizes = np.concatenate([b.faces.fields["gaze"][:, 1:] for b in session.drain()])
        now = session.put_frame(chips[1].frame(), fields[1], passthrough=True)
        one = session.put_direct("gaze/looks", chips[1].frame(), fields[1])
    assert sizes.tolist() == [[240.0, 320.0]] * 4
    assert np.abs(node.crops[0].astype(int) - node.crops[1]).max() <= 2
    assert np.abs(node.crops[0].astype(int) - node.crops[2]).max() > 20
    for same in (4, 5):
        np.testing.assert_array_equal(node.crops[same], node.crops[1])
    np.testing.assert_array_equal(now.faces.fields["gaze"], one.faces.fields["gaze"])
    faces = FaceBatch(np.zeros(1, np.int64), fields[0])
    batch = Batch(FrameBatch.from_frames([chips[0].frame()]), faces)
    list(Flow([alone], given=given).run([batch]))
    np.testing.assert_array_equal(alone.crops[0], node.crops[3])


class Finder(Node):
    """Finds nobody."""

    kind, name, unit = "face", "finder", "frame"
    provides = ("box", "score")

    def pre_process(self, batch: Batch) -> Any:
        return None

    def process(self, inputs: Any) -> Any:
        return inputs

    def post_process(self, batch: Batch, outputs: Any) -> FaceBatch:
        return FaceBatch.empty(("box", "score"))


@pytest.mark.parametrize("mode", MODES)
def test_faces_are_not_looked_for_in_aligned_faces(table: Fex, tmp_path: Path, mode: Any) -> None:
    frames = [Frame(wave(1), "whole", size_px=(240, 320))]
    flow = Flow([Finder()], mode=mode)
    (path, *_) = export_faces(table, tmp_path / "faces", 64)
    with pytest.raises(OptionError, match=r"one\.png: face/finder finds faces in whole frames"):
        list(flow.run([[*frames, read_face(path).frame()]]))
    assert len(next(flow.run([frames])).frames) == 1


def test_what_cannot_be_used(table: Fex, tmp_path: Path) -> None:
    (path, *_) = export_faces(table, tmp_path / "faces", 64)
    with pytest.raises(OptionError, match="leave pictures= out"):
        taker(gaze=Looks()).detect_from(tmp_path / "faces", pictures={"x": path})
    with pytest.raises(MissingInputError, match="holds no PNG"):
        taker(gaze=Looks()).detect_from(tmp_path)
    for wrong in (np.eye(3), np.full((2, 3), np.nan)):
        with pytest.raises(ArrayError, match="its cut has shape"):
            Frame(wave(1), "x", cut=wrong)
    bare = table.drop(columns="FrameWidth")
    (path, *_) = export_faces(bare, tmp_path / "bare", 64)
    with pytest.raises(SchemaError, match="FrameWidth"):
        read_face(path).frame()
    assert len(read_faces(tmp_path / "bare")) == 3


def test_nothing_is_read_where_no_node_looks(
    table: Fex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_faces(table, tmp_path / "faces", 64)
    faces = read_faces(tmp_path / "faces")
    monkeypatch.setattr("featflow.tables.read_faces", lambda _: faces)
    monkeypatch.setattr("featflow.extract.chips.read_face", lambda _: pytest.fail("opened"))
    fex = taker(extract={"min_size": 0.3}).detect_from(tmp_path / "faces", progress_bar=False)
    assert np.isfinite(fex["FaceShare"]).all()


def test_the_command_takes_a_folder(table: Fex, tmp_path: Path) -> None:
    from featflow.cli.app import run
    from featflow.fex import read_fex

    export_faces(table, tmp_path / "faces", 256)
    shutil.rmtree(tmp_path / "photos")
    out = tmp_path / "more.parquet"
    flags = ["--mask", "hull", "--device", "cpu", "--quiet", "--save", str(out)]
    assert run(["detect", "--from", str(tmp_path / "faces"), *flags]) == 0
    mask = read_fex(out).stored_mask(0)
    assert mask is not None
    assert mask.pixels.mean() > 30
