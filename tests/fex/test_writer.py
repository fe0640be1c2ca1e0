"""The writer: pieces in, one file out, whatever happens in between."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featflow.errors import OptionError, OutputError, ResumeError, SchemaError
from featflow.fex import FexWriter, read_fex
from featflow.fex.formats import SUFFIXES
from featflow.fex.lock import FileLock
from featflow.fex.writer import input_fingerprints

Make = Callable[..., Any]
PIECES = 12


@pytest.fixture(scope="session")
def pieces(make_fex: Make) -> list[Any]:
    return [make_fex([i % 3, 1], seed=i, first_index=2 * i) for i in range(PIECES)]


def _write(
    path: Path, pieces: list[Any], meta: dict[str, Any], order: list[int] | None = None
) -> bytes:
    with FexWriter(path, meta) as writer:
        for i in order or range(len(pieces)):
            writer.add(i, pieces[i])
        return writer.finish().read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pieces_become_one_table_in_their_order(
    suffix: str, pieces: list[Any], meta: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / f"faces{suffix}"
    shuffled = [int(i) for i in np.random.default_rng(0).permutation(PIECES)]
    _write(path, pieces, meta, shuffled)
    expected = pd.concat(pieces, ignore_index=True)
    back = read_fex(path)
    pd.testing.assert_frame_equal(back, expected, check_exact=True)
    assert back.meta == meta
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {path.name} | ({f"{path.name}.meta.json"} if suffix == ".csv" else set())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pieces_may_be_changed_when_they_are_put_together(
    suffix: str, pieces: list[Any], meta: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / f"faces{suffix}"
    seen: list[tuple[int, int]] = []

    def numbered(piece: Any, before: int) -> Any:
        seen.append((before, len(piece)))
        piece["IdentityScore"] = (np.arange(len(piece)) + before).astype(np.float32)
        return piece

    with FexWriter(path, meta) as writer:
        for index, piece in enumerate(pieces):
            writer.add(index, piece)
        writer.finish(change=numbered)
    back = read_fex(path)
    assert back["IdentityScore"].tolist() == list(range(len(back)))
    expected = pd.concat(pieces, ignore_index=True)
    pd.testing.assert_frame_equal(pd.DataFrame(back[expected.columns]), pd.DataFrame(expected))
    assert [before for before, _ in seen] == np.cumsum([0, *(n for _, n in seen[:-1])]).tolist()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bytes_depend_on_the_pieces_alone(
    suffix: str, pieces: list[Any], meta: dict[str, Any], tmp_path: Path
) -> None:
    one = _write(tmp_path / f"one{suffix}", pieces, meta)
    (tmp_path / "elsewhere").mkdir()
    assert (
        _write(tmp_path / "elsewhere" / f"b{suffix}", pieces, meta, list(range(PIECES))[::-1])
        == one
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_interrupted_and_resumed_gives_equal_bytes(
    suffix: str, pieces: list[Any], meta: dict[str, Any], tmp_path: Path
) -> None:
    expected = _write(tmp_path / f"whole{suffix}", pieces, meta)
    path = tmp_path / f"faces{suffix}"
    with FexWriter(path, meta) as writer:
        for i in (0, 1, 5):
            writer.add(i, pieces[i])
    assert not path.exists()
    with FexWriter(path, meta, resume=True) as writer:
        assert writer.finished_pieces == (0, 1, 5)
        for i in set(range(PIECES)) - set(writer.finished_pieces):
            writer.add(i, pieces[i])
        writer.finish()
    assert path.read_bytes() == expected


CHILD = """
import sys, time
from pathlib import Path
import numpy as np, pandas as pd
from featflow.fex import Fex, FexWriter
path, pause = Path(sys.argv[1]), float(sys.argv[2])
def piece(i):
    numbers = np.random.default_rng(i).random((40, 30), np.float32)
    return Fex(pd.DataFrame(numbers, columns=[f"c{k}" for k in range(30)]).assign(frame=i))
with FexWriter(path, {"options": {}}, resume=True) as writer:
    print("ready", flush=True)
    for i in sorted(set(range(25)) - set(writer.finished_pieces)):
        writer.add(i, piece(i))
        time.sleep(pause)
    writer.finish()
"""


def test_killed_at_random_points_and_resumed_gives_equal_bytes(tmp_path: Path) -> None:
    def start(path: Path, pause: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, str(path), str(pause)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    whole, path = tmp_path / "whole.csv", tmp_path / "faces.csv"
    assert start(whole, 0).wait() == 0
    rng = np.random.default_rng(7)
    killed = 0
    for _ in range(3):
        process = start(path, 0.01)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(float(rng.uniform(0.0, 0.12)))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        assert not path.exists() or process.returncode == 0
    assert killed >= 2
    assert start(path, 0).wait() == 0
    assert path.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*")), "parts, locks and temporary files are gone"


def test_without_resume_an_interrupted_run_is_replaced(
    pieces: list[Any], meta: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    with FexWriter(path, meta) as writer:
        writer.add(7, pieces[7])
    with FexWriter(path, meta) as writer:
        assert writer.finished_pieces == ()
        writer.add(0, pieces[0])
        writer.finish()
    assert len(read_fex(path)) == len(pieces[0])


def test_resume_with_nothing_to_resume_starts_afresh(
    pieces: list[Any], meta: dict[str, Any], tmp_path: Path
) -> None:
    with FexWriter(tmp_path / "a.csv", meta, resume=True) as writer:
        assert writer.finished_pieces == ()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "options",
            {"face_detection_threshold": 0.4},
            r"options.face_detection_threshold was 0.5, is 0.4",
        ),
        ("nodes", {"face": "face/other"}, r'nodes.face was "face/tiny", is "face/other"'),
        ("weights", {"face/tiny": "00"}, r"weights.face/tiny was"),
    ],
)
def test_resume_with_other_options_says_what_differs(
    key: str, value: Any, message: str, meta: dict[str, Any], tmp_path: Path
) -> None:
    FexWriter(tmp_path / "a.csv", meta).close()
    with pytest.raises(ResumeError, match=message):
        FexWriter(tmp_path / "a.csv", {**meta, key: value}, resume=True)
    FexWriter(tmp_path / "a.csv", meta, resume=True).close()


def test_resume_with_a_changed_input_says_which(meta: dict[str, Any], tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"1")
    FexWriter(tmp_path / "a.csv", meta, inputs=[clip, "tensor"]).close()
    FexWriter(tmp_path / "a.csv", meta, inputs=[clip, "tensor"], resume=True).close()
    clip.write_bytes(b"12")
    with pytest.raises(ResumeError, match=r"inputs\[0\].*size was 1, is 2"):
        FexWriter(tmp_path / "a.csv", meta, inputs=[clip, "tensor"], resume=True)
    with pytest.raises(ResumeError, match="inputs had 2 entries, has 1"):
        FexWriter(tmp_path / "a.csv", meta, inputs=[clip], resume=True)


def test_fingerprint_of_a_file_changes_with_its_time(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"1")
    before = input_fingerprints([clip])
    os.utime(clip, ns=(1, 1))
    assert input_fingerprints([clip]) != before


def test_damaged_manifest(meta: dict[str, Any], tmp_path: Path) -> None:
    FexWriter(tmp_path / "a.csv", meta).close()
    (tmp_path / ".a.csv.parts" / "manifest.json").write_text("{")
    with pytest.raises(ResumeError, match="damaged"):
        FexWriter(tmp_path / "a.csv", meta, resume=True)


def test_manifest_is_readable_json(meta: dict[str, Any], tmp_path: Path) -> None:
    with FexWriter(tmp_path / "a.csv", meta) as writer:
        manifest = json.loads((writer.folder / "manifest.json").read_text())
    assert manifest["nodes"] == meta["nodes"]
    assert manifest["inputs"] == []


def test_pieces_must_have_like_columns(
    make_fex: Make, meta: dict[str, Any], tmp_path: Path
) -> None:
    with FexWriter(tmp_path / "a.csv", meta) as writer:
        writer.add(0, make_fex([1]))
        with pytest.raises(SchemaError, match=r"piece 1.*lacks \['Yaw'\]"):
            writer.add(1, make_fex([1]).drop(columns="Yaw"))
        with pytest.raises(SchemaError, match="Yaw is double"):
            writer.add(1, make_fex([1]).astype({"Yaw": "float64"}))


def test_the_same_piece_again_replaces_it(
    pieces: list[Any], meta: dict[str, Any], tmp_path: Path
) -> None:
    with FexWriter(tmp_path / "a.feather", meta) as writer:
        writer.add(0, pieces[1])
        writer.add(0, pieces[0])
        assert len(read_fex(writer.finish())) == len(pieces[0])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_finished_pieces_can_be_read_and_metadata_come_last(
    suffix: str, pieces: list[Any], meta: dict[str, Any], tmp_path: Path
) -> None:
    FexWriter(tmp_path / f"a{suffix}", meta).close()
    with FexWriter(tmp_path / f"a{suffix}", meta, resume=True) as writer:
        writer.add(3, pieces[3])
        pd.testing.assert_frame_equal(writer.read(3), pieces[3], check_exact=True)
        assert writer.read(3).meta == meta
        with pytest.raises(OptionError, match=r"no piece 4; finished are \(3,\)"):
            writer.read(4)
        path = writer.finish({**meta, "clips": [{"frames": 3}]})
    assert read_fex(path).meta == {**meta, "clips": [{"frames": 3}]}


def test_a_run_without_rows_has_a_table_without_rows(
    make_fex: Make, meta: dict[str, Any], tmp_path: Path
) -> None:
    with FexWriter(tmp_path / "a.csv", meta) as writer:
        with pytest.raises(SchemaError, match="no piece"):
            writer.finish()
        writer.add(0, make_fex([1]).iloc[:0])
        back = read_fex(writer.finish())
    assert back.shape == (0, make_fex([1]).shape[1])


def test_a_closed_writer_refuses(pieces: list[Any], meta: dict[str, Any], tmp_path: Path) -> None:
    writer = FexWriter(tmp_path / "a.csv", meta)
    writer.close()
    with pytest.raises(OutputError, match="closed"):
        writer.add(0, pieces[0])


def test_unusable_targets(meta: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no folder"):
        FexWriter(tmp_path / "none" / "a.csv", meta)
    with pytest.raises(OptionError, match=r"\.parquet"):
        FexWriter(tmp_path / "a.txt", meta)
    (tmp_path / ".a.csv.parts").mkdir()
    (tmp_path / ".a.csv.parts" / "thesis.doc").write_text("x")
    with pytest.raises(OutputError, match=r"thesis\.doc"):
        FexWriter(tmp_path / "a.csv", meta)
    assert not list(tmp_path.glob("*.lock"))


def test_of_two_writers_one_wins_and_the_other_hears_of_it(
    meta: dict[str, Any], tmp_path: Path
) -> None:
    with FexWriter(tmp_path / "a.csv", meta):
        with pytest.raises(OutputError, match=f"process {os.getpid()} is writing"):
            FexWriter(tmp_path / "a.csv", meta, resume=True)
        FexWriter(tmp_path / "b.csv", meta).close()
    FexWriter(tmp_path / "a.csv", meta).close()


def test_two_processes_on_one_target(meta: dict[str, Any], tmp_path: Path) -> None:
    code = (
        "import sys; from featflow.fex import FexWriter; from featflow.errors import OutputError\n"
        "try: FexWriter(sys.argv[1], {})\n"
        "except OutputError as error: print(error)\n"
    )
    with FexWriter(tmp_path / "a.csv", meta):
        command = [sys.executable, "-c", code, str(tmp_path / "a.csv")]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"a.csv: process {os.getpid()} is writing it already" in said


def test_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / ".a.csv.lock").write_text(str(dead.pid))
    start = time.monotonic()
    lock = FileLock(tmp_path / "a.csv")
    assert time.monotonic() - start < 1
    assert lock.path.read_text() == str(os.getpid())
    lock.release()
    lock.release()
    assert not list(tmp_path.iterdir())


def test_lock_outlives_its_owner_only_as_long_as_the_owners_children(tmp_path: Path) -> None:
    """A forked loader worker holds its killed parent's lock until it notices."""
    code = (
        "import os, signal, sys, time; from pathlib import Path\n"
        "from featflow.fex.lock import FileLock\n"
        "lock = FileLock(Path(sys.argv[1]))\n"
        "if os.fork() == 0: time.sleep(0.8); os._exit(0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.csv")], check=False)
    start = time.monotonic()
    FileLock(tmp_path / "a.csv").release()
    assert 0.2 < time.monotonic() - start < 5


def test_a_full_disk_while_merging_keeps_the_pieces(
    pieces: list[Any], meta: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.csv"
    with FexWriter(path, meta) as writer:
        writer.add(0, pieces[0])
        with monkeypatch.context() as patch:
            patch.setattr("featflow.fex.formats.CsvSink.write", refuse)
            with pytest.raises(OutputError, match=r"a\.csv: cannot be written.*free some space"):
                writer.finish()
        assert not path.exists()
        assert not list(writer.folder.glob("*.tmp"))
    with FexWriter(path, meta, resume=True) as writer:
        assert writer.finished_pieces == (0,)
        assert len(read_fex(writer.finish())) == len(pieces[0])


def test_memory_and_row_groups_stay_useful_with_many_small_pieces(
    make_fex: Make, meta: dict[str, Any], tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    piece = make_fex([1] * 500)
    with FexWriter(tmp_path / "a.parquet", meta) as writer:
        for i in range(20):
            writer.add(i, piece)
        path = writer.finish()
    counts = pq.ParquetFile(path).metadata
    assert counts.num_rows == 10_000
    assert counts.num_row_groups == 2
