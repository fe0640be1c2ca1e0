"""``featflow evaluate NODE --data NAME``, whole, on trees of the real format."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from scipy.io import savemat

from featflow.cli.app import run
from featflow.datasets import sample_photo
from featflow.datasets.benchmarks import BENCHMARKS
from featflow.detector import Detector
from featflow.errors import MissingInputError, OptionError, UnknownNodeError
from featflow.evaluation.benchmark_figures import euler_angles
from featflow.evaluation.benchmarks import (
    EMBEDDED,
    detector_for,
    evaluate_benchmark,
    save_benchmark,
)
from featflow.geometry.rotation import rotation_from_angles
from featflow.nodes.registry import available


@pytest.fixture(scope="module")
def portrait():
    """What the embedded nodes tell of the sample portrait."""
    detector = Detector(au=None, emotion=None, identity=None, gaze=None, mask=None, device="cpu")
    return detector.detect(sample_photo(), progress_bar=False)


def aflw_tree(root, portrait, signs=(1, 1, 1)):
    """The portrait, labelled with what the nodes see in it."""
    head = rotation_from_angles(*portrait[["Pitch", "Roll", "Yaw"]].to_numpy(float)[0])
    pose = euler_angles(head) * signs
    points = np.stack([portrait.landmarks_x.to_numpy()[0], portrait.landmarks_y.to_numpy()[0]])
    shutil.copy(sample_photo(), root / "image00002.jpg")
    savemat(
        root / "image00002.mat",
        {"Pose_Para": [[*pose, 0, 0, 0, 1]], "pt3d_68": np.vstack([points + 0.5, np.zeros(68)])},
    )
    return np.degrees(np.abs(pose))


def test_points_and_pose_by_the_command(tmp_path, portrait, capsys):
    data, catalogue = tmp_path / "set", tmp_path / "nodes"
    data.mkdir()
    (catalogue / "pose" / "mlp").mkdir(parents=True)
    (catalogue / "pose" / "mlp" / "results.json").write_text('{"node": "pose/mlp", "x": 1}')
    (catalogue / "landmark" / "tiny").mkdir(parents=True)
    aflw_tree(data, portrait)
    arguments = ["evaluate", "--data", "aflw2000", "--root", str(data), "--save", str(catalogue)]
    assert run(arguments) == 0  # both kinds of the set, with the embedded nodes
    told = json.loads(capsys.readouterr().out)
    assert told["landmark/tiny"]["all"]["faces"] == 1
    assert told["landmark/tiny"]["all"]["nme"] < 1e-4
    pose = told["pose/mlp"]["all"]
    assert max(pose[k] for k in ("rotation_error", "euler_mae", "yaw_mae")) < 0.05
    saved = json.loads((catalogue / "pose" / "mlp" / "results.json").read_text())
    assert saved["x"] == 1
    assert saved["benchmarks"]["aflw2000"] == told["pose/mlp"]


def test_flipped_angles_are_seen(tmp_path, portrait):
    pitch, yaw, roll = aflw_tree(tmp_path, portrait, signs=(-1, -1, -1))
    assert max(pitch, yaw, roll) > 3
    found = evaluate_benchmark("aflw2000", tmp_path, ["pose/mlp"])["pose/mlp"]["all"]
    assert found["euler_pitch_mae"] == pytest.approx(2 * pitch, abs=0.05)
    assert found["euler_yaw_mae"] == pytest.approx(2 * yaw, abs=0.05)
    assert found["euler_roll_mae"] == pytest.approx(2 * roll, abs=0.05)


def test_boxes_of_a_photograph(tmp_path, portrait):
    picture = tmp_path / "WIDER_val" / "images" / "0--Portrait" / "hopper.jpg"
    picture.parent.mkdir(parents=True)
    shutil.copy(sample_photo(), picture)
    x, y, w, h = portrait[[f"FaceRect{n}" for n in ("X", "Y", "Width", "Height")]].to_numpy()[0]
    split = tmp_path / "wider_face_split"
    split.mkdir()
    row = f"{x:.0f} {y:.0f} {w:.0f} {h:.0f} 0 0 0 0 0 0"
    (split / "wider_face_val_bbx_gt.txt").write_text(f"0--Portrait/hopper.jpg\n1\n{row}\n")
    found = evaluate_benchmark("wider_face", tmp_path)["face/tiny"]["valid"]
    assert found["average_precision"] == 1
    assert found["recall_at_0.5"] == 1


def test_what_cannot_be_measured_says_why(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("FEATFLOW_DATA", raising=False)
    assert run(["evaluate", "--data", "biwi"]) == 1
    told = " ".join(capfd.readouterr().err.split())
    assert "datasets/biwi/README.md" in told
    assert "frame_*_pose.txt" in told
    assert run(["evaluate", "--data", "nothing"]) == 2
    assert run(["evaluate", "gaze/tiny", "--data", "biwi"]) == 2
    assert run(["evaluate", "pose/mlp", "--all", "--data", "biwi"]) == 2
    assert run(["evaluate", "--root", str(tmp_path)]) == 1
    assert "faces/labels.parquet" in capfd.readouterr().err
    with pytest.raises(OptionError, match="biwi measures nodes of pose, and not 'gaze/tiny'"):
        evaluate_benchmark("biwi", tmp_path, ["gaze/tiny"])
    with pytest.raises(UnknownNodeError, match="no pose node is called 'x'"):
        evaluate_benchmark("biwi", tmp_path, ["pose/x"])
    with pytest.raises(MissingInputError, match="no folder of the node catalogue"):
        save_benchmark("biwi", {"pose/mlp": {}}, tmp_path)


@pytest.mark.parametrize("kind", EMBEDDED)
def test_detectors_hold_what_a_node_needs_and_no_more(kind):
    node = EMBEDDED[kind]
    assert node in available()
    held = set(detector_for(node).nodes)
    assert held == ({"face"} if kind == "face" else {"face", "landmark", kind})


def test_every_kind_of_a_set_has_a_node():
    assert {kind for each in BENCHMARKS.values() for kind in each.kinds} == set(EMBEDDED)
