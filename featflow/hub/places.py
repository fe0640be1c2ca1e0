"""Where weights lie on this machine, from the environment as it is when asked."""

from __future__ import annotations

import os
from pathlib import Path

from featflow.nodes._cards import Source

MAIN = "main"
"""Revision that is taken where a card names none."""

_SHARED_NAMES = ("model.safetensors", "config.json")
"""Names that several repositories give their files; a bare one does not say whose it is."""

_TRUE = ("1", "true", "yes", "on")


def home_folder() -> Path:
    """``$FEATFLOW_HOME``, ``$HF_HOME/featflow`` or ``~/.cache/featflow``."""
    if home := os.environ.get("FEATFLOW_HOME"):
        return Path(home)
    if home := os.environ.get("HF_HOME"):
        return Path(home) / "featflow"
    return Path.home() / ".cache" / "featflow"


def cache_folder() -> Path:
    """Where downloaded weights are kept."""
    return home_folder() / "weights"


def cached_path(source: Source, name: str) -> Path:
    """Where a file of a source is kept once it has been downloaded."""
    repository = source.repository.replace("/", "--")
    return cache_folder() / repository / (source.revision or MAIN) / name


def local_paths(node: str, source: Source, name: str) -> tuple[Path, ...]:
    """Where a file may lie below ``$FEATFLOW_WEIGHTS``, in the order of looking; may be none."""
    folder = os.environ.get("FEATFLOW_WEIGHTS")
    if not folder:
        return ()
    root = Path(folder)
    places = [root / node, root / source.repository, root / source.repository.split("/")[1]]
    if name not in _SHARED_NAMES:
        places.append(root)
    return tuple(place / name for place in places)


def offline() -> bool:
    """Whether ``FEATFLOW_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids downloads."""
    names = ("FEATFLOW_OFFLINE", "HF_HUB_OFFLINE")
    return any(os.environ.get(name, "").strip().lower() in _TRUE for name in names)
