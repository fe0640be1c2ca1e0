"""Putting trained weights into the package: half precision, hashed, noted in the card."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

import featflow
from featflow.errors import TrainingError
from featflow.files import write_atomically


def package_folder(node: str) -> Path:
    """Where a built-in node's code, card and weights lie."""
    return Path(featflow.__file__).parent / "nodes" / node


def export_weights(
    node: str, state: Mapping[str, Tensor], folder: Path | None = None
) -> dict[str, Any]:
    """Write ``weights.safetensors`` to a folder, and its size and hash into the card there.

    Weights with two or more dimensions are stored as float16, the others as float32: a rounding
    of one part in 2000 that changes no result visibly and halves the download.

    Args:
        node: ``kind/name``.
        state: the weights.
        folder: where to; the node's own folder in the package if None.

    Returns:
        ``file``, ``size_bytes`` and ``sha256``.

    Raises:
        TrainingError: a weight is not finite, or too large for float16; nothing is written.
        OutputError: the node has no folder, or it cannot be written.
    """
    folder = package_folder(node) if folder is None else folder
    compact = {name: _compact(value) for name, value in state.items()}
    unusable = [name for name, value in compact.items() if not torch.isfinite(value).all()]
    if unusable:
        raise TrainingError(
            f"{node}: weights {unusable} are not finite or too large for float16; not exported"
        )
    content = save(compact)
    digest = hashlib.sha256(content).hexdigest()
    write_atomically(folder / "weights.safetensors", content)
    card = folder / "card.toml"
    if card.is_file():
        text = card.read_text(encoding="utf-8")
        text = re.sub(r"(?m)^size_bytes *=.*$", f"size_bytes = {len(content)}", text)
        text = re.sub(r"(?m)^sha256 *=.*$", f'sha256 = "{digest}"', text)
        write_atomically(card, text.encode())
    return {"file": "weights.safetensors", "size_bytes": len(content), "sha256": digest}


def _compact(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.ndim > 1 and value.dtype == torch.float32 else value
