"""LFW, CALFW and CPLFW, from files written here as their owners write them."""

from __future__ import annotations

import numpy as np
import pytest

from featflow.datasets.benchmarks import load_benchmark
from featflow.errors import InputError, MissingInputError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def lfw_tree(root, folder="lfw"):
    """Two folds of two pairs of each sort."""
    rows = ["2\t2"]
    for fold in range(2):
        rows += [
            f"Ada_L\t{1 + fold}\t3",
            "Bo\t1\t2",
            "Ada_L\t1\tBo\t2",
            f"Bo\t1\tAda_L\t{2 + fold}",
        ]
    (root / "pairs.txt").write_text("\n".join(rows) + "\n")
    for name, count in (("Ada_L", 3), ("Bo", 2)):
        for number in range(1, count + 1):
            touch(root / folder / name / f"{name}_{number:04d}.jpg")


def read(found, root):
    names = [str(path.relative_to(root).with_suffix("").name) for path in found.inputs]
    return [(names[a], names[b]) for a, b in zip(found.one, found.other, strict=True)]


@pytest.mark.parametrize("folder", ["lfw", "lfw-deepfunneled", "lfw_funneled", "."])
def test_lfw(tmp_path, folder):
    lfw_tree(tmp_path, folder)
    found = load_benchmark("lfw", tmp_path)
    assert found.same.tolist() == [True, True, False, False] * 2
    assert found.folds.tolist() == [0] * 4 + [1] * 4
    assert read(found, tmp_path) == [
        ("Ada_L_0001", "Ada_L_0003"),
        ("Bo_0001", "Bo_0002"),
        ("Ada_L_0001", "Bo_0002"),
        ("Bo_0001", "Ada_L_0002"),
        ("Ada_L_0002", "Ada_L_0003"),
        ("Bo_0001", "Bo_0002"),
        ("Ada_L_0001", "Bo_0002"),
        ("Bo_0001", "Ada_L_0003"),
    ]
    assert len(found.inputs) == 5  # each picture once
    assert found.kinds == ("identity",)


def test_lfw_is_refused_where_it_is_not_whole(tmp_path):
    lfw_tree(tmp_path)
    text = (tmp_path / "pairs.txt").read_text()
    (tmp_path / "pairs.txt").write_text(text.rsplit("\n", 2)[0] + "\n")
    with pytest.raises(InputError, match="expected 2 folds of 2 pairs.*got 7 rows"):
        load_benchmark("lfw", tmp_path)
    (tmp_path / "pairs.txt").write_text(text)
    (tmp_path / "lfw" / "Bo" / "Bo_0002.jpg").unlink()
    with pytest.raises(MissingInputError, match=r"Bo_0002\.jpg: is missing"):
        load_benchmark("lfw", tmp_path)


PLACES = {
    "calfw": "images&landmarks/images&landmarks/images",
    "cplfw": "images",
}


@pytest.mark.parametrize("name", ["calfw", "cplfw"])
def test_two_rows_a_pair(tmp_path, name):
    rows = []
    for pair in range(20):  # tags are folds, 1 to 10
        tag = 1 + pair // 2
        rows += [f"Ada L_{pair:04d}.jpg {tag}", f"Ada L_{pair + 100:04d}.jpg {tag}"]
    for pair in range(20):
        rows += [f"Ada L_{pair:04d}.jpg 0", f"Bo_{pair:04d}.jpg 0"]
    (tmp_path / f"pairs_{name.upper()}.txt").write_text("\r\n".join(rows) + "\r\n")
    for row in rows:
        picture = row.rsplit(" ", 1)[0]
        touch(tmp_path / PLACES[name] / picture)
        touch(tmp_path / "aligned images" / picture)
    found = load_benchmark(name, tmp_path)
    assert found.same.tolist() == [True] * 20 + [False] * 20
    assert found.folds.tolist() == sorted(list(range(10)) * 2) * 2
    assert read(found, tmp_path)[0] == ("Ada L_0000", "Ada L_0100")
    assert read(found, tmp_path)[39] == ("Ada L_0019", "Bo_0019")
    assert "aligned images" not in str(found.inputs[0])
    assert len(found.inputs) == 60


def test_tags_of_a_pair_must_agree(tmp_path):
    (tmp_path / "pairs_CPLFW.txt").write_text("a_1.jpg 1\na_2.jpg 0\n")
    touch(tmp_path / "images" / "a_1.jpg")
    with pytest.raises(InputError, match="unlike tags"):
        load_benchmark("cplfw", tmp_path)
    (tmp_path / "pairs_CPLFW.txt").write_text("a_1.jpg 1\n")
    with pytest.raises(InputError, match="two rows"):
        load_benchmark("cplfw", tmp_path)


def test_folds_hold_both_sorts(tmp_path):
    lfw_tree(tmp_path)
    found = load_benchmark("lfw", tmp_path)
    for fold in np.unique(found.folds):
        assert found.same[found.folds == fold].sum() == 2
