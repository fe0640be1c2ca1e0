"""A drawn face with known landmarks, so that no test needs a photograph."""

import cv2
import numpy as np
import pytest

from featflow.animate.puppet import MeshWarpAnimator
from featflow.animate.rig import Rig
from featflow.geometry.landmarks import MIRROR_68

# Right half of an upright face, x and y in units of the outer eye distance, eyes at y = 0.
_RIGHT = {
    **dict(
        enumerate(
            [
                (-0.82, 0.0),
                (-0.81, 0.21),
                (-0.77, 0.43),
                (-0.72, 0.64),
                (-0.63, 0.87),
                (-0.48, 1.05),
                (-0.34, 1.14),
                (-0.17, 1.19),
                (0.0, 1.22),
            ]
        )
    ),
    17: (-0.65, -0.18),
    18: (-0.54, -0.29),
    19: (-0.42, -0.32),
    20: (-0.27, -0.31),
    21: (-0.13, -0.27),
    27: (0.0, 0.0),
    28: (0.0, 0.11),
    29: (0.0, 0.22),
    30: (0.0, 0.34),
    31: (-0.14, 0.48),
    32: (-0.07, 0.50),
    33: (0.0, 0.52),
    36: (-0.50, 0.0),
    37: (-0.41, -0.07),
    38: (-0.29, -0.07),
    39: (-0.20, 0.01),
    40: (-0.30, 0.05),
    41: (-0.41, 0.05),
    48: (-0.28, 0.77),
    49: (-0.18, 0.70),
    50: (-0.08, 0.67),
    51: (0.0, 0.68),
    57: (0.0, 0.88),
    58: (-0.10, 0.87),
    59: (-0.19, 0.83),
    60: (-0.24, 0.77),
    61: (-0.10, 0.755),
    62: (0.0, 0.76),
    66: (0.0, 0.77),
    67: (-0.10, 0.765),
}


def face68(centre=(256.0, 210.0), eye_distance=110.0):
    """(68, 2) landmarks of a symmetric face, continuous pixels."""
    points = np.full((68, 2), np.nan)
    for i, (x, y) in _RIGHT.items():
        points[i] = x, y
        points[MIRROR_68[i]] = -x, y
    return points * eye_distance + centre


def draw(landmarks, size=512, seed=0):
    """A face with brows, eyes and mouth on smooth texture, (size, size, 4) BGRA, opaque."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(60, 200, (size // 16, size // 16, 3)).astype(np.float32)
    image = cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    unit = np.linalg.norm(landmarks[45] - landmarks[36])

    def fill(points, colour):
        cv2.fillPoly(image, [np.rint(points * 16 - 8).astype(np.int32)], colour, cv2.LINE_AA, 4)

    for brow in (slice(17, 22), slice(22, 27)):
        line = np.rint(landmarks[brow] * 16 - 8).astype(np.int32)
        cv2.polylines(image, [line], False, (20, 30, 40), int(unit * 0.06), cv2.LINE_AA, 4)
    for eye in (slice(36, 42), slice(42, 48)):
        fill(landmarks[eye], (245, 245, 245))
        at = np.rint(landmarks[eye].mean(0) * 16 - 8).astype(int)
        cv2.circle(image, at.tolist(), int(unit * 0.05 * 16), (40, 20, 10), -1, cv2.LINE_AA, 4)
    fill(landmarks[48:60], (90, 70, 190))
    bgra = np.dstack([image, np.full((size, size), 255, np.float32)])
    return cv2.GaussianBlur(np.clip(bgra, 0, 255), (0, 0), 0.8).astype(np.uint8)


@pytest.fixture(scope="session")
def landmarks():
    return face68()


@pytest.fixture(scope="session")
def still(landmarks):
    image = draw(landmarks)
    image[..., 3] = 255
    return image


@pytest.fixture(scope="session")
def cutout(still):
    """The same face on a transparent ground, with green hidden under the transparency."""
    image = still.copy()
    alpha = np.zeros((512, 512), np.float32)
    cv2.ellipse(alpha, (256, 270), (150, 220), 0, 0, 360, 255, -1)
    image[..., 3] = np.rint(cv2.GaussianBlur(alpha, (0, 0), 1.5)).astype(np.uint8)
    image[image[..., 3] == 0] = (0, 255, 0, 0)
    return image


@pytest.fixture(scope="session")
def rig(landmarks):
    return Rig(landmarks, (512, 512))


@pytest.fixture(scope="session")
def puppet(rig, still):
    animator = MeshWarpAnimator(rig)
    animator.set_image(still)
    return animator
