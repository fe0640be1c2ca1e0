"""The default animator: a mesh warp of the still, driven by 68 landmarks. Needs no weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.animate import fields
from featflow.animate.actions import UNSUPPORTED, Effort
from featflow.animate.animator import Image, check_image
from featflow.animate.eyes import Eye
from featflow.animate.mouth import LIP_SIDE, Mouth
from featflow.animate.paint import Cavity, Lid, lay
from featflow.animate.pose import HIGH, INDEX, Pose, clip_poses
from featflow.animate.rig import FaceFrame, Rig
from featflow.animate.sampling import Sampler, read_at
from featflow.animate.strips import Strip
from featflow.errors import FeatflowError, OptionError

Floats = NDArray[np.float64]
Box = tuple[int, int, int, int]
View = tuple[slice, slice]

VERSION = 2
_MIN_SHIFT_PX = 1 / 64  # OpenCV reads at steps of 1/32 pixel: less than half a step is none


class MeshWarpAnimator:
    """Moves the pixels of one still: head turn, nod and tilt, lids, brows, mouth, gaze, breath.

    Exact at rest (the frame is the still, byte for byte), and it never folds: lids and lips slide
    along their own direction in order, everything else is held to a contraction. It can not
    show what the still hides (the far side of the head, teeth behind closed lips, a smaller
    iris); ``supports`` tells which parameters have an effect.

    Args:
        rig: landmarks of the still.
    """

    name = "mesh-warp"
    deterministic = True

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.frame = FaceFrame.of(rig.landmarks)
        points = rig.landmarks
        self.eyes = (Eye.of(points[36:42], points[17:22]), Eye.of(points[42:48], points[22:27]))
        self.mouth = Mouth.of(rig.landmarks)
        self._field = fields.SmoothField(rig, fields.grid_nodes(rig.size_px))
        self._image: Image | None = None
        self._sampler: Sampler | None = None
        self._eye_boxes = [
            self._box(eye.strip, -eye.reach_px, eye.reach_px) if eye.opens else None
            for eye in self.eyes
        ]
        self._mouth_box = self._box(self.mouth.strip, self.mouth.top_px, self.mouth.bottom_px)
        self._mouth_place = self.mouth.at(_pixels(self._mouth_box))
        self._lids: list[Lid] = []
        self._cavity: Cavity | None = None

    @property
    def fingerprint(self) -> bytes:
        """Digest of the rig and of this code's version."""
        return hashlib.blake2b(f"{VERSION}{self.rig.to_json()}".encode(), digest_size=16).digest()

    def set_image(self, image: Image) -> None:
        """Take the still that the rig belongs to, (H, W, 4) uint8 BGRA."""
        check_image(image, self.rig.size_px)
        self._image = image.copy()
        self._sampler = Sampler(self._image)
        self._lids = [
            Lid.of(eye, self._image, eye.at(_pixels(box)))
            for eye, box in zip(self.eyes, self._eye_boxes, strict=True)
            if box is not None
        ]
        self._cavity = Cavity.of(self.mouth, self.rig.landmarks, self._image)

    def supports(self, name: str) -> bool:
        """Whether a parameter changes this still; see ``docs/animate.md`` for those that do not."""
        if name not in INDEX:
            raise OptionError(f"no pose parameter is called {name!r}; see POSE_NAMES")
        if name in UNSUPPORTED:
            return False
        if name.startswith(("eye_", "iris_")):
            right, left = (eye.opens for eye in self.eyes)
            return left if name.endswith("_left") else right if "right" in name else right or left
        return name != "breathing" or self._shows_a_chest()

    def _shows_a_chest(self) -> bool:
        rest = Effort.of(np.zeros(45, np.float32))
        breath = replace(rest, breath=1.0)
        return bool((np.abs(self._field(breath)) > 0.05 * self.frame.unit_px).any())

    def displacement_px(self) -> tuple[Floats, int]:
        """Largest shift of any pixel by each parameter at 1, and how many move one pixel."""
        nodes = fields.grid_nodes(self.rig.size_px)
        moves = []
        for i in range(45):
            pose = np.zeros(45, np.float32)
            pose[i] = HIGH[i]
            moves.append(np.linalg.norm(self.forward(nodes, pose) - nodes, axis=-1))
        shifts = np.array(moves)
        return shifts.reshape(45, -1).max(1), int((shifts > _MIN_SHIFT_PX).sum(0).max())

    def forward(self, points: Floats, pose: Pose, side: NDArray[Any] | None = None) -> Floats:
        """Where points (..., 2) of the still, continuous pixels, go in a pose (45,).

        Gaze is not included: it turns the eyeball below skin that stays.

        Args:
            points: continuous pixels.
            pose: (45,) parameters.
            side: (...,) 1 or -1 for points on the line of the lips that go with the upper or the
                lower one; by default their position decides.
        """
        effort = Effort.of(clip_poses(pose))
        moved: NDArray[Any] = np.asarray(points, np.float64)
        for eye, shift in zip(self.eyes, effort.lids, strict=True):
            if eye.opens:
                moved = eye.forward(moved, shift)
        lips = np.zeros(moved.shape[:-1], np.int64) if side is None else np.asarray(side)
        moved = self.mouth.forward(moved, effort.mouth_open * self.frame.unit_px, lips)
        shift, _ = fields.contract(self._field(effort))
        return np.asarray(moved + _read_grid(shift, moved), np.float64)

    def landmarks(self, pose: Pose) -> Floats:
        """Where the 68 landmarks go in a pose (45,), continuous pixels."""
        return self.forward(self.rig.landmarks, pose, LIP_SIDE)

    def render(self, pose: NDArray[np.float32], out: Image) -> None:
        """Draw a clipped pose (45,) into ``out`` (H, W, 4) uint8."""
        if self._image is None or self._sampler is None:
            raise FeatflowError("no still yet: call set_image first")
        effort = Effort.of(pose)
        np.copyto(out, self._image)
        back = fields.inverse(*fields.contract(self._field(effort)))
        patches, paints = self._patches(effort)
        spread = int(np.ceil(np.abs(back).max(initial=0.0))) + 1
        seen = [_grown(patch.box, spread, self.rig.size_px) for patch in (*patches, *paints)]
        box = _around([*_moving(back, self.rig.size_px), *seen])
        if box is None:
            return
        positions = _positions(back, box)
        views = [_within(part, box) for part in seen]
        layers = [
            patch.read(positions[v]) for v, patch in zip(views, (*patches, *paints), strict=True)
        ]
        moves, covers = layers[: len(patches)], layers[len(patches) :]
        for view, move in zip(views, moves, strict=False):
            positions[view] += move
        x0, y0, x1, y1 = box
        read = self._sampler(positions)
        for view, cover in zip(views[len(patches) :], covers, strict=True):
            lay(read[view], cover)
        out[y0:y1, x0:x1] = read

    def _patches(self, effort: Effort) -> tuple[list[Patch], list[Patch]]:
        """What moves (offsets to the source), and what is painted over it."""
        moves, paints = [], []
        lids = iter(self._lids)
        for box, shift in zip(self._eye_boxes, effort.lids, strict=True):
            if box is None:
                continue
            lid = next(lids)
            if shift.any() or any(effort.gaze):
                moves.append(Patch(box, lid.eye.source(lid.place, shift, effort.gaze)))
                layer = lid.layer(shift)
                if layer is not None:
                    paints.append(Patch(box, layer))
        part = effort.mouth_open * self.frame.unit_px
        if part > 0 and self._cavity is not None:
            box, place = self._mouth_box, self._mouth_place
            moves.append(Patch(box, self.mouth.source(place, part)))
            rows = self._cavity.rows(place, part)
            layer = self._cavity.layer(place[rows], part, effort.teeth)
            paints.append(Patch((box[0], box[1] + rows.start, box[2], box[1] + rows.stop), layer))
        return [m for m in moves if m.content.size], [p for p in paints if p.content.size]

    def _box(self, strip: Strip, top_px: float, bottom_px: float) -> Box:
        corners = strip.to_pixels(
            np.array([-1.0, 1.0, 1.0, -1.0]), np.array([top_px, top_px, bottom_px, bottom_px])
        )
        height, width = self.rig.size_px
        x0, y0 = np.floor(corners.min(0)).astype(int) - 1
        x1, y1 = np.ceil(corners.max(0)).astype(int) + 1
        x0, x1 = (int(np.clip(v, 0, width)) for v in (x0, x1))
        y0, y1 = (int(np.clip(v, 0, height)) for v in (y0, y1))
        return x0, y0, max(x1, x0), max(y1, y0)


@dataclass(frozen=True)
class Patch:
    """Values for a region of the still.

    Attributes:
        box: x0, y0, x1, y1 in whole pixels of the still.
        content: (h, w, 2) offsets from a moved pixel to its source, or a layer of
            :mod:`~featflow.animate.paint`; nothing beyond the box.
    """

    box: Box
    content: NDArray[np.floating[Any]]

    def read(self, positions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Content at positions (h, w, 2) of the still, counted from pixel centres."""
        at = positions - np.array(self.box[:2], np.float32)
        return read_at(self.content, at, cv2.BORDER_CONSTANT)


def _within(part: Box, box: Box) -> View:
    """Where the pixels of ``part`` lie in an array of the pixels of ``box``."""
    return np.s_[part[1] - box[1] : part[3] - box[1], part[0] - box[0] : part[2] - box[0]]


def _moving(back: fields.Grid, size_px: tuple[int, int]) -> list[Box]:
    """Box of the frame outside which the smooth field moves nothing; none if nothing moves."""
    moving = np.maximum(np.abs(back[..., 0]), np.abs(back[..., 1])) > _MIN_SHIFT_PX
    columns, rows = np.flatnonzero(moving.any(0)), np.flatnonzero(moving.any(1))
    if not len(columns):
        return []
    low, high = (columns[0], rows[0]), (columns[-1] + 1, rows[-1] + 1)
    nodes = tuple(int(v) * fields.STEP for v in (*low, *high))
    return [_grown((nodes[0], nodes[1], nodes[2], nodes[3]), fields.STEP, size_px)]


def _grown(box: Box, by_px: int, size_px: tuple[int, int]) -> Box:
    x0, y0, x1, y1 = box
    height, width = size_px
    return max(x0 - by_px, 0), max(y0 - by_px, 0), min(x1 + by_px, width), min(y1 + by_px, height)


def _around(boxes: list[Box]) -> Box | None:
    if not boxes:
        return None
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _pixels(box: Box) -> NDArray[np.float32]:
    """Continuous pixel centres of a box, (h, w, 2)."""
    x0, y0, x1, y1 = box
    pixels = np.empty((y1 - y0, x1 - x0, 2), np.float32)
    pixels[..., 0] = np.arange(x0, x1) + 0.5
    pixels[..., 1] = (np.arange(y0, y1) + 0.5)[:, None]
    return pixels


def _read_grid(grid: fields.Grid, points: NDArray[Any]) -> Floats:
    """Bilinear value of a node grid at continuous pixels (..., 2)."""
    flat = ((points - fields.STEP / 2) / fields.STEP).reshape(-1, 1, 2)
    limit = np.array(grid.shape[1::-1]) - 1
    flat = np.clip(flat, 0, limit)
    low = np.minimum(flat.astype(np.int64), np.maximum(limit - 1, 0))
    part = (flat - low)[:, 0]
    x, y = low[:, 0, 0], low[:, 0, 1]
    right, below = np.minimum(x + 1, limit[0]), np.minimum(y + 1, limit[1])
    fx, fy = part[:, :1], part[:, 1:]
    top = grid[y, x] * (1 - fx) + grid[y, right] * fx
    bottom = grid[below, x] * (1 - fx) + grid[below, right] * fx
    return np.asarray((top * (1 - fy) + bottom * fy).reshape(points.shape), np.float64)


def _positions(back: fields.Grid, box: Box) -> NDArray[np.float32]:
    """Where each pixel of a box is read, counted from pixel centres, (h, w, 2)."""
    x0, y0, x1, y1 = box
    step = fields.STEP
    i0, j0 = max(x0 // step - 1, 0), max(y0 // step - 1, 0)
    i1, j1 = min(-(-x1 // step) + 1, back.shape[1]), min(-(-y1 // step) + 1, back.shape[0])
    part = back[j0:j1, i0:i1]
    size = (part.shape[1] * step, part.shape[0] * step)
    fine = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)
    top, left = y0 - j0 * step, x0 - i0 * step
    positions = np.array(fine[top : top + y1 - y0, left : left + x1 - x0], np.float32)
    y, x = np.arange(y0, y1, dtype=np.float32), np.arange(x0, x1, dtype=np.float32)
    np.add(positions[..., 0], x, out=positions[..., 0])
    np.add(positions[..., 1], y[:, None], out=positions[..., 1])
    return positions
