"""Reading published weight files as plain tensors, without running anything that is in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featflow.errors import WeightsError
from featflow.files import atomic_path
from featflow.hub.skops import is_skops

if TYPE_CHECKING:
    import torch

_WRAPPERS = ("state_dict", "net")
_PREFIX = "module."
_CONVERTED_ENDINGS = (".tar", ".pth", ".pt", ".skops")


def converted_name(name: str) -> str:
    """Name of the safetensors file that stands for a published one of another format."""
    stem = name
    for ending in _CONVERTED_ENDINGS:
        stem = stem.removesuffix(ending)
    return name if stem == name else f"{stem}.safetensors"


def read_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a safetensors file, a PyTorch checkpoint or a skops file of py-feat.

    What a file is, is told from its content. ``state_dict`` or ``net`` is unwrapped, and the
    prefix ``module.`` of data-parallel training is removed. Checkpoints are
    read by ``torch.load(weights_only=True)`` alone, and skops files by
    :mod:`featflow.hub.skops`; neither runs code of theirs.

    Raises:
        WeightsError: the file is missing, damaged, holds something else than tensors, or would
            have to be trusted to be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    if is_skops(path):
        return _skops(path)
    # A safetensors file begins with the length of its header, 8 bytes, and "{".
    values = _unwrapped(path, _safetensors(path) if head[8:] == b"{" else _torch(path))
    if not values:
        raise WeightsError(f"{path}: holds no tensors")
    return values


def convert_checkpoint(path: str | Path, out: str | Path | None = None) -> Path:
    """Write a PyTorch checkpoint or a skops file as safetensors, once.

    Args:
        path: checkpoint, or one of py-feat's three skops files.
        out: file to write; by default the same name with ``.safetensors`` beside it, where it
            is found in place of the checkpoint.

    Returns:
        The file written.

    Raises:
        WeightsError: the checkpoint cannot be read.
        OutputError: ``out`` cannot be written.
    """
    from safetensors.torch import save_file

    source = Path(path)
    target = Path(out) if out is not None else source.with_name(converted_name(source.name))
    if target == source:
        raise WeightsError(f"{source}: is no checkpoint by its name; say where to write")
    # Copied, because two names of one tensor are two tensors in such a file.
    values = {key: value.clone().contiguous() for key, value in read_checkpoint(source).items()}
    with atomic_path(target) as temporary:
        save_file(values, temporary)
    return target


def _skops(path: Path) -> dict[str, torch.Tensor]:
    import torch

    from featflow.hub.skops_models import skops_arrays

    return {key: torch.from_numpy(np.array(array)) for key, array in skops_arrays(path).items()}


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: not a usable safetensors file ({error})") from error


def _torch(path: Path) -> Any:
    import torch

    try:
        # Opened here, because torch reads a path by its name's ending.
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The message goes on for lines about how to read it all the same.
        raise WeightsError(
            f"{path}: holds more than tensors, or is damaged, and was not read (nothing in it "
            f"was run): {_first_line(error)}"
        ) from error
    except Exception as error:  # damage makes torch's reader raise anything
        raise WeightsError(
            f"{path}: not a usable PyTorch checkpoint ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _unwrapped(path: Path, content: Any) -> dict[str, torch.Tensor]:
    import torch

    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds {type(content).__name__}, not tensors by name")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise WeightsError(f"{path}: entry {key!r} is {type(value).__name__}, not a tensor")
    stripped = all(key.startswith(_PREFIX) for key in content)
    return {key.removeprefix(_PREFIX) if stripped else key: v for key, v in content.items()}
