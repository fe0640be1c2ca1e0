"""What turns a still and a pose into a frame."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from featflow.errors import ArrayError

Image = NDArray[np.uint8]


@runtime_checkable
class Animator(Protocol):
    """Draws one character in any pose.

    Attributes:
        name: what ``core.info["backend"]`` shows.
        deterministic: whether equal poses give equal frames, bit by bit.
    """

    name: str
    deterministic: bool

    @property
    def fingerprint(self) -> bytes:
        """Changes whenever the same still and pose would give another frame."""

    def set_image(self, image: Image) -> None:
        """Take a still (H, W, 4) uint8 BGRA, straight alpha."""

    def render(self, pose: NDArray[np.float32], out: Image) -> None:
        """Draw a clipped pose (45,) into ``out``, which has the shape of the still."""

    def supports(self, name: str) -> bool:
        """Whether the pose parameter of this name has an effect on this still."""


def check_image(image: Any, size: tuple[int, int] | None = (512, 512)) -> Image:
    """Check a still.

    Args:
        image: (H, W, 4) uint8 BGRA.
        size: height and width that it must have, or None for any.

    Raises:
        ArrayError: the message names the fix.
    """
    if not isinstance(image, np.ndarray):
        reason = "is None: the file could not be read" if image is None else "is not an array"
        raise ArrayError("image", reason, "pass a (512, 512, 4) uint8 BGRA array")
    if image.dtype != np.uint8:
        raise ArrayError("image", f"has dtype {image.dtype}", "scale to 0..255 and use np.uint8")
    if image.ndim != 3 or image.shape[2] != 4:
        hint = "add alpha: cv2.cvtColor(img, cv2.COLOR_BGR2BGRA)"
        raise ArrayError("image", f"has shape {image.shape}, not 4 channels", hint)
    if size is not None and image.shape[:2] != size:
        raise ArrayError(
            "image",
            f"has {image.shape[0]} x {image.shape[1]} pixels",
            f"it must have {size[0]} x {size[1]}: see featflow.animate.still.fit_still",
        )
    if min(image.shape[:2]) < 16:
        raise ArrayError("image", f"has shape {image.shape}", "use a larger picture")
    return image
