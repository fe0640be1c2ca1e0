"""The bare networks of published checkpoints, written from the papers.

Names and shapes of each state dict are those of the published file, so its weights load
without translation. What a network expects to see stands in
:mod:`featflow.nodes.networks.preprocessing`, what its numbers mean in
:mod:`featflow.nodes.networks.decode`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from featflow.errors import UnknownNodeError

if TYPE_CHECKING:
    from torch import nn

_NETWORKS = {
    "arcface_r50": ("iresnet", "IResNet50"),
    "facenet": ("inception_resnet", "InceptionResNetV1"),
    "img2pose": ("img2pose", "Img2Pose"),
    "l2cs_r50": ("l2cs", "L2CS"),
    "mobilefacenet": ("mobilefacenet", "MobileFaceNet"),
    "mobilenet_gdconv": ("mobilenet_v2", "MobileNetLandmarks"),
    "mp_blendshapes": ("mp_mixer", "BlendshapeMixer"),
    "pfld": ("pfld", "PFLD"),
    "pose_mlp": ("pose_mlp", "PoseMLP"),
    "resmasknet": ("resmasknet", "ResMaskNet"),
    "retinaface_r34": ("retinaface", "RetinaFace"),
}


def network_names() -> tuple[str, ...]:
    """Names that :func:`network` knows, in alphabetical order."""
    from featflow.animate.tha3 import LAYOUTS

    return tuple(sorted({*_NETWORKS, *LAYOUTS}))


def network(layout_name: str) -> nn.Module:
    """Build the bare network of a published checkpoint, with random weights, in evaluation mode.

    Args:
        layout_name: one of :func:`network_names`, such as ``"retinaface_r34"``.

    Returns:
        A module whose ``forward`` takes one tensor and returns what the published network
        returns, in its order. Build it under ``torch.device("meta")`` and load with
        ``assign=True`` to skip the random weights.

    Raises:
        UnknownNodeError: no network has that name; the message lists those that exist.
    """
    from featflow.animate import tha3

    if layout_name in tha3.LAYOUTS:
        return tha3.network(layout_name)
    if layout_name not in _NETWORKS:
        raise UnknownNodeError("network", layout_name, network_names())
    module, name = _NETWORKS[layout_name]
    built: nn.Module = getattr(import_module(f"{__name__}.{module}"), name)()
    return built.eval()
