"""The shipped weights, on pictures whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

from featflow.datasets import sample_clip, sample_photo
from featflow.detector import Detector
from featflow.evaluation.pairs import draw_pairs
from featflow.evaluation.verification import Roc, pair_similarity
from featflow.geometry.boxes import iou
from featflow.geometry.similarity import apply

PORTRAIT_BOX = np.array([[204.0, 128.0], [349.0, 128.0], [349.0, 330.0], [204.0, 330.0]])
"""Corners of the face, read off the portrait by eye."""


@pytest.fixture(scope="module")
def detector():
    return Detector.only(face="tiny", landmark="tiny", identity="tiny", device="cpu")


@pytest.fixture(scope="module")
def picture():
    return np.asarray(Image.open(sample_photo()).convert("RGB"))


@pytest.fixture(scope="module")
def portrait(detector, picture):
    return embedding(detector, picture)


@pytest.fixture(scope="module")
def clip(detector):
    return detector.detect(sample_clip().path, progress_bar=False)


def embedding(detector, image):
    """Vector of the strongest face of a picture."""
    fex = detector.detect(image, progress_bar=False).sort_values("FaceScore", ascending=False)
    return fex.identity_embeddings.to_numpy()[0]


def copies(clip):
    """Rows of the clip that lie where the portrait was put."""
    x, y, w, h = (clip[c].to_numpy(float) for c in list(clip.faceboxes)[:4])
    boxes = np.stack([x, y, x + w, y + h], 1)
    found = np.zeros(len(clip), bool)
    for index, matrices in enumerate(sample_clip().truth):
        rows = np.flatnonzero((clip["frame"] == index).to_numpy() & np.isfinite(x))
        for matrix in matrices:
            at = apply(matrix, PORTRAIT_BOX)
            truth = np.concatenate([at.min(0), at.max(0)])[None]
            found[rows[iou(boxes[rows], truth)[:, 0] > 0.4]] = True
    return clip[found]


def test_embeddings_have_length_1(clip):
    vectors = copies(clip).identity_embeddings.to_numpy()
    assert vectors.shape[1] == 128
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_a_portrait_is_like_its_mirror_image(detector, picture, portrait):
    mirrored = embedding(detector, np.ascontiguousarray(picture[:, ::-1]))
    assert portrait @ mirrored > 0.9


def test_a_portrait_is_like_itself_when_it_is_smaller_turned_or_grey(detector, picture, portrait):
    image = Image.fromarray(picture)
    half = image.resize((picture.shape[1] // 2, picture.shape[0] // 2))
    for changed in (half, image.rotate(15, expand=True), image.convert("L").convert("RGB")):
        assert portrait @ embedding(detector, np.asarray(changed)) > 0.7


def test_copies_of_the_portrait_in_one_frame_match(clip, portrait):
    same = copies(clip)
    in_pairs = same[same.duplicated("frame", keep=False)]
    assert in_pairs["frame"].nunique() >= 3
    for _, rows in in_pairs.groupby("frame"):
        first, second = rows.identity_embeddings.to_numpy()[:2]
        assert first @ second > 0.6
    assert np.median(same.identity_embeddings.to_numpy() @ portrait) > 0.7


def test_copies_of_the_portrait_get_one_label(clip):
    labels = copies(clip)["Identity"]
    assert labels.notna().all()
    assert labels.value_counts(normalize=True).iloc[0] > 0.95


@pytest.mark.parametrize("batch_size", [1, 3])
def test_rows_and_labels_do_not_depend_on_the_batch(detector, clip, batch_size):
    other = detector.detect(sample_clip().path, batch_size=batch_size, progress_bar=False)
    # Landmarks differ in their last digits, and a crop is cut at 1/32 of a pixel in 8 bits.
    np.testing.assert_allclose(other.identity_embeddings, clip.identity_embeddings, atol=1e-3)
    pd.testing.assert_series_equal(other["Identity"], clip["Identity"])


@pytest.fixture(scope="module")
def strangers(shared, detector):
    """Vectors and names of 120 photographs of people that no node was trained on."""
    table = pl.read_parquet(shared / "faces" / "labels.parquet")
    table = table.filter((pl.col("split") == "val") & (pl.col("source") == "mux"))
    counts = table.group_by("identity").len().filter(pl.col("len").is_between(3, 12))
    table = table.join(counts, on="identity").sort("identity", "file").head(120)
    paths = [str(shared / "faces" / "images" / file) for file in table["file"]]
    fex = detector.detect(paths, progress_bar=False).sort_values("FaceScore", ascending=False)
    first = fex.drop_duplicates("input").set_index("input").loc[paths]
    return first.filter(regex=r"^Identity_\d+$").to_numpy(np.float32), table["identity"].to_list()


def test_the_portrait_is_unlike_other_people(strangers, portrait):
    vectors = strangers[0]
    cosine = vectors[np.isfinite(vectors).all(1)] @ portrait
    assert len(cosine) >= 110
    assert np.quantile(cosine, 0.95) < 0.5
    assert cosine.max() < 0.7


def test_people_never_seen_are_told_apart(strangers):
    vectors, names = strangers
    usable = np.isfinite(vectors).all(1)
    one, two, same = draw_pairs(np.where(usable, names, ""), 10)
    assert Roc.of(pair_similarity(vectors[one], vectors[two]), same).auc > 0.9


def test_faces_laid_on_the_template_upside_down_are_nobody_known(detector, shared):
    """The alignment matters: the network knows upright faces alone."""
    from featflow.datasets.labelled import LabelledFaces
    from featflow.nodes.identity.tiny.data import AlignedFaces
    from featflow.nodes.identity.tiny.network import both_ways
    from featflow.nodes.identity.tiny.node import SPEC

    faces = LabelledFaces.open(shared / "faces", "val")
    aligned = AlignedFaces(LabelledFaces(faces.root, faces.table[:40]))
    crops = np.stack([aligned.plain(row) for row in range(40)])
    node = detector.nodes["identity"]
    upright = both_ways(node.model, SPEC.prepare(crops, node.device)).numpy()
    turned = both_ways(node.model, SPEC.prepare(crops[:, ::-1].copy(), node.device)).numpy()
    assert np.median((upright * turned).sum(1)) < 0.35
