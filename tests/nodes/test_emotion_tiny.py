"""The shipped weights of ``emotion/tiny`` behind the shipped detector, on real pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featflow.datasets import sample_clip, sample_photo
from featflow.datasets.expressions import FaceVotes, emotion_labels, majority
from featflow.datasets.labelled import LabelledFaces
from featflow.detector import Detector
from featflow.evaluation.expressions import expression_detector, on_photographs, on_pictures
from featflow.fex.schema import EMOTIONS

HAPPY = EMOTIONS.index("happiness")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return expression_detector("tiny")


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.asarray(Image.open(sample_photo()).convert("RGB"))


def emotions(detector, inputs, **options):
    fex = detector.detect(inputs, progress_bar=False, **options)
    return fex[list(EMOTIONS)].to_numpy(float)


def test_columns_are_probabilities_or_missing_as_a_whole(detector):
    fex = detector.detect(sample_clip().path, progress_bar=False)
    told = fex[list(EMOTIONS)].to_numpy(float)
    found = fex["FaceScore"].to_numpy(float) > 0
    assert np.allclose(told[found].sum(1), 1, atol=1e-5)
    assert ((told[found] >= 0) & (told[found] <= 1)).all()
    assert np.isnan(told[~found]).all()
    assert found.any()


def test_a_mirrored_portrait_shows_the_same_emotions(detector, portrait):
    straight = emotions(detector, portrait)
    mirrored = emotions(detector, np.ascontiguousarray(portrait[:, ::-1]))
    assert np.abs(mirrored - straight).max() < 0.1


@pytest.mark.parametrize("batch_size", [1, 3])
def test_rows_are_those_of_batches_of_eight(detector, batch_size):
    eight = emotions(detector, sample_clip().path, batch_size=8)
    other = emotions(detector, sample_clip().path, batch_size=batch_size)
    np.testing.assert_allclose(other, eight, rtol=0, atol=1e-4)


def test_colour_says_nothing(detector, portrait):
    grey = np.asarray(Image.fromarray(portrait).convert("L").convert("RGB"))
    assert np.abs(emotions(detector, grey) - emotions(detector, portrait)).max() < 0.1


def test_the_balanced_reading_is_the_plain_one_over_the_prior(detector, portrait):
    plain = emotions(detector, portrait)[0]
    balanced = emotions(expression_detector("tiny", balanced=True), portrait)[0]
    prior = detector.nodes["emotion"].model.prior.numpy()
    expected = plain / prior
    assert balanced == pytest.approx(expected / expected.sum(), abs=1e-4)
    assert prior.sum() == pytest.approx(1, abs=1e-4)
    assert prior.argmax() == EMOTIONS.index("neutral")


@pytest.mark.parametrize("tone", [0, 128, 255])
def test_where_nothing_is_seen_nothing_rare_is_claimed(detector, tone):
    """What the network says of a blank crop is no more than how often each is the case."""
    node = detector.nodes["emotion"]
    node.load("cpu")
    crop = np.full((2, 64, 64, 3), tone, np.uint8)
    told = node.process(crop).softmax(1).detach().numpy()
    assert told.max() < 0.75
    rare = [EMOTIONS.index(name) for name in ("anger", "disgust", "fear", "sadness", "surprise")]
    assert told[:, rare].max() < 0.3


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda p: p[::-1],
        lambda p: p[:, : p.shape[1] // 2],
        lambda p: np.asarray(Image.fromarray(p).resize((20, 24))),
        lambda p: p // 16,
    ],
    ids=["upside down", "half a face at the border", "a face of 8 pixels", "almost black"],
)
def test_bad_pictures_give_probabilities_or_nothing(detector, portrait, spoilt):
    told = emotions(detector, np.ascontiguousarray(spoilt(portrait)))
    whole = np.isfinite(told).all(1)
    assert np.isnan(told[~whole]).all()
    assert np.allclose(told[whole].sum(1), 1, atol=1e-5)


def test_labelled_photographs_are_read_as_people_read_them(shared, detector):
    faces = LabelledFaces.open(shared / "faces", "val")
    rows = np.flatnonzero(emotion_labels(faces.table) >= 0)[::6]
    part = LabelledFaces(faces.root, faces.table[rows.tolist()])
    labels, told = emotion_labels(part.table), on_photographs(detector, part)
    seen = np.isfinite(told).all(1)
    assert seen.mean() > 0.95
    assert (told[seen].argmax(1) == labels[seen]).mean() > 0.80
    assert np.median(told[seen & (labels == HAPPY), HAPPY]) > 0.8
    assert np.median(told[seen & (labels == EMOTIONS.index("neutral")), HAPPY]) < 0.1


def test_pictures_with_a_majority_are_read_as_the_majority_does(shared, detector):
    votes = FaceVotes.open(shared / "faces", "val")
    part = FaceVotes(votes.root, votes.table[::12])
    winners, (told, _) = majority(part.votes), on_pictures(detector, part.read_all())
    clear = (winners >= 0) & np.isfinite(told).all(1)
    assert clear.sum() > 180
    assert (told[clear].argmax(1) == winners[clear]).mean() > 0.74


def test_the_page_runs_as_it_stands():
    page = Path(__file__).parents[2] / "docs" / "emotions.md"
    space: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        exec(block, space)
    shown, again = space["balanced"], space["again"]
    assert isinstance(shown, Detector)
    assert np.allclose(again.sum(axis=1), 1)  # type: ignore[attr-defined]
