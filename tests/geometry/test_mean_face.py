"""The built-in mean face: symmetric, in centimetres, axes as documented."""

import numpy as np
import pytest

from featflow.geometry.landmarks import MIRROR_68, interocular
from featflow.geometry.mean_face import FACE68_CM


def test_mean_face() -> None:
    assert FACE68_CM.shape == (68, 3)
    np.testing.assert_allclose(FACE68_CM[MIRROR_68] * [-1, 1, 1], FACE68_CM, atol=1e-9)
    assert interocular(FACE68_CM) == pytest.approx(8.9, abs=0.2)
    assert FACE68_CM[45, 0] > 0 > FACE68_CM[36, 0]  # x to the subject's left
    assert FACE68_CM[27, 1] > FACE68_CM[8, 1]  # y up
    assert FACE68_CM[:, 2].argmax() == 30  # z forward: the nose stands out
    with pytest.raises(ValueError, match="read-only"):
        FACE68_CM[0, 0] = 1
