"""A folder like ``shared/faces`` with people in it: 200 painted photographs of 40 people."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from PIL import Image

from featflow.testing.face68 import FACE68_CM

PEOPLE, EACH = 40, 5
RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)
MARKS = {"right eye": RED, "left eye": BLUE, "mouth": GREEN}


def face(scale, centre):
    """68 points of a face that looks into the camera, x to the image right, y down."""
    return FACE68_CM[:, :2] * [scale, -scale] + centre


def painted(points, size=(150, 160)):
    """The subject's right eye (image left) red, the left one blue, the mouth green."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    places = points[36:42].mean(0), points[42:48].mean(0), points[[48, 54]].mean(0)
    image = np.full((*size, 3), 70, np.uint8)
    for place, colour in zip(places, MARKS.values(), strict=True):
        image[((np.stack([x, y], -1) - place) ** 2).sum(-1) <= 30] = colour
    return image


@pytest.fixture(scope="session")
def people_faces(tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((PEOPLE, 256))
    rows, vectors = [], []
    for index in range(PEOPLE * EACH):
        person = index % PEOPLE
        points = face(rng.uniform(5, 7), rng.uniform(70, 85, 2))
        Image.fromarray(painted(points)).save(root / "images" / f"{index:03}.png")
        vector = centres[person] + 0.5 * rng.standard_normal(256)
        vectors.append(vector / np.linalg.norm(vector))
        rows.append(
            {
                "file": f"{index:03}.png",
                "split": "val" if person % 8 == 7 else "train",
                "identity": None if index == 0 else f"P{person:02}",
                "landmarks68": points.ravel().tolist(),
            }
        )
    schema = {"landmarks68": pl.Array(pl.Float32, 136)}
    pl.DataFrame(rows, schema_overrides=schema).write_parquet(root / "labels.parquet")
    np.savez(root / "identity_teacher.npz", embedding=np.array(vectors, np.float16))
    return root
