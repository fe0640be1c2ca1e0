"""From img2pose's regions and standardised poses to faces in the picture.

The network sees each region through a camera of its own, in the middle of the region and with
a focal length of the region's width plus height. A face's pose is carried from there to the
camera of the whole picture (focal length width plus height, principal point in the middle),
and its box is that of a template of 68 points seen in that pose (Albiero et al. 2021, section
3.2). The template, the mean and the spread of the poses travel with the checkpoint, in its
``config.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import WeightsError
from featflow.geometry.boxes import clip, nms
from featflow.geometry.landmarks import five_points
from featflow.geometry.rotation import rotation_from_vector, vector_from_rotation
from featflow.nodes.networks.decode import euler_angles, pose_from_raw

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

FIRST_OVERLAP, SECOND_OVERLAP = 0.5, 0.3
"""Suppression within the published network, and once more behind it."""


@dataclass(frozen=True, slots=True)
class Img2PoseConfig:
    """What the checkpoint's ``config.json`` says.

    Attributes:
        pose_mean, pose_std: (6,) rotation vector and translation.
        template: (68, 3) points of a head in the units of the translation.
        growth: (2,) width and height of a box over those of the projected template.
        forehead: part of the template's projected height that is added above it.
        side_limits: least shorter and most longer side of the picture that the network sees,
            pixels; None where the file does not say.
    """

    pose_mean: Doubles
    pose_std: Doubles
    template: Doubles
    growth: tuple[float, float] = (1.1, 1.1)
    forehead: float = 0.3
    side_limits: tuple[int, int] | None = None

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> Img2PoseConfig:
        """Read what ``json.load`` makes of the file.

        Raises:
            WeightsError: an entry is missing or has another shape.
        """
        try:
            made = cls(
                np.asarray(config["pose_mean"], np.float64),
                np.asarray(config["pose_stddev"], np.float64),
                np.asarray(config["threed_points"], np.float64),
                (float(config["bbox_x_factor"]), float(config["bbox_y_factor"])),
                float(config["expand_forehead"]),
                _limits(config),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"not img2pose's config.json: {error!r}") from error
        shapes = (made.pose_mean.shape, made.pose_std.shape, made.template.shape)
        if shapes != ((6,), (6,), (68, 3)):
            raise WeightsError(f"img2pose's config.json has arrays of shapes {shapes}")
        return made


def _limits(config: Mapping[str, Any]) -> tuple[int, int] | None:
    if "min_size" not in config:
        return None
    least, most = int(config["min_size"]), int(config["max_size"])
    if not 0 < least <= most:
        raise ValueError(f"min_size {least} and max_size {most}")
    return least, most


def camera(height: int, width: int) -> Doubles:
    """Camera matrix (3, 3) that img2pose assumes for a picture."""
    focal = float(height + width)
    return np.array([[focal, 0.0, width // 2], [0.0, focal, height // 2], [0.0, 0.0, 1.0]])


def globalise(poses: Floats, regions: Floats, size: tuple[int, int]) -> tuple[Doubles, Doubles]:
    """Carry poses from their regions to the whole picture.

    Args:
        poses: (N, 6) rotation vectors and translations in the regions.
        regions: (N, 4) ``x0, y0, x1, y1`` pixels.
        size: (height, width) of the picture.

    Returns:
        Rotations (N, 3, 3) and translations (N, 3), x to the right, y down, z away.
    """
    p, r = np.asarray(poses, np.float64), np.asarray(regions, np.float64)
    whole = camera(*size)
    side = r[:, 2:] - r[:, :2]
    local = np.repeat(whole[None], len(p), 0)
    # Half of a side, rounded down, as in training.
    local[:, :2, 2] = r[:, :2] + side // 2
    between = np.linalg.inv(whole) @ local
    shift = p[:, 3:].copy()
    shift[:, 2] *= whole[0, 0] / side.sum(1)
    translation = np.einsum("nij,nj->ni", between, shift)
    return _nearest_rotation(between @ rotation_from_vector(p[:, :3])), translation


def _nearest_rotation(matrices: Doubles) -> Doubles:
    """The rotations (N, 3, 3) closest to rotations that a shear has bent."""
    # A shear keeps the determinant at 1, so that the closest orthogonal matrix never mirrors.
    left, _, right = np.linalg.svd(matrices)
    return np.asarray(left @ right, np.float64)


def projected_template(
    rotations: Doubles,
    translations: Doubles,
    size: tuple[int, int],
    config: Img2PoseConfig,
) -> Doubles:
    """The template's 68 points in poses, (N, 68, 2) pixels of a (height, width) picture."""
    points = np.einsum("nij,pj->npi", rotations, config.template) + translations[:, None]
    image = np.einsum("ij,npj->npi", camera(*size), points)
    return np.asarray(image[..., :2] / image[..., 2:], np.float64)


def projected_boxes(
    rotations: Doubles,
    translations: Doubles,
    size: tuple[int, int],
    config: Img2PoseConfig,
) -> Doubles:
    """Boxes (N, 4) around the template in poses, with a forehead, cut off at the picture."""
    image = projected_template(rotations, translations, size, config)
    low, high = image.min(1), image.max(1)
    extent = high - low
    half = extent * np.array(config.growth) / 2
    boxes = np.concatenate([(low + high) / 2 - half, (low + high) / 2 + half], 1)
    forehead = config.forehead * extent
    # The crown of a head that lies on its side points to the picture's left or right, and
    # down where the head stands upside down. The angle is the rotation vector's last part.
    angle = vector_from_rotation(rotations)[:, 2]
    down = np.abs(angle) > 2.5
    right, left = (angle > 1) & ~down, (angle < -1) & ~down
    up = ~(down | right | left)
    boxes[:, 0] -= np.where(left, forehead[:, 0], 0.0)
    boxes[:, 1] -= np.where(up, forehead[:, 1], 0.0)
    boxes[:, 2] += np.where(right, forehead[:, 0], 0.0)
    boxes[:, 3] += np.where(down, forehead[:, 1], 0.0)
    return clip(boxes, size)


@dataclass(frozen=True, slots=True)
class Img2PoseFaces:
    """Faces of one picture, best first.

    Attributes:
        boxes: (N, 4) pixels of the network's input.
        scores: (N,).
        raw_pose: (N, 6) angles about img2pose's own axes and translation in the template's
            units, x to the right, y down, z away.
        points5: (N, 5, 2) eyes, nose tip and mouth corners of the template seen in the pose.
    """

    boxes: Doubles
    scores: Doubles
    raw_pose: Doubles
    points5: Doubles


def img2pose_detect(
    regions: Floats,
    scores: Floats,
    poses: Floats,
    size: tuple[int, int],
    config: Img2PoseConfig,
    min_score: float = 0.5,
) -> Img2PoseFaces:
    """Faces of one picture from img2pose's outputs.

    Args:
        regions: (P, 4) pixels of the network's input.
        scores: (P,).
        poses: (P, 6) standardised, NaN where the network gave none.
        size: (height, width) of the network's input without padding.
        config: of the checkpoint.
        min_score: faces below it are left out.
    """
    side = np.asarray(regions, np.float64)[:, 2:] - np.asarray(regions, np.float64)[:, :2]
    usable = np.isfinite(poses).all(1) & (side >= 1e-2).all(1)
    regions, kept_scores = regions[usable], np.asarray(scores[usable], np.float64)
    local = np.asarray(poses[usable], np.float64) * config.pose_std + config.pose_mean
    rotations, translations = globalise(local, regions, size)
    boxes = projected_boxes(rotations, translations, size, config)
    rows = nms(boxes, kept_scores, FIRST_OVERLAP)
    rows = rows[nms(boxes[rows], kept_scores[rows], SECOND_OVERLAP)]
    rows = rows[kept_scores[rows] >= min_score]
    rotations, translations = rotations[rows], translations[rows]
    return Img2PoseFaces(
        boxes[rows],
        kept_scores[rows],
        np.concatenate([euler_angles(rotations), translations], 1),
        five_points(projected_template(rotations, translations, size, config)),
    )


def img2pose_faces(
    regions: Floats,
    scores: Floats,
    poses: Floats,
    size: tuple[int, int],
    config: Img2PoseConfig,
    min_score: float = 0.5,
    *,
    euler: bool = False,
) -> tuple[Doubles, Doubles, Doubles]:
    """Boxes, scores and poses of :func:`img2pose_detect`'s faces.

    Args:
        regions, scores, poses, size, config, min_score: as there.
        euler: py-feat's angles; see :func:`featflow.nodes.networks.decode.pose_from_raw`.

    Returns:
        Boxes (N, 4) in pixels of the network's input, scores (N,) and poses (N, 6) pitch,
        roll, yaw in radians and the translation in the template's units; best first.
    """
    found = img2pose_detect(regions, scores, poses, size, config, min_score)
    return found.boxes, found.scores, pose_from_raw(found.raw_pose, euler=euler)
