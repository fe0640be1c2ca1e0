"""Changes of light, colour, sharpness and cover that training pictures go through."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Rng = np.random.Generator


def relight(image: Image, rng: Rng) -> Image:
    """Random gamma, contrast, brightness and colour cast; one in four turns grey."""
    levels = np.arange(256, dtype=np.float32) / 255.0
    gamma = np.exp(rng.normal(0, 0.3))
    contrast, shift = rng.uniform(0.6, 1.3), rng.normal(0, 0.08)
    curve = (levels**gamma - 0.5) * contrast + 0.5 + shift
    cast = 1 + rng.normal(0, 0.08, 3) * (rng.random() < 0.5)
    table = np.clip(curve[:, None] * cast * 255, 0, 255).astype(np.uint8)
    out = cv2.LUT(image, np.ascontiguousarray(table[None]))
    if rng.random() < 0.25:
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(out, np.uint8)


def degrade(image: Image, rng: Rng, smallest: int = 20) -> Image:
    """Random loss of resolution, blur, sensor noise and JPEG artefacts.

    Args:
        image: (H, W, 3) uint8.
        rng: source of chance.
        smallest: least longer side in pixels that the picture is shrunk to and enlarged from.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    if rng.random() < 0.35:
        low = int(np.exp(rng.uniform(np.log(smallest), np.log(side))))
        size = max(1, round(low * width / side)), max(1, round(low * height / side))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    if rng.random() < 0.15:
        image = _motion_blur(image, rng)
    if rng.random() < 0.3:
        image = add_noise(image, rng, rng.uniform(1, 12))
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))]
        image = np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], 1), np.uint8)
    return image


def add_noise(image: Image, rng: Rng, sigma: float) -> Image:
    """Gaussian noise of standard deviation ``sigma`` grey levels, drawn from a fixed pool.

    Drawing half a million normal numbers a picture would cost more than the rest of the
    augmentation; a random cut from a pool is as good.
    """
    pool = _noise_pool()
    start = int(rng.integers(0, pool.size // 2))
    count = image.size
    noise = np.resize(pool[start : start + count], image.shape)
    scaled = noise * np.float32(sigma)
    total = cv2.add(image, scaled, dtype=cv2.CV_8U)
    return np.asarray(total, np.uint8).reshape(image.shape)


@lru_cache(maxsize=1)
def _noise_pool() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(1 << 21, np.float32)


def _motion_blur(image: Image, rng: Rng) -> Image:
    length = int(rng.integers(3, 8))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    half = (length - 1) / 2
    ends = half + half * np.array([np.cos(angle), np.sin(angle)])
    starts = (length - 1) - ends
    first = tuple(np.round(starts).astype(int).tolist())
    last = tuple(np.round(ends).astype(int).tolist())
    cv2.line(kernel, first, last, 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def cover(image: Image, rng: Rng) -> Image:
    """Hide a random rectangle or ellipse of one colour, as a hand or a microphone would."""
    side = image.shape[0]
    centre = rng.uniform(0, side, 2).astype(int)
    radius = (rng.uniform(0.05, 0.22, 2) * side).astype(int)
    colour = tuple(rng.integers(0, 256, 3).tolist())
    out = image.copy()
    if rng.random() < 0.5:
        low, high = centre - radius, centre + radius
        cv2.rectangle(out, tuple(low.tolist()), tuple(high.tolist()), colour, -1)
    else:
        axes, turn = tuple(radius.tolist()), float(rng.uniform(0, 180))
        cv2.ellipse(out, tuple(centre.tolist()), axes, turn, 0, 360, colour, -1)
    return out
