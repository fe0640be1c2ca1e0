"""AffectNet and RAF-DB, from files written here as their owners write them."""

from __future__ import annotations

import numpy as np
import pytest

from featflow.datasets.benchmarks import load_benchmark
from featflow.errors import InputError, MissingInputError
from featflow.fex.schema import EMOTIONS


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def names(found):
    return [EMOTIONS[index] for index in found.emotions]


def test_affectnet_of_2021(tmp_path):
    """Codes 0 to 7; contempt is left out, whatever the type of the number."""
    codes = [np.array("6"), np.array(0), np.array("7"), np.array([3]), np.array(2.0)]
    for number, code in zip((10, 2, 3, 1, 0), codes, strict=True):
        touch(tmp_path / "val_set" / "images" / f"{number}.jpg")
        (tmp_path / "val_set" / "annotations").mkdir(exist_ok=True)
        np.save(tmp_path / "val_set" / "annotations" / f"{number}_exp.npy", code)
    found = load_benchmark("affectnet", tmp_path)
    assert [p.name for p in found.inputs] == ["0.jpg", "1.jpg", "2.jpg", "10.jpg"]
    assert names(found) == ["sadness", "surprise", "neutral", "anger"]
    assert np.isnan(found.boxes).all()


def test_affectnet_reads_no_pickle(tmp_path):
    touch(tmp_path / "val_set" / "images" / "0.jpg")
    (tmp_path / "val_set" / "annotations").mkdir()
    path = tmp_path / "val_set" / "annotations" / "0_exp.npy"
    np.save(path, np.array({"code": 1}, object), allow_pickle=True)
    with pytest.raises(InputError, match="0_exp.npy: does not hold one number"):
        load_benchmark("affectnet", tmp_path)


HEAD = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,"
    "valence,arousal\n"
)


@pytest.mark.parametrize("head", ["", HEAD])
@pytest.mark.parametrize("folder", ["", "Manually_Annotated_file_lists"])
def test_affectnet_of_2017(tmp_path, head, folder):
    rows = ["1/a.jpg,10,20,100,120,3;4;5,5,0.1,0.2", "1/b.JPG,0,0,50,50,3;4,1,0.1,0.2"]
    rows += [f"2/c.jpg,0,0,50,50,3;4,{code},0,0" for code in (7, 8, 9, 10)]
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "validation.csv").write_text(head + "\n".join(rows) + "\n")
    for name in ("1/a.jpg", "1/b.JPG"):
        touch(tmp_path / "Manually_Annotated_Images" / name)
    found = load_benchmark("affectnet", tmp_path)
    assert names(found) == ["disgust", "happiness"]
    np.testing.assert_array_equal(found.boxes, [[10, 20, 110, 140], [0, 0, 50, 50]])
    assert found.inputs[1] == tmp_path / "Manually_Annotated_Images" / "1" / "b.JPG"


def raf_tree(root, kind):
    (root / "EmoLabel").mkdir(parents=True)
    rows = ["train_00001.jpg 5", *(f"test_{code:04d}.jpg {code}" for code in range(1, 8))]
    (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(rows) + "\n")
    for code in range(1, 8):
        name = f"test_{code:04d}"
        if kind == "original":
            touch(root / "Image" / "original" / f"{name}.jpg")
            box = root / "Annotation" / "boundingbox" / f"{name}_boundingbox.txt"
            box.parent.mkdir(parents=True, exist_ok=True)
            box.write_text(f"{code}.5 2 30 40 \n")
        else:
            touch(root / "Image" / "aligned" / f"{name}_aligned.jpg")


RAF_ORDER = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]


def test_raf_db_originals(tmp_path):
    raf_tree(tmp_path, "original")
    found = load_benchmark("raf_db", tmp_path)
    assert names(found) == RAF_ORDER
    np.testing.assert_array_equal(found.boxes[2], [3.5, 2, 30, 40])
    assert found.inputs[0].name == "test_0001.jpg"


def test_raf_db_aligned(tmp_path):
    raf_tree(tmp_path, "aligned")
    found = load_benchmark("raf_db", tmp_path)
    assert names(found) == RAF_ORDER
    assert np.isnan(found.boxes).all()
    assert found.inputs[6].name == "test_0007_aligned.jpg"


def test_raf_db_with_a_picture_missing_or_a_label_of_the_compound_set(tmp_path):
    raf_tree(tmp_path, "original")
    (tmp_path / "Image" / "original" / "test_0003.jpg").unlink()
    with pytest.raises(MissingInputError, match=r"test_0003\.jpg: is missing, and 0 more of 7"):
        load_benchmark("raf_db", tmp_path)
    (tmp_path / "EmoLabel" / "list_patition_label.txt").write_text("test_0001.jpg 11\n")
    with pytest.raises(InputError, match="label that is not 1 to 7"):
        load_benchmark("raf_db", tmp_path)
