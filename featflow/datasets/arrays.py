"""Frames in memory: numpy arrays, torch tensors and PIL images, checked and made uint8 RGB.

numpy arrays have channels last, torch tensors channels first, as everywhere in their worlds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.frame import Frame
from featflow.datasets.scaling import scale_between, shrink, working_size
from featflow.errors import ArrayError, InputError


def is_pil(value: object) -> bool:
    """Whether this is a PIL image; imports nothing."""
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(value, pil.Image)


def is_tensor(value: object) -> bool:
    """Whether this is a torch tensor; imports nothing."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_picture(value: object) -> bool:
    """Whether this is one of the objects that :func:`frames_of` takes."""
    return isinstance(value, (np.ndarray, Frame)) or is_pil(value) or is_tensor(value)


def frames_of(
    value: Any, name: str, output_size: int | None = None, first_index: int = 0
) -> Iterator[Frame]:
    """The frames of an object in memory; a bad one gives a failed frame in its place.

    Args:
        value: numpy (H, W), (H, W, 3) or (N, H, W, 3); torch (3, H, W) or (N, 3, H, W); either
            uint8 or floats in 0..1; a PIL image; or a :class:`Frame`, which is passed on.
        name: what to call it.
        output_size: upper bound of the longer side of the result.
        first_index: index of the first frame.
    """
    if isinstance(value, Frame):
        yield value
        return
    try:
        if is_pil(value):
            from featflow.datasets.images import frame_of_pil

            yield replace(frame_of_pil(value, name, output_size), index=first_index)
            return
        stack = _as_stack(value, name)
    except InputError as error:
        yield Frame.failed(name, error, first_index)
        return
    for offset, picture in enumerate(stack):
        index = first_index + offset
        try:
            yield _to_frame(picture, name, index, output_size)
        except ArrayError as error:
            yield Frame.failed(name, error, index)


def count_of(value: Any) -> int:
    """How many frames :func:`frames_of` gives for ``value``."""
    shape: tuple[int, ...] = getattr(value, "shape", ())
    return int(shape[0]) if len(shape) == 4 and shape[0] else 1


def _to_frame(picture: NDArray[Any], name: str, index: int, output_size: int | None) -> Frame:
    pixels = _to_uint8(picture, name)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    size_px = (pixels.shape[0], pixels.shape[1])
    work_px = working_size(size_px, output_size)
    image = np.require(shrink(np.ascontiguousarray(pixels), work_px), requirements=["C", "W"])
    return Frame(image, name, index, size_px=size_px, scale=scale_between(size_px, work_px))


def _as_stack(value: Any, name: str) -> NDArray[Any]:
    """(N, H, W, C) with C 1 or 3, not yet uint8."""
    if is_tensor(value):
        array, layout = _channels_last(value.detach(), name), "torch (3, H, W) or (N, 3, H, W)"
    elif isinstance(value, np.ndarray):
        array, layout = value, "numpy (H, W, 3), (H, W) or (N, H, W, 3)"
    else:
        raise ArrayError(name, f"a {type(value).__name__} is not a picture")
    if array.ndim == 2:
        array = array[:, :, None]
    stack = array[None] if array.ndim == 3 else array
    if stack.ndim != 4 or stack.shape[3] not in (1, 3):
        shape = tuple(value.shape)
        raise ArrayError(name, f"shape {shape} is not that of pictures", f"give {layout}")
    if 0 in stack.shape:
        raise ArrayError(name, f"shape {tuple(value.shape)} holds no pixels")
    return stack


def _channels_last(tensor: Any, name: str) -> NDArray[Any]:
    """Move a tensor's channels last; (H, W) stays, other ranks are refused by the caller."""
    import torch

    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()  # numpy has no bfloat16
    if tensor.layout is not torch.strided or tensor.is_complex():
        raise ArrayError(name, f"{tensor.layout} {tensor.dtype} tensors are not pictures")
    array: NDArray[Any] = tensor.cpu().numpy()
    return np.moveaxis(array, -3, -1) if array.ndim in (3, 4) else array


def _to_uint8(picture: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype.kind != "f":
        raise ArrayError(
            name, f"dtype {picture.dtype} is not that of pictures", "give uint8 or floats in 0..1"
        )
    low, high = float(picture.min()), float(picture.max())
    if not np.isfinite([low, high]).all():
        raise ArrayError(name, "holds NaN or infinite values")
    if low < 0.0 or high > 1.0:
        hint = "divide by 255" if high > 1.5 else "clip or rescale it"
        raise ArrayError(name, f"floats must lie in 0..1, found {low:g} to {high:g}", hint)
    return np.round(picture * 255.0).astype(np.uint8)
