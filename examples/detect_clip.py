"""Detect faces in a clip, look at the table, save it, draw it.

python examples/detect_clip.py [CLIP]
"""

from __future__ import annotations

import sys

import featflow
from featflow.datasets import sample_clip


def main() -> None:
    """Run on the clip that is named, or on the sample."""
    clip = sys.argv[1] if len(sys.argv) > 1 else str(sample_clip().path)
    with featflow.Detector() as detector:
        fex = detector.detect(clip)

    faces = fex[fex["FaceScore"] > 0]
    print(f"{len(faces)} faces in {fex['frame'].nunique()} frames")
    print(faces.poses.describe().loc[["mean", "min", "max"]])
    print(fex.to_polars().group_by("frame").len().sort("frame").head())

    fex.save("faces.parquet")
    featflow.annotate(clip, fex, "faces.mp4")
    print("wrote faces.parquet and faces.mp4")


if __name__ == "__main__":
    main()
