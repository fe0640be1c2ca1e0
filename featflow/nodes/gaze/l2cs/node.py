"""The ``gaze/l2cs`` node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.flow.batch import Batch
from featflow.nodes._published import CropNode
from featflow.nodes.networks.decode import gaze_angle, l2cs_angles


class L2CSGaze(CropNode):
    """Where the eyes look, in the camera's frame: pitch, yaw, and the angle to the axis."""

    kind, name = "gaze", "l2cs"
    requires = ("box",)
    provides = ("gaze",)
    shapes = MappingProxyType({"gaze": (3,)})
    layout = "l2cs_r50"
    batch_size = 8

    def post_process(self, batch: Batch, outputs: Any) -> Mapping[str, NDArray[Any]]:
        """(N, 3) radians."""
        gaze = l2cs_angles(*(logits.numpy() for logits in outputs))
        both = np.concatenate([gaze, gaze_angle(gaze)[:, None]], 1)
        return {"gaze": both.astype(np.float32)}
