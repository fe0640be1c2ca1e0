"""What goes into a detector: its slots, the published set, and checks of its arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featflow.errors import OptionError

if TYPE_CHECKING:
    from featflow.flow.node import Node
    from featflow.tuning import Profile

SLOTS = ("face", "landmark", "pose", "mask", "au", "emotion", "identity", "gaze")
"""What a detector can be asked for, in the order of the table's columns."""

REFERENCE = {
    "face": "retinaface",
    "landmark": "mobilefacenet",
    "pose": "pose_mlp",
    "au": "xgb",
    "emotion": "resmasknet",
    "identity": "arcface",
    "gaze": "l2cs",
}
"""The published nodes that py-feat 2.0.3 runs by default."""

BF16_SLOTS = ("emotion", "identity", "gaze")
"""Slots of :data:`REFERENCE` whose networks bear bfloat16."""


def checked_options(
    options: Mapping[str, Mapping[str, Any]] | None, wanted: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """Arguments of nodes by slot.

    Raises:
        OptionError: a slot is unknown, or is not filled.
    """
    given = dict(options or {})
    unknown = sorted(given.keys() - set(SLOTS))
    if unknown:
        raise OptionError(f"options name unknown slots {unknown}; slots: {', '.join(SLOTS)}")
    unused = sorted(slot for slot in given if wanted[slot] is None)
    if unused:
        raise OptionError(f"options are given for slots that are None: {', '.join(unused)}")
    return given


def prepare(nodes: Iterable[Node], weights: Mapping[str, str | Path], commercial_ok: bool) -> None:
    """Give nodes their weights, and refuse those that the caller may not use."""
    from featflow.hub import give_weights, require_commercial

    known = list(nodes)
    if weights:
        give_weights(known, weights)
    if commercial_ok:
        require_commercial(known)


def batch_sizes(
    profile: str | Path | Profile | None, nodes: Mapping[str, Node], device: str
) -> dict[str, int]:
    """Rows at a time by node id, where a profile says so."""
    if profile is None:
        return {}
    from featflow.tuning import Profile

    found = profile if isinstance(profile, Profile) else Profile.load(profile)
    return found.sizes_for(list(nodes.values()), device)


def centring(node: Node) -> str:
    """What lies in the middle of a node's masks, as it is written down with them."""
    rule = getattr(node, "crop", None) or node.spec.crop
    if rule is None:
        return ""
    return str(rule.centring if rule.anchor == "landmarks" else rule.anchor)


def resolve_device(device: str) -> str:
    """The device's name; ``auto`` is the fastest that is there.

    Raises:
        OptionError: torch does not know it.
    """
    import torch

    if str(device) != "auto":
        try:
            return str(torch.device(device))
        except (RuntimeError, TypeError) as error:
            raise OptionError(f"device {device!r} is not one that torch knows: {error}") from error
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
