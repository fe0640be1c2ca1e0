"""300W, from files written here as their owners write them."""

from __future__ import annotations

import numpy as np
import pytest

from featflow.datasets.benchmarks import load_benchmark
from featflow.errors import InputError, MissingInputError


def write(path, points, picture=".png"):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"{x:.6f} {y:.6f} " for x, y in points)
    path.write_text(f"version: 1\nn_points:  68\n{{\n{rows}\n}}\n")
    path.with_suffix(picture).touch()


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(10, 200, (3, 68, 2)).round(6)


def test_300w(tmp_path, points):
    write(tmp_path / "01_Indoor" / "indoor_001.pts", points[0])
    write(tmp_path / "02_Outdoor" / "outdoor_001.pts", points[1])
    write(tmp_path / "ibug" / "image_003_1.pts", points[2], ".jpg")
    write(tmp_path / "ibug" / "image_003_1_mirror.pts", points[2], ".jpg")
    found = load_benchmark("300w", tmp_path)
    assert [p.name for p in found.inputs] == [
        "indoor_001.png",
        "outdoor_001.png",
        "image_003_1.jpg",
    ]
    # Matlab's first pixel has its centre at 1, ours at 0.5.
    np.testing.assert_allclose(found.landmarks, points - 0.5)
    np.testing.assert_allclose(found.boxes[1, :2], points[1].min(0) - 0.5)
    np.testing.assert_allclose(found.boxes[1, 2:], points[1].max(0) - 0.5)
    assert {name: rows.tolist() for name, rows in found.groups.items()} == {
        "indoor": [True, False, False],
        "outdoor": [False, True, False],
        "challenging": [False, False, True],
    }
    assert found.normaliser == "interocular"


def test_300w_with_other_points_or_without_a_picture(tmp_path, points):
    path = tmp_path / "01_Indoor" / "indoor_001.pts"
    write(path, points[0, :51])
    with pytest.raises(InputError, match="expected 68 points, got 51"):
        load_benchmark("300w", tmp_path)
    path.write_text("no points")
    with pytest.raises(InputError, match="between { and }"):
        load_benchmark("300w", tmp_path)
    write(path, points[0])
    path.with_suffix(".png").unlink()
    with pytest.raises(MissingInputError, match="its points are there"):
        load_benchmark("300w", tmp_path)
