"""Poses played on the sample portrait, detected by featflow as any clip is, and read back."""

from pathlib import Path

import numpy as np
import pytest

from featflow import Detector
from featflow.datasets import sample_photo
from featflow.errors import WeightsError
from tests.bench.round_trip import measures, play, random_poses, recovered

LEAST = {"nod": 0.9, "turn": 0.9, "tilt": 0.9, "mouth": 0.8, "blink": 0.8}
"""Measured: .97, .92, .99, .95 and .89 (docs/animate.md)."""


def test_head_mouth_and_blinks_come_back_from_the_frames():
    detector = Detector(au="tiny", device="cpu", mode="sequential")
    poses = random_poses(40, seed=0)
    try:
        frames = play(Path(sample_photo()), poses, detector)
    except WeightsError as error:
        pytest.skip(f"no weights yet: {error}")
    table = detector.detect(frames, progress_bar=False)
    played, found = measures(poses), measures(recovered(table))
    for name, least in LEAST.items():
        assert np.corrcoef(played[name], found[name])[0, 1] > least, name
    turned = played["turn"] > 0.3
    assert (found["turn"][turned] > 0).mean() > 0.85  # the sign too
