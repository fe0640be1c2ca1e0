"""Finding the face of a still with featflow's own nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.animate.rig import Rig
from featflow.animate.tracks import Track
from featflow.errors import InputError

if TYPE_CHECKING:
    from featflow.detector import Detector

Image = NDArray[np.uint8]

MAX_REST = float(np.radians(45))
"""Head angle of a still, in radians, beyond which a larger one is not believed."""

_HINT = "use a photo of one face, or pass rig= with 68 landmarks, as for drawings"


def find_rig(image: Image, detector: Detector | None = None, source: str = "image") -> Rig:
    """A rig for the largest face of a still: its 68 landmarks, and its head angles if known.

    Args:
        image: (H, W, 4) BGRA uint8; what is transparent is seen as white.
        detector: finds it; featflow's own nodes if None.
        source: what errors call the picture.

    Raises:
        InputError: there is no face.
    """
    if detector is None:
        from featflow.detector import Detector

        detector = Detector.only(
            face="tiny", landmark="tiny", pose="mlp", mode="sequential", device="cpu"
        )
    table: Any = detector.detect([_on_white(image)], progress_bar=False)
    faces = table[table["FaceScore"] > 0]
    if not len(faces):
        raise InputError(source, "no face was found", _HINT)
    area = faces["FaceRectWidth"] * faces["FaceRectHeight"]
    track = Track(faces.loc[[area.idxmax()]])
    points = track.landmarks()[0]
    if not np.isfinite(points).all():
        raise InputError(source, "the face has no landmarks", _HINT)
    rest = np.nan_to_num([track.column("Pitch")[0], track.column("Yaw")[0]])
    rest = np.clip(rest, -MAX_REST, MAX_REST)
    return Rig(points, (image.shape[0], image.shape[1]), {}, (float(rest[0]), float(rest[1])))


def _on_white(image: Image) -> Image:
    alpha = image[..., 3:].astype(np.float32) / 255
    rgb = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB).astype(np.float32)
    return np.asarray(np.rint(rgb * alpha + 255 * (1 - alpha)), np.uint8)
