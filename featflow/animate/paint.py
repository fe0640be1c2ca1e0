"""What a still cannot show and must be painted: closed lids, the inside of the mouth.

A layer is (h, w, 4) float32: blue, green and red 0..255 times cover, and cover 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.animate.eyes import Eye
from featflow.animate.mouth import Mouth
from featflow.animate.rig import FaceFrame
from featflow.animate.sampling import premultiply, read_at, unpremultiply
from featflow.animate.strips import Place, bump

Image = NDArray[np.uint8]
Layer = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

_CAVITY = np.array([0.16, 0.13, 0.26], np.float32)  # of the lips' colour, B G R
_TONGUE = np.array([0.42, 0.40, 0.62], np.float32)
_TOOTH = np.array([0.84, 0.94, 1.0], np.float32)  # of the skin's brightness
_TOOTH_LENGTH = 0.07  # face units
_LASH_DARKNESS = 0.45
_INVISIBLE = 1 / 512
_PLACES = np.linspace(-0.8, 0.8, 5)


def _smooth(low: float, high: float, value: Floats) -> Floats:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _share(low: float, high: float, value: float) -> float:
    return float(_smooth(low, high, np.full(1, value))[0])


def lay(image: Image, layer: Layer) -> None:
    """Lay a layer over ``image`` (h, w, 4) uint8; its alpha stays."""
    rows, columns = np.nonzero(layer[..., 3] > 0)
    over = layer[rows, columns]
    under = image[rows, columns, :3].astype(np.float32)
    mixed = over[:, :3] + under * (1 - over[:, 3:])
    image[rows, columns, :3] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _layer(colour: Floats, cover: Floats) -> Layer:
    return np.concatenate([colour * cover[..., None], cover[..., None]], -1).astype(np.float32)


def softened(image: Image, sigma_px: float) -> Image:
    """A still (H, W, 4) with its grain and small marks blurred away."""
    flat = premultiply(image)
    return unpremultiply(np.asarray(cv2.GaussianBlur(flat, (0, 0), max(sigma_px, 0.5)), np.float32))


@dataclass(frozen=True)
class Lid:
    """A closed lid in the colours of the skin around the open eye.

    Attributes:
        eye: where it is.
        place: pixels (h, w) that it may cover.
        skin: (h, w, 3) colour of the lid.
        start: (h, w) how the lid fades into the skin above it and at the corners.
        lash: (3,) colour of the line where the lids meet.
    """

    eye: Eye
    place: Place
    skin: Floats
    start: Floats
    lash: Floats

    @classmethod
    def of(cls, eye: Eye, image: Image, place: Place) -> Lid:
        """Colours read from a still (H, W, 4)."""
        soft = softened(image, 0.12 * eye.strip.half_px)
        upper, lower = eye.upper(_PLACES), eye.lower(_PLACES)
        skin = [upper - (eye.lash + part * eye.skin) * eye.gap_px for part in (0.4, 0.7, 1.0)]
        bag = [lower + part * eye.gap_px for part in (0.5, 0.8)]
        above, below = (_brightest(soft, eye, rows) for rows in (skin, bag))
        edge = _brightest(soft, eye, [upper])[1:-1].min(0)
        dark = (edge + np.median(below, 0)) * (_LASH_DARKNESS / 2)
        gap = np.maximum(place.lower - place.upper, 1e-3)
        down, lash = place.below - place.upper, eye.lash * gap
        part = np.clip((down + lash) / (1.3 * gap + lash), 0.0, 1.0)[..., None]
        colour = _along(_calmed(above), place.along) * (1 - part)
        colour += _along(_calmed(below), place.along) * part
        start = _smooth(0.0, 1.0, (down + 2.2 * lash) / (1.6 * lash + 0.2 * gap))
        start = start * _smooth(0.0, 0.4, 1 - np.abs(place.along))
        return cls(eye, place, colour.astype(np.float32), start, dark)

    def layer(self, shift: NDArray[np.float64]) -> Layer | None:
        """The lid (h, w, 4); None while the eye is hardly closed.

        Args:
            shift: part of the gap that the upper lid comes down and the lower one goes up.
        """
        closed = float(shift.sum())
        amount = _share(0.15, 0.7, closed)
        if shift[0] <= 0 or amount <= 0:
            return None
        lower, below = self.place.lower, self.place.below
        gap = np.maximum(lower - self.place.upper, 1e-3)
        edge = self.place.upper + np.float32(shift[0]) * gap
        # Landmarks miss the lids by a pixel or two: a closed lid reaches over the lower one.
        shut = _share(0.75, 0.92, closed)
        end = edge + shut * (lower + 0.25 * gap - edge)
        feather = 1 + shut * 0.6 * gap
        cover = self.start * _smooth(0.0, 1.0, (end - below) / feather + 0.5)
        # Lashes: a soft shadow above the line where the lids meet, sharper below it.
        past = below - edge - 0.5 * shut * (lower - edge)
        width = np.maximum(np.where(past < 0, 0.2, 0.11) * gap, 0.7)
        line = np.exp(-0.5 * (past / width) ** 2) * bump(self.place.along) ** 0.5
        line[line < _INVISIBLE] = 0.0
        cover, line = amount * np.maximum(cover, line), 0.9 * line[..., None]
        return _layer(self.skin + line * (self.lash - self.skin), cover)


def _brightest(image: Image, eye: Eye, rows: list[Floats]) -> Floats:
    """(5, 3) colours along the brightest of some rows at each place: skin, not lashes or brow."""
    places = np.stack([eye.strip.to_pixels(_PLACES, row) - 0.5 for row in rows])
    colours = np.asarray(read_at(image, places.astype(np.float32))[..., :3], np.float32)
    best = colours.sum(-1).argmax(0)
    return np.asarray(colours[best, np.arange(len(_PLACES))], np.float32)


def _calmed(colours: Floats) -> Floats:
    """Half way to their median: a spectacle frame across the lid must not be smeared over it."""
    return np.asarray((colours + np.median(colours, 0)) / 2, np.float32)


def _along(colours: Floats, along: Floats) -> Floats:
    return np.stack([np.interp(along, _PLACES, colours[:, k]) for k in range(3)], -1)


@dataclass(frozen=True)
class Cavity:
    """Colours of the inside of the mouth, in the light of the still.

    Attributes:
        mouth: where it is.
        unit_px: outer eye distance.
        lips: (3,) mean colour of the lips.
        brightness: of the skin, 0..255.
        closed: 1 where the lips touch in the still, 0 where they already show what is inside.
    """

    mouth: Mouth
    unit_px: float
    lips: Floats
    brightness: float
    closed: float

    @classmethod
    def of(cls, mouth: Mouth, landmarks: NDArray[np.float64], image: Image) -> Cavity:
        """Colours read from a still (H, W, 4) and its (68, 2) landmarks."""
        unit = FaceFrame.of(landmarks).unit_px
        lips = _mean_inside(image, landmarks[48:60])
        skin = _mean_inside(image, landmarks[[36, 45, 54, 48]])
        middle = np.zeros(1)
        parted = float((mouth.lower(middle) - mouth.upper(middle))[0]) / unit
        brightness = float(skin @ np.array([0.114, 0.587, 0.299], np.float32))
        closed = 1 - _share(0.02, 0.06, parted)
        return cls(mouth, unit, lips, brightness, closed)

    def layer(self, place: Place, part_px: float, teeth: float) -> Layer:
        """The open mouth (h, w, 4) over the pixels of ``place``.

        Args:
            place: pixels (h, w).
            part_px: how far the lips part.
            teeth: how much of the upper teeth the vowel shows, 0..1.
        """
        along = place.along
        ceiling, floor, cover = self.mouth.opening(place, part_px)
        height = np.maximum(floor - ceiling, 1e-3)
        under_lip = place.below - ceiling
        tongue = (0.8 * _smooth(0.45, 1.05, under_lip / height) * bump(along))[..., None]
        colour = self.lips * _CAVITY + tongue * (self.lips * (_TONGUE - _CAVITY))
        length = np.minimum(_TOOTH_LENGTH * self.unit_px, 0.5 * height) * bump(along) ** 0.35
        band = _smooth(0.0, 1.0, (length - under_lip) / 2.5 + 0.5)
        shade = 0.5 + 0.5 * _smooth(0.0, 0.6, under_lip / np.maximum(length, 1e-3))
        shade = shade * (1 - 0.6 * along * along)
        tooth = _TOOTH * np.clip(1.35 * self.brightness, 40.0, 235.0)
        shown = (teeth * self.closed * band * _smooth(1.0, 4.0, length))[..., None]
        return _layer(colour + shown * (tooth * shade[..., None] - colour), cover)

    def rows(self, place: Place, part_px: float) -> slice:
        """Rows of ``place`` in which the open mouth can be."""
        lift, drop = self.mouth.room(part_px)
        lines = [place.below - place.lower + lift + 1, place.lower + drop + 1 - place.below]
        inside = (np.minimum(*lines) > 0) & (np.abs(place.along) < 1)
        found = np.flatnonzero(inside.any(1))
        return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)


def _mean_inside(image: Image, outline: NDArray[np.float64]) -> Floats:
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(outline - 0.5).astype(np.int32)], 1)
    seen = (mask > 0) & (image[..., 3] > 0)
    if not seen.any():
        return np.full(3, 120, np.float32)
    return np.asarray(image[seen][:, :3].mean(0), np.float32)
