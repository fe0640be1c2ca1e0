"""Photos: every form a photo comes in, and every way it can be broken."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from featflow.datasets import open_source
from featflow.datasets.images import BACKGROUND, MAX_PIXELS, orient
from featflow.errors import ImageError, InputError


def scene(height=60, width=80):
    """Smooth, with a red left half and no symmetry."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([np.where(x < width // 2, 200, 60), 40 + 2 * y, 90 + x], -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def read(path, **options):
    frames = list(open_source(path, **options))
    assert len(frames) == 1
    return frames[0]


def saved(image, path, **options):
    image.save(path, **options)
    return path


FORMATS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {"compression": "tiff_deflate"},
}


@pytest.mark.parametrize("format_name", FORMATS)
def test_formats_by_content_whatever_the_suffix(tmp_path, format_name):
    path = tmp_path / "photo.mp4"
    saved(Image.fromarray(scene()), path, format=format_name, **FORMATS[format_name])
    frame = read(path)
    assert frame.error is None
    assert (frame.size_px, frame.scale, frame.index) == ((60, 80), 1.0, 0)
    assert np.isnan(frame.time_s)
    tolerance = 12 if format_name == "JPEG" else 0
    assert np.abs(frame.image.astype(int) - scene()).max() <= tolerance
    assert frame.image.dtype == np.uint8
    assert frame.image.flags.c_contiguous


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("part", [0.5, 0.95])
def test_cut_photos(tmp_path, format_name, part):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    picture = Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    picture.save(buffer, format_name, **FORMATS[format_name])
    data = buffer.getvalue()
    path = tmp_path / "photo.jpg"
    path.write_bytes(data[: int(len(data) * part)])
    frame = read(path)
    assert isinstance(frame.error, ImageError)
    assert frame.image.size == 0
    assert str(path) in str(frame.error)


@pytest.mark.parametrize(
    "content", [b"", b"just text\n" * 50, b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]
)
def test_not_photos(tmp_path, content):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    assert isinstance(read(path).error, ImageError)


def test_other_formats_are_refused(tmp_path):
    path = saved(Image.fromarray(scene()), tmp_path / "a.ppm", format="PPM")
    error = read(path).error
    assert isinstance(error, InputError)
    assert "JPEG, PNG" in str(error)
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert isinstance(read(path).error, InputError)


def test_heic_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(100))
    assert "HEIC" in str(read(path).error)


def _png_header(width, height):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    body = zlib.compress(bytes(1000))
    idat = (
        struct.pack(">I", len(body))
        + b"IDAT"
        + body
        + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    )
    return start + struct.pack(">I", zlib.crc32(chunk)) + idat


def _jpeg_header(width, height):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _bmp_header(width, height):
    return b"BM" + struct.pack(
        "<IHHIIiiHHIIiiII", 9999, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0
    )


def _webp_header(width, height):
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return (
        b"RIFF"
        + struct.pack("<I", 100)
        + b"WEBPVP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + size
        + bytes(80)
    )


@pytest.mark.parametrize("header", [_png_header, _jpeg_header, _bmp_header, _webp_header])
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_bombs_are_refused_before_decoding(tmp_path, header, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(header(side, side))
    read(path)  # imports
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        started = time.perf_counter()
        error = read(path).error
        assert time.perf_counter() - started < 0.05
    assert isinstance(error, ImageError)
    assert "50 megapixels" in str(error)


def test_tiff_bomb(tmp_path):
    path = saved(Image.new("1", (9000, 9000)), tmp_path / "bomb.tif", compression="group4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "50 megapixels" in str(read(path).error)


def test_cap_is_not_pillows_and_is_inclusive(tmp_path):
    exact = saved(Image.new("1", (10_000, MAX_PIXELS // 10_000)), tmp_path / "exact.png")
    frame = read(exact, output_size=64)
    assert frame.error is None
    assert frame.size_px == (5000, 10_000)
    over = saved(Image.new("1", (10_000, MAX_PIXELS // 10_000 + 1)), tmp_path / "over.png")
    assert isinstance(read(over).error, ImageError)


@pytest.mark.parametrize(
    "webp", [{"lossless": True}, {"quality": 90}, {"lossless": True, "exif": b"Exif\0\0II*\0"}]
)
def test_webp_size_from_each_kind_of_header(tmp_path, webp):
    from featflow.datasets.images import _webp_size

    path = saved(Image.fromarray(scene(61, 83)), tmp_path / "a.webp", **webp)
    assert _webp_size(path.read_bytes()[:30]) == (83, 61)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(tmp_path, orientation, format_name):
    """Oracle: Pillow's own ``exif_transpose``."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    saved(Image.fromarray(scene()), path, format=format_name, exif=exif, **FORMATS[format_name])
    with Image.open(path) as image:
        image.load()
        oracle = np.asarray(ImageOps.exif_transpose(image))
    frame = read(path)
    assert np.array_equal(frame.image, oracle)
    assert frame.size_px == oracle.shape[:2] == ((60, 80) if orientation < 5 else (80, 60))
    small = read(path, output_size=40)
    assert small.size_px == frame.size_px
    assert small.image.shape[:2] == tuple(side // 2 for side in frame.size_px)
    blocks = oracle.astype(float).reshape(small.image.shape[0], 2, small.image.shape[1], 2, 3)
    assert np.abs(small.image - blocks.mean((1, 3))).mean() < 1.5


def test_orientation_six_puts_the_left_edge_on_top():
    """CIPA DC-008: 6 means that the stored left-hand side is the visual top."""
    stored = scene()
    upright = orient(stored, 6)
    assert np.array_equal(upright[0], stored[::-1, 0])


def test_broken_exif_does_not_cost_the_photo(tmp_path):
    path = tmp_path / "a.jpg"
    saved(Image.fromarray(scene()), path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff broken")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = read(path)
    assert frame.error is None
    assert frame.size_px == (60, 80)


def test_grey_and_two_tone(tmp_path):
    grey = scene()[..., 1]
    assert np.array_equal(
        read(saved(Image.fromarray(grey), tmp_path / "l.png")).image,
        np.repeat(grey[..., None], 3, 2),
    )
    bits = grey > 90
    frame = read(saved(Image.fromarray(bits), tmp_path / "1.png"))
    assert np.array_equal(frame.image[..., 0], np.where(bits, 255, 0))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, suffix):
    deep = np.linspace(0, 65535, 60 * 80).reshape(60, 80).astype(np.uint16)
    frame = read(saved(Image.fromarray(deep), tmp_path / f"deep.{suffix}"))
    assert np.abs(frame.image[..., 2].astype(float) - deep / 257.0).max() <= 0.5
    assert frame.image.max() == 255


def test_float_tiff(tmp_path):
    values = np.linspace(0, 1, 60 * 80, dtype=np.float32).reshape(60, 80)
    frame = read(saved(Image.fromarray(values), tmp_path / "f.tif"))
    assert np.abs(frame.image[..., 0] - values * 255).max() <= 0.501
    assert isinstance(
        read(saved(Image.fromarray(values * 9), tmp_path / "g.tif")).error, ImageError
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_the_background(tmp_path, mode):
    """Oracle: the compositing equation of Porter and Duff (over)."""
    alpha = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))
    rgb = scene()
    if mode == "LA":
        rgb = np.repeat(rgb[..., 1:2], 3, 2)
    if mode == "P":
        alpha = np.where(np.arange(80) < 40, 255, 0).astype(np.uint8)[None].repeat(60, 0)
        image = Image.fromarray(np.where(alpha > 0, 1, 0).astype(np.uint8), "P")
        image.putpalette([9, 9, 9, 10, 120, 240])
        rgb = np.broadcast_to(np.uint8([10, 120, 240]), (60, 80, 3))
        path = saved(image, tmp_path / "p.png", transparency=0)
    else:
        image = Image.fromarray(np.dstack([rgb, alpha]), "RGBA").convert(mode)
        path = saved(image, tmp_path / "a.png")
    weight = alpha[..., None] / 255.0
    expected = rgb * weight + np.array(BACKGROUND) * (1 - weight)
    assert np.abs(read(path).image - expected).max() <= 1.5


def test_colour_key_transparency(tmp_path):
    path = saved(
        Image.fromarray(scene()), tmp_path / "k.png", transparency=tuple(scene()[0, 0].tolist())
    )
    assert tuple(read(path).image[0, 0]) == BACKGROUND
    assert tuple(read(path).image[30, 60]) == tuple(scene()[30, 60])


def test_palette(tmp_path):
    image = Image.fromarray(scene()).quantize(16)
    frame = read(saved(image, tmp_path / "p.png"))
    assert np.array_equal(frame.image, np.asarray(image.convert("RGB")))


def test_cmyk(tmp_path):
    path = saved(Image.fromarray(scene()).convert("CMYK"), tmp_path / "c.jpg", quality=95)
    assert np.abs(read(path).image.astype(int) - scene()).mean() < 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_thin_photos(tmp_path, shape):
    path = saved(Image.fromarray(np.full((*shape, 3), 77, np.uint8)), tmp_path / "t.png")
    assert read(path).image.shape == (*shape, 3)
    small = read(path, output_size=100)
    assert max(small.image.shape) <= 100
    assert min(small.image.shape[:2]) == 1
    assert (small.image == 77).all()


@pytest.mark.parametrize("side", [1001, 1002, 1003, 1600])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_reduced_jpeg_decode_keeps_positions(tmp_path, side, orientation):
    """Squares' centroids, scaled back to original pixels, stay put to a tenth of a
    working pixel; a partial block of the reduced decode that is taken for whole costs 0.3."""
    picture = np.zeros((700, side, 3), np.uint8)
    spots = [(40, 60), (600, side - 41), (380, 300)]
    for y, x in spots:
        picture[y - 30 : y + 30, x - 30 : x + 30] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(picture), tmp_path / "a.jpg", quality=100, exif=exif)
    full, small = read(path), read(path, output_size=210)
    assert small.size_px == full.size_px
    assert max(small.image.shape) <= 210
    for frame in (full, small):
        centres = _centroids(frame)
        expected = _centroids_of(full.image, 1.0)
        assert np.abs(centres - expected).max() < 0.1 / frame.scale


def _centroids(frame):
    return _centroids_of(frame.image, frame.scale)


def _centroids_of(image, scale):
    from scipy import ndimage

    weights = image[..., 0].astype(float)
    weights[weights < 12] = 0
    labels, count = ndimage.label(weights > 0)
    centres = ndimage.center_of_mass(weights, labels, range(1, count + 1))
    return (np.array(sorted(centres)) + 0.5) / scale


def test_pil_images(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(Image.fromarray(scene()), tmp_path / "a.png", exif=exif)
    with Image.open(path) as image:
        (frame,) = open_source(image)
        assert image.size == (80, 60)
    assert np.array_equal(frame.image, orient(scene(), 6))
    assert frame.source == "array:0"
    (bad,) = open_source(Image.new("1", (10_000, 6_000)))
    assert isinstance(bad.error, ImageError)
    cut = path.read_bytes()[: path.stat().st_size // 2]
    (bad,) = open_source(Image.open(io.BytesIO(cut)))
    assert isinstance(bad.error, ImageError)


def test_process_filters_stay(tmp_path):
    before = list(warnings.filters)
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(12_000, 12_000))
    read(path)
    assert warnings.filters == before
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


def test_several_pictures_in_one_file_give_the_first(tmp_path):
    """Phones write JPEG with a second picture (MPO); TIFF and WebP can hold pages."""
    for name, options in {
        "a.mpo": {"quality": 95, "subsampling": 0},
        "b.tif": {},
        "c.webp": {"lossless": True},
    }.items():
        first, second = Image.fromarray(scene()), Image.fromarray(scene()[::-1])
        path = saved(first, tmp_path / name, save_all=True, append_images=[second], **options)
        frame = read(path)
        assert frame.error is None
        assert np.abs(frame.image.astype(int) - scene()).max() <= 12
        assert read(path, output_size=40).image.shape == (30, 40, 3)


def test_animation_is_a_clip(tmp_path):
    pictures = [Image.fromarray(np.full((20, 30, 3), level, np.uint8)) for level in (10, 90, 200)]
    path = tmp_path / "a.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    frames = list(open_source(path))
    assert [int(f.image[3, 3, 0]) for f in frames] == pytest.approx([10, 90, 200], abs=3)
    assert [f.time_s for f in frames] == pytest.approx([0.0, 0.1, 0.2])
