"""The detector as a whole, with a face node whose answer is known: it boxes red squares."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from featflow import errors
from featflow.datasets import sample_photo
from featflow.detector import Detector
from featflow.fex import read_fex
from featflow.flow.batch import Batch, FaceBatch
from featflow.flow.node import Node
from featflow.runs import PIECE_FRAMES


class RedSquares(Node):
    """Finds red rectangles: score is the red level over 255."""

    kind = "face"
    name = "red"
    unit = "frame"
    provides = ("box", "score", "points5")

    def pre_process(self, batch):
        return batch.frames.images

    def process(self, inputs):
        return inputs

    def post_process(self, batch: Batch, outputs) -> FaceBatch:
        uids, boxes, scores = [], [], []
        for row, image in enumerate(outputs):
            found = np.argwhere(image[..., 0] > 100) if image.size else []
            if len(found):
                (y0, x0), (y1, x1) = found.min(0), found.max(0) + 1
                scale = batch.frames.scales[row]
                boxes.append(np.array([x0, y0, x1, y1]) / scale)
                scores.append(image[..., 0].max() / 255)
                uids.append(batch.frames.uids[row])
        n = len(uids)
        return FaceBatch(
            np.array(uids, np.int64),
            {
                "box": np.array(boxes, np.float32).reshape(n, 4),
                "score": np.array(scores, np.float32),
                "points5": np.full((n, 5, 2), np.nan, np.float32),
            },
        )


def detector(**options) -> Detector:
    return Detector.only(face=RedSquares(), device="cpu", **options)


def square(x=10, y=20, side=30, level=255, size=(100, 120)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    image[y : y + side, x : x + side, 0] = level
    return image


def test_rows_of_arrays_by_value():
    fex = detector().detect([square(), np.zeros((50, 60, 3), np.uint8)], progress_bar=False)
    assert len(fex) == 2
    assert fex.faceboxes.iloc[0].tolist() == [10, 20, 30, 30, 1.0]
    assert fex["FrameHeight"].tolist() == [100, 50]
    assert fex["FrameWidth"].tolist() == [120, 60]
    assert fex["FaceScore"].iloc[1] == 0
    assert np.isnan(fex["FaceRectX"].iloc[1])
    assert fex["Keep"].all()


def test_columns_of_empty_slots_are_absent():
    fex = detector().detect(square(), progress_bar=False)
    assert "Pitch" not in fex
    assert "x_0" not in fex


def test_coordinates_stay_original_when_frames_are_shrunk():
    image = square(x=40, y=80, side=120, size=(400, 480))
    fex = detector().detect(image, output_size=120, progress_bar=False)
    assert fex.faceboxes.iloc[0].tolist() == pytest.approx([40, 80, 120, 120, 1.0], abs=4)
    assert fex["FrameWidth"].iloc[0] == 480


def test_threshold_is_inclusive_and_reaches_below_one_half():
    faces = [square(level=255), square(level=102)]
    scores = detector().detect(faces, face_detection_threshold=0.4, progress_bar=False)
    assert scores["FaceScore"].tolist() == pytest.approx([1.0, 0.4])
    fewer = detector().detect(faces, face_detection_threshold=0.41, progress_bar=False)
    assert fewer["FaceScore"].tolist() == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("mode", ["threads", "sequential"])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_rows_do_not_depend_on_batch_size_or_mode(batch_size, mode):
    frames = [square(x=i, level=120 + i) for i in range(11)]
    expected = detector().detect(frames, progress_bar=False)
    got = detector(mode=mode).detect(frames, batch_size=batch_size, progress_bar=False)
    pd.testing.assert_frame_equal(pd.DataFrame(got), pd.DataFrame(expected))


def test_one_detector_serves_twice_and_from_two_threads():
    shared = detector()
    expected = shared.detect(square(), progress_bar=False)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(shared.detect(square(), progress_bar=False)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got in results:
        pd.testing.assert_frame_equal(pd.DataFrame(got), pd.DataFrame(expected))


def test_error_raise_keeps_the_rows_before_it(tmp_path):
    bad = tmp_path / "text.jpg"
    bad.write_text("not a picture")
    with pytest.raises(errors.InputError, match=r"text\.jpg") as caught:
        detector().detect([square(), square(x=3), bad, square()], progress_bar=False)
    assert caught.value.rows["FaceRectX"].tolist() == [10, 3]


def test_error_row_and_skip(tmp_path):
    bad = tmp_path / "missing.jpg"
    inputs = [square(), bad, square(x=3)]
    rows = detector().detect(inputs, on_error="row", progress_bar=False)
    assert rows["Keep"].tolist() == [True, False, True]
    assert np.isnan(rows["FaceScore"].iloc[1])
    assert "unreadable" in rows["FilterReason"].iloc[1]
    assert rows.meta["errors"][0]["input"] == str(bad)
    left = detector().detect(inputs, on_error="skip", progress_bar=False)
    assert left["FaceRectX"].tolist() == [10, 3]
    assert left.meta["errors"][0]["error"] == "MissingInputError"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"num_workers": -1}, "num_workers"),
        ({"face_detection_threshold": 0.0}, "face_detection_threshold"),
        ({"face_detection_threshold": 1.5}, "face_detection_threshold"),
        ({"on_error": "ignore"}, "on_error"),
        ({"resume": True}, "save"),
        ({"skip_frames": 0}, "skip_frames"),
        ({"output_size": 0}, "output_size"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(errors.OptionError, match=message):
        detector().detect(square(), progress_bar=False, **options)


def test_unknown_arguments_are_errors():
    with pytest.raises(TypeError):
        detector().detect(square(), tracking=True)
    with pytest.raises(errors.UnknownNodeError, match="tiny"):
        Detector(face="retinanet")
    with pytest.raises(errors.OptionError, match="nose"):
        Detector(options={"nose": {}})
    with pytest.raises(errors.OptionError, match="max_sides"):
        Detector(options={"face": {"max_sides": 3}})
    with pytest.raises(errors.OptionError, match="None"):
        Detector(pose=None, options={"pose": {"x": 1}})
    with pytest.raises(errors.UnmetNeedsError, match="landmarks"):
        Detector(landmark=None, pose="mlp")
    with pytest.raises(errors.OptionError, match="no face node"):
        Detector.only().detect(square())
    with pytest.raises(errors.OptionError, match="device"):
        Detector(device="abacus")
    with pytest.raises(errors.OptionError, match="empty|no input"):
        detector().detect([])


def test_repr_is_one_line_of_nodes():
    assert repr(detector()) == "Detector(face=red, device=cpu)"


def test_meta_says_how_the_table_was_made():
    fex = detector().detect(square(), batch_size=2, progress_bar=False)
    assert fex.meta["nodes"] == {"face": "face/red"}
    assert fex.meta["options"]["batch_size"] == 2
    assert fex.meta["options"]["face_detection_threshold"] == 0.5


def test_iter_detect_takes_frames_that_never_end():
    def camera():
        position = 0
        while True:
            yield square(x=position % 50)
            position += 1

    seen = []
    before = threading.active_count()
    stream = detector().iter_detect(camera(), batch_size=4)
    for part in stream:
        seen += part["FaceRectX"].tolist()
        if len(seen) >= 20:
            break
    stream.close()
    assert seen[:20] == list(range(20))
    assert threading.active_count() <= before


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".feather", ".json"])
def test_saved_file_equals_the_returned_table(tmp_path, suffix):
    path = tmp_path / f"faces{suffix}"
    frames = [square(x=i) for i in range(PIECE_FRAMES + 5)]
    fex = detector().detect(frames, save=path, progress_bar=False)
    back = read_fex(path)
    pd.testing.assert_frame_equal(pd.DataFrame(back), pd.DataFrame(fex), check_dtype=False)
    assert back.meta["nodes"] == {"face": "face/red"}
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_save_refuses_a_bad_target_before_any_work(tmp_path):
    def never():
        raise AssertionError("a frame was read")
        yield

    with pytest.raises(errors.OutputError, match="nowhere"):
        detector().detect(never(), save=tmp_path / "nowhere" / "x.csv", progress_bar=False)
    with pytest.raises(errors.OptionError, match="xlsx"):
        detector().detect(never(), save=tmp_path / "x.xlsx", progress_bar=False)


RUN = """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    from test_detector import detector, square
    def frames():
        for i in range({count}):
            if i == {stop}:
                os.kill(os.getpid(), signal.SIGKILL)
            yield square(x=i % 60, y=(i // 60) % 60)
    detector().detect(frames(), save={path!r}, resume={resume}, progress_bar=False)
"""


def run_in_process(path: Path, count: int, stop: int, resume: bool) -> int:
    code = textwrap.dedent(RUN).format(
        tests=str(Path(__file__).parent), count=count, stop=stop, path=str(path), resume=resume
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode


def test_killed_runs_resume_to_the_same_bytes(tmp_path):
    count = 4 * PIECE_FRAMES + 37
    whole = tmp_path / "whole.parquet"
    assert run_in_process(whole, count, -1, False) == 0
    broken = tmp_path / "broken.parquet"
    for stop in (100, 2 * PIECE_FRAMES + 150, 4 * PIECE_FRAMES + 20):
        assert run_in_process(broken, count, stop, True) == -signal.SIGKILL
        assert not broken.exists()
    assert run_in_process(broken, count, -1, True) == 0
    assert broken.read_bytes() == whole.read_bytes()


def test_resume_with_other_options_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    assert run_in_process(path, 3 * PIECE_FRAMES, 2 * PIECE_FRAMES + 200, True) == -signal.SIGKILL
    with pytest.raises(errors.ResumeError, match="threshold"):
        detector().detect(
            [square()], save=path, resume=True, face_detection_threshold=0.6, progress_bar=False
        )


def test_exif_orientation_is_applied_before_detection(tmp_path):
    picture = Image.fromarray(square(x=10, y=20, side=30, size=(100, 120)))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "a.png", exif=exif)
    fex = detector().detect(tmp_path / "a.png", progress_bar=False)
    assert fex.faceboxes.iloc[0].tolist() == [10, 20, 30, 30, 1.0]


def test_sample_photo_is_a_file():
    assert sample_photo().is_file()


def test_a_run_gives_batches_with_every_field():
    from featflow.runs import RunOptions

    run = detector().run([square(), square(x=3)], RunOptions(batch_size=1))
    boxes = [batch.faces.box.tolist() for batch in run.batches()]
    assert boxes == [[[10, 20, 40, 50]], [[3, 20, 33, 50]]]


def test_failures_in_finished_pieces_are_still_listed_after_resuming(tmp_path):
    from featflow.datasets.frame import Frame

    broken = Frame.failed("camera", errors.ImageError("camera", "lens cap on"))

    def frames(until):
        for position in range(2 * PIECE_FRAMES):
            if position == until:
                raise errors.ImageError("camera", "unplugged")
            yield broken if position == 5 else square(x=position % 50)

    whole, resumed = tmp_path / "whole.parquet", tmp_path / "resumed.parquet"
    options = {"on_error": "row", "progress_bar": False}
    detector().detect(frames(-1), save=whole, **options)
    with pytest.raises(errors.FeatflowError, match="unplugged"):
        detector().detect(frames(PIECE_FRAMES + 20), save=resumed, **options)
    fex = detector().detect(frames(-1), save=resumed, resume=True, **options)
    assert resumed.read_bytes() == whole.read_bytes()
    assert [entry["reason"] for entry in fex.meta["errors"]] == ["camera: lens cap on"]
    assert len(fex) == 2 * PIECE_FRAMES
