"""Animation: pose parameters or rows of a table in, frames of a still picture out.

``get_core`` makes a core in the documented way. Names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featflow.animate.calibration import Calibration
    from featflow.animate.core import AnimationCore
    from featflow.animate.interface import get_core
    from featflow.animate.pose import POSE_NAMES, pack, unpack
    from featflow.animate.puppet import MeshWarpAnimator
    from featflow.animate.retarget import FexRetargeter
    from featflow.animate.rig import Rig
    from featflow.animate.rig_fit import fit_rig

_HOME = {
    "AnimationCore": "core",
    "Calibration": "calibration",
    "FexRetargeter": "retarget",
    "MeshWarpAnimator": "puppet",
    "POSE_NAMES": "pose",
    "Rig": "rig",
    "fit_rig": "rig_fit",
    "get_core": "interface",
    "pack": "pose",
    "unpack": "pose",
}

__all__ = [
    "POSE_NAMES",
    "AnimationCore",
    "Calibration",
    "FexRetargeter",
    "MeshWarpAnimator",
    "Rig",
    "fit_rig",
    "get_core",
    "pack",
    "unpack",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"featflow.animate.{_HOME[name]}"), name)
