import cv2
import numpy as np
import pytest

from featflow.train.photometric import add_noise, cover, degrade, relight


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def ramp():
    """Bright to the right in red, downwards in green; blue is flat."""
    y, x = np.mgrid[0:96, 0:128]
    return np.stack([x * 255 / 127, y * 255 / 95, np.full_like(x, 90)], -1).astype(np.uint8)


def test_relight_maps_equal_values_alike_and_never_turns_light_into_dark(ramp):
    grey = 0
    for seed in range(30):
        out = relight(ramp, rng(seed))
        assert out.dtype == np.uint8
        assert out.shape == ramp.shape
        if (out[..., 0] == out[..., 1]).all() and (out[..., 1] == out[..., 2]).all():
            grey += 1
            continue
        for channel in range(3):
            curve = {}
            values = zip(ramp[..., channel].ravel(), out[..., channel].ravel(), strict=True)
            for before, after in values:
                assert curve.setdefault(before, after) == after
            mapped = [int(curve[key]) for key in sorted(curve)]
            assert (np.diff(mapped) >= 0).all()
    assert 2 <= grey <= 15


def test_the_same_seed_gives_the_same_picture(ramp):
    for change in (relight, degrade, cover):
        assert np.array_equal(change(ramp, rng(4)), change(ramp, rng(4)))
    before = ramp.copy()
    for seed in range(10):
        cover(degrade(relight(ramp, rng(seed)), rng(seed)), rng(seed))
    assert np.array_equal(ramp, before)


@pytest.mark.parametrize("shape", [(112, 112), (96, 160), (160, 96)])
def test_degrade_moves_nothing(shape):
    """The centre of a blurred disc stays where it was, whatever the picture's shape."""
    height, width = shape
    centre = np.array([0.6 * width, 0.35 * height])
    y, x = np.mgrid[0:height, 0:width] + 0.5
    blob = 255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * 9.0**2))
    picture = np.repeat(blob[..., None], 3, -1).astype(np.uint8)
    changed = 0
    for seed in range(60):
        out = degrade(picture, rng(seed), smallest=40)
        assert out.shape == picture.shape
        assert out.dtype == np.uint8
        changed += not np.array_equal(out, picture)
        light = np.maximum(out[..., 1].astype(float) - 40, 0)
        found = np.array([(light * x).sum(), (light * y).sum()]) / light.sum()
        assert np.abs(found - centre).max() < 1.2
    assert changed > 30


def test_noise_has_the_deviation_that_was_asked_for():
    flat = np.full((200, 300, 3), 128, np.uint8)
    for sigma in (2.0, 10.0):
        noise = add_noise(flat, rng(1), sigma).astype(float) - 128
        assert noise.std() == pytest.approx(sigma, rel=0.05)
        assert abs(noise.mean()) < 0.2
    assert not np.array_equal(add_noise(flat, rng(1), 5.0), add_noise(flat, rng(2), 5.0))


def test_noise_does_not_wrap_around():
    white = np.full((40, 40, 3), 255, np.uint8)
    assert add_noise(white, rng(0), 8.0).min() > 200


def test_cover_hides_one_place_with_one_colour():
    y, x = np.mgrid[0:100, 0:100]
    picture = np.stack([x, y, x + y], -1).astype(np.uint8)
    for seed in range(20):
        out = cover(picture, rng(seed))
        changed = (out != picture).any(-1)
        assert 0.0 < changed.mean() < 0.22
        assert len(np.unique(out[changed], axis=0)) == 1
        assert cv2.connectedComponents(changed.astype(np.uint8), connectivity=8)[0] <= 4
