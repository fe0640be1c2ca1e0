"""Faces read back from a table, against crops that OpenCV cuts by itself."""

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from featflow.datasets import open_source, sample_clip
from featflow.datasets.faces import DEFAULT_CROP, FaceDataset
from featflow.errors import InputError, MissingInputError, OptionError, SchemaError
from featflow.fex.masks import pack_masks
from featflow.fex.schema import GROUPS
from featflow.fex.table import Fex
from featflow.geometry.centring import TEMPLATE51
from featflow.geometry.crop import CropRule
from featflow.testing.painted import painted_faces, table_of

CROP = CropRule.centred(64, "face", outside="replicate")


@pytest.fixture
def world(tmp_path):
    """Six painted photographs with their table, and where crops are kept."""
    fex = painted_faces(tmp_path, 6)
    fex["smile"] = np.linspace(0, 1, 6)
    fex["mood"] = ["glad", "sad", "glad", "calm", "calm", "glad"]
    return fex, tmp_path / "chips"


def landmarks_of(fex):
    names = GROUPS["landmark"].names()
    return np.stack([fex[list(names[:68])].to_numpy(), fex[list(names[68:])].to_numpy()], -1)


def least_squares(source, target):
    """The similarity that numpy finds for 2 P linear equations in a, b, x, y."""
    x, y = source.T
    one, nil = np.ones_like(x), np.zeros_like(x)
    system = np.concatenate([np.stack([x, -y, one, nil], 1), np.stack([y, x, nil, one], 1)])
    a, b, tx, ty = np.linalg.lstsq(system, target.T.ravel(), rcond=None)[0]
    return np.array([[a, -b, tx], [b, a, ty]])


def test_crops_are_those_that_opencv_cuts(world):
    fex, cache = world
    rule = CropRule.centred(64, "legacy", outside="replicate")
    faces = FaceDataset(fex, crop=rule, cache=cache)
    points = landmarks_of(fex).astype(float)
    template = ((TEMPLATE51 - 0.5) * (1 - 0.375) + 0.5) * 64
    for row in range(len(fex)):
        matrix = least_squares(points[row, 17:] - 0.5, template - 0.5)  # OpenCV's pixel centres
        picture = cv2.cvtColor(cv2.imread(fex["input"].iloc[row]), cv2.COLOR_BGR2RGB)
        wanted = cv2.warpAffine(picture, matrix, (64, 64), borderMode=cv2.BORDER_REPLICATE)
        got = faces[row]["crop"].numpy()
        assert got.dtype == np.uint8
        assert np.abs(got.astype(int) - wanted).mean() < 3, "crop is elsewhere"
        red, green, blue = got[32, 32].astype(int)
        assert red > green > blue, "colours are swapped"


def test_points_lie_on_the_crop_where_the_picture_shows_them(world):
    fex, cache = world
    faces = FaceDataset(fex, crop=replace(CROP, size=160), cache=cache)
    for row in range(3):
        sample = faces[row]
        mouth = sample["points"][48:60].mean(0)
        x, y = (int(v) for v in mouth)
        crop = sample["crop"].numpy().astype(int)
        # The mouth is painted darker than the cheek beside it.
        assert crop[y, x].sum() < 0.8 * crop[y, int(sample["points"][4, 0]) + 8].sum()


@pytest.mark.parametrize("centring", ["legacy", "face", "head"])
def test_centring_coverage_and_shift(world, centring):
    fex, cache = world
    at = {}
    for coverage, shift in ((1.0, 0.0), (0.8, 0.0), (1.0, 0.1)):
        rule = CropRule.centred(100, centring, coverage, "zero", shift)
        at[coverage, shift] = FaceDataset(fex, crop=rule, cache=cache)[0]["points"].numpy()
    plain = at[1.0, 0.0]
    assert np.allclose(at[0.8, 0.0] - 50, (plain - 50) / 0.8, atol=1e-3)
    assert np.allclose(at[1.0, 0.1], plain - [0, 10], atol=1e-3)  # the centre moved down
    assert np.ptp(plain[17:, 0]) == pytest.approx(
        100 * {"legacy": 0.625, "face": 0.5, "head": 0.375}[centring], rel=0.1
    )


def test_targets_are_numbers_and_classes(world):
    fex, cache = world
    faces = FaceDataset(fex, ["smile", "mood"], CROP, cache=cache)
    assert faces.targets.classes == {"mood": ("calm", "glad", "sad")}
    values = np.stack([faces[i]["targets"].numpy() for i in range(6)])
    assert np.allclose(values[:, 0], np.linspace(0, 1, 6))
    assert values[:, 1].tolist() == [1, 2, 1, 0, 0, 1]


def test_rows_that_are_not_kept_or_hold_no_face_are_left_out(world):
    fex, cache = world
    fex.loc[1, "Keep"] = False
    fex.loc[3, list(fex.faceboxes.columns)[:4]] = np.nan
    fex.loc[4, "x_20"] = np.nan
    faces = FaceDataset(fex, crop=CROP, cache=cache)
    assert [int(faces[i]["row"]) for i in range(len(faces))] == [0, 2, 5]
    assert sum(faces.left_out.values()) == 3
    by_box = FaceDataset(fex, crop=CropRule(64, expansion=1.5), cache=cache)
    assert by_box.rows.tolist() == [0, 2, 4, 5]


def test_a_missing_source_is_named_or_skipped(world):
    fex, cache = world
    shutil.move(fex["input"].iloc[2], fex["input"].iloc[2] + ".gone")
    with pytest.raises(MissingInputError, match="Person_1_002"):
        FaceDataset(fex, crop=CROP, cache=cache)
    faces = FaceDataset(fex, crop=CROP, cache=cache, missing="skip")
    assert faces.rows.tolist() == [0, 1, 3, 4, 5]
    assert faces.skipped[0].source.endswith("Person_1_002.png")
    whole = FaceDataset(fex.iloc[[0, 1, 3, 4, 5]], crop=CROP, cache=cache)
    for a, b in zip(faces, whole, strict=True):
        assert torch.equal(a["crop"], b["crop"])


def test_relative_paths_start_from_root(world, tmp_path):
    fex, cache = world
    fex["input"] = [name.rsplit("/", 1)[1] for name in fex["input"]]
    with pytest.raises(MissingInputError, match="as root"):
        FaceDataset(fex, crop=CROP, cache=cache)
    assert len(FaceDataset(fex, crop=CROP, cache=cache, root=tmp_path)) == 6


def test_a_source_of_another_size_is_refused(world):
    fex, cache = world
    cv2.imwrite(fex["input"].iloc[0], np.zeros((50, 60, 3), np.uint8))
    with pytest.raises(InputError, match="60 x 50"):
        FaceDataset(fex, crop=CROP, cache=cache)
    assert len(FaceDataset(fex, crop=CROP, cache=cache, missing="skip")) == 5


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".feather"])
def test_a_saved_table_gives_the_same(world, tmp_path, suffix):
    fex, cache = world
    fex.save(tmp_path / f"faces{suffix}")
    one = FaceDataset(fex, "smile", CROP, cache=cache)
    two = FaceDataset(tmp_path / f"faces{suffix}", "smile", CROP, cache=tmp_path / "other")
    for a, b in zip(one, two, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_an_empty_table_and_bad_labels_are_named(world):
    fex, cache = world
    with pytest.raises(SchemaError, match="no usable face"):
        FaceDataset(fex.iloc[:0], crop=CROP, cache=cache)
    with pytest.raises(SchemaError, match=r"'?frown"):
        FaceDataset(fex, "frown", CROP, cache=cache)
    fex.loc[2, "smile"] = np.nan
    fex.loc[4, "mood"] = None
    with pytest.raises(SchemaError, match="2 of 6 faces have no label in smile, mood"):
        FaceDataset(fex, ["smile", "mood"], CROP, cache=cache)
    skipping = FaceDataset(fex, ["smile", "mood"], CROP, cache=cache, unlabelled="skip")
    assert skipping.rows.tolist() == [0, 1, 3, 5]
    keeping = FaceDataset(fex, "smile", CROP, cache=cache, unlabelled="keep")
    assert torch.isnan(keeping[2]["targets"]).all()
    fex["smile"] = np.nan
    with pytest.raises(SchemaError, match="no label"):
        FaceDataset(fex, "smile", CROP, cache=cache, unlabelled="skip")
    with pytest.raises(OptionError, match="missing"):
        FaceDataset(fex, crop=CROP, cache=cache, missing="ignore")


def count_reads(monkeypatch):
    reads = []
    monkeypatch.setattr(
        "featflow.datasets.chips.open_source",
        lambda path, **options: reads.append(path) or open_source(path, **options),
    )
    return reads


def test_the_cache_is_keyed_by_content_and_can_be_rebuilt(world, monkeypatch):
    fex, cache = world
    reads = count_reads(monkeypatch)
    first = FaceDataset(fex, crop=CROP, cache=cache)
    assert len(reads) == 6
    again = FaceDataset(fex, crop=CROP, cache=cache)
    assert len(reads) == 6
    assert again.version == first.version
    picture = cv2.imread(fex["input"].iloc[1])
    cv2.imwrite(fex["input"].iloc[1], 255 - picture)
    changed = FaceDataset(fex, crop=CROP, cache=cache)
    assert len(reads) == 7
    sums = changed[1]["crop"].int() + first[1]["crop"].int()
    assert (sums - 255).abs().max() <= 1
    assert changed.version != first.version
    FaceDataset(fex, crop=replace(CROP, outside="zero"), cache=cache)
    assert len(reads) == 13
    for file in cache.rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:500])
    rebuilt = FaceDataset(fex, crop=CROP, cache=cache)
    assert len(reads) == 19
    assert torch.equal(rebuilt[0]["crop"], first[0]["crop"])
    shutil.rmtree(cache)
    with pytest.raises(InputError, match="deleted"):
        rebuilt[0]


def test_a_chip_from_a_clip_is_the_chip_from_its_picture(tmp_path, monkeypatch):
    clip = sample_clip()
    frames = [f for f in open_source(str(clip.path)) if clip.truth[f.index]]
    chosen = frames[5:60:5]
    face = np.array([[200.0, 150.0]]) + 120 * (painted_landmarks() - 0.5)
    points = np.stack([face @ clip.truth[f.index][0][:, :2].T + clip.truth[f.index][0][:, 2]
                       for f in chosen])  # fmt: skip
    paths = []
    for frame in chosen:
        paths.append(tmp_path / f"{frame.index}.png")
        cv2.imwrite(str(paths[-1]), frame.image[..., ::-1])
    size = chosen[0].size_px
    indices = np.array([f.index for f in chosen])
    reads = count_reads(monkeypatch)
    shuffled = np.random.default_rng(0).permutation(len(chosen))
    whole = table_of([clip.path] * len(chosen), indices, points, size).iloc[shuffled]
    from_clip = FaceDataset(whole, crop=CROP, cache=tmp_path / "c")
    assert reads == [str(clip.path)], "the clip was not read in one pass"
    from_png = FaceDataset(
        table_of(paths, indices * 0, points, size).iloc[shuffled], crop=CROP, cache=tmp_path / "c"
    )
    for a, b in zip(from_clip, from_png, strict=True):
        assert torch.equal(a["crop"], b["crop"])
    assert len({bytes(s["crop"].numpy().tobytes()) for s in from_clip}) == len(chosen)


def painted_landmarks():
    points = np.random.default_rng(3).uniform(0, 1, (68, 2))
    points[17:] = TEMPLATE51
    return points


def test_a_clip_that_lost_its_end_is_named(tmp_path):
    clip = sample_clip()
    points = np.repeat((painted_landmarks() * 100 + 100)[None], 2, 0)
    table = table_of([clip.path] * 2, np.array([3, 5000]), points, (360, 640))
    with pytest.raises(InputError, match="frame 5000"):
        FaceDataset(table, crop=CROP, cache=tmp_path / "c")


def test_masks_from_landmarks_follow_the_crop(world):
    fex, cache = world
    rule = replace(CROP, size=128)
    faces = FaceDataset(fex, crop=rule, mask=["face", "eyes", "mouth"], cache=cache)
    for index in range(3):
        sample = faces[index]
        points = sample["points"].numpy().astype(np.float32)
        parts = ([range(68)], [range(36, 42), range(42, 48)], [range(48, 60)])
        assert sample["mask"].shape == (3, 128, 128)
        for mask, rows in zip(sample["mask"].numpy(), parts, strict=True):
            hulls = [cv2.convexHull(points[list(row)]) for row in rows]
            assert mask.sum() / 255 == pytest.approx(sum(map(cv2.contourArea, hulls)), rel=0.03)
            moments = cv2.moments(mask)
            centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"] + 0.5
            each = [cv2.moments(hull) for hull in hulls]
            wanted = [sum(m[key] for m in each) for key in ("m10", "m01", "m00")]
            assert np.allclose(centre, np.array(wanted[:2]) / wanted[2], atol=0.2)
    with pytest.raises(SchemaError, match=r"no mask 'hat'.*components"):
        FaceDataset(fex, crop=rule, mask="hat", cache=cache)


def with_masks(fex, pictures, matrices):
    made = Fex(fex, meta={**fex.meta, "nodes": {"mask": "mask/drawn"}})
    made._masks = (pack_masks(fex, pictures, matrices, "frame"),)
    return made


def test_stored_masks_lie_where_they_were_drawn(world, tmp_path):
    fex, cache = world
    # Masks on the whole frame at half its size: 255 right of x = 100.
    pictures = np.zeros((6, 100, 100), np.uint8)
    pictures[:, :, 50:] = 255
    half = np.repeat(np.array([[[0.5, 0, 0], [0, 0.5, 0]]]), 6, 0)
    with_masks(fex, pictures, half).save(tmp_path / "t.parquet")
    faces = FaceDataset(tmp_path / "t.parquet", crop=CROP, mask="stored", cache=cache)
    for row in (0, 3):
        to_crop = faces.matrices[row]
        inside = faces[row]["mask"][0].numpy() > 127
        back = np.linalg.inv(np.vstack([to_crop, [0, 0, 1]]))
        grid = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5), -1)
        x = grid @ back[0, :2] + back[0, 2]
        y = grid @ back[1, :2] + back[1, 2]
        assert (inside == (x > 100))[(np.abs(x - 100) > 3) & (y > 3) & (y < 157)].all()
    with pytest.raises(SchemaError, match="no mask 'left'.*'stored'"):
        FaceDataset(tmp_path / "t.parquet", crop=CROP, mask="left", cache=cache)


def test_faces_without_a_stored_mask_are_counted_or_get_an_empty_one(world):
    fex, cache = world
    full = np.full((6, 50, 50), 255, np.uint8)
    quarter = np.repeat(np.array([[[0.25, 0, 0], [0, 0.25, 0]]]), 6, 0)
    moved = with_masks(fex, full, quarter)
    moved.loc[2, "FaceRectX"] += 3
    with pytest.raises(SchemaError, match="1 of .* faces have no stored mask"):
        FaceDataset(moved, crop=CROP, mask="stored", cache=cache)
    faces = FaceDataset(moved, crop=CROP, mask="stored", cache=cache, missing="skip")
    lit = [bool(faces[row]["mask"].any()) for row in range(len(faces))]
    assert lit == [int(row) != 2 for row in faces.rows]
    with pytest.raises(SchemaError, match="no stored mask"):
        FaceDataset(fex, crop=CROP, mask="stored", cache=cache)


def test_a_tables_without_landmarks_uses_its_boxes(world):
    fex, cache = world
    plain = pd.DataFrame(fex.drop(columns=list(GROUPS["landmark"].names())))
    faces = FaceDataset(plain, crop=CropRule(64, expansion=1.3), cache=cache)
    assert "points" not in faces[0]
    with pytest.raises(SchemaError, match="landmarks are missing"):
        FaceDataset(plain, crop=DEFAULT_CROP, cache=cache)
    with pytest.raises(SchemaError, match="needs landmarks"):
        FaceDataset(plain, crop=CropRule(64), mask="face", cache=cache)
