"""Composed scenes: labelled photographs laid out on a canvas with exact boxes and points.

Single portraits teach a detector that the frame's edge announces a face. Here photographs are
tiled, turned, shrunk to a few pixels, cut, and pasted on foreign backgrounds, so that faces
stand at every place and size and edges mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featflow.errors import TrainingError
from featflow.geometry.similarity import apply, compose
from featflow.geometry.warp import warp
from featflow.train.layout import (
    IDENTITY,
    blend,
    cheek,
    corners_of,
    cut,
    flat,
    guillotine,
    matte,
    placed,
    shuffled,
    similarity,
    spread,
    tilt,
    turned_box,
    write_over,
)
from featflow.train.photometric import Rng, degrade, relight

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph and all faces that are known in it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x0, y0, x1, y1.
        points5: (N, 5, 2), NaN where unknown.
        certain: (N,) False for faces that are neither to be found nor to be missed.
    """

    image: Image
    boxes: Floats
    points5: Floats
    certain: NDArray[np.bool_]


@dataclass(slots=True)
class Scene:
    """A composed picture with its faces; the same fields as :class:`Photo`, growing."""

    image: Image
    boxes: list[Floats] = field(default_factory=list)
    points5: list[Floats] = field(default_factory=list)
    certain: list[bool] = field(default_factory=list)

    def photo(self) -> Photo:
        """The finished scene as arrays."""
        return Photo(
            self.image,
            np.array(self.boxes, np.float64).reshape(-1, 4),
            np.array(self.points5, np.float64).reshape(-1, 5, 2),
            np.array(self.certain, bool),
        )

    def cover_up(self, known: int) -> None:
        """Make uncertain those of the first ``known`` faces that the later ones hide by half."""
        for new in self.boxes[known:]:
            for row, old in enumerate(self.boxes[:known]):
                both = np.minimum(old[2:], new[2:]) - np.maximum(old[:2], new[:2])
                if (both > 0).all() and both.prod() > 0.4 * (old[2:] - old[:2]).prod():
                    self.certain[row] = False

    def add_faces(
        self, photo: Photo, matrix: Floats, window: tuple[int, int, int, int], smallest: float
    ) -> None:
        """Enter a photo's faces that the window (x0, y0, x1, y1) shows.

        A face of which less than half is seen, or smaller than ``smallest`` pixels, is kept as
        uncertain; one of which almost nothing is seen is left out.
        """
        for box, points, certain in zip(photo.boxes, photo.points5, photo.certain, strict=True):
            whole = turned_box(box, matrix)
            seen = np.array(
                [*np.maximum(whole[:2], window[:2]), *np.minimum(whole[2:], window[2:])]
            )
            size, left = whole[2:] - whole[:2], seen[2:] - seen[:2]
            if (left <= 0).any() or left.prod() < 0.15 * size.prod():
                continue
            enough = left.prod() >= 0.5 * size.prod() and min(left) >= smallest
            self.boxes.append(seen)
            self.points5.append(apply(matrix, points))
            self.certain.append(bool(certain and enough))


@dataclass(frozen=True)
class SceneComposer:
    """Draws scenes.

    Raises:
        TrainingError: there are no photographs of one of the three kinds.

    Attributes:
        context: photographs that show more than the face (tiles and whole canvases).
        portraits: tight face crops (tiles and pasted heads).
        empty: pictures without a face (backgrounds and negatives).
        smallest: faces below this many pixels are uncertain.
        hard: how often scenes are crowds and hold what looks like a face and is none: lettering,
            drawings, and bodies, hands, ears and hair cut from between the faces; 0..1.
        negatives: part of the scenes that hold no face.
        crowd_size: heads in a crowd, about, at the most.
        decoys: how often, where a head would be pasted, something without a face is.
    """

    context: Sequence[Photo]
    portraits: Sequence[Photo]
    empty: Sequence[Image]
    smallest: float = 9.0
    hard: float = 0.0
    negatives: float = 0.10
    crowd_size: int = 60
    decoys: float = 0.0

    def __post_init__(self) -> None:
        for name in ("context", "portraits", "empty"):
            if not len(getattr(self, name)):
                raise TrainingError(f"no {name} pictures to compose scenes from")

    def draw(self, rng: Rng, height: int, width: int) -> Photo:
        """One random scene."""
        kind = rng.random()
        if self.hard > 0 and rng.random() < 0.25 * self.hard:
            scene = self.crowd(rng, height, width)
        elif kind < 0.27:
            scene = self.tiles(rng, height, width)
        elif kind < 0.65:
            scene = self.single(rng, height, width)
        elif kind < 1.0 - self.negatives:
            scene = self.pasted(rng, height, width)
        else:
            scene = Scene(self.background(rng, height, width))
        if self.hard > 0 and rng.random() < 0.5 * self.hard:
            write_over(rng, scene.image, scene.boxes)
        scene.image = relight(scene.image, rng) if rng.random() < 0.7 else scene.image
        if rng.random() < 0.5:
            scene.image = degrade(scene.image, rng, smallest=int(0.6 * max(height, width)))
        return scene.photo()

    def background(self, rng: Rng, height: int, width: int) -> Image:
        """A face-free picture, what lies between faces, or a plain surface."""
        if self.hard > 0 and rng.random() < 0.4 * self.hard:
            return self.between_faces(rng, height, width)
        if rng.random() < 0.1:
            return flat(rng, height, width)
        return self.empty_view(rng, height, width)

    def empty_view(self, rng: Rng, height: int, width: int) -> Image:
        """A part of a face-free picture, at a random zoom, at times mirrored or on its side."""
        picture = self.empty[int(rng.integers(len(self.empty)))]
        if self.hard > 0 and rng.random() < 0.4 * self.hard:
            picture = np.ascontiguousarray(np.rot90(picture, int(rng.integers(1, 4))))
        fill = max(height / picture.shape[0], width / picture.shape[1])
        zoom = fill * np.exp(rng.uniform(0, 1.4))
        matrix = placed(picture, zoom, 0.0, spread(rng, picture, zoom, height, width))
        if rng.random() < 0.5:
            mirror = np.array([[-1.0, 0.0, picture.shape[1]], [0.0, 1.0, 0.0]])
            matrix = compose(matrix, mirror)
        return warp(picture, matrix, (height, width), "reflect")

    def single(self, rng: Rng, height: int, width: int) -> Scene:
        """One photograph fills the canvas, at any zoom that leaves a face in it."""
        pool = self.context if rng.random() < 0.8 else self.portraits
        scene = Scene(np.zeros((height, width, 3), np.uint8))
        # Half of these pictures hold a face that fills much of them: elsewhere small faces rule.
        least = 0.2 * min(height, width) if rng.random() < 0.5 else 10.0
        self._lay(scene, rng, pool, (0, 0, width, height), largest=1.1, least=least)
        return scene

    def tiles(self, rng: Rng, height: int, width: int) -> Scene:
        """The canvas is cut into rectangles, each a part of another photograph."""
        scene = Scene(np.zeros((height, width, 3), np.uint8))
        least = int(rng.integers(24, max(32, height // 3)))
        for window in guillotine(rng, (0, 0, width, height), least):
            if rng.random() < 0.12:
                x0, y0, x1, y1 = window
                scene.image[y0:y1, x0:x1] = self.background(rng, y1 - y0, x1 - x0)
                continue
            pool = self.context if rng.random() < 0.6 else self.portraits
            self._lay(scene, rng, pool, window, largest=0.9)
        return scene

    def _lay(
        self,
        scene: Scene,
        rng: Rng,
        pool: Sequence[Photo],
        window: tuple[int, int, int, int],
        largest: float,
        least: float = 10.0,
    ) -> None:
        """Fill a window with a photo so that one of its faces lies inside at a random size."""
        photo, mirror = maybe_mirrored(pool[int(rng.integers(len(pool)))], rng)
        x0, y0, x1, y1 = window
        height, width = y1 - y0, x1 - x0
        if len(photo.boxes):
            box = photo.boxes[int(rng.integers(len(photo.boxes)))]
            side = float((box[2:] - box[:2]).max())
            top = largest * min(height, width)
            size = np.exp(rng.uniform(np.log(min(least, top / 2)), np.log(top)))
            zoom, middle = size / side, (box[:2] + box[2:]) / 2
        else:
            fill = max(height / photo.image.shape[0], width / photo.image.shape[1])
            zoom = fill * rng.uniform(0.7, 1.5)
            middle = np.array(photo.image.shape[1::-1]) / 2
        zoom = min(zoom, 2.5)
        # The photo should cover the window as far as its zoom allows.
        target = rng.uniform(0.15, 0.85, 2) * [width, height]
        middle = mirror[:, :2] @ middle + mirror[:, 2]
        matrix = compose(similarity(zoom, tilt(rng), middle, target), mirror)
        scene.image[y0:y1, x0:x1] = self._filled(rng, photo.image, matrix, height, width)
        to_canvas = compose(np.array([[1.0, 0, x0], [0, 1.0, y0]]), matrix)
        edges = apply(matrix, corners_of(photo.image))
        low, high = np.maximum(edges.min(0), 0), np.minimum(edges.max(0), [width, height])
        seen = (int(x0 + low[0]), int(y0 + low[1]), int(x0 + high[0]), int(y0 + high[1]))
        scene.add_faces(photo, to_canvas, seen, self.smallest)

    def _filled(self, rng: Rng, image: Image, matrix: Floats, height: int, width: int) -> Image:
        """The photo in its window; beyond its edge black, its last pixels, or another picture.

        Never its mirror image, which could show a second face that no label knows of.
        """
        choice = rng.random()
        if choice < 0.5:
            return warp(image, matrix, (height, width), "zero" if choice < 0.25 else "replicate")
        inside = warp(np.full(image.shape[:2], 255, np.uint8), matrix, (height, width))
        photo = warp(image, matrix, (height, width), "replicate")
        behind = self.background(rng, height, width)
        return np.where(inside[..., None] > 127, photo, behind)

    def pasted(
        self,
        rng: Rng,
        height: int,
        width: int,
        sizes: tuple[float, float] | None = None,
        most: int = 30,
    ) -> Scene:
        """Heads with soft outlines on a face-free background, none over another.

        Args:
            rng: source of chance.
            height, width: of the canvas.
            sizes: least and largest face in pixels; from 11 to over half the canvas if None.
            most: faces at the most.
        """
        low, high = sizes or (11.0, 0.6 * min(height, width))
        scene = Scene(np.ascontiguousarray(self.background(rng, height, width)))
        taken = np.zeros((0, 4))
        for _ in range(int(rng.integers(1, most + 1))):
            size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            target = rng.uniform(0, 1, 2) * [width, height]
            space = np.concatenate([target - size, target + size])
            clear = (taken[:, :2] < space[2:]).all(1) & (taken[:, 2:] > space[:2]).all(1)
            inside = (space >= -size / 2).all() and (
                space[2:] <= np.array([width, height]) + size / 2
            ).all()
            if clear.any() or not inside or size > 0.8 * min(height, width):
                continue
            taken = np.concatenate([taken, space[None]])
            if rng.random() < self.decoys:
                self.paste_decoy(scene, rng, size, target)
                continue
            pool = self.portraits if rng.random() < 0.6 else self.context
            self.paste(scene, rng, pool, size, target)
        return scene

    def between_faces(self, rng: Rng, height: int, width: int) -> Image:
        """A part of a photograph that holds people but, here, no face."""
        for _ in range(12):
            photo = self.context[int(rng.integers(len(self.context)))]
            size = np.array(photo.image.shape[1::-1])
            zoom = max(height, width) / (float(size.min()) * rng.uniform(0.15, 0.8))
            seen = np.array([width, height]) / zoom
            corner = rng.uniform(0, 1, 2) * np.maximum(size - seen, 0)
            window = np.concatenate([corner, corner + seen])
            shared = np.minimum(photo.boxes[:, 2:], window[2:]) - np.maximum(
                photo.boxes[:, :2], window[:2]
            )
            if (shared.clip(0).prod(1) == 0).all():
                matrix = similarity(zoom, 0.0, corner, np.zeros(2))
                return warp(photo.image, matrix, (height, width), "replicate")
        return self.empty_view(rng, height, width)

    def crowd(self, rng: Rng, height: int, width: int) -> Scene:
        """Rows of heads, the nearer ones larger and covering those behind."""
        scene = Scene(np.ascontiguousarray(self.background(rng, height, width)))
        far = float(np.exp(rng.uniform(np.log(11.0), np.log(40.0))))
        growth, spacing = rng.uniform(1.05, 1.5), rng.uniform(0.9, 1.6)
        y, size = height * rng.uniform(0.05, 0.5), far
        while y < height + size / 2 and len(scene.boxes) < self.crowd_size:
            x = rng.uniform(-0.5, 0.5) * size
            while x < width + size / 2:
                target = np.array([x, y]) + rng.normal(0, 0.12 * size, 2)
                known = len(scene.boxes)
                if rng.random() < 0.3 * self.decoys:
                    self.paste_decoy(scene, rng, size, target)
                else:
                    head = size * np.exp(rng.normal(0, 0.12))
                    self.paste(scene, rng, self.portraits, head, target)
                    scene.cover_up(known)
                x += size * spacing * rng.uniform(0.7, 1.4)
            y += size * rng.uniform(0.6, 1.1)
            size *= growth
        return scene

    def paste_decoy(self, scene: Scene, rng: Rng, size: float, target: Floats) -> None:
        """Put what is no face at ``target``, in the outline that heads are pasted in.

        Without it the outline, and skin in an oval, would be signs of a face.
        """
        height, width = scene.image.shape[:2]
        x0, y0 = np.maximum(np.floor(target - 1.2 * size), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(target + 1.2 * size), [width, height]).astype(int)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        matrix = similarity(1.0, tilt(rng), np.zeros(2), target - [x0, y0])
        half = 0.5 * size * np.array([rng.uniform(0.7, 1.0), 1.0])
        alpha = matte(rng, np.concatenate([-half, half]), matrix, y1 - y0, x1 - x0)
        known = np.array(scene.boxes, np.float64).reshape(-1, 4)
        shared = np.minimum(known[:, 2:], [x1, y1]) - np.maximum(known[:, :2], [x0, y0])
        if not (shared > 0).all(1).any():
            blend(scene.image[y0:y1, x0:x1], self._decoy(rng, y1 - y0, x1 - x0, size), alpha)

    def _decoy(self, rng: Rng, height: int, width: int, size: float) -> Image:
        """What lies between faces, a piece of a background, a face in disorder, or bare skin."""
        pool = self.portraits if rng.random() < 0.5 else self.context
        kind, photo = rng.random(), pool[int(rng.integers(len(pool)))]
        if kind < 0.35:
            return self.between_faces(rng, height, width)
        if kind < 0.55 or size < 20 or not len(photo.boxes):
            picture = self.empty[int(rng.integers(len(self.empty)))]
            zoom = max(height / picture.shape[0], width / picture.shape[1])
            zoom = max(zoom, float(np.exp(rng.uniform(np.log(0.3), np.log(1.5)))))
            matrix = placed(picture, zoom, 0.0, spread(rng, picture, zoom, height, width))
            return warp(picture, matrix, (height, width), "reflect")
        box = photo.boxes[int(rng.integers(len(photo.boxes)))]
        if kind < 0.8:
            return shuffled(rng, cut(photo.image, box, (height, width)))
        return cut(photo.image, cheek(rng, *box), (height, width))

    def paste(
        self, scene: Scene, rng: Rng, pool: Sequence[Photo], size: float, target: Floats
    ) -> None:
        """Put one head of ``size`` pixels at ``target``."""
        photo, mirror = maybe_mirrored(pool[int(rng.integers(len(pool)))], rng)
        if not len(photo.boxes):
            return
        one = int(np.argmax((photo.boxes[:, 2:] - photo.boxes[:, :2]).prod(1)))
        box = photo.boxes[one]
        zoom = size / float((box[2:] - box[:2]).max())
        middle = mirror[:, :2] @ ((box[:2] + box[2:]) / 2) + mirror[:, 2]
        matrix = compose(similarity(zoom, tilt(rng), middle, target), mirror)
        height, width = scene.image.shape[:2]
        x0, y0 = np.maximum(np.floor(target - 1.2 * size), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(target + 1.2 * size), [width, height]).astype(int)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        local = compose(np.array([[1.0, 0, -x0], [0, 1.0, -y0]]), matrix)
        head = warp(photo.image, local, (y1 - y0, x1 - x0), "replicate")
        blend(scene.image[y0:y1, x0:x1], head, matte(rng, box, local, y1 - y0, x1 - x0))
        kept = Photo(
            photo.image,
            photo.boxes[one : one + 1],
            photo.points5[one : one + 1],
            photo.certain[one : one + 1],
        )
        scene.add_faces(kept, matrix, (0, 0, width, height), self.smallest)


def maybe_mirrored(photo: Photo, rng: Rng) -> tuple[Photo, Floats]:
    """Half of the time a mirror: the photo with left and right points swapped, and the map.

    The picture itself is not touched: mirroring is part of the map that places it.
    """
    if rng.random() < 0.5:
        return photo, IDENTITY
    swapped = photo.points5[:, [1, 0, 2, 4, 3]]
    mirror = np.array([[-1.0, 0.0, photo.image.shape[1]], [0.0, 1.0, 0.0]])
    return Photo(photo.image, photo.boxes, swapped, photo.certain), mirror
