"""One conformance suite for all decoders: the same files through each of them."""

from __future__ import annotations

import gc
import math
import os
import struct

import av
import numpy as np
import pytest

from featflow.datasets import open_source, probe_clip
from featflow.errors import MissingExtraError, OptionError, VideoError

pytest.importorskip("decord")


@pytest.fixture(params=["av", "decord"])
def read(request):
    """Frames and the report (None where there is none) of one clip."""

    def run(path, **options):
        source = open_source(path, decoder=request.param, **options)
        frames = list(source)
        assert len(source.reports) <= 1
        return frames, (source.reports or [None])[0]

    return run


def good(frames):
    return [frame for frame in frames if frame.error is None]


def plain_decode(path):
    """Oracle: what a bare PyAV loop gives, up to its first error."""
    pictures = []
    with av.open(str(path)) as container:
        try:
            for frame in container.decode(video=0):
                pictures.append(frame.to_ndarray(format="rgb24"))
        except av.FFmpegError:
            pass
    return pictures


def assert_numbers(frames, number_of, expected):
    assert [number_of(f.image) for f in frames] == list(expected)
    assert [f.index for f in frames] == list(range(len(frames)))


def test_whole_clip(read, plain_clip, number_of):
    frames, report = read(plain_clip)
    assert_numbers(frames, number_of, range(60))
    assert [f.time_s for f in frames] == pytest.approx([i / 25 for i in range(60)], abs=1e-6)
    assert all(f.source == str(plain_clip) and f.size_px == (120, 160) for f in frames)
    assert (report.status, report.decoded, report.declared) == ("complete", 60, 60)


def test_pixels_equal_a_plain_decode(read, plain_clip):
    frames, _ = read(plain_clip)
    for frame, oracle in zip(frames, plain_decode(plain_clip), strict=True):
        difference = np.abs(frame.image.astype(int) - oracle)
        assert difference.mean() < 1.0
        assert np.percentile(difference, 99) <= 4


def test_colours_are_rgb(read, plain_clip):
    frames, _ = read(plain_clip)
    red, green, blue = frames[0].image[10:30, 10:60].mean((0, 1))
    assert red == pytest.approx(200, abs=6)
    assert green == pytest.approx(40, abs=6)
    assert blue == pytest.approx(40, abs=6)


@pytest.mark.parametrize(("space", "kr", "kb"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114)])
@pytest.mark.parametrize("full", [False, True])
def test_colour_matrix_and_range_of_the_stream(read, tmp_path, space, kr, kb, full):
    """Oracle: the YCbCr equations of ITU-R BT.601 and BT.709."""
    y, cb, cr = 80, 100, 180
    path = tmp_path / "colour.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"qp": "0", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace = space
        stream.codec_context.color_range = 2 if full else 1
        planes = np.full((96, 64), y, np.uint8)
        planes[64:80], planes[80:] = cb, cr
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.colorspace, frame.color_range = space, 2 if full else 1
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    luma = y if full else (y - 16) * 255 / 219
    u, v = ((c - 128) * (1.0 if full else 255 / 224) for c in (cb, cr))
    red, blue = luma + 2 * (1 - kr) * v, luma + 2 * (1 - kb) * u
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    frames, _ = read(path)
    assert frames[0].image[32, 32].astype(int) == pytest.approx([red, green, blue], abs=2.5)


def test_matroska(read, plain_mkv, number_of):
    frames, report = read(plain_mkv)
    assert_numbers(frames, number_of, range(60))
    assert (report.status, report.decoded, report.declared) == ("complete", 60, None)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.avi", "mpeg4", {"bf": "2"}), ("a.ts", "libx264", None), ("a.webm", "libvpx", None)],
)
def test_other_containers(read, clip_writer, tmp_path, number_of, name, codec, options):
    path = clip_writer(tmp_path / name, 30, codec=codec, options=options)
    frames, report = read(path)
    assert_numbers(frames, number_of, range(30))
    assert frames[0].time_s == 0.0
    assert [f.time_s for f in frames] == pytest.approx([i / 25 for i in range(30)], abs=2e-3)
    assert report.status == "complete"


def test_variable_frame_rate_has_true_times(read, clip_writer, tmp_path, number_of):
    times = np.cumsum(np.random.default_rng(1).integers(10, 120, 40))
    path = clip_writer(tmp_path / "vfr.mp4", 40, times_ms=[int(t) for t in times])
    frames, _ = read(path)
    assert_numbers(frames, number_of, range(40))
    assert [f.time_s for f in frames] == pytest.approx((times - times[0]) / 1000, abs=1e-3)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("hflip", [False, True])
def test_display_matrix_is_applied(read, clip_writer, tmp_path, rotation, hflip):
    """Oracle: the matrix in the file's own ``tkhd`` box, applied to the stored pictures."""
    path = clip_writer(tmp_path / "turned.mp4", 5, rotation=rotation, hflip=hflip)
    data = path.read_bytes()
    at = data.index(b"tkhd") + 44
    a, b, _, c, d = (value / 65536 for value in struct.unpack(">5i", data[at : at + 20]))
    stored = plain_decode(path)[0]
    frames, _ = read(path)
    shown = frames[0].image
    assert frames[0].size_px == shown.shape[:2] == ((160, 120) if a == 0 else (120, 160))
    height, width = shown.shape[:2]
    for x, y in [(3, 5), (100, 17), (150, 110)]:
        sx, sy = a * (x + 0.5) + c * (y + 0.5), b * (x + 0.5) + d * (y + 0.5)
        column = int(sx + (width if a + c < 0 else 0))
        row = int(sy + (height if b + d < 0 else 0))
        assert shown[row, column].astype(int) == pytest.approx(stored[y, x].astype(int), abs=6)
    if rotation == 90 and not hflip:  # counter-clockwise: the red corner goes to the lower left
        assert shown[140, 20, 0] > 150 > 100 > shown[140, 20, 1]


@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
def test_cut_with_index_in_front(read, plain_clip, tmp_path, number_of, part):
    data = plain_clip.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: int(len(data) * part)])
    frames, report = read(path)
    decoded = good(frames)
    assert 0 < len(decoded) < 60
    assert_numbers(decoded, number_of, range(len(decoded)))
    assert len(decoded) == len(plain_decode(path))
    assert (report.status, report.decoded, report.declared) == ("truncated", len(decoded), 60)
    assert [f.index for f in frames if f.error] == [len(decoded)]
    assert isinstance(frames[-1].error, VideoError)
    assert f"{len(decoded)} of 60" in str(frames[-1].error)


def test_cut_between_two_packets(read, plain_clip, tmp_path, number_of):
    with av.open(str(plain_clip)) as container:
        ends = [p.pos + p.size for p in container.demux(video=0) if p.size]
    path = tmp_path / "cut.mp4"
    path.write_bytes(plain_clip.read_bytes()[: sorted(ends)[35]])
    frames, report = read(path)
    assert report.status == "truncated"
    assert isinstance(frames[-1].error, VideoError)
    numbers = [number_of(f.image) for f in good(frames)]
    assert len(numbers) >= 33
    assert numbers[:33] == list(range(33))


def test_cut_with_index_at_the_end(read, clip_writer, tmp_path):
    path = clip_writer(tmp_path / "late.mp4")
    path.write_bytes(path.read_bytes()[:4000])
    frames, report = read(path)
    assert [type(f.error) for f in frames] == [VideoError]
    assert report is None


def test_cut_matroska_is_reported_by_its_duration(read, plain_mkv, tmp_path, number_of):
    data = plain_mkv.read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(data[: len(data) // 2])
    frames, report = read(path)
    # A reordered frame may be lost at the very end: times still tell which ones are there.
    numbers = [number_of(f.image) for f in frames]
    assert numbers[:10] == list(range(10))
    assert [f.time_s for f in frames] == pytest.approx([n / 25 for n in numbers], abs=1e-3)
    assert 10 < len(frames) < 50
    assert len(frames) == len(plain_decode(path))
    assert (report.status, report.decoded) == ("truncated", len(frames))
    assert "2.4" in report.reason


def flipped(plain_clip, folder, seed):
    """A copy with 60 bytes inverted, about (seed + 2) eighths into the file."""
    data = bytearray(plain_clip.read_bytes())
    middle = len(data) * (seed + 2) // 8
    for position in np.random.default_rng(seed).integers(middle, middle + 400, 60):
        data[position] ^= 0xFF
    path = folder / "flipped.mp4"
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes(read, plain_clip, tmp_path, seed):
    path = flipped(plain_clip, tmp_path, seed)
    oracle = plain_decode(path)
    frames, report = read(path)
    decoded = good(frames)
    assert len(decoded) == len(oracle)
    # Pictures before the damage. How FFmpeg conceals what is damaged is not the same each time.
    whole = plain_decode(plain_clip)
    same = [np.array_equal(*pair) for pair in zip(oracle, whole[: len(oracle)], strict=True)]
    clean = [*same, False].index(False)
    assert clean > 5
    for frame, picture in zip(decoded[:clean], oracle[:clean], strict=True):
        assert np.abs(frame.image.astype(int) - picture).mean() < 1.0
    if len(oracle) < 60:
        assert report.status == "damaged"
        assert frames[-1].error is not None
        assert frames[-1].index == len(decoded)


def test_some_flips_do_damage(plain_clip, tmp_path):
    """Guards the test above: it would be empty if no flip hurt.

    Whether FFmpeg conceals damage or ends there hangs on where the encoder put what.
    """
    whole = plain_decode(plain_clip)
    hurt = []
    for seed in range(4):
        seen = plain_decode(flipped(plain_clip, tmp_path, seed))
        assert seen
        pairs = zip(seen, whole[: len(seen)], strict=True)
        hurt.append(len(seen) < 60 or any(not np.array_equal(*pair) for pair in pairs))
    assert any(hurt)


def test_frames_hidden_by_an_edit_list_are_not_invented(read, plain_clip, tmp_path, number_of):
    """The header counts 60; the edit list starts at the fourth. decord pads such files."""
    data = bytearray(plain_clip.read_bytes())
    at = data.index(b"elst") + 4
    version, entries = data[at], struct.unpack(">I", data[at + 4 : at + 8])[0]
    assert (version, entries) == (0, 1)
    (media_time,) = struct.unpack(">i", data[at + 12 : at + 16])
    with av.open(str(plain_clip)) as container:
        ticks = int(1 / 25 / container.streams.video[0].time_base)
    data[at + 12 : at + 16] = struct.pack(">i", media_time + 3 * ticks)
    path = tmp_path / "edited.mp4"
    path.write_bytes(bytes(data))
    frames, report = read(path)
    assert len(frames) == len(plain_decode(path)) == 57
    assert_numbers(frames, number_of, range(3, 60))
    assert frames[0].time_s == 0.0
    assert (report.status, report.decoded, report.declared) == ("complete", 57, 60)
    assert "57" in report.reason


@pytest.mark.parametrize("count", [1, 2, 30])
def test_still_scene_is_not_taken_for_padding(read, clip_writer, tmp_path, count):
    path = clip_writer(tmp_path / "still.mp4", count, still=True)
    frames, report = read(path)
    assert [f.index for f in frames] == list(range(count))
    assert report.decoded == count


def test_sound_only(read, sound_writer, tmp_path):
    frames, _ = read(sound_writer(tmp_path / "sound.mp4"))
    assert [type(f.error) for f in frames] == [VideoError]
    assert "no video stream" in str(frames[0].error)


@pytest.mark.parametrize("content", [b"", b"junk " * 500, b"\x00\x00\x00\x18ftypisom" + b"x" * 999])
def test_empty_junk_and_bare_header(read, tmp_path, content):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    frames, _ = read(path)
    assert [type(f.error) for f in frames] == [VideoError]
    assert str(path) in str(frames[0].error)


@pytest.mark.parametrize("size", [(241, 323), (37, 1001), (2, 2)])
def test_odd_sizes(read, clip_writer, tmp_path, size):
    path = clip_writer(tmp_path / "odd.mkv", 3, size, codec="ffv1", pix_fmt="bgr0")
    frames, _ = read(path)
    oracle = plain_decode(path)
    assert [f.size_px for f in frames] == [size] * 3
    for frame, picture in zip(frames, oracle, strict=True):
        assert np.array_equal(frame.image, picture)


@pytest.mark.parametrize(
    "name", ["with space.mp4", "größe 顔.mp4", "-dash.mp4", 'it\'s "q".mp4', "a:b.mp4", "50%d.mp4"]
)
def test_awkward_names(read, plain_clip, tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(plain_clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    frames, _ = read(name)
    assert len(good(frames)) == 60
    assert frames[0].source == name


def test_wrong_suffix_is_read_by_content(read, plain_clip, tmp_path):
    path = tmp_path / "clip.jpg"
    path.write_bytes(plain_clip.read_bytes())
    assert len(read(path)[0]) == 60


def test_a_playlist_does_not_open_other_files(read, plain_clip, tmp_path):
    """FFmpeg would follow it; to us it is text."""
    path = tmp_path / "list.mp4"
    path.write_text(f"ffconcat version 1.0\nfile '{plain_clip}'\n")
    frames, _ = read(path)
    assert [type(f.error) for f in frames] == [VideoError]


def test_skip_start_stop(read, plain_clip, number_of):
    frames, report = read(plain_clip, skip_frames=7, start=0.4, stop=1.6)
    wanted = [i for i in range(60) if i % 7 == 0 and 0.4 <= i / 25 < 1.6]
    assert [f.index for f in frames] == wanted
    assert [number_of(f.image) for f in frames] == wanted
    assert report.status == "complete"


@pytest.mark.parametrize(("start", "stop"), [(0.4, 0.44), (None, 0.04), (2.36, None), (9.0, None)])
def test_start_is_inclusive_and_stop_is_not(read, plain_clip, start, stop):
    frames, _ = read(plain_clip, start=start, stop=stop)
    expected = [i for i in range(60) if (start or 0) <= i / 25 < (stop or math.inf)]
    assert [f.index for f in frames] == expected


def test_output_size_keeps_coordinates(read, clip_writer, tmp_path):
    """A square's centroid, scaled back, stays where it is, to a tenth of a pixel."""
    path = tmp_path / "square.mkv"
    picture = np.zeros((360, 500, 3), np.uint8)
    picture[200:260, 330:430] = 255
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 500, 360, "bgr0"
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    (frame,), _ = read(path, output_size=230)
    assert max(frame.image.shape) <= 230
    assert frame.size_px == (360, 500)
    weights = frame.image[..., 0].astype(float)
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]] + 0.5
    centre = [(weights * axis).sum() / weights.sum() / frame.scale for axis in (columns, rows)]
    assert centre == pytest.approx([380.0, 230.0], abs=0.1)


def test_output_size_with_rotation(read, clip_writer, tmp_path):
    path = clip_writer(tmp_path / "turned.mp4", 3, rotation=90)
    frames, _ = read(path, output_size=80)
    assert frames[0].image.shape == (80, 60, 3)
    assert (frames[0].size_px, frames[0].scale) == ((160, 120), 0.5)
    assert frames[0].image[70, 10, 0] > 150 > 100 > frames[0].image[70, 10, 1]


def test_real_clips_equal_a_full_decode(read, shared):
    for path in sorted((shared / "media").glob("*.mp4")):
        frames, report = read(path, output_size=64)
        with av.open(str(path)) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert [f.time_s for f in frames] == pytest.approx([t - times[0] for t in times])
        assert report.decoded == len(times)


def test_abandoned_reading_closes_the_file(plain_clip):
    open_files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    if open_files is None:
        pytest.skip("no /proc here")
    for _ in range(5):
        frames = iter(open_source(plain_clip))
        next(frames)
        frames.close()
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_pictures_are_freed_without_the_garbage_collector(clip_writer, tmp_path):
    """Clips that left one large picture each behind would add up over a folder of clips."""
    path = clip_writer(tmp_path / "large.mp4", 2, (1080, 1920))
    gc.collect()
    gc.disable()
    try:
        alive = sum(type(item) is av.VideoFrame for item in gc.get_objects())
        list(open_source(path))
        frames = [item for item in gc.get_objects() if type(item) is av.VideoFrame]
        assert sum(frame.width > 16 for frame in frames) <= alive
    finally:
        gc.enable()


def test_probe(plain_clip):
    info = probe_clip(str(plain_clip))
    assert (info.frames, info.size_px) == (60, (120, 160))
    assert info.rate_hz == pytest.approx(25)
    assert info.duration_s == pytest.approx(2.4, abs=0.05)


def test_unknown_decoder_and_missing_decord(plain_clip, monkeypatch):
    with pytest.raises(OptionError, match="av, decord"):
        open_source(plain_clip, decoder="opencv")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="decord"):
        open_source(plain_clip, decoder="decord")


class FaultyReader:
    """Stands for decord where it pads, fails, or changes its mind about the size."""

    def __init__(self, pictures, fault):
        self.pictures, self.fault, self.position = pictures, fault, -1

    def next(self):
        self.position += 1
        if self.position >= 20 and self.fault == "error":
            raise RuntimeError("error while decoding\nstack trace")
        if self.position >= 20 and self.fault == "size":
            return self
        if self.position >= 20 and self.fault == "repeat":
            self.position = 19
        return self

    def asnumpy(self):
        picture = self.pictures[self.position]
        return picture[:50] if self.fault == "size" and self.position >= 20 else picture


@pytest.mark.parametrize("fault", ["error", "size", "repeat"])
def test_decords_faults_are_noticed_and_made_good(
    plain_clip, number_of, monkeypatch, caplog, fault
):
    reader = FaultyReader(plain_decode(plain_clip), fault)
    monkeypatch.setattr(
        "featflow.datasets.decode_decord._open_reader", lambda path, frames: (reader, "")
    )
    with caplog.at_level("INFO", logger="featflow"):
        source = open_source(plain_clip, decoder="decord")
        frames = list(source)
    assert_numbers(frames, number_of, range(60))
    assert [f.time_s for f in frames] == pytest.approx([i / 25 for i in range(60)])
    assert "PyAV from frame 20 on" in caplog.text
    assert source.reports[0].decoded == 60


def test_decord_itself_reads_sound_clips(plain_clip, caplog):
    """Guards the suite: without this it would pass with PyAV doing all the work."""
    with caplog.at_level("INFO", logger="featflow"):
        assert len(list(open_source(plain_clip, decoder="decord"))) == 60
    assert "PyAV" not in caplog.text
