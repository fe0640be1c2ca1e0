"""Poses played on the sample portrait, seen by featflow's own nodes, and recovered."""

import numpy as np
import pandas as pd
import pytest

from featflow.animate.pose import INDEX
from featflow.animate.puppet import MeshWarpAnimator
from featflow.animate.retarget import FexRetargeter
from featflow.animate.rig import Rig
from featflow.animate.still import fit_still, read_still
from featflow.datasets import sample_photo
from featflow.datasets.frame import Frame
from featflow.errors import WeightsError
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.crop import FIVE_POINTS_IN_BOX
from featflow.nodes import make_node

ANGLES = ("head_x", "head_y", "neck_z")


@pytest.fixture(scope="module")
def nodes():
    made = [make_node("landmark", "tiny"), make_node("pose", "mlp")]
    try:
        for node in made:
            node.load("cpu")
    except WeightsError as error:
        pytest.skip(f"no weights yet: {error}")
    return made


def describe(nodes, images, boxes):
    """Landmarks (N, 68, 2) and pose (N, 6) of one face a picture, from known boxes."""
    frames = [
        Frame(np.ascontiguousarray(i), "made", k, 0.0, i.shape[:2]) for k, i in enumerate(images)
    ]
    box = np.asarray(boxes, np.float32)
    five = box[:, None, :2] + FIVE_POINTS_IN_BOX * (box[:, 2:] - box[:, :2])[:, None]
    fields = {
        "box": box,
        "score": np.ones(len(box), np.float32),
        "points5": five.astype(np.float32),
    }
    batch = Batch(FrameBatch.from_frames(frames), FaceBatch(np.arange(len(box)), fields))
    for node in nodes:
        outputs = node.process(node.pre_process(batch))
        batch = batch.with_fields(node.post_process(batch, outputs))
    return batch.faces.landmarks.astype(float), batch.faces.fields["pose"].astype(float)


def around(points):
    return [*points.min(0), *points.max(0)]


def test_head_and_mouth_come_back_from_the_frames(nodes):
    photo = read_still(sample_photo())
    rgb = photo[..., [2, 1, 0]]
    points, rest = describe(nodes, [rgb], [[172, 140, 368, 330]])
    still, fitted = fit_still(photo, points[0])
    animator = MeshWarpAnimator(Rig(fitted, still.shape[:2], {}, (rest[0, 0], rest[0, 2])))
    animator.set_image(still)
    played = np.zeros((24, 45), np.float32)
    rng = np.random.default_rng(0)
    for name in ANGLES:
        played[1:, INDEX[name]] = rng.uniform(-1, 1, 23)
    played[1:, INDEX["mouth_aaa"]] = rng.uniform(0, 1, 23)
    out, images, boxes = np.empty_like(still), [], []
    for pose in played:
        animator.render(pose, out)
        images.append(out[..., [2, 1, 0]].copy())
        boxes.append(around(animator.landmarks(pose)))
    seen, head = describe(nodes, images, boxes)
    table = {"frame": range(24), "Pitch": head[:, 0], "Roll": head[:, 1], "Yaw": head[:, 2]}
    table |= {f"x_{i}": seen[:, i, 0] for i in range(68)}
    table |= {f"y_{i}": seen[:, i, 1] for i in range(68)}
    recovered = FexRetargeter(smoothing=False).poses(pd.DataFrame(table))
    for name, column in zip(ANGLES, ("Pitch", "Yaw", "Roll"), strict=True):
        assert np.corrcoef(played[:, INDEX[name]], table[column])[0, 1] > 0.9, name
    opened = recovered[:, [INDEX["mouth_aaa"], INDEX["mouth_ooo"]]].sum(1)
    assert np.corrcoef(played[:, INDEX["mouth_aaa"]], opened)[0, 1] > 0.8
