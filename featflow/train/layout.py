"""Pieces that scenes are composed of: places, cuts, outlines, surfaces, lettering."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from featflow.geometry.warp import warp
from featflow.train.photometric import Image, Rng, add_noise

Floats = NDArray[np.float64]

IDENTITY: Floats = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

LETTERS = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@&%O80  "))
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono-Bold",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "STIXGeneral",
    "STIXGeneralBol",
)
"""Fonts that matplotlib installs."""


def similarity(zoom: float, angle: float, middle: Floats, target: Floats) -> Floats:
    """Zoom and turn about ``middle``, which lands on ``target``."""
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    return np.concatenate([linear, (target - linear @ middle)[:, None]], 1)


def tilt(rng: Rng) -> float:
    """Mostly upright, often leaning, now and then lying on the side. Radians."""
    return float(rng.normal(0, 0.2) if rng.random() < 0.85 else rng.uniform(-1.6, 1.6))


def turned_box(box: Floats, matrix: Floats) -> Floats:
    """Upright box around the ellipse that fills ``box``, after a similarity.

    A face fills its box like an ellipse, so a turned face's box is narrower than the box
    around the turned corners.
    """
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    reach = np.sqrt(((matrix[:, :2] * half) ** 2).sum(1))
    middle = matrix[:, :2] @ centre + matrix[:, 2]
    return np.concatenate([middle - reach, middle + reach])


def guillotine(
    rng: Rng, window: tuple[int, int, int, int], least: int
) -> list[tuple[int, int, int, int]]:
    """Cut a window into random rectangles whose sides are at least ``least``."""
    x0, y0, x1, y1 = window
    width, height = x1 - x0, y1 - y0
    if max(width, height) < 2 * least or (max(width, height) < 6 * least and rng.random() < 0.15):
        return [window]
    if width >= height:
        cut = x0 + int(rng.integers(least, width - least + 1))
        parts = [(x0, y0, cut, y1), (cut, y0, x1, y1)]
    else:
        cut = y0 + int(rng.integers(least, height - least + 1))
        parts = [(x0, y0, x1, cut), (x0, cut, x1, y1)]
    return [cell for part in parts for cell in guillotine(rng, part, least)]


def matte(rng: Rng, box: Floats, matrix: Floats, height: int, width: int) -> NDArray[np.float32]:
    """Soft ellipse around a head: how much of it covers the background, 0..1."""
    grow = rng.uniform(0.95, 1.5, 2)
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * grow
    middle = matrix[:, :2] @ centre + matrix[:, 2]
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    angle = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    mask = np.zeros((height, width), np.float32)
    axes = np.maximum(half * scale, 1)
    if rng.random() < 0.3:
        mask[:] = 0
        corners = cv2.boxPoints((tuple(middle.tolist()), tuple((2 * axes).tolist()), angle))
        cv2.fillConvexPoly(mask, corners.astype(np.int32), 1.0)
    else:
        ends = (tuple(middle.tolist()), tuple((2 * axes).tolist()), angle)
        cv2.ellipse(mask, ends, 1.0, -1)
    soft = max(1.0, float(rng.uniform(0.0, 0.12)) * float(axes.mean()))
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), soft), np.float32)


def blend(under: Image, over: Image, alpha: NDArray[np.float32]) -> None:
    """Lay ``over`` on ``under``, in place, as far as ``alpha`` (H, W), 0..1, covers it."""
    below = under.astype(np.float32)
    under[:] = (below + alpha[..., None] * (over.astype(np.float32) - below)).astype(np.uint8)


def cut(
    image: Image, window: Floats | tuple[float, float, float, float], size: tuple[int, int]
) -> Image:
    """The window x0, y0, x1, y1 of a picture, stretched to ``size`` (height, width)."""
    x0, y0, x1, y1 = window
    height, width = size
    scale = np.array([width / max(x1 - x0, 1.0), height / max(y1 - y0, 1.0)])
    matrix = np.concatenate([np.diag(scale), (-scale * [x0, y0])[:, None]], 1)
    return warp(image, matrix, size, "replicate")


def cheek(
    rng: Rng, x0: float, y0: float, x1: float, y1: float
) -> tuple[float, float, float, float]:
    """A small window of skin beside the nose or on the forehead of the face in a box."""
    width, height = x1 - x0, y1 - y0
    side = rng.uniform(0.1, 0.2)
    across, down = (0.5, 0.1) if rng.random() < 0.3 else (rng.choice([0.22, 0.78]), 0.58)
    x, y = x0 + (across + rng.normal(0, 0.03)) * width, y0 + down * height
    return (x - side * width, y - side * height, x + side * width, y + side * height)


def shuffled(rng: Rng, image: Image) -> Image:
    """The picture cut into 2 x 2 to 4 x 4 tiles that change places."""
    count = int(rng.integers(2, 5))
    height, width = (max(1, side // count) for side in image.shape[:2])
    order = rng.permutation(count * count)
    while (order == np.arange(count * count)).mean() > 0.3:
        order = rng.permutation(count * count)
    out = image.copy()
    for to, source in enumerate(order):
        (ty, tx), (sy, sx) = divmod(to, count), divmod(int(source), count)
        tile = image[sy * height : (sy + 1) * height, sx * width : (sx + 1) * width]
        out[ty * height :, tx * width :][:height, :width] = tile
    return out


def flat(rng: Rng, height: int, width: int) -> Image:
    """A plain, graded or noisy surface."""
    ends = rng.uniform(0, 255, (2, 2, 3)).astype(np.float32)
    surface = cv2.resize(ends, (width, height), interpolation=cv2.INTER_LINEAR)
    return add_noise(np.clip(surface, 0, 255).astype(np.uint8), rng, rng.uniform(0, 30))


def spread(rng: Rng, picture: Image, zoom: float, height: int, width: int) -> Floats:
    """Where the corner of a zoomed picture goes, at random, so that it still fills the canvas."""
    room = np.maximum(np.array(picture.shape[1::-1]) * zoom - [width, height], 0)
    return -rng.uniform(0, 1, 2) * room


def placed(picture: Image, zoom: float, angle: float, corner: Floats) -> Floats:
    """Zoom and turn about the picture's corner, which lands on ``corner``."""
    return similarity(zoom, angle, np.zeros(2), corner)


def corners_of(image: Image) -> Floats:
    """The four corners of a picture, (4, 2) x, y, clockwise from the origin."""
    height, width = image.shape[:2]
    return np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])


def write_over(rng: Rng, image: Image, boxes: Sequence[Floats]) -> None:
    """Letter and draw on a picture, in place, never over a face.

    Captions, logos and signs are what a small detector takes for faces first: round and square
    shapes with holes and strong edges.
    """
    height, width = image.shape[:2]
    taken = np.array(boxes, np.float64).reshape(-1, 4)
    for _ in range(int(rng.integers(1, 9))):
        size = float(np.exp(rng.uniform(np.log(9), np.log(0.25 * height))))
        word = "".join(rng.choice(LETTERS, int(rng.integers(1, 24))))
        sign = lettering(rng, word, size) if rng.random() < 0.8 else drawing(rng, size)
        x, y = int(rng.uniform(-0.1, 0.9) * width), int(rng.uniform(0, 0.95) * height)
        x0, y0 = max(x, 0), max(y, 0)
        sign = sign[y0 - y : height - y, x0 - x : width - x]
        if not sign.size:
            continue
        space = [x0, y0, x0 + sign.shape[1], y0 + sign.shape[0]]
        clear = (taken[:, :2] >= space[2:]).any(1) | (taken[:, 2:] <= space[:2]).any(1)
        if not clear.all():
            continue
        under = image[y0 : space[3], x0 : space[2]]
        alpha = sign[..., 3:].astype(np.float32) / 255
        under[:] = (under + alpha * (sign[..., :3].astype(np.float32) - under)).astype(np.uint8)


def lettering(rng: Rng, word: str, size: float) -> Image:
    """A word in a random face, weight and colour, at times on a plate, (h, w, 4) RGBA."""
    font = _font(FONTS[int(rng.integers(len(FONTS)))], max(6, int(size)))
    ink, plate = (tuple(rng.integers(0, 256, 3).tolist()) for _ in range(2))
    edge = int(rng.integers(0, 3)) if rng.random() < 0.3 else 0
    left, top, right, bottom = font.getbbox(word, stroke_width=edge)
    margin = int(0.2 * size)
    area = (max(1, int(right - left) + 2 * margin), max(1, int(bottom - top) + 2 * margin))
    back = (*plate, 255 if rng.random() < 0.4 else 0)
    sheet = PIL.Image.new("RGBA", area, back)
    pen = PIL.ImageDraw.Draw(sheet)
    at = (margin - left, margin - top)
    pen.text(at, word, fill=(*ink, 255), font=font, stroke_width=edge, stroke_fill=(*plate, 255))
    return np.asarray(sheet, np.uint8)


def drawing(rng: Rng, size: float) -> Image:
    """A disc, ring or box with a smaller one in it: a microphone, a wheel, a badge, RGBA."""
    side = max(8, int(1.5 * size))
    sheet = np.zeros((side, side, 4), np.uint8)
    for part in (1.0, rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.4)):
        colour = (*rng.integers(0, 256, 3).tolist(), 255)
        reach = (np.array([1.0, rng.uniform(0.7, 1.3)]) * part * side / 2.7).astype(int) + 1
        centre = (np.array([side, side]) / 2 + rng.normal(0, 0.05 * side, 2)).astype(int)
        if rng.random() < 0.7:
            cv2.ellipse(sheet, tuple(centre.tolist()), tuple(reach.tolist()), 0, 0, 360, colour, -1)
        else:
            low, high = tuple((centre - reach).tolist()), tuple((centre + reach).tolist())
            cv2.rectangle(sheet, low, high, colour, -1)
    return sheet


@lru_cache(maxsize=256)
def _font(name: str, size: int) -> PIL.ImageFont.FreeTypeFont:
    spec = find_spec("matplotlib")
    folder = Path(str(spec.origin)).parent if spec is not None else Path()
    return PIL.ImageFont.truetype(folder / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf", size)
