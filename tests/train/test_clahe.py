import cv2
import numpy as np
import pytest
import torch

from featflow.errors import OptionError
from featflow.train.clahe import clahe


def pictures(size=64, count=3):
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (count, 5, 5)).astype(np.float32)
    smooth = np.stack([cv2.resize(c, (size, size), interpolation=cv2.INTER_CUBIC) for c in coarse])
    return np.clip(smooth / 3 + 60 + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("size", "tiles"), [(64, 1), (64, 2), (64, 4), (64, 8), (64, 3), (70, 6)])
@pytest.mark.parametrize("clip", [2.0, 0.5, 40.0])
def test_it_is_opencvs(size, tiles, clip):
    grey = pictures(size)
    got = clahe(torch.from_numpy(grey), tiles, clip).numpy().astype(int)
    oracle = cv2.createCLAHE(clip, (tiles, tiles))
    wanted = np.stack([oracle.apply(g) for g in grey]).astype(int)
    # Both round; a value that lies half way may go either way.
    assert np.abs(got - wanted).max() <= 1
    assert (got != wanted).mean() < 0.02
    assert np.abs(got - grey).max() > 10


def test_bad_options_are_refused():
    grey = torch.zeros(1, 16, 16, dtype=torch.uint8)
    for tiles, clip in ((0, 2.0), (9, 2.0), (2, 0.0)):
        with pytest.raises(OptionError, match="CLAHE"):
            clahe(grey, tiles, clip)
