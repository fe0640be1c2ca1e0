"""DISFA, DISFA+ and BP4D, from files written here as their owners write them."""

from __future__ import annotations

import numpy as np
import pytest

from featflow.datasets.benchmarks import load_benchmark
from featflow.datasets.benchmarks.action_units import BP4D_UNITS, DISFA_UNITS
from featflow.errors import InputError
from featflow.fex.schema import ACTION_UNITS

NAN = float("nan")


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def disfa_tree(root):
    """Two people of three frames; unit u has intensity (u + frame) % 6."""
    for subject in ("SN001", "SN010"):
        write(root / "Videos_LeftCamera" / f"LeftVideo{subject}_comp.avi")
        for unit in DISFA_UNITS:
            rows = [f"{frame},{(unit + frame) % 6}" for frame in (1, 2, 3)]
            write(
                root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt",
                "\n".join(rows) + "\n",
            )
    return root


def test_disfa(tmp_path):
    root = disfa_tree(tmp_path)
    path = root / "ActionUnit_Labels" / "SN010" / "SN010_au4.txt"
    path.write_text("1,0\n3,5\n")
    found = load_benchmark("disfa", root)
    assert len(found) == 6
    assert found.frames.tolist() == [0, 1, 2, 0, 1, 2]  # labels count from 1
    assert [p.name for p in found.inputs[::3]] == [
        "LeftVideoSN001_comp.avi",
        "LeftVideoSN010_comp.avi",
    ]
    assert found.units[:4] == ("AU01", "AU02", "AU04", "AU05")
    expected = [[(unit + frame) % 6 for unit in DISFA_UNITS] for frame in (1, 2, 3)]
    np.testing.assert_array_equal(found.intensities[:3], expected)
    np.testing.assert_array_equal(found.intensities[3:, 2], [0, NAN, 5])
    assert (found.kinds, found.present_from) == (("au",), 2.0)
    assert np.isnan(found.boxes).all()


def test_disfa_without_a_clip_or_with_other_text(tmp_path):
    root = disfa_tree(tmp_path)
    label = root / "ActionUnit_Labels" / "SN001" / "SN001_au1.txt"
    label.write_text("1;0\n")
    with pytest.raises(InputError, match=r"SN001_au1\.txt: expected numbers, got '1;0'"):
        load_benchmark("disfa", root)
    label.write_text("1,0,3\n")
    with pytest.raises(InputError, match="expected 2 numbers in a row, got 3"):
        load_benchmark("disfa", root)
    label.write_text("1,0\n")
    (root / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi").unlink()
    with pytest.raises(InputError, match=r"LeftVideoSN001_comp\.avi: is missing"):
        load_benchmark("disfa", root)


def test_disfa_plus(tmp_path):
    trial = "SN003/A1_AU1_TrailNo_1"
    for unit in DISFA_UNITS:
        rows = "Intensity of an action unit\nFrame     Intensity\n000.jpg     1\n001.jpg     5\n"
        write(tmp_path / "Labels" / trial / f"AU{unit}.txt", rows + "002.jpg     2\n")
    for name in ("000.jpg", "001.jpg"):  # the third frame has no picture
        write(tmp_path / "Images" / trial / name)
    found = load_benchmark("disfa_plus", tmp_path)
    assert [p.name for p in found.inputs] == ["000.jpg", "001.jpg"]
    assert found.inputs[0].parent == tmp_path / "Images" / trial
    np.testing.assert_array_equal(found.intensities, [[1.0] * 12, [5.0] * 12])
    assert found.frames.tolist() == [0, 0]


@pytest.mark.parametrize("inside", ["", "2D+3D"])
def test_bp4d(tmp_path, inside):
    head = ",".join(str(n) for n in range(65))  # the first cell stands for the frames
    rows = []
    for frame in (2440, 2441, 2442):
        codes = [9] * 64
        for column, unit in enumerate(BP4D_UNITS):
            codes[unit - 1] = (column + frame) % 2
        codes[24 - 1] = 9
        rows.append(",".join(str(n) for n in (frame, *codes)))
    write(tmp_path / "AUCoding" / "AU_OCC" / "F001_T1.csv", "\n".join([head, *rows]) + "\n")
    for name in ("02440.jpg", "02442.jpg"):
        write(tmp_path / inside / "F001" / "T1" / name)
    found = load_benchmark("bp4d", tmp_path)
    assert [p.name for p in found.inputs] == ["02440.jpg", "02442.jpg"]
    expected = [(column + 2440) % 2 for column in range(11)]
    np.testing.assert_array_equal(found.intensities[0], [*expected, NAN])
    np.testing.assert_array_equal(found.intensities[1], [*expected, NAN])
    assert found.units[0] == "AU01"
    assert found.units[-1] == "AU24"
    assert found.present_from == 1.0


def test_bp4d_with_other_columns(tmp_path):
    write(tmp_path / "AUCoding" / "AU_OCC" / "M001_T2.csv", "0,1,2\n1,0,0\n")
    write(tmp_path / "M001" / "T2" / "001.jpg")
    with pytest.raises(InputError, match="no columns for units"):
        load_benchmark("bp4d", tmp_path)


def test_units_are_columns_of_the_table():
    for units in (DISFA_UNITS, BP4D_UNITS):
        assert set(units) <= set(ACTION_UNITS)
