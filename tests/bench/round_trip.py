"""``python -m tests.bench.round_trip FACES``: how much of a played pose comes back.

Random poses (head, mouth and lids at once) are played on the sample portrait and on photographs of
the labelled faces; featflow detects the frames, as it would any clip, and the poses are read back.
Prints the correlation of what was played with what came back, photograph by photograph.

The photographs are chosen by their labels and sharpness alone: validation split, colour, a head
turned by less than 20 degrees, eyes open, a face of at least 70 pixels, one picture a person, the
sharpest first; one in which featflow finds no face is left out and named.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl

from featflow import Detector
from featflow.animate.actions import MOUTH_OPEN
from featflow.animate.calibration import Calibration
from featflow.animate.find import find_rig
from featflow.animate.pose import INDEX
from featflow.animate.puppet import MeshWarpAnimator
from featflow.animate.retarget import FexRetargeter
from featflow.animate.rig import Rig
from featflow.animate.still import fit_still, read_still
from featflow.animate.tracks import one_person
from featflow.datasets import sample_photo
from featflow.errors import FeatflowError

ANGLES = {"nod": "head_x", "turn": "head_y", "tilt": "neck_z"}
LIDS = ("eye_wink_left", "eye_wink_right", "eye_happy_wink_left", "eye_happy_wink_right")
MEASURES = (*ANGLES, "mouth", "blink")


def photographs(faces: Path) -> list[Path]:
    """Photographs fit to be stills, the sharpest first."""
    table = pl.read_parquet(faces / "labels.parquet").filter(
        (pl.col("split") == "val")
        & (pl.col("source") == "ytf")
        & (pl.col("bs_eyeBlinkLeft") < 0.25)
        & (pl.col("bs_eyeBlinkRight") < 0.25)
        & (pl.col("eye_open") > 0.5)
        & (pl.col("R22") > 0.94)
        & (pl.col("box_x1") - pl.col("box_x0") >= 70)
    )
    rows = list(table.iter_rows(named=True))
    rows.sort(key=lambda row: -sharpness(faces, row))
    first = {row["identity"]: row for row in reversed(rows)}
    chosen = [row for row in rows if first[row["identity"]] is row]
    return [place(faces, row["file"]) for row in chosen]


def place(faces: Path, file: str) -> Path:
    """Where a labelled picture lies."""
    return faces / file if file.startswith("images") else faces / "images" / file


def sharpness(faces: Path, row: dict[str, Any]) -> float:
    """Contrast of fine detail over that of the whole face."""
    grey = cv2.imread(str(place(faces, row["file"])), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    x0, y0, x1, y1 = (max(int(row[f"box_{k}"]), 0) for k in ("x0", "y0", "x1", "y1"))
    face = cv2.resize(grey[y0:y1, x0:x1], (128, 128), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(face.astype(float), cv2.CV_64F).var() / face.astype(float).var())


def random_poses(count: int, seed: int) -> np.ndarray:
    """(count, 45) poses, the first at rest."""
    rng = np.random.default_rng(seed)
    poses = np.zeros((count, 45), np.float32)
    for name in ANGLES.values():
        poses[1:, INDEX[name]] = rng.uniform(-1, 1, count - 1)
    poses[1:, INDEX["mouth_aaa"]] = rng.uniform(0, 1, count - 1)
    blink = rng.uniform(0, 1, count - 1)
    for name in LIDS[:2]:
        poses[1:, INDEX[name]] = blink
    return poses


def play(photo: Path, poses: np.ndarray, detector: Detector) -> list[np.ndarray]:
    """RGB frames of poses on a photograph, its face found by featflow."""
    image = read_still(photo)
    rig = find_rig(image, detector, source=photo.name)
    still, points = fit_still(image, rig.landmarks)
    assert points is not None
    animator = MeshWarpAnimator(Rig(points, (still.shape[0], still.shape[1]), {}, rig.rest))
    animator.set_image(still)
    frames = []
    for pose in poses:
        out = np.empty_like(still)
        animator.render(pose, out)
        frames.append(np.ascontiguousarray(out[..., [2, 1, 0]]))
    return frames


def measures(poses: np.ndarray) -> dict[str, np.ndarray]:
    """What is compared: three angles, how far the lips part, how far the lids close."""
    found = {name: poses[:, INDEX[parameter]] for name, parameter in ANGLES.items()}
    found["mouth"] = sum(poses[:, INDEX[name]] * gap for name, gap in MOUTH_OPEN.items())  # type: ignore[assignment]
    found["blink"] = poses[:, [INDEX[name] for name in LIDS]].sum(1)
    return found


def recovered(table: Any) -> np.ndarray:
    """Poses of a table of detected frames, the first of which is at rest."""
    table = table.drop(columns="Identity", errors="ignore")
    rows = one_person(table, "largest")
    calibration = Calibration.from_rest(rows.iloc[:1])
    return FexRetargeter("largest", calibration, smoothing=False).poses(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path, help="folder of the labelled faces")
    parser.add_argument("--photographs", type=int, default=20)
    parser.add_argument("--poses", type=int, default=40)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    detector = Detector(au="tiny", gaze="tiny", device="cpu", mode="sequential")
    results: list[list[float]] = []
    for photo in [Path(sample_photo()), *photographs(arguments.faces)]:
        if len(results) > arguments.photographs:
            break
        poses = random_poses(arguments.poses, seed=len(results))
        try:
            frames = play(photo, poses, detector)
            table = detector.detect(frames, progress_bar=False)
            found = measures(recovered(table))
        except FeatflowError as error:
            print(f"left out: {error}")
            continue
        played = measures(poses)
        results.append([np.corrcoef(played[m], found[m])[0, 1] for m in MEASURES])
        line = "  ".join(f"{m} {r:5.2f}" for m, r in zip(MEASURES, results[-1], strict=True))
        print(f"{photo.stem[:28]:28s} {line}", flush=True)
    values = np.array(results[1:])
    for name, row in (("median", np.median(values, 0)), ("least", values.min(0))):
        line = "  ".join(f"{m} {r:5.2f}" for m, r in zip(MEASURES, row, strict=True))
        print(f"{name + ' of photographs':28s} {line}")


if __name__ == "__main__":
    main()
