"""``featflow enroll`` and finding the people again from a shell."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from featflow.cli.app import run
from featflow.datasets import sample_photo
from featflow.errors import MissingInputError
from featflow.fex import read_fex
from featflow.identity import ReferenceGallery, photos_below


@pytest.fixture
def photos(tmp_path):
    """Two photos of one person, one of nobody, and what is no photo."""
    root = tmp_path / "photos"
    (root / "Grace Hopper").mkdir(parents=True)
    portrait = Image.open(sample_photo()).convert("RGB")
    portrait.save(root / "Grace Hopper" / "1.png")
    portrait.save(root / "Grace_02.jpg", quality=90)
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(root / "Nobody.png")
    (root / "notes.txt").write_text("no photo")
    (root / ".hidden").mkdir()
    portrait.save(root / ".hidden" / "x.png")
    return root


def test_several_is_skip_or_all(photos, tmp_path, capfd):
    command = ["enroll", str(photos), "--save", str(tmp_path / "a.parquet"), "--several", "some"]
    assert run(command) == 2
    assert "--several is skip or all" in capfd.readouterr().err


def test_photos_are_found_one_folder_deep(photos, tmp_path):
    names = [path.removeprefix(str(photos)) for path in photos_below(photos)]
    assert names == ["/Grace Hopper/1.png", "/Grace_02.jpg", "/Nobody.png"]
    with pytest.raises(MissingInputError, match="nowhere"):
        photos_below(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match="empty"):
        photos_below(tmp_path / "empty")


def test_enrolled_people_are_found_again(photos, tmp_path, capfd):
    saved = tmp_path / "people.parquet"
    assert run(["enroll", str(photos), "--save", str(saved)]) == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert "Nobody.png: no face" in said.err
    assert "2 people, 2 photos" in said.err
    people = ReferenceGallery.load(saved)
    assert people.people == ("Grace Hopper", "Grace")
    assert people.meta["nodes"]["identity"] == "identity/tiny"

    table = tmp_path / "faces.csv"
    command = ["detect", "sample:photo", "--identity", "tiny", "--quiet"]
    assert run([*command, "--people", str(saved), "--save", str(table)]) == 0
    found = read_fex(table)
    assert found["Identity"].tolist() == ["Grace Hopper"]
    assert found["IdentityScore"].iloc[0] == pytest.approx(1.0, abs=1e-3)

    assert run([*command, "--unwanted", str(saved), "--save", str(table)]) == 0
    marked = read_fex(table)
    assert marked["Identity"].tolist() == ["Person_1"]
    assert marked["Keep"].tolist() == [False]
    assert "Grace Hopper" in marked["FilterReason"].iloc[0]

    assert run([*command, "--identity-method", "none"]) == 0
    header = capfd.readouterr().out.splitlines()[0]
    assert "Identity" not in header


def test_a_photo_that_cannot_be_read_is_named_and_the_rest_enrolled(photos, tmp_path, capfd):
    (photos / "Broken.jpg").write_text("no picture")
    saved = tmp_path / "people.parquet"
    assert run(["enroll", str(photos), "--save", str(saved), "--quiet"]) == 1
    assert "Broken.jpg" in capfd.readouterr().err
    assert len(ReferenceGallery.load(saved)) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["enroll", "nowhere", "--save", "a.parquet"], 1, "nowhere"),
        (["enroll", ".", "--save", "a.csv"], 2, "a.csv"),
        (["enroll", "."], 2, "--save"),
        (["detect", "x.jpg", "--people", "a.parquet"], 2, "identity"),
        (["detect", "x.jpg", "--identity", "tiny", "--people", "none.parquet"], 1, "none.parquet"),
        (["detect", "x.jpg", "--identity", "tiny", "--identity-method", "guess"], 2, "guess"),
        (["detect", "x.jpg", "--identity", "tiny", "--identity-threshold", "2"], 2, "threshold"),
    ],
)
def test_wrong_usage_is_said_before_any_work(arguments, code, named, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == code
    assert named in capfd.readouterr().err
