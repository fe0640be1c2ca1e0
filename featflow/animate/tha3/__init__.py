"""Talking Head Anime 3: the five networks, and an animator that runs a user's weights.

The architecture is that of Pramook Khungurn's Talking Head Anime from a Single Image 3
(2022). No weights are shipped; his are under CC-BY 4.0. Torch is imported by the submodules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featflow.errors import OptionError

if TYPE_CHECKING:
    from torch import nn

PARTS: tuple[str, ...] = (
    "eyebrow_decomposer",
    "eyebrow_morphing_combiner",
    "face_morpher",
    "two_algo_face_body_rotator",
    "editor",
)
"""The networks, in the order in which a frame passes through them."""

VARIANTS: tuple[str, ...] = ("separable", "standard")

LAYOUTS: tuple[str, ...] = tuple(f"tha3_{v}_{p}" for v in VARIANTS for p in PARTS)


def network(layout: str) -> nn.Module:
    """One network without weights, in evaluation mode, with the published state-dict keys.

    Args:
        layout: such as ``"tha3_separable_editor"``; all are in :data:`LAYOUTS`.

    Returns:
        A module that takes and returns what the published one does: a list of tensors.

    Raises:
        OptionError: no such layout.
    """
    if layout not in LAYOUTS:
        raise OptionError(f"no network is called {layout!r}; known: {', '.join(LAYOUTS)}")
    from featflow.animate.tha3.networks import build

    _, variant, part = layout.split("_", 2)
    return build(part, separable=variant == "separable").eval()
