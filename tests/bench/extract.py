"""``python -m tests.bench.extract``: what the options of extraction bring on turned photographs.

Photographs of ``val`` are turned, whole, with their labels. Errors are mean distances of the 68
points in inter-ocular distances. A face counts as found if a box has an IoU of half with its own.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from featflow import Detector
from featflow.datasets.frame import Frame
from featflow.datasets.labelled import LabelledFaces
from featflow.evaluation.shared_faces import detected_boxes
from featflow.extract import Realign, Refeed
from featflow.extract.rotate import Turn
from featflow.flow import Flow, Node
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.boxes import iou
from featflow.geometry.landmarks import interocular
from featflow.geometry.similarity import apply
from featflow.nodes import make_node

Photo = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Picture, box (4,) and 68 points."""


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--source", default="ytf")
    arguments = parser.parse_args()
    root = Path(os.environ.get("FEATFLOW_SHARED", "../shared")) / "faces"
    photos = chosen(LabelledFaces.open(root, "val"), arguments.source, arguments.photos)
    print(f"{len(photos)} photographs of {arguments.source}, val")
    landmarks(photos)
    rotations(photos)


def chosen(faces: LabelledFaces, source: str, count: int) -> list[Photo]:
    """Photographs spread evenly over a source, with the labels of their main face."""
    rows = faces.table.with_row_index().filter(
        (pl.col("source") == source) & pl.col("rf_x0").is_not_nan()
    )["index"]
    picked = rows.to_numpy()[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    return [
        (faces.read(int(row)), faces.boxes[row].astype(float), faces.landmarks[row].astype(float))
        for row in picked
    ]


def turned(photo: Photo, angle: float, around: bool = False) -> Photo:
    """The photograph turned counter-clockwise.

    The box keeps its size, as that of a detector does; ``around`` makes it the upright one
    around the turned one, which is what rotation search gives back.
    """
    image, box, points = photo
    turn = Turn.of(image.shape[:2], angle)
    corners = apply(turn.matrix, box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2))
    half = np.ptp(corners, axis=0) / 2 if around else (box[2:] - box[:2]) / 2
    middle = corners.mean(0)
    return (
        turn.image(image),
        np.concatenate([middle - half, middle + half]),
        apply(turn.matrix, points),
    )


def landmarks(photos: list[Photo]) -> None:
    """Error of the points, from boxes alone and from the detector's five points."""
    plain = make_node("landmark", "tiny")
    plain.load("cpu")
    wrapped: dict[str, Node] = {
        "plain": plain,
        "re-feed 8": Refeed(plain, 8),
        "re-align": Realign(plain),
        "re-align, re-feed 8": Realign(plain, Refeed(plain, 8)),
    }
    print(f"\n{'error of 68 points':22s}{'upright':>10s}{'40 deg':>10s}{'s (40)':>9s}")
    for name, node in wrapped.items():
        cells = [error_of(node, [turned(photo, angle) for photo in photos]) for angle in (0, 40)]
        print(f"{name:22s}{cells[0][0]:10.4f}{cells[1][0]:10.4f}{cells[1][1]:9.1f}", flush=True)


def error_of(node: Node, photos: list[Photo]) -> tuple[float, float]:
    """Mean error and seconds, from the labelled boxes, no five points."""
    frames = [
        Frame(image, "photo", i, size_px=image.shape[:2]) for i, (image, _, _) in enumerate(photos)
    ]
    count = len(photos)
    fields: dict[str, Any] = {
        "box": np.stack([box for _, box, _ in photos]).astype(np.float32),
        "score": np.ones(count, np.float32),
        "points5": np.full((count, 5, 2), np.nan, np.float32),
    }
    batch = Batch(FrameBatch.from_frames(frames), FaceBatch(np.arange(count), fields))
    started = time.process_time()
    flow = Flow([node], given=tuple(fields), mode="sequential")
    found = Batch.concat(list(flow.run([batch]))).faces.landmarks
    truth = np.stack([points for _, _, points in photos])
    apart = np.linalg.norm(found - truth, axis=-1).mean(1) / interocular(truth)
    return float(apart.mean()), time.process_time() - started


def rotations(photos: list[Photo]) -> None:
    """Share of faces found, with and without rotation search."""
    makes = {"plain": {}, "rotate 90": {"rotate": 90}, "rotate 45": {"rotate": 45}}
    angles = (0, 90, 135, 180)
    print(f"\n{'faces found, of 1':22s}" + "".join(f"{angle:>7d}" for angle in angles))
    for name, extract in makes.items():
        detector = Detector.only(face="tiny", device="cpu", extract=extract)
        cells = [
            found_share(detector, [turned(photo, a, True) for photo in photos]) for a in angles
        ]
        print(f"{name:22s}" + "".join(f"{cell:7.3f}" for cell in cells), flush=True)


def found_share(detector: Detector, photos: list[Photo]) -> float:
    """Share of photographs of whose main face a box was found."""
    hits = 0
    for image, box, _ in photos:
        boxes = detected_boxes(detector.detect(image, progress_bar=False))
        hits += bool(len(boxes) and iou(boxes, box[None]).max() >= 0.5)
    return hits / len(photos)


if __name__ == "__main__":
    main()
