"""Exact faces: the movement that is asked for is the one that is made, seen and labelled."""

from dataclasses import replace

import numpy as np
import pytest

from featflow.nodes.au.tiny.geometry import RANGES, MovingFaces
from featflow.nodes.au.tiny.units import UNITS


@pytest.fixture(scope="module")
def moving(shared):
    return MovingFaces.open(shared / "geometry")


def exact(moving):
    """The same faces seen from the front without errors."""
    still = replace(
        RANGES, wide=0.0, spread_deg=(0.0, 0.0, 0.0), off_axis_deg=0.0, noise=0.0, outliers=0.0
    )
    return MovingFaces(moving.shapes, still)


def test_faces_are_neutral_plus_identity_plus_movement(moving, shared):
    with np.load(shared / "geometry" / "ict_face68.npz") as file:
        modes = dict(zip(map(str, file["expression_names"]), file["expression"], strict=True))
    strength = np.zeros((2, len(moving.shapes.names)))
    strength[1, moving.shapes.names.index("jawOpen")] = 0.5
    people = np.zeros((2, len(moving.shapes.identity)))
    rest, open_ = moving.faces(people, strength, np.zeros(2))
    np.testing.assert_allclose(rest, moving.shapes.neutral, atol=1e-12)
    # The morphable face is laid rigidly on another, so lengths stay.
    moved = np.linalg.norm(open_ - rest, axis=1)
    np.testing.assert_allclose(moved, np.linalg.norm(0.5 * modes["jawOpen"], axis=1), atol=1e-6)


def test_labels_are_those_of_the_movement(moving):
    strength = np.zeros((1, len(moving.shapes.names)))
    for name, value in {"mouthSmile_L": 0.3, "mouthSmile_R": 0.8, "eyeBlink_L": 1.0}.items():
        strength[0, moving.shapes.names.index(name)] = value
    units = dict(zip(UNITS, moving.units(strength)[0], strict=True))
    assert units["AU12"] == pytest.approx(0.8)
    assert units["AU43"] == pytest.approx(0.5)
    assert units["AU26"] == 0
    assert np.isnan(units["AU11"])


def test_strengths_lie_within_range_and_are_nearly_symmetric(moving):
    strength = moving.strengths(np.random.default_rng(0), 500)
    names = moving.shapes.names
    assert strength.min() >= 0
    assert strength.max() <= 1
    left, right = strength[:, names.index("mouthSmile_L")], strength[:, names.index("mouthSmile_R")]
    assert np.array_equal(left > 0, right > 0)
    assert (left > 0).mean() == pytest.approx(RANGES.active, abs=0.06)
    on = left > 0
    assert (left[on] / right[on]).min() >= 0.7 - 1e-9
    assert not strength[:, names.index("mouthClose")].any()


def test_a_seed_repeats_and_people_differ(moving):
    one, two, other = (moving.draw(np.random.default_rng(s), 4) for s in (3, 3, 4))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert np.abs(one[0] - other[0]).max() > 0.01
    assert one[0].shape == (4, 68, 2)
    assert one[1].shape == (4, 20)


def test_points_lie_on_the_unit_square_upright(moving):
    points, _ = moving.draw(np.random.default_rng(1), 200)
    mean = points.mean(0)
    assert np.abs(mean[17:].mean(0) - [0.0, -0.036]).max() < 0.05  # centroid of the template
    assert mean[36, 0] < mean[45, 0]
    assert mean[8, 1] > mean[57, 1] > mean[33, 1] > mean[27, 1]


def test_a_smile_raises_the_mouth_corners_and_an_open_jaw_lowers_the_lip(moving):
    plain = exact(moving)
    rest = np.zeros((3, len(plain.shapes.names)))
    for side in ("L", "R"):
        rest[1, plain.shapes.names.index(f"mouthSmile_{side}")] = 1
    rest[2, plain.shapes.names.index("jawOpen")] = 1
    faces = plain.faces(np.zeros((3, len(plain.shapes.identity))), rest, np.ones(3))
    seen = plain.seen(np.random.default_rng(0), faces)
    size = np.linalg.norm(seen[:, 36] - seen[:, 45], axis=1)[:, None, None]
    rest_, smile, jaw = (seen - seen[:, 27:28]) / size
    assert (smile[[48, 54], 1] < rest_[[48, 54], 1] - 0.03).all()
    assert smile[54, 0] - smile[48, 0] > rest_[54, 0] - rest_[48, 0]
    assert jaw[66, 1] > rest_[66, 1] + 0.1
    assert jaw[8, 1] > rest_[8, 1] + 0.1


def test_without_errors_points_repeat_whatever_the_draw(moving):
    plain = exact(moving)
    face = plain.faces(
        np.zeros((1, len(plain.shapes.identity))),
        np.zeros((1, len(plain.shapes.names))),
        np.ones(1),
    )
    shapes = []
    for seed in range(3):
        seen = plain.seen(np.random.default_rng(seed), face)[0]
        seen = seen - seen.mean(0)
        shapes.append(seen / np.linalg.norm(seen))
    assert np.abs(shapes[0] - shapes[1]).max() < 0.02  # distance alone bends them a little
