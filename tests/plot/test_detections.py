"""Plots: one axes a frame, coordinates as the table has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from featflow.errors import OptionError, SchemaError
from featflow.fex import Fex
from featflow.plot.shapes import AXIS_COLOURS


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    import matplotlib.pyplot as plt

    before = mpl.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


def _fex(source: str = "gone.mp4", frames: tuple[int, ...] = (0,), yaw: float = 0.5) -> Fex:
    n = len(frames)
    box = {"FaceRectX": 10.0, "FaceRectY": 20.0, "FaceRectWidth": 30.0, "FaceRectHeight": 40.0}
    size = {"FrameHeight": 80, "FrameWidth": 100}
    pose = {"Pitch": 0.0, "Roll": 0.0, "Yaw": yaw}
    source_columns = {"input": [source] * n, "frame": list(frames), "time": np.nan}
    return Fex({**source_columns, **size, **box, **pose})


def _axes(n: int = 1) -> list[Axes]:
    return list(Figure().subplots(1, n, squeeze=False)[0])


def test_box_and_axes_are_drawn_in_original_pixels() -> None:
    (canvas,) = _axes()
    assert _fex().plot_detections(axes=canvas) == [canvas]
    lines = [np.array(line.get_xydata()) for line in canvas.lines]
    np.testing.assert_array_equal(lines[0][:4], [[10, 20], [40, 20], [40, 60], [10, 60]])
    blue = "#{:02x}{:02x}{:02x}".format(*AXIS_COLOURS[2])
    (forward,) = [line for line in canvas.lines if line.get_color() == blue]
    x = np.asarray(forward.get_xdata(), float)
    assert x[0] == 25
    assert x[1] < 25  # towards the subject's right


def test_canvas_of_a_lost_picture_has_the_frames_size() -> None:
    (canvas,) = _fex().plot_detections(axes=_axes())
    assert canvas.get_xlim() == (0, 100)
    assert canvas.get_ylim() == (80, 0)


def test_picture_is_placed_so_that_pixel_corners_are_whole_numbers(tmp_path: Path) -> None:
    pixels = np.zeros((80, 100, 3), np.uint8)
    pixels[20:60, 10:40] = (0, 200, 0)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    (canvas,) = _fex(str(path)).plot_detections(axes=_axes())
    shown = canvas.images[0]
    assert list(shown.get_extent()) == [0, 100, 80, 0]
    np.testing.assert_array_equal(np.asarray(shown.get_array())[..., :3], pixels)


def test_one_axes_a_frame_and_faces_of_a_frame_together() -> None:
    fex = _fex(frames=(0, 0, 3))
    canvases = fex.plot_detections(landmarks=False, poses=False)
    assert [len(c.lines) for c in canvases] == [2, 1]
    assert "frame 3" in canvases[1].get_title()
    assert len(fex.plot_detections(rows=[2])) == 1
    assert len(fex.plot_detections(rows=slice(0, 2))) == 1


def test_title_names_file_frame_and_time() -> None:
    fex = _fex("clips/a.mp4").assign(time=1.5)
    (canvas,) = fex.plot_detections()
    assert canvas.get_title() == "a.mp4, frame 0, 1.50 s"


def test_wrong_arguments() -> None:
    with pytest.raises(OptionError, match="2 frames, but 1 axes"):
        _fex(frames=(0, 1)).plot_detections(axes=_axes())
    with pytest.raises(OptionError, match="choose some"):
        _fex(frames=tuple(range(65))).plot_detections()
    with pytest.raises(SchemaError, match="no column input"):
        _fex().drop(columns="input").plot_detections()
    with pytest.raises(TypeError, match="colour"):
        _fex().plot_detections(colour="red")
