import numpy as np
import polars as pl

from featflow.evaluation.slices import fairness_slices, is_coloured
from featflow.geometry.rotation import rotation_from_angles


class Faces:
    """Four faces: turned or not, small or large, grey or in colour, young to old."""

    def __init__(self):
        self.table = pl.DataFrame(
            {
                "source": ["mux", "mux", "ytf", "ytf"],
                "age": [20.0, 30.0, 49.9, 50.0],
                "male_prob": [0.5, 0.4, 0.9, 0.1],
            }
        )
        yaw = np.radians([0.0, -21.0, 19.0, 35.0])
        self.rotations = rotation_from_angles(yaw * 0 + 0.6, yaw * 0, yaw)
        self.boxes = np.array([[0, 0, 10, 119], [5, 5, 125, 20], [0, 0, 300, 300], [np.nan] * 4])
        grey, red = np.full((9, 9, 3), 60, np.uint8), np.full((9, 9, 3), (90, 60, 60), np.uint8)
        self.pictures = [grey, red, grey, red]

    def __len__(self):
        return 4

    def read(self, row):
        return self.pictures[row]


def test_slices_by_hand():
    told = {name: np.flatnonzero(rows).tolist() for name, rows in fairness_slices(Faces()).items()}
    assert told == {
        "mux": [0, 1],
        "ytf": [2, 3],
        "grey": [0, 2],
        "colour": [1, 3],
        "yaw under 20": [0, 2],
        "yaw over 20": [1, 3],
        "face under 120 px": [0],
        "face over 120 px": [1, 2],
        "looks under 30": [0],
        "looks 30 to 50": [1, 2],
        "looks over 50": [3],
        "looks male": [0, 2],
        "looks female": [1, 3],
    }


def test_grey_pictures_stay_grey_through_rounding():
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(10, 240, (40, 40, 1)), 3, -1)
    assert not is_coloured(grey.astype(np.uint8))
    assert not is_coloured((grey + rng.integers(-1, 2, grey.shape)).astype(np.uint8))
    assert is_coloured((grey + [8, 0, 0]).astype(np.uint8))
    assert is_coloured((grey + [0, 0, -8]).astype(np.uint8))
