"""What py-feat's ``data_type`` says of the inputs, checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from featflow.datasets.sniff import sniff
from featflow.errors import ArrayError, OptionError

DATA_TYPES = ("image", "tensor", "video")
_MEDIA = {"image": "photo", "video": "clip"}


def checked_inputs(inputs: Any, data_type: str) -> tuple[str, Any]:
    """The data type in small letters, and the inputs as a detector takes them.

    Returns:
        ``"image"`` with a list of paths, ``"video"`` with a list of one path, or ``"tensor"``
        with a uint8 tensor (B, C, H, W).

    Raises:
        OptionError: the data type is unknown, or the inputs are not of it.
        MissingInputError: a file does not exist.
        ArrayError: the tensor's shape or range are not those of pictures.
    """
    kind = data_type.lower() if isinstance(data_type, str) else data_type
    if kind not in DATA_TYPES:
        raise OptionError(f"data_type is one of {', '.join(DATA_TYPES)}, got {data_type!r}")
    if kind == "tensor":
        return kind, _pixels(inputs)
    if kind == "video" and isinstance(inputs, list | tuple):
        raise OptionError("data_type='video' takes one path, got a list")
    given = inputs if isinstance(inputs, list | tuple) else [inputs]
    if not given:
        raise OptionError("inputs is an empty list")
    return kind, [_path(each, kind) for each in given]


def _path(value: Any, kind: str) -> str:
    if not isinstance(value, str | Path):
        raise OptionError(f"data_type={kind!r} takes paths, got {type(value).__name__}")
    path = os.fspath(value)
    if os.path.isdir(path):
        raise OptionError(f"{path} is a folder; data_type={kind!r} takes paths of files")
    found = sniff(path).medium
    if found != _MEDIA[kind]:
        raise OptionError(f"{path} is a {found}, but data_type is {kind!r}")
    return path


def _pixels(value: Any) -> Any:
    """py-feat divides tensors by 255 whatever their type, so floats are 0..255."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise OptionError(f"data_type='tensor' takes a tensor, got {type(value).__name__}")
    if value.dtype == torch.uint8:
        return value
    pixels = value.detach().float()
    if pixels.numel() and not (pixels.min() >= 0 and 1 < pixels.max() <= 255):
        low, high = pixels.min().item(), pixels.max().item()
        raise ArrayError(
            "tensor",
            f"py-feat's tensors hold 0..255, found {low:g} to {high:g}",
            "multiply by 255" if low >= 0 and high <= 1 else "",
        )
    return pixels.round().to(torch.uint8)
