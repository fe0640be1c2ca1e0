"""Masks of training: they lie on what they mark, and bounds are what they say."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from featflow.errors import MissingInputError
from featflow.geometry.similarity import apply, compose, invert
from featflow.nodes.mask.tiny import data
from featflow.nodes.mask.tiny.data import FACE_OVAL, MaskedFaces, MaskSet, jitter, label_maps
from featflow.testing.face68 import FACE68_CM

BOX = np.array([[60.0, 40.0, 160.0, 180.0]])


def landmarks() -> np.ndarray:
    return (FACE68_CM[:, :2] * [7.0, -7.0] + [112.0, 112.0])[None]


def oval() -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    return (np.stack([np.cos(angle) * 60, np.sin(angle) * 80], -1) + [110, 105])[None]


def disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x - 118) ** 2 + (y - 100) ** 2 < 45**2


def masked_set(label: bool = True) -> MaskSet:
    """A photograph that is red inside the disc, and the disc as its label."""
    y, x = np.mgrid[0:220, 0:200] + 0.5
    image = np.full((220, 200, 3), 60, np.uint8)
    image[disc(x, y)] = (255, 0, 0)
    maps = label_maps(BOX)
    v, u = np.mgrid[0:96, 0:96] + 0.5
    there = apply(invert(maps[0]), np.stack([u, v], -1).reshape(-1, 2)).reshape(96, 96, 2)
    masks = {0: disc(there[..., 0], there[..., 1]).astype(np.uint8) * np.uint8(255)}
    faces = SimpleNamespace(read_all=lambda: [image], landmarks=landmarks().astype(np.float32))
    return MaskSet(MaskedFaces(faces, masks if label else {}, oval(), maps))  # type: ignore[arg-type]


def red(crop: np.ndarray) -> np.ndarray:
    return np.asarray(crop[..., 0].astype(int) - crop[..., 1] > 90)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_label_is_a_square_of_18_times_the_longer_side_about_the_box() -> None:
    corners = apply(
        label_maps(BOX)[0], np.array([[110.0 - 126, 110 - 126], [110 + 126, 110 + 126]])
    )
    np.testing.assert_allclose(corners, [[0, 0], [96, 96]], atol=1e-9)


def test_the_mask_lies_on_what_it_marks() -> None:
    sample = masked_set().plain(0)
    assert sample.crop.shape == (96, 96, 3)
    assert overlap(red(sample.crop), sample.mask > 0.5) > 0.95
    assert sample.known.all()


def test_also_after_augmentation_and_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("degrade", "relight"):
        monkeypatch.setattr(data, name, lambda image, *rest: image)
    faces, sides = masked_set(), []
    for seed in range(30):
        sample = faces.augmented(0, np.random.default_rng(seed))
        shown = sample.mask > 0.5
        # Covers take from the mask what they hide.
        assert overlap(red(sample.crop) & shown, shown) > 0.9
        x = np.nonzero(red(sample.crop))[1].mean()
        sides.append(x > 48)
    assert 5 < sum(sides) < 25


def test_a_cover_is_not_face(monkeypatch: pytest.MonkeyPatch) -> None:
    def cover(image: np.ndarray, rng: object) -> np.ndarray:
        out = image.copy()
        out[40:56, 40:56] = (0, 250, 0)
        return out

    for name in ("degrade", "relight"):
        monkeypatch.setattr(data, name, lambda image, *rest: image)
    monkeypatch.setattr(data, "cover", cover)
    faces, covered = masked_set(), 0
    for seed in range(40):
        sample = faces.augmented(0, np.random.default_rng(seed))
        green = sample.crop[..., 1] == 250
        covered += bool(green.any())
        assert not sample.mask[green].any()
    assert 1 <= covered <= 16


def test_without_a_label_only_what_is_certain_is_known() -> None:
    sample = masked_set(label=False).plain(0)
    matrix = masked_set().matrices[0]
    tip, forehead, outside = apply(matrix, np.array([landmarks()[0, 30], [110, 40], [10, 10]]))
    for point, mask, known in ((tip, 1, True), (forehead, 0, False), (outside, 0, True)):
        column, row = point.astype(int)
        assert sample.known[row, column] == known
        assert sample.mask[row, column] == mask
    assert set(np.unique(sample.mask)) == {0, 1}
    assert sample.known[sample.mask > 0].all()


def test_off_the_picture_there_is_no_face() -> None:
    faces = masked_set()
    faces.matrices = compose(np.array([[1.0, 0, -60], [0, 1.0, 0]]), faces.matrices)
    sample = faces.plain(0)
    back = apply(invert(faces.matrices[0]), np.array([[90.5, 48.5]]))[0]
    assert back[0] > 200
    assert not sample.mask[48, 90]


def test_jitter_has_the_spread_that_is_written_down() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([jitter(rng) for _ in range(3000)])
    moved = drawn[:, :, :2] @ [48.0, 48.0] + drawn[:, :, 2] - 48
    assert moved.std(0) == pytest.approx([1.5, 1.5], rel=0.1)
    assert np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0]).std() == pytest.approx(0.06, rel=0.1)


def test_the_oval_is_a_closed_line_of_the_mesh(shared) -> None:  # type: ignore[no-untyped-def]
    mesh = np.load(shared / "geometry" / "canonical_face_468.npy")
    outline = mesh[list(FACE_OVAL), :2]
    steps = np.linalg.norm(np.roll(outline, -1, 0) - outline, axis=1)
    assert len(set(FACE_OVAL)) == 36
    assert steps.max() < 3.0  # centimetres: neighbours are neighbours
    (x, y), (later_x, later_y) = outline.T, np.roll(outline, -1, 0).T
    area = 0.5 * np.abs((x * later_y - later_x * y).sum())
    hull = (np.ptp(mesh[:, 0]) * np.ptp(mesh[:, 1])) * np.pi / 4
    assert area == pytest.approx(hull, rel=0.1)
    assert (np.abs(mesh[:, 0]).max() - np.abs(outline[:, 0]).max()) < 0.6


def test_labels_are_read_for_the_rows_that_have_them(shared) -> None:  # type: ignore[no-untyped-def]
    labelled = MaskedFaces.open(shared / "faces", "val", "ytf")
    assert len(labelled) == 391 == len(labelled.masks)
    stored = np.load(shared / "faces" / "face_masks.npz")
    table = pl.read_parquet(shared / "faces" / "labels.parquet")
    row = int(stored["row"][table["split"][stored["row"].tolist()].to_numpy() == "val"][7])
    at = labelled.faces.table["file"].to_list().index(table["file"][row])
    bits = np.unpackbits(stored["face"][stored["row"] == row][0], axis=-1)
    np.testing.assert_array_equal(labelled.masks[at] > 0, bits > 0)
    # The outline of the mesh goes around the 68 points that were taken from it.
    points = labelled.faces.landmarks[at]
    assert (labelled.ovals[at].min(0) < points.min(0) + 3).all()
    assert (labelled.ovals[at].max(0) > points.max(0) - 3).all()


def test_missing_files_are_named(mini_faces: str) -> None:
    with pytest.raises(MissingInputError, match="mesh478"):
        MaskedFaces.open(mini_faces, "train")
