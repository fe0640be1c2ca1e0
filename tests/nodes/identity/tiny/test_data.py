import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.datasets.labelled import LabelledFaces
from featflow.errors import MissingInputError, TrainingError
from featflow.geometry.crop import FIVE_POINT_TEMPLATE
from featflow.nodes.identity.tiny.data import (
    NOBODY,
    SHIFT,
    TURN,
    ZOOM,
    AlignedFaces,
    Basis,
    held_out_people,
    jitter,
    labelled_rows,
    people,
    unit,
)
from featflow.nodes.identity.tiny.node import CROP

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)


def place(crop, colour):
    y, x = np.mgrid[0 : crop.shape[0], 0 : crop.shape[1]] + 0.5
    same = np.abs(crop.astype(int) - colour).max(-1) < 90
    return np.array([x[same].mean(), y[same].mean()]) if same.sum() >= 4 else None


@pytest.fixture(scope="module")
def aligned(people_faces):
    faces = LabelledFaces.open(people_faces)
    return AlignedFaces(LabelledFaces(faces.root, faces.table[:40]))


def test_vectors_stand_beside_their_photographs(people_faces):
    stored = np.load(people_faces / "identity_teacher.npz")["embedding"].astype(np.float32)
    for split in ("train", "val"):
        faces, vectors = labelled_rows(people_faces, split)
        rows = [int(name[:3]) for name in faces.table["file"]]
        assert set(faces.table["split"]) == {split}
        np.testing.assert_array_equal(vectors, stored[rows])


def test_vectors_that_are_missing_are_named(mini_faces):
    with pytest.raises(MissingInputError, match="identity_teacher"):
        labelled_rows(mini_faces, "train")


def test_people_are_held_out_whole(people_faces):
    faces, _ = labelled_rows(people_faces, "train")
    out = held_out_people(faces, every=5)
    names = faces.table["identity"].fill_null("").to_numpy()
    assert 0.1 < out.mean() < 0.3
    assert not set(names[out]) & set(names[~out])


def test_the_basis_keeps_dot_products_of_what_it_spans():
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((300, 100)) @ rng.standard_normal((100, 256)))
    found = Basis.of(vectors).project(vectors)
    assert found.shape == (300, 128)
    np.testing.assert_allclose(found @ found.T, vectors @ vectors.T, atol=1e-5)
    with pytest.raises(TrainingError, match="50"):
        Basis.of(vectors[:50])


def test_people_are_numbered_by_name_and_lie_at_their_mean():
    a, b = np.eye(4)[:2]
    other = np.eye(4)[3]
    targets = unit(np.stack([a, a + 0.5 * b, b, other, a, other]))
    names = ["Bo", "Bo", "Ada", "Bo", "Bo", None]
    person, centres = people(names, targets)
    assert person.tolist() == [1, 1, 0, NOBODY, 1, NOBODY]  # the fourth is no Bo
    np.testing.assert_allclose(centres[0], b, atol=1e-6)
    wanted = targets[[0, 1, 4]].sum(0)
    np.testing.assert_allclose(centres[1], wanted / np.linalg.norm(wanted), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_person_seen_once_is_never_an_outlier(seed):
    rng = np.random.default_rng(seed)
    targets = unit(rng.standard_normal((5, 8)))
    person, centres = people(["a", "b", "c", "d", "e"], targets)
    assert person.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(centres, targets, atol=1e-6)


def test_plain_crops_have_eyes_and_mouth_where_the_template_has_them(aligned):
    template = FIVE_POINT_TEMPLATE * CROP.size
    for row in range(10):
        crop = aligned.plain(row)
        assert crop.shape == (64, 64, 3)
        assert np.abs(place(crop, RED) - template[0]).max() < 2.5
        assert np.abs(place(crop, BLUE) - template[1]).max() < 2.5
        assert np.abs(place(crop, GREEN) - template[3:].mean(0)).max() < 3.5


def test_plain_crops_are_those_that_the_node_cuts(aligned, people_faces):
    from featflow.datasets.frame import Frame
    from featflow.flow.batch import Batch, FaceBatch, FrameBatch

    faces = LabelledFaces.open(people_faces)
    image = faces.read(3)
    frames = FrameBatch.from_frames([Frame(image, "s", size_px=image.shape[:2])])
    points = faces.landmarks[3:4]
    fields = {"box": np.concatenate([points.min(1), points.max(1)], 1), "landmarks": points}
    cut = Batch(frames, FaceBatch(frames.uids, fields)).crops(CROP)[0]
    assert np.abs(cut.astype(int) - aligned.plain(3)).mean() < 3


def test_augmented_crops_are_mirrored_half_of_the_time(aligned, monkeypatch):
    module = "featflow.nodes.identity.tiny.data."
    for name in ("degrade", "relight", "cover"):
        monkeypatch.setattr(module + name, lambda image, rng, **_: image)
    mirrored, away = 0, []
    template = FIVE_POINT_TEMPLATE * CROP.size
    for seed in range(80):
        crop = aligned.augmented(seed % 40, np.random.default_rng(seed))
        red, blue = place(crop, RED), place(crop, BLUE)
        mirrored += bool(red[0] > blue[0])
        left = min(red, blue, key=lambda p: p[0])
        away.append(left - template[0])
    assert 25 < mirrored < 55
    assert 0.5 < np.std(away) < 3.0


def test_jitter_has_the_spread_that_is_written_down():
    rng = np.random.default_rng(0)
    drawn = np.array([jitter(rng, 64) for _ in range(4000)])
    moved = np.einsum("nij,j->ni", drawn[:, :, :2], [32.0, 32.0]) + drawn[:, :, 2] - 32
    angle = np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0])
    zoom = np.log(np.hypot(drawn[:, 0, 0], drawn[:, 1, 0]))
    assert moved.std(0) == pytest.approx([64 * SHIFT] * 2, rel=0.1)
    assert angle.std() == pytest.approx(TURN, rel=0.1)
    assert zoom.std() == pytest.approx(ZOOM, rel=0.1)
