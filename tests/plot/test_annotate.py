"""Annotated copies: right pixels, right times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featflow.errors import (
    ImageError,
    InputError,
    MissingInputError,
    OptionError,
    OutputError,
    SchemaError,
)
from featflow.fex import Fex
from featflow.plot import annotate
from featflow.plot.shapes import BOX_COLOUR

TIMES = [0.0, 0.04, 0.12, 0.2, 0.7]  # variable frame rate


def _clip(path: Path, height: int = 96, width: int = 128, noise: bool = False) -> Path:
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("h264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, time in enumerate(TIMES):
            grey = np.full((height, width, 3), 40 + 20 * i, np.uint8)
            if noise:  # large packets, so that a cut falls between frames
                grey = rng.integers(0, 255, grey.shape, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def _decode(path: Path) -> tuple[list[float], list[NDArray[np.uint8]], str]:
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        times = [float(f.time) for f in frames]
        return times, [f.to_ndarray(format="rgb24") for f in frames], frames[0].format.name


def _fex(source: Path, frames: list[int], x: list[float]) -> Fex:
    box = {"FaceRectX": x, "FaceRectY": 16.0, "FaceRectWidth": 32.0, "FaceRectHeight": 48.0}
    return Fex({"input": [str(source)] * len(frames), "frame": frames, **box})


def _is_box(pixel: NDArray[np.uint8]) -> bool:
    """Whether it is yellow: chroma has half the resolution, so a thin line is pale."""
    red, green, blue = pixel.astype(float)
    return bool(red - blue > 60 and green - blue > 40)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_clip_keeps_times_and_gets_boxes_on_their_frames(suffix: str, tmp_path: Path) -> None:
    clip = _clip(tmp_path / "in.mp4")
    fex = _fex(clip, [3, 1], [64.0, 16.0])  # rows in any order, frames without a row too
    out = annotate(clip, fex, tmp_path / f"out{suffix}")
    times, pictures, layout = _decode(out)
    np.testing.assert_allclose(times, TIMES, atol=2e-3)
    assert layout == "yuv420p"
    for i, picture in enumerate(pictures):
        grey = 40 + 20 * i
        left = picture[17:63, 16].mean(0), picture[17:63, 64].mean(0)
        assert _is_box(left[0]) == (i == 1)
        assert _is_box(left[1]) == (i == 3)
        assert abs(float(picture[80:, 100:].mean()) - grey) < 4


def test_odd_sizes_gain_a_pixel(tmp_path: Path) -> None:
    photo = tmp_path / "in.png"
    Image.fromarray(np.full((33, 51, 3), 90, np.uint8)).save(photo)
    out = annotate(photo, _fex(photo, [0], [8.0]), tmp_path / "out.mp4")
    _, (picture,), _ = _decode(out)
    assert picture.shape == (34, 52, 3)
    assert abs(float(picture[33, 51].mean()) - 90) < 6


def test_photo_to_png_is_exact(tmp_path: Path) -> None:
    photo = tmp_path / "in.png"
    Image.fromarray(np.full((80, 100, 3), 90, np.uint8)).save(photo)
    fex = _fex(photo, [0], [10.0])
    expected = np.full((80, 100, 3), 90, np.uint8)
    expected[16:64, 10:42] = BOX_COLOUR
    expected[17:63, 11:41] = 90
    np.testing.assert_array_equal(
        np.array(Image.open(annotate(photo, fex, tmp_path / "o.png"))), expected
    )
    jpeg = np.array(Image.open(annotate(photo, fex, tmp_path / "o.jpg"))).astype(int)
    assert np.abs(jpeg[0:8, 60:] - 90).max() < 8


def test_rows_of_other_inputs_are_left_aside(tmp_path: Path) -> None:
    photo = tmp_path / "in.png"
    Image.fromarray(np.zeros((80, 100, 3), np.uint8)).save(photo)
    both = _fex(photo, [0, 0], [10.0, 60.0])
    both["input"] = [str(photo), "other.png"]
    drawn = np.array(Image.open(annotate(photo, both, tmp_path / "o.png")))
    assert drawn[30, 10].any()
    assert not drawn[30, 60].any()
    both["input"] = ["third.png", "other.png"]
    with pytest.raises(SchemaError, match=r"no row of .*in\.png; its inputs are other\.png"):
        annotate(photo, both, tmp_path / "o.png")


def test_clip_cut_short_is_annotated_as_far_as_it_goes(tmp_path: Path) -> None:
    clip = _clip(tmp_path / "in.mkv", noise=True)
    clip.write_bytes(clip.read_bytes()[: int(clip.stat().st_size * 0.8)])
    with av.open(str(clip)) as file:
        readable = sum(1 for _ in file.decode(video=0))
    assert 0 < readable < len(TIMES)
    times, _, _ = _decode(annotate(clip, _fex(clip, [0], [8.0]), tmp_path / "out.mp4"))
    np.testing.assert_allclose(times, TIMES[:readable], atol=2e-3)


def test_bad_arguments(tmp_path: Path) -> None:
    clip = _clip(tmp_path / "in.mp4")
    fex = _fex(clip, [0], [8.0])
    with pytest.raises(OptionError, match=r"\.mp4, \.mov, \.mkv, \.png"):
        annotate(clip, fex, tmp_path / "out.gif")
    with pytest.raises(OptionError, match="is the input itself"):
        annotate(clip, fex, clip)
    with pytest.raises(OutputError, match="no folder"):
        annotate(clip, fex, tmp_path / "none" / "out.mp4")
    with pytest.raises(MissingInputError):
        annotate(tmp_path / "gone.mp4", fex, tmp_path / "out.mp4")
    (tmp_path / "junk.jpg").write_bytes(b"junk")
    with pytest.raises((ImageError, InputError), match="junk"):
        annotate(tmp_path / "junk.jpg", fex, tmp_path / "out.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "junk.jpg"]
