"""Enrolling people, saving them, finding them again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import pairwise

from featflow.errors import InputError, MissingInputError, OptionError, SchemaError
from featflow.fex import read_fex
from featflow.identity import ReferenceGallery, enroll, names_from_paths

NAN = float("nan")
BOX = [0, 0, 9, 9]


def photos(make, **kwargs):
    vectors = [[3.0, 0, 0], [0, 2.0, 0], [0.6, 0.8, 0]]
    return make.table(vectors, [0] * 3, [BOX] * 3, source=["a.jpg", "b.jpg", "a2.jpg"], **kwargs)


NAMES = {"a.jpg": "Ada", "b.jpg": "Bo", "a2.jpg": "Ada"}


def test_faces_get_the_name_of_the_most_like_reference(make):
    gallery = enroll(photos(make), NAMES)
    assert gallery.people == ("Ada", "Bo")
    assert len(gallery) == 3
    labels, scores = gallery.match([[1, 0.1, 0], [0.1, 5, 0], [0, 0.1, 9], [NAN, 1, 0]], 0.5)
    assert labels[:3].tolist() == ["Ada", "Bo", "Unknown"]
    assert labels[3] != labels[3]
    assert np.isnan(scores[3])
    assert scores[2] == pytest.approx(0.1 / np.hypot(0.1, 9), abs=1e-6)


@pytest.mark.parametrize("several", ["skip", "all"])
def test_reference_photos_with_none_one_and_several_faces(make, several):
    vectors = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [NAN] * 3, [1, 1, 0], [NAN] * 3, [NAN] * 3]
    source = ["one", "two", "two", "two", "marked", "blank", "nobody"]
    table = make.table(
        vectors, [0] * 7, [BOX] * 6 + [[NAN] * 4], scores=[0.9] * 6 + [0], source=source
    )
    table["Keep"] = [True] * 4 + [False] + [True] * 2
    found = enroll(table, str.upper, several)
    common = {"marked": "no face", "blank": "no usable identity vector", "nobody": "no face"}
    if several == "skip":
        assert found.names == ("ONE",)
        assert found.skipped == {"two": "3 faces", **common}
    else:
        assert found.names == ("ONE", "TWO", "TWO")
        assert found.skipped == common
        np.testing.assert_allclose(found.vectors, np.eye(3), atol=1e-7)
    with pytest.raises(OptionError, match="several is 'skip' or 'all'"):
        enroll(table, str.upper, "some")


def test_a_folder_is_no_gallery(tmp_path):
    with pytest.raises(InputError, match=r"is a folder, not a gallery.*featflow enroll"):
        ReferenceGallery.load(tmp_path)


def test_matching_against_scikit_learn(make):
    vectors, who = make.planted(200, 12, 32, 0.6)
    gallery = ReferenceGallery([f"P{w}" for w in who[:60]], vectors[:60])
    cosine = pairwise.cosine_similarity(vectors[60:].astype(float), vectors[:60].astype(float))
    labels, scores = gallery.match(vectors[60:], 0.6)
    expected = [f"P{who[row.argmax()]}" if row.max() >= 0.6 else "Unknown" for row in cosine]
    assert labels.tolist() == expected
    assert "Unknown" in expected
    np.testing.assert_allclose(scores, cosine.max(1).clip(0), atol=1e-5)


def test_the_threshold_is_inclusive(make):
    gallery = ReferenceGallery(["Ada"], [[1.0, 0.0]])
    assert gallery.match([[0.6, 0.8]], 0.6)[0].tolist() == ["Ada"]
    assert gallery.match([[0.6, 0.8]], 0.601)[0].tolist() == ["Unknown"]


def test_saved_and_loaded(make, tmp_path):
    gallery = enroll(photos(make), NAMES)
    path = gallery.save(tmp_path / "people.parquet")
    again = ReferenceGallery.load(path)
    assert again.names == gallery.names
    np.testing.assert_array_equal(again.vectors, gallery.vectors)
    assert again.meta == gallery.meta
    assert read_fex(path)["Identity"].tolist() == ["Ada", "Bo", "Ada"]


def test_loading_says_what_is_wrong(make, tmp_path):
    with pytest.raises(MissingInputError, match="none.parquet"):
        ReferenceGallery.load(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="bad.parquet"):
        ReferenceGallery.load(tmp_path / "bad.parquet")
    photos(make).save(tmp_path / "faces.parquet")
    with pytest.raises(SchemaError, match="not a gallery"):
        ReferenceGallery.load(tmp_path / "faces.parquet")
    with pytest.raises(OptionError, match="parquet"):
        enroll(photos(make), NAMES).save(tmp_path / "people.csv")


def test_photos_with_no_face_or_several_are_skipped_with_the_reason(make):
    sources = ["one.jpg", "two.jpg", "two.jpg", "none.jpg", "blur.jpg"]
    vectors = [[1.0, 0], [1, 0], [0, 1], [NAN, NAN], [NAN, NAN]]
    table = make.table(vectors, [0] * 5, [BOX] * 5, source=sources, scores=[1, 1, 1, 0, 0.9])
    gallery = enroll(table, lambda photo: photo.split(".")[0])
    assert gallery.names == ("one",)
    assert gallery.skipped == {
        "two.jpg": "2 faces",
        "none.jpg": "no face",
        "blur.jpg": "no usable identity vector",
    }
    table["Keep"] = [True, True, False, True, True]
    assert enroll(table, lambda photo: photo.split(".")[0]).names == ("one", "two")


def test_every_face_of_a_photo_counts_where_that_is_asked_for(make):
    sources = ["group.jpg", "group.jpg", "group.jpg", "none.jpg", "blur.jpg", "blur.jpg"]
    vectors = [[1.0, 0], [NAN, 0], [0, 1], [NAN, NAN], [NAN, NAN], [NAN, NAN]]
    table = make.table(vectors, [0] * 6, [BOX] * 6, source=sources, scores=[1, 1, 1, 0, 0.9, 1])
    gallery = enroll(table, lambda photo: photo.split(".")[0], several="all")
    assert gallery.names == ("group", "group")
    np.testing.assert_array_equal(gallery.vectors, np.eye(2))
    assert gallery.skipped == {"none.jpg": "no face", "blur.jpg": "no usable identity vector"}
    with pytest.raises(OptionError, match="'skip' or 'all', got 'some'"):
        enroll(table, str, several="some")


def test_enrolling_nobody_or_a_photo_without_a_name_is_an_error(make):
    with pytest.raises(OptionError, match="b.jpg: no name"):
        enroll(photos(make), {"a.jpg": "Ada"})
    with pytest.raises(OptionError, match="nobody was enrolled"):
        enroll(photos(make, scores=[0, 0, 0]), NAMES)


@pytest.mark.parametrize("name", ["Unknown", "", " Ada", None])
def test_names_that_cannot_be(name):
    with pytest.raises(OptionError):
        ReferenceGallery([name], [[1.0, 0.0]])


def test_galleries_are_checked():
    with pytest.raises(OptionError, match="2 names for 1 embeddings"):
        ReferenceGallery(["a", "b"], [[1.0, 0.0]])
    with pytest.raises(OptionError, match="'b' is not finite"):
        ReferenceGallery(["a", "b"], [[1.0, 0.0], [NAN, 0]])
    with pytest.raises(OptionError, match="3 numbers cannot be compared with enrolled ones of 2"):
        ReferenceGallery(["a"], [[1.0, 0.0]]).match(np.eye(3), 0.5)


def test_a_table_is_named_whatever_the_order_of_its_rows(make):
    gallery = enroll(photos(make), NAMES)
    vectors = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0.2]] * 3, float)
    table = make.table(
        vectors, np.repeat(range(3), 3), [[100 * i, 0, 80, 80] for i in range(3)] * 3
    )
    rows = np.random.default_rng(0).permutation(9)
    named = gallery.identify(table.iloc[rows], 0.5)
    assert named["Identity"].sort_index().tolist() == ["Ada", "Unknown", "Bo"] * 3
    assert named.meta["provenance"][-1]["step"] == "identify"


def test_a_track_votes_for_one_name(make):
    gallery = ReferenceGallery(["Ada", "Bo"], np.eye(2))
    vectors = [[1, 0.2], [0.6, 0.8], [1, 0.1], [1, 0]]
    table = make.table(vectors, range(4), [[0, 0, 80, 80]] * 4)
    table.meta = {}
    voted = gallery.identify(table, 0.7)
    assert set(voted["Identity"]) == {"Ada"}
    assert voted["IdentityScore"].iloc[1] == pytest.approx(0.6, abs=1e-6)
    alone = gallery.identify(table, 0.7, track=False)
    assert alone["Identity"].tolist() == ["Ada", "Bo", "Ada", "Ada"]


def test_embeddings_of_another_node_are_refused(make):
    gallery = enroll(photos(make), NAMES)
    other = make.table([[1.0, 0, 0]], [0], [BOX], node="identity/other")
    with pytest.raises(SchemaError, match="identity/x .* identity/other"):
        gallery.identify(other, 0.5)


def test_names_from_folders_and_files():
    files = ["p/Ada/1.jpg", "p/Bo Li_02.jpg", "p/Bo Li (3).png", "p/7.jpg", "p/Cy-1/x/y.jpg"]
    assert list(names_from_paths(files, "p").values()) == ["Ada", "Bo Li", "Bo Li", "7", "Cy-1"]
    with pytest.raises(OptionError, match="does not lie in the folder"):
        names_from_paths(["q/a.jpg"], "p")


def test_names_are_text_in_the_table(make):
    found = ReferenceGallery(["Ada"], [[1.0, 0]]).identify(
        pd.DataFrame({"Identity_1": [1.0], "Identity_2": [0.0]}), 0.5
    )
    assert found["Identity"].tolist() == ["Ada"]
