"""Files: every format gives back what was saved, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featflow.errors import InputError, MissingInputError, OptionError, OutputError
from featflow.fex import Fex, fex_from_batches, from_polars, read_fex, save_fex, scan_fex
from featflow.fex.formats import SUFFIXES, sidecar_path
from featflow.fex.io import read_columns

Make = Callable[..., Any]
SIZES: dict[str, list[int]] = {
    "0 rows": [],
    "no face": [0, 0, 0],
    "1 face": [1],
    "5 faces": [5],
    "mixed": [1, 0, 2],
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", SIZES)
def test_what_was_saved_comes_back(suffix: str, size: str, make_fex: Make, tmp_path: Path) -> None:
    fex = make_fex(SIZES[size] or [0])
    fex = fex if SIZES[size] else fex.iloc[:0]
    path = fex.save(tmp_path / f"faces{suffix}")
    back = read_fex(path)
    pd.testing.assert_frame_equal(back, fex, check_exact=True)
    assert isinstance(back, Fex)
    assert back.meta == fex.meta


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_group_comes_back(suffix: str, make_batch: Make, tmp_path: Path) -> None:
    extra = {
        "aus": np.random.default_rng(0).random((3, 20), np.float32),
        "identity": np.array(["Person_1", None, 'nan,\n"x" é'], object),
        "identity_score": np.array([0.5, np.nan, 1e-30], np.float32),
    }
    batch = make_batch([1, 2, 0], embedding=3, unreadable=[2]).with_fields(extra)
    fex = fex_from_batches(batch)
    fex.loc[1, ["Keep", "FilterReason"]] = [False, 'too small, "blurred"\nand dark']
    back = read_fex(fex.save(tmp_path / f"faces{suffix}"))
    pd.testing.assert_frame_equal(Fex(pd.DataFrame(back)), fex, check_exact=True)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
@given(
    numbers=st.lists(st.floats(width=32, allow_infinity=False), min_size=1, max_size=8),
    text=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    suffix=st.sampled_from(SUFFIXES),
)
def test_float32_and_text_survive_exactly(
    numbers: list[float], text: str, suffix: str, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"input": [text] * len(numbers), "X": np.array(numbers, np.float32)})
    fex = Fex(frame.astype({"input": "str"}), meta={"options": {"note": text}})
    back = read_fex(fex.save(tmp_path / f"faces{suffix}"))
    ours, theirs = fex["X"].to_numpy(), back["X"].to_numpy()
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    known = ~np.isnan(ours)
    assert ours[known].tobytes() == theirs[known].tobytes()
    assert back["input"].tolist() == fex["input"].tolist()
    assert back.meta == fex.meta


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_100000_rows_in_seconds(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 100_000
    names = ["FaceRectX", "FaceRectY", "FaceScore", "Pitch", "Roll", "Yaw"]
    frame = pd.DataFrame(rng.random((n, len(names)), np.float32), columns=names)
    frame.insert(0, "frame", np.arange(n))
    start = time.perf_counter()
    back = read_fex(save_fex(Fex(frame), tmp_path / f"faces{suffix}"))
    assert time.perf_counter() - start < 10
    pd.testing.assert_frame_equal(pd.DataFrame(back), frame, check_exact=True)


def test_csv_numbers_are_compact(tmp_path: Path) -> None:
    frame = pd.DataFrame({"X": np.array([0.1, np.nan], np.float32), "time": [0.04, np.nan]})
    text = Fex(frame).save(tmp_path / "a.csv").read_text()
    assert text.splitlines() == ["X,time", "0.1,0.04", ","]


def test_other_programs_read_our_files(make_fex: Make, tmp_path: Path) -> None:
    fex = make_fex([1, 0, 2])
    assert pd.read_csv(fex.save(tmp_path / "a.csv"))["Keep"].dtype == bool
    plain = pd.read_parquet(fex.save(tmp_path / "a.parquet"))
    assert Fex(plain).meta == fex.meta
    np.testing.assert_array_equal(plain["Yaw"], fex["Yaw"])
    np.testing.assert_array_equal(
        pd.read_feather(fex.save(tmp_path / "a.feather"))["Yaw"], fex["Yaw"]
    )
    rows = json.loads(fex.save(tmp_path / "a.json").read_text())["rows"]
    assert rows[1]["Yaw"] is None
    assert np.float32(rows[0]["Yaw"]) == fex["Yaw"][0]
    assert "featflow" in pl.read_parquet_metadata(tmp_path / "a.parquet")


def test_pandas_equals_polars(make_fex: Make, tmp_path: Path) -> None:
    fex = make_fex([1, 0, 2])
    table = fex.to_polars()
    assert table.schema["Yaw"] == pl.Float32
    assert table["Yaw"].null_count() == 1
    assert table.equals(scan_fex(fex.save(tmp_path / "a.parquet")).collect())
    back = from_polars(table, fex.meta)
    pd.testing.assert_frame_equal(back, fex, check_exact=True)
    assert back.meta == fex.meta
    pd.testing.assert_frame_equal(pd.DataFrame(Fex.from_polars(table)), pd.DataFrame(fex))


def test_scan_is_lazy_and_filters(make_fex: Make, tmp_path: Path) -> None:
    path = make_fex([1, 0, 2]).save(tmp_path / "a.parquet")
    lazy = scan_fex(path)
    assert isinstance(lazy, pl.LazyFrame)
    assert lazy.filter(pl.col("frame") == 2).select("Yaw").collect().shape == (2, 1)
    with pytest.raises(OptionError, match=r"only \.parquet"):
        scan_fex(tmp_path / "a.csv")
    with pytest.raises(MissingInputError):
        scan_fex(tmp_path / "b.parquet")


def test_same_table_gives_same_bytes(make_fex: Make, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        one = make_fex([1, 2]).save(tmp_path / f"one{suffix}").read_bytes()
        time.sleep(0.01)
        assert make_fex([1, 2]).save(tmp_path / f"other{suffix}").read_bytes() == one


def test_saving_replaces_and_leaves_nothing_else(make_fex: Make, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        make_fex([1]).save(tmp_path / f"a{suffix}")
        make_fex([1, 1]).save(tmp_path / f"a{suffix}")
        assert len(read_fex(tmp_path / f"a{suffix}")) == 2
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["a.csv", "a.csv.meta.json", "a.feather", "a.json", "a.parquet"]
    assert (tmp_path / "a.csv").stat().st_mode & 0o444 == 0o444 & ~_umask()


def _umask() -> int:
    old = os.umask(0)
    os.umask(old)
    return old


def test_unknown_ending_lists_the_four(make_fex: Make, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.csv, \.parquet, \.feather, \.json.*\.xlsx"):
        make_fex([1]).save(tmp_path / "a.xlsx")
    with pytest.raises(OptionError, match=r"\.csv"):
        read_fex(tmp_path / "a.pkl")


def test_missing_folder_and_folder_as_target(make_fex: Make, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no folder.*create it first"):
        make_fex([1]).save(tmp_path / "none" / "a.csv")
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        make_fex([1]).save(tmp_path / "b.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_refusal_of_the_system_leaves_the_old_file(
    suffix: str, make_fex: Make, tmp_path: Path
) -> None:
    """A file size limit stands for a full disk: both refuse while the file is being written."""
    path = make_fex([1]).save(tmp_path / f"a{suffix}")
    before = path.read_bytes()
    code = (
        "import sys, resource, signal, numpy as np, pandas as pd\n"
        "from featflow.errors import OutputError\n"
        "from featflow.fex import Fex\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "numbers = np.random.default_rng(0).random((5000, 8))\n"
        "frame = pd.DataFrame(numbers, columns=list('abcdefgh'))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try: Fex(frame).save(sys.argv[1])\n"
        "except OutputError as error: sys.exit(f'OutputError {error}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert f"OutputError {path}: cannot be written" in done.stderr
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(make_fex: Make, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="choose a folder that you may write to"):
            make_fex([1]).save(tmp_path / "a.csv")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EACCES, "may write to"), (errno.EROFS, "read-only")],
)
def test_remedies(
    code: int, remedy: str, make_fex: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("featflow.files.os.replace", refuse)
    with pytest.raises(OutputError, match=rf"a\.parquet: cannot be written.*{remedy}"):
        make_fex([1]).save(tmp_path / "a.parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_file(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no such file"):
        read_fex(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00 junk \x00\x01" * 9])
def test_damaged_file_is_one_error_that_names_it(
    suffix: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"a{suffix}"):
        read_fex(path)


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".json"])
def test_file_cut_short(suffix: str, make_fex: Make, tmp_path: Path) -> None:
    path = make_fex([1, 2]).save(tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="not a readable"):
        read_fex(path)


def test_csv_without_its_sidecar_still_reads(make_fex: Make, tmp_path: Path) -> None:
    fex = make_fex([1, 0])
    path = fex.save(tmp_path / "a.csv")
    sidecar_path(path).unlink()
    back = read_fex(path)
    pd.testing.assert_frame_equal(pd.DataFrame(back), pd.DataFrame(fex))
    assert back.meta["provenance"][0]["step"] == "read"


def test_damaged_sidecar_is_an_error(make_fex: Make, tmp_path: Path) -> None:
    path = make_fex([1]).save(tmp_path / "a.csv")
    sidecar_path(path).write_text("{")
    with pytest.raises(InputError, match="metadata"):
        read_fex(path)


def test_wide_parquet_keeps_float64_that_a_user_added(make_fex: Make, tmp_path: Path) -> None:
    fex = make_fex([1, 1]).assign(weight=[1 / 3, 2 / 3])
    back = read_fex(fex.save(tmp_path / "a.parquet"))
    assert back["weight"].tolist() == [1 / 3, 2 / 3]
    assert pq.read_schema(tmp_path / "a.parquet").field("weight").type == "double"


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".feather", ".json"])
def test_a_few_columns_of_a_file(tmp_path, suffix):
    table = Fex(
        pd.DataFrame(
            {"input": ["a", "b"], "Keep": [True, False], "FilterReason": ["", "dark"], "Yaw": 0.5}
        )
    )
    path = save_fex(table, tmp_path / f"t{suffix}")
    found = read_columns(path, ["FilterReason", "Keep"])
    assert list(found.columns) == ["FilterReason", "Keep"]
    assert found["Keep"].tolist() == [True, False]
    assert found["FilterReason"].fillna("").tolist() == ["", "dark"]
    with pytest.raises(MissingInputError, match="none"):
        read_columns(tmp_path / f"none{suffix}", ["Keep"])
