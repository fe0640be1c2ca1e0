"""The command: exit codes, what it prints where, what it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from featflow.cli import main
from featflow.cli.app import run
from featflow.datasets import sample_clip, sample_photo
from featflow.fex import read_fex

ROOT = Path(__file__).parents[2]


def start(*arguments: str, **options) -> subprocess.Popen[str]:
    code = "from featflow.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        **options,
    )


def test_portrait_gives_one_row_and_an_annotated_picture(tmp_path, capfd):
    save, seen = tmp_path / "faces.csv", tmp_path / "seen"
    code = run(["detect", "sample:photo", "--save", str(save), "--annotate", str(seen)])
    assert code == 0
    fex = read_fex(save)
    assert len(fex) == 1
    assert fex["FaceScore"].iloc[0] > 0.5
    drawn = np.asarray(Image.open(seen / "grace_hopper.annotated.png").convert("RGB"))
    plain = np.asarray(Image.open(sample_photo()).convert("RGB"))
    assert drawn.shape == plain.shape
    assert (drawn != plain).any()
    assert capfd.readouterr().out == ""


def test_inputs_of_one_name_are_annotated_apart(tmp_path):
    from featflow.cli.detect import _free_name

    taken = set()
    names = [_free_name(tmp_path, "a", True, taken).name for _ in range(3)]
    assert names == ["a.annotated.png", "a-2.annotated.png", "a-3.annotated.png"]
    assert _free_name(tmp_path, "a", False, taken).name == "a.annotated.mp4"


def test_rows_are_printed_to_stdout_without_save(capfd):
    assert run(["detect", "sample:photo", "--quiet"]) == 0
    out = capfd.readouterr().out
    assert "grace_hopper.jpg" in out
    assert "FaceScore" in out
    assert "\x1b" not in out


def test_failed_inputs_are_rows_named_on_stderr_and_in_a_file(tmp_path, capfd):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    save = tmp_path / "faces.parquet"
    assert run(["detect", str(bad), str(sample_photo()), "--save", str(save), "--quiet"]) == 1
    fex = read_fex(save)
    assert fex["Keep"].tolist() == [False, True]
    listed = json.loads((tmp_path / "faces.parquet.errors.json").read_text())
    assert [entry["input"] for entry in listed] == [str(bad)]
    assert "bad.jpg" in capfd.readouterr().err


def test_on_error_raise_stops_with_code_1(tmp_path, capfd):
    missing = tmp_path / "missing.jpg"
    assert run(["detect", str(missing), "--on-error", "raise", "--quiet"]) == 1
    assert "missing.jpg" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["detect"],
        ["detect", "x.jpg", "--face", "nobody"],
        ["detect", "x.jpg", "--save", "x.docx"],
        ["detect", "x.jpg", "--colour", "red"],
        ["detect", "x.jpg", "--batch-size", "0"],
        ["detect", "x.jpg", "--on-error", "cry"],
        ["detect", "x.jpg", "--landmark", "none"],
        ["detect", "x.jpg", "--resume"],
        ["no-such-command"],
        ["detect", "x.jpg", "--rotate", "sideways"],
        ["detect", "x.jpg", "--normalise", "median"],
        ["detect", "x.jpg", "--from", "x.parquet"],
        ["detect", "--from", "x.parquet", "--threshold", "0.4"],
        ["detect", "--from", "x.parquet", "--rotate", "90"],
    ],
)
def test_wrong_usage_is_code_2(arguments, capfd):
    assert run(arguments) == 2
    assert capfd.readouterr().err.strip()


def test_options_of_extraction_are_flags(tmp_path, capfd):
    save = tmp_path / "faces.parquet"
    flags = ["--rotate", "90", "--refeed", "1", "--realign", "--min-size", "0.9"]
    assert run(["detect", "sample:photo", *flags, "--save", str(save), "--quiet"]) == 0
    fex = read_fex(save)
    share = fex["FaceShare"].iloc[0]
    assert 0.4 < share < 0.5
    assert fex["FilterReason"].iloc[0].startswith(f"size {share:.4g} is below 0.9")
    assert fex.meta["nodes"]["landmark"] == "landmark/tiny+refeed+realign"
    wanted = {"rotate": "90", "refeed": 1, "realign": True, "min_size": 0.9}
    assert fex.meta["options"]["extract"] == wanted


def test_marks_are_counted_on_stderr_and_no_row_is_lost(tmp_path, capfd):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(
        "input,frame,FrameHeight,FrameWidth,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight\n"
        + "".join(f"x.png,0,100,200,0,0,{wide},5\n" for wide in (10, 20, 30, 90))
    )
    save = tmp_path / "marked.parquet"
    flags = ["--from", str(boxes), "--min-size", "0.25", "--max-size", "0.8"]
    told = "3 of 4 rows marked: size is below 0.25 (2), size is above 0.8 (1)"
    for more in (["--save", str(save)], []):
        assert run(["detect", *flags, *more]) == 0
        assert told in capfd.readouterr().err
    assert read_fex(save)["Keep"].tolist() == [False, False, True, False]
    assert run(["detect", *flags, "--quiet"]) == 0
    assert "marked" not in capfd.readouterr().err


def test_a_table_stands_in_for_detection(tmp_path, capfd):
    first, second = tmp_path / "boxes.parquet", tmp_path / "poses.csv"
    photo = ["detect", "sample:photo", "--pose", "none", "--save", str(first), "--quiet"]
    assert run(photo) == 0
    assert "Roll" not in read_fex(first)
    assert run(["detect", "--from", str(first), "--pose", "mlp", "--save", str(second)]) == 0
    assert run(["detect", "sample:photo", "--save", str(first), "--quiet"]) == 0
    assert read_fex(second)["Roll"].iloc[0] == pytest.approx(read_fex(first)["Roll"].iloc[0])
    capfd.readouterr()
    assert run(["detect", "--from", str(second), "--quiet"]) == 0
    assert "grace_hopper.jpg" in capfd.readouterr().out


def test_unknown_node_lists_the_known_ones(capfd):
    run(["detect", "x.jpg", "--face", "nobody"])
    assert "tiny" in capfd.readouterr().err


def test_missing_output_folder_is_said_before_any_work(tmp_path, capfd):
    target = tmp_path / "nowhere" / "faces.csv"
    assert run(["detect", "sample:photo", "--save", str(target)]) == 1
    assert "nowhere" in capfd.readouterr().err


def test_interrupt_keeps_what_was_finished_and_resumes(tmp_path):
    clip = sample_clip().path
    save = tmp_path / "faces.parquet"
    inputs = [str(clip)] * 40
    process = start("detect", *inputs, "--save", str(save), "--quiet")
    parts = tmp_path / ".faces.parquet.parts"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(parts.glob("piece-*"))) < 2:
        time.sleep(0.05)
        assert process.poll() is None, process.communicate()[1]
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert len(list(parts.glob("piece-*"))) >= 2
    assert not save.exists()


def test_nodes_lists_every_slot_with_licence_and_size(capfd):
    assert run(["nodes"]) == 0
    out = capfd.readouterr().out
    for name in ("face/tiny", "landmark/tiny", "pose/mlp", "mask/hull"):
        assert name in out
    assert "MIT" in out


def test_info_names_versions(capfd):
    assert run(["info"]) == 0
    out = capfd.readouterr().out
    assert "featflow 0" in out
    assert "torch 2" in out


def test_version(capfd):
    assert run(["--version"]) == 0
    assert capfd.readouterr().out.startswith("featflow 0")


def test_the_package_runs_as_a_module():
    """Where the script is not on the path; the exit code comes through."""
    done = [
        subprocess.run(
            [sys.executable, "-m", "featflow", *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=120,
        )
        for arguments in (["--version"], ["nodes", "--no-such-flag"])
    ]
    assert [process.returncode for process in done] == [0, 2]
    assert done[0].stdout.startswith("featflow 0")
    assert "Usage: featflow nodes" in done[1].stderr


def test_train_names_a_bad_recipe(tmp_path, capfd):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[node]\nid = "face/tiny"\n[optim]\nsteps = 1\nbatch_size = 1\nspeed = 9\n')
    assert run(["train", str(recipe)]) == 2
    assert "speed" in capfd.readouterr().err


def test_silent_when_not_a_terminal(tmp_path):
    process = start("detect", "sample:photo", "--save", str(tmp_path / "a.csv"))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert out == ""
    assert "frame/s" not in err


def test_the_strongest_emotion_of_each_row():
    from featflow.cli.detect import _strongest

    rows = pd.DataFrame({"anger": [0.2, np.nan, 0.9], "fear": [0.8, np.nan, 0.1]}, index=[4, 5, 6])
    assert _strongest(rows) == ["fear 0.80", "", "anger 0.90"]
    assert _strongest(rows.loc[[5]]) == [""]


def test_an_interrupt_while_libraries_are_loaded_has_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("featflow.cli.app.run", interrupted)
    monkeypatch.setattr("featflow.cli.console.show_warnings", lambda: None)  # a handler would stay
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
