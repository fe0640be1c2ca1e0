import numpy as np
import pandas as pd
import pytest

from featflow.animate.pose import pack
from featflow.animate.puppet import MeshWarpAnimator
from featflow.animate.rig_fit import fit_movement, fit_rig
from featflow.errors import SchemaError
from featflow.geometry.similarity import apply

UNITS = ("AU01", "AU02", "AU04", "AU12", "AU15")


@pytest.fixture(scope="module")
def truth(landmarks):
    """A known linear rig: movement in face units, and a noisy table that it made."""
    rng = np.random.default_rng(0)
    movement = np.zeros((len(UNITS), 68, 2))
    movement[:3, 17:27] = rng.normal(0, 0.05, (3, 10, 2))
    movement[3:, 48:68] = rng.normal(0, 0.05, (2, 20, 2))
    aus = rng.uniform(0, 1, (300, len(UNITS)))
    faces = landmarks + 110 * np.einsum("ta,apd->tpd", aus, movement)
    angle, scale = rng.uniform(-0.3, 0.3, 300), rng.uniform(0.5, 2, 300)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.zeros((300, 2, 3))
    matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1] = cos, -sin, sin, cos
    matrix[:, :, 2] = rng.uniform(0, 300, (300, 2))
    faces = apply(matrix, faces + rng.normal(0, 0.3, faces.shape))
    data = {"frame": np.arange(300), "Pitch": 0.0, "Yaw": 0.0, "Roll": angle}
    data |= {f"x_{i}": faces[:, i, 0] for i in range(68)}
    data |= {f"y_{i}": faces[:, i, 1] for i in range(68)}
    return movement, pd.DataFrame(data | dict(zip(UNITS, aus.T, strict=True)))


def test_a_known_linear_rig_is_recovered(truth):
    movement, table = truth
    fit = fit_movement(table)
    assert fit.names == UNITS
    residual = ((fit.movement - movement) ** 2).sum()
    assert 1 - residual / (movement**2).sum() > 0.95
    assert fit.r2 > 0.8


def test_the_learned_rig_moves_the_still_as_the_table_does(truth, rig, still):
    movement, table = truth
    learned = fit_rig(table, rig)
    np.testing.assert_array_equal(learned.landmarks, rig.landmarks)
    assert set(learned.actions) == {
        f"{stem}_{side}"
        for stem in (
            "eyebrow_raised",
            "eyebrow_angry",
            "mouth_raised_corner",
            "mouth_lowered_corner",
        )
        for side in ("left", "right")
    }
    right = learned.actions["eyebrow_angry_right"]
    assert np.abs(right[17:22] - movement[2, 17:22]).max() < 0.02
    assert not right[22:27].any()
    animator = MeshWarpAnimator(learned)
    moved = animator.landmarks(pack({"eyebrow_angry_right": 1, "eyebrow_angry_left": 1})[0])
    shift = (moved - rig.landmarks)[17:27] / 110
    assert np.corrcoef(shift.ravel(), movement[2, 17:27].ravel())[0, 1] > 0.8


def test_too_little_is_refused(truth):
    _, table = truth
    with pytest.raises(SchemaError, match="20 rows"):
        fit_movement(table.head(20))
    with pytest.raises(SchemaError, match="action units"):
        fit_movement(table.drop(columns=list(UNITS)))
