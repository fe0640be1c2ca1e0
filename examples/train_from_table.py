"""Detect, keep the table, teach a node from it, detect again.

python examples/train_from_table.py [FACES] [PHOTOS]

FACES is a folder as datasets/labelled_faces describes it, with ``labels.parquet`` and ``images/``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

import featflow
from featflow import Detector
from featflow.datasets import sample_clip, split_by
from featflow.train import fit_node, load_node

CLASSES = ("happiness", "neutral", "surprise", "anger")


def labelled(root: Path, count: int) -> pl.DataFrame:
    """Photographs with a human label, as many of each class as there are, up to ``count``."""
    table = pl.read_parquet(root / "labels.parquet", columns=["file", "emotion", "identity"])
    table = table.filter(pl.col("emotion").is_in(CLASSES))
    parts = [
        table.filter(pl.col("emotion") == name).head(count // len(CLASSES)) for name in CLASSES
    ]
    return pl.concat(parts)


def main() -> None:
    """Run on the photographs that are named, or on ../shared/faces."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/faces")
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    photos = labelled(root, count)
    paths = [str(root / "images" / name) for name in photos["file"]]

    with Detector() as detector:
        fex = detector.detect([str(sample_clip().path), *paths], progress_bar=False)
    fex.save("faces.parquet")

    fex = featflow.read_fex("faces.parquet")
    rating = dict(zip(paths, photos["emotion"], strict=True))
    person = dict(zip(paths, photos["identity"], strict=True))
    fex["rating"] = fex["input"].map(rating)
    fex["Identity"] = fex["input"].map(person)
    rated = fex[fex["rating"].notna() & (fex["FaceScore"] > 0)]
    train, test = split_by(rated, "identity", (0.75, 0.25))
    print(f"{len(fex)} rows, {len(train)} faces to learn from, {len(test)} to test on")

    node = fit_node("emotion", train, labels="rating")
    node.save("my-emotion")
    print("on people who were left out:", node.about["metrics"])

    with Detector(emotion=load_node("my-emotion")) as detector:
        again = detector.detect([str(sample_clip().path), *test["input"]], progress_bar=False)
    again = again[again["input"].isin(test["input"]) & (again["FaceScore"] > 0)]
    guess = again.emotions.fillna(0).idxmax(axis=1)
    right = (guess == again["input"].map(rating)).mean()
    print(f"{right:.0%} of {len(again)} faces of the test are named as people named them")


if __name__ == "__main__":
    main()
