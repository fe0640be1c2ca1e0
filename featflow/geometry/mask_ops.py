"""What is done to stored masks when they are read: grow, blur, harden, carry to another crop.

Masks are (N, S, S) uint8, 0 outside and 255 inside. Lengths are shares of the side S, so that
a setting means the same for a mask of 64 and of 512 pixels.
"""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError
from featflow.geometry.hull_masks import on_frame
from featflow.geometry.similarity import compose, invert
from featflow.geometry.warp import warp

Masks = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Blur = Literal["gaussian", "box"]

_SHRINK = {"gaussian": 0.8, "box": 0.5}
"""How much smaller the kernel of each further pass is."""


def grow_masks(masks: Masks, share: float) -> Masks:
    """Move the edge outwards (dilate), or inwards where ``share`` is negative (erode).

    Args:
        masks: (N, S, S) uint8.
        share: how far, as a share of the side; the element is an ellipse of that radius.

    Raises:
        OptionError: ``share`` does not lie in -0.5..0.5.
    """
    if not -0.5 <= share <= 0.5:
        raise OptionError(f"masks grow by a share of their side in -0.5..0.5, got {share}")
    radius = round(abs(share) * masks.shape[-1])
    if radius == 0:
        return masks.copy()
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    change = cv2.dilate if share > 0 else cv2.erode
    return _each(masks, lambda mask: change(mask, element))


def blur_masks(masks: Masks, share: float, kind: Blur = "gaussian", passes: int = 1) -> Masks:
    """Soften the edge.

    Args:
        masks: (N, S, S) uint8.
        share: width of the kernel over the side; the kernel has the next odd number of pixels.
        kind: ``"gaussian"`` (sigma as OpenCV chooses it for the width) or ``"box"``.
        passes: how often; each further kernel is .8 (Gaussian) or .5 (box) as wide.

    Raises:
        OptionError: an unknown kind, no pass, or a share that does not lie in 0..1.
    """
    if kind not in _SHRINK or passes < 1 or not 0 <= share <= 1:
        raise OptionError(
            f"masks are blurred by 'gaussian' or 'box', in 1 or more passes, with a kernel of "
            f"0..1 of their side; got {kind!r}, {passes}, {share}"
        )
    blurred = masks.copy()
    width = share * masks.shape[-1]
    for _ in range(passes):
        size = 2 * int(width // 2) + 1
        if size > 1:
            blurred = _each(blurred, _BLURS[kind](size))
        width *= _SHRINK[kind]
    return blurred


def harden_masks(masks: Masks, share: float) -> Masks:
    """Make what is nearly outside 0, and what is nearly inside 255.

    Args:
        masks: (N, S, S) uint8.
        share: values below ``share`` of 255 become 0, those above 1 - ``share`` become 255.

    Raises:
        OptionError: ``share`` does not lie in 0..0.5.
    """
    if not 0 <= share <= 0.5:
        raise OptionError(f"a threshold of masks lies in 0..0.5, got {share}")
    hard = masks.copy()
    hard[masks < share * 255] = 0
    hard[masks > (1 - share) * 255] = 255
    return hard


def carry_masks(masks: Masks, stored: Floats, wanted: Floats, size: int) -> Masks:
    """Masks of one crop as those of another, as of a head's crop on the crop of the face.

    Args:
        masks: (N, S, S) uint8.
        stored: (N, 2, 3) maps from the frame to the crop on which the masks lie.
        wanted: (N, 2, 3) maps from the frame to the crop that is wanted.
        size: side of that crop.

    Returns:
        (N, size, size) uint8; 0 in pixels whose centre the stored crop does not reach, and where
        a map is not finite. Up to its edge a mask keeps its value, also where it is enlarged.
    """
    onwards = compose(np.asarray(wanted, np.float64), invert(np.asarray(stored, np.float64)))
    moved = [_carry(mask, m, size) for mask, m in zip(masks, onwards, strict=True)]
    return np.stack(moved) if moved else np.zeros((0, size, size), np.uint8)


def _carry(mask: NDArray[np.uint8], onwards: Floats, size: int) -> NDArray[np.uint8]:
    if not np.isfinite(onwards).all():
        return np.zeros((size, size), np.uint8)
    moved = warp(mask, onwards, (size, size), "replicate")
    return np.where(on_frame(onwards, np.array(mask.shape), size), moved, np.uint8(0))


def _each(masks: Masks, change: Any) -> Masks:
    return np.stack([change(mask) for mask in masks]) if len(masks) else masks.copy()


def _gaussian(size: int) -> Any:
    return lambda mask: cv2.GaussianBlur(mask, (size, size), 0, borderType=cv2.BORDER_REPLICATE)


def _box(size: int) -> Any:
    return lambda mask: cv2.blur(mask, (size, size), borderType=cv2.BORDER_REPLICATE)


_BLURS = {"gaussian": _gaussian, "box": _box}
