"""Masks beside the table: where they lie, and that rows keep them through everything."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.datasets.frame import Frame
from featflow.errors import AbsentGroupError, InputError, MissingInputError, SchemaError
from featflow.fex import Fex, FexWriter, fex_from_batches, new_meta, read_fex
from featflow.fex.formats import SUFFIXES
from featflow.fex.masks import SCHEMA, StoredMask, masks_path, pack_masks, read_masks, write_masks
from featflow.flow.batch import Batch, FaceBatch, FrameBatch

HEIGHT, WIDTH, SIZE = 120, 160, 96
FIELDS = ("box", "score", "mask", "mask_matrix")
META = {**new_meta({"face": "face/red", "mask": "mask/ellipse"}), "mask": {"centring": "face"}}


def ellipse(x: np.ndarray, y: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """Truth of a tilted ellipse, 40 by 24 pixels, whose thin end has a piece cut off."""
    u, v = x - centre[0], y - centre[1]
    c, s = np.cos(0.6), np.sin(0.6)
    along, across = c * u + s * v, -s * u + c * v
    return ((along / 40) ** 2 + (across / 24) ** 2 <= 1) & (along < 30)


def crop_map(turn: float, centre: tuple[float, float], scale: float = 0.8) -> np.ndarray:
    """From the frame to a mask that is turned and has ``centre`` in its middle."""
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([[c, -s], [s, c]])
    return np.concatenate([linear, (SIZE / 2 - linear @ centre)[:, None]], 1)


def drawn(matrix: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """The ellipse as a node would draw it on its crop."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    fx = back[0, 0] * x + back[0, 1] * y + back[0, 2]
    fy = back[1, 0] * x + back[1, 1] * y + back[1, 2]
    return ellipse(fx, fy, centre).astype(np.uint8) * np.uint8(255)


def on_frame(centre: tuple[float, float]) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return ellipse(x, y, centre)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


CENTRES = [(70.0, 60.0), (90.0, 50.0), (60.5, 70.25), (100.0, 66.0)]


def build(counts: list[int], source: str = "clip.mp4", first: int = 0) -> Fex:
    """Frames with so many faces each; the k-th face of the table has the k-th centre."""
    frames = [
        Frame(np.zeros((1, 1, 3), np.uint8), source, first + i, i / 25, (HEIGHT, WIDTH))
        for i in range(len(counts))
    ]
    uids = np.repeat(np.arange(len(counts)), counts)
    centres = [CENTRES[(first + k) % len(CENTRES)] for k in range(len(uids))]
    maps = np.array([crop_map(0.4 * k, c) for k, c in enumerate(centres)]).reshape(-1, 2, 3)
    corner = np.array([[x - 40.1, y - 30.7] for x, y in centres], np.float32).reshape(-1, 2)
    fields = {
        "box": np.concatenate([corner, corner + [80.3, 60.9]], 1).astype(np.float32),
        "score": np.linspace(0.9, 0.6, len(uids)).astype(np.float32),
        "mask": np.array([drawn(*each) for each in zip(maps, centres, strict=True)], np.uint8),
        "mask_matrix": maps,
    }
    fields["mask"] = fields["mask"].reshape(-1, SIZE, SIZE)
    return fex_from_batches(
        Batch(FrameBatch.from_frames(frames), FaceBatch(uids, fields)), META, fields=FIELDS
    )


def holds(fex: Fex, row: int, centre: tuple[float, float]) -> bool:
    return overlap(fex.mask(row) >= 128, on_frame(centre)) > 0.98


@pytest.fixture(scope="module")
def fex() -> Fex:
    """Two faces, none, one."""
    return build([2, 0, 1])


def test_a_known_ellipse_comes_back_to_the_frame(fex: Fex) -> None:
    for row, face in ((0, 0), (1, 1), (3, 2)):
        mask = fex.mask(row)
        assert mask.shape == (HEIGHT, WIDTH)
        assert mask.dtype == np.uint8
        assert holds(fex, row, CENTRES[face])
        others = [c for c in CENTRES if c != CENTRES[face]]
        assert not any(holds(fex, row, other) for other in others)


@settings(max_examples=30, deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(0.7, 0.9))
def test_whatever_the_turn_and_the_scale_of_the_crop(turn: float, scale: float) -> None:
    matrix = crop_map(turn, CENTRES[0], scale)
    stored = StoredMask(drawn(matrix, CENTRES[0]), matrix, "face")
    truth = on_frame(CENTRES[0])
    assert overlap(stored.on_frame(HEIGHT, WIDTH) >= 128, truth) > 0.97
    if 0.3 < abs(turn) < 2.8:
        wrong = StoredMask(stored.pixels, crop_map(-turn, CENTRES[0], scale), "face")
        assert overlap(wrong.on_frame(HEIGHT, WIDTH) >= 128, truth) < 0.95


def test_size_centring_and_matrix_are_kept_to_the_bit(fex: Fex) -> None:
    stored = fex.stored_mask(1)
    assert stored is not None
    matrix = crop_map(0.4, CENTRES[1])
    np.testing.assert_array_equal(stored.matrix, matrix)
    np.testing.assert_array_equal(stored.pixels, drawn(matrix, CENTRES[1]))
    assert (stored.size, stored.centring) == (SIZE, "face")


def test_a_frame_without_a_face_has_an_empty_mask(fex: Fex) -> None:
    assert fex.stored_mask(2) is None
    assert fex.mask(2).shape == (HEIGHT, WIDTH)
    assert not fex.mask(2).any()


def test_a_face_without_landmarks_has_an_empty_mask() -> None:
    rows = build([1])
    nothing = np.zeros((1, SIZE, SIZE), np.uint8)
    store = pack_masks(rows, nothing, np.full((1, 2, 3), np.nan), "face")
    stored = store.read(0)
    assert np.isnan(stored.matrix).all()
    assert not stored.on_frame(HEIGHT, WIDTH).any()


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.iloc[3:],
        lambda t: t[t["frame"] == 2],
        lambda t: t.sort_values("frame", ascending=False),
        lambda t: t.reset_index(drop=True).copy(),
        lambda t: t.drop(columns=["time", "FaceScore", "Keep"]),
        lambda t: t.with_step("seen"),
        lambda t: pd.concat([t, build([1], "other.mp4")], ignore_index=True),
        lambda t: pd.concat([build([1], "other.mp4"), t.iloc[2:]]),
        lambda t: pickle.loads(pickle.dumps(t)),
        lambda t: next(rows for frame, rows in t.groupby("frame") if frame == 2),
    ],
)
def test_rows_keep_their_masks(fex: Fex, change: Any) -> None:
    changed = change(fex)
    assert isinstance(changed, Fex)
    at = np.flatnonzero((changed["frame"] == 2) & (changed["input"] == "clip.mp4"))
    assert len(at) == 1
    assert holds(changed, int(at[0]), CENTRES[2])


def test_joined_tables_find_each_others_masks(fex: Fex) -> None:
    other = build([1, 1], "other.mp4", first=1)
    joined = pd.concat([other, fex, other.iloc[:1]])
    expected = [CENTRES[1], CENTRES[2], CENTRES[0], CENTRES[1], None, CENTRES[2], CENTRES[1]]
    for row, centre in enumerate(expected):
        if centre is not None:
            assert holds(joined, row, centre), row


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_saved_and_read_back(fex: Fex, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"faces{suffix}"
    fex.iloc[1:].save(path)
    back = read_fex(path)
    for row, face in ((0, 1), (2, 2)):
        assert holds(back, row, CENTRES[face])
        np.testing.assert_array_equal(back.mask(row), fex.mask(row + 1))
    assert not back.mask(1).any()
    assert len(read_masks(masks_path(path))) == 2  # those of the rows, no others
    again = tmp_path / f"again{suffix}"
    back.save(again)
    assert masks_path(again).read_bytes() == masks_path(path).read_bytes()


def test_the_file_is_read_when_a_mask_is_asked_for(fex: Fex, tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    fex.save(path)
    early, late = read_fex(path), read_fex(path)
    assert holds(early, 0, CENTRES[0])
    masks_path(path).write_bytes(b"something else, longer or not")
    with pytest.raises(InputError, match="was replaced since its table was read"):
        late.mask(0)
    with pytest.raises(InputError, match="not a file of masks"):
        read_fex(path).mask(0)
    masks_path(path).unlink()
    assert holds(early, 0, CENTRES[0])
    with pytest.raises(MissingInputError, match="beside its table"):
        late.mask(0)
    with pytest.raises(AbsentGroupError, match=r"masks of this table are not here"):
        read_fex(path).mask(0)


def test_tables_without_masks_say_why(fex: Fex, make_fex: Any) -> None:
    with pytest.raises(AbsentGroupError, match="without a node in its 'mask' slot"):
        make_fex([1]).mask(0)
    moved = fex.assign(FaceRectX=fex["FaceRectX"] + 1)
    with pytest.raises(AbsentGroupError, match="frame 0 of clip.mp4"):
        moved.mask(0)
    with pytest.raises(SchemaError, match="FaceRectX"):
        fex.drop(columns="FaceRectX").mask(0)


def test_pandas_own_mask_still_works(fex: Fex) -> None:
    numbers = fex[["FaceRectX", "FaceScore"]]
    plain = pd.DataFrame(numbers)
    hidden = numbers.mask(numbers > 1, 0.0)
    pd.testing.assert_frame_equal(pd.DataFrame(hidden), plain.mask(plain > 1, 0.0))
    pd.testing.assert_frame_equal(
        pd.DataFrame(numbers.mask(cond=numbers > 1)), plain.mask(plain > 1)
    )


def test_one_detection_in_two_places_is_not_confused() -> None:
    """Same frame and input, faces that differ by their box alone."""
    fex = build([3])
    assert all(holds(fex, row, CENTRES[row]) for row in range(3))
    backwards = fex.iloc[::-1]
    assert all(holds(backwards, row, CENTRES[2 - row]) for row in range(3))


def test_a_damaged_mask_is_an_error_and_never_larger_than_it_says(tmp_path: Path) -> None:
    fex = build([1])
    table = fex._masks[0].table
    path = tmp_path / "masks.parquet"
    for data in (b"no zlib", zlib.compress(bytes(10)), zlib.compress(bytes(SIZE * SIZE + 1))):
        bad = table.set_column(6, SCHEMA.field(6), pa.array([data], pa.binary()))
        write_masks(path, [bad])
        store = type(fex._masks[0])(path)
        with pytest.raises(InputError, match="damaged mask"):
            store.read(0)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(InputError, match="not a file of masks"):
        read_masks(path)


def test_arrays_that_do_not_fit_are_refused() -> None:
    rows = build([1])
    with pytest.raises(SchemaError, match="uint8"):
        pack_masks(rows, np.zeros((1, 4, 4), np.float32), np.zeros((1, 2, 3)), "")  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="uint8"):
        pack_masks(rows, np.zeros((2, 4, 4), np.uint8), np.zeros((2, 2, 3)), "")
    with pytest.raises(SchemaError, match="matrices"):
        pack_masks(rows, np.zeros((1, 4, 4), np.uint8), np.zeros((1, 3, 3)), "")


PIECES = [[2, 0], [0, 0], [1, 3], [1, 1]]


def pieces() -> list[Fex]:
    return [build(counts, first=10 * i) for i, counts in enumerate(PIECES)]


def written(path: Path, order: list[int]) -> bytes:
    with FexWriter(path, META) as writer:
        for index in order:
            writer.add(index, pieces()[index])
        writer.finish()
    return masks_path(path).read_bytes()


def test_interrupted_and_resumed_gives_equal_masks(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.parquet", [0, 1, 2, 3])
    assert written(tmp_path / "mixed.parquet", [2, 0, 3, 1]) == whole
    path = tmp_path / "resumed.parquet"
    with FexWriter(path, META) as writer:
        writer.add(0, pieces()[0])
        writer.add(2, pieces()[2])
        # A crash between the masks of a piece and its rows: the masks are there already.
        parts = writer.folder
        (parts / "piece-00000003.parquet.masks.parquet").write_bytes(b"half")
    with FexWriter(path, META, resume=True) as writer:
        assert writer.finished_pieces == (0, 2)
        assert holds(writer.read(2), 1, CENTRES[1])
        for index in (1, 3):
            writer.add(index, pieces()[index])
        writer.finish()
    assert masks_path(path).read_bytes() == whole
    assert path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir() if "resumed" in p.name) == [
        "resumed.parquet",
        "resumed.parquet.masks.parquet",
    ]
    back = read_fex(path)
    expected = pd.concat(pieces(), ignore_index=True)
    for row in range(len(expected)):
        np.testing.assert_array_equal(back.mask(row), expected.mask(row))


def test_without_resume_the_old_pieces_go(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    with FexWriter(path, META) as writer:
        writer.add(0, pieces()[2])
    with FexWriter(path, META) as writer:
        assert not writer.finished_pieces
        writer.add(0, pieces()[0])
        writer.finish()
    assert len(read_masks(masks_path(path))) == 2


def test_a_run_without_faces_has_a_file_without_masks(tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    path_of_masks = masks_path(path)
    path_of_masks.write_bytes(b"of an earlier run")
    with FexWriter(path, META) as writer:
        writer.add(0, build([0, 0]))
        writer.finish()
    assert len(read_masks(path_of_masks)) == 0
    assert not read_fex(path).mask(1).any()


PROGRAM = """
import os, signal, sys
import numpy as np
import featflow.runs
featflow.runs.PIECE_FRAMES = 16
from featflow.detector import Detector
from featflow.flow.batch import FaceBatch
from featflow.flow.node import Node
from featflow.geometry.crop import CropRule
from featflow.geometry.similarity import apply, invert

class Red(Node):
    kind, name, unit, provides = "face", "red", "frame", ("box", "score", "points5")
    def pre_process(self, batch): return batch.frames.images
    def process(self, inputs): return inputs
    def post_process(self, batch, outputs):
        boxes = []
        for image in outputs:
            (y0, x0), (y1, x1) = (f(np.argwhere(image[..., 0]), 0) for f in (np.min, np.max))
            boxes.append([x0, y0, x1 + 1, y1 + 1])
        n = len(boxes)
        return FaceBatch(batch.frames.uids, {{
            "box": np.array(boxes, np.float32), "score": np.ones(n, np.float32),
            "points5": np.full((n, 5, 2), np.nan, np.float32)}})

class Disc(Node):
    kind, name, unit = "mask", "disc", "face"
    requires, provides, shapes = ("box",), ("mask", "mask_matrix"), {{"mask": (48, 48)}}
    crop = CropRule(48, "box", 1.5)
    def pre_process(self, batch):
        grid = np.stack(np.meshgrid(*[np.arange(48) + 0.5] * 2), -1).reshape(1, -1, 2)
        frame = apply(invert(self.crop.matrices(batch.faces)), grid)
        box = batch.faces.box[:, None]
        far = np.hypot(*np.moveaxis(frame - (box[..., :2] + box[..., 2:]) / 2, -1, 0))
        return ((far < 12) * np.uint8(255)).reshape(-1, 48, 48)
    def process(self, inputs): return inputs
    def post_process(self, batch, outputs):
        return {{"mask": outputs, "mask_matrix": self.crop.matrices(batch.faces)}}

def frames():
    for i in range(60):
        if i == {stop}:
            os.kill(os.getpid(), signal.SIGKILL)
        image = np.zeros((90, 150, 3), np.uint8)
        image[20 + i % 7:50 + i % 7, 10 + i:40 + i, 0] = 255
        yield image

detector = Detector.only(face=Red(), mask=Disc(), device="cpu")
fex = detector.detect(frames(), save={path!r}, resume={resume}, progress_bar=False, batch_size=5)
y, x = np.mgrid[:90, :150] + 0.5
for i in (0, 33, 59):
    truth = np.hypot(x - 25 - i, y - 35 - i % 7) < 12
    mask = fex.mask(i) >= 128
    assert (mask & truth).sum() / (mask | truth).sum() > 0.95
    assert fex.stored_mask(i).centring == "box"
"""


def detect_in_process(path: Path, stop: int, resume: bool = False) -> int:
    program = textwrap.dedent(PROGRAM).format(path=str(path), stop=stop, resume=resume)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def test_a_killed_detection_resumes_to_the_same_masks(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    assert detect_in_process(whole, -1) == 0
    assert detect_in_process(resumed, 41) == -signal.SIGKILL
    assert not masks_path(resumed).exists()
    assert detect_in_process(resumed, -1, resume=True) == 0
    assert resumed.read_bytes() == whole.read_bytes()
    assert masks_path(resumed).read_bytes() == masks_path(whole).read_bytes()
    assert len(read_masks(masks_path(whole))) == 60
    np.testing.assert_array_equal(read_fex(resumed).mask(59), read_fex(whole).mask(59))
