"""Weights: safetensors files that fit their network exactly, or an error that says why not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from featflow.errors import WeightsError
from featflow.nodes._cards import Card

if TYPE_CHECKING:
    import torch


def weights_hash(path: str | Path) -> str:
    """SHA-256 of a weight file, lower-case hex.

    Raises:
        WeightsError: the file cannot be read.
    """
    return hashlib.sha256(_read(Path(path))).hexdigest()


def load_weights(model: torch.nn.Module, path: str | Path, card: Card | None = None) -> None:
    """Fill a network from a safetensors file.

    Names, shapes and dtypes must be those of the network; only float16 may stand for
    float32. The network is not touched unless the whole file fits. The hash finds damage;
    it is no proof of origin, for card and weights come from the same place.

    Args:
        model: the network, on any device.
        path: the file.
        card: its ``sha256`` is compared with the file's, where it has one.

    Raises:
        WeightsError: the file is missing, damaged, not what the card says, or of another
            network; the message names the file and the key.
    """
    path = Path(path)
    stored = _parse(path, _checked_bytes(path, card))
    model.load_state_dict(fitting_tensors(model, stored, path))


def fitting_tensors(
    model: torch.nn.Module, stored: Mapping[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """Tensors of a file in the order and the dtypes of a network.

    Args:
        model: the network; it may be on the ``meta`` device.
        stored: tensors by name.
        path: where they come from, for messages.

    Raises:
        WeightsError: names, shapes or dtypes are not those of the network, or a value is not
            finite.
    """
    wanted = model.state_dict()
    for key in wanted:
        if key not in stored:
            raise WeightsError(f"{path}: key {key!r} of the network is missing")
    for key in stored:
        if key not in wanted:
            raise WeightsError(f"{path}: key {key!r} is not in the network")
    return {k: _fitting(path, k, stored[k], wanted[k]) for k in wanted}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error


def _checked_bytes(path: Path, card: Card | None) -> bytes:
    data = _read(path)
    if card is None or not card.sha256:
        return data
    if len(data) != card.size_bytes:
        raise WeightsError(
            f"{path}: {len(data)} bytes, but the card of {card.id} says {card.size_bytes}"
        )
    found = hashlib.sha256(data).hexdigest()
    if found != card.sha256:
        raise WeightsError(f"{path}: sha256 is {found}, but the card of {card.id} says otherwise")
    return data


def _parse(path: Path, data: bytes) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: not a usable safetensors file ({error})") from error


def _fitting(path: Path, key: str, value: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    import torch

    if value.shape != wanted.shape:
        raise WeightsError(
            f"{path}: key {key!r} has shape {tuple(value.shape)}, "
            f"the network wants {tuple(wanted.shape)}"
        )
    widened = value.dtype == torch.float16 and wanted.dtype == torch.float32
    if value.dtype != wanted.dtype and not widened:
        raise WeightsError(
            f"{path}: key {key!r} is {value.dtype}, the network wants {wanted.dtype}"
        )
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise WeightsError(f"{path}: key {key!r} has values that are not finite")
    return value.to(wanted.dtype)
