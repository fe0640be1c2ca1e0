"""Profiles: measured with a clock that the nodes move, kept, and really used."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featflow import Detector
from featflow.errors import InputError, MissingInputError, NodeError, OptionError
from featflow.flow.batch import FaceBatch
from featflow.flow.node import Node
from featflow.tuning import Profile, profile_nodes, sweep_node
from featflow.tuning import measure as measuring
from featflow.tuning.profile import Effort
from featflow.tuning.search import Trial


class Now:
    """A clock that stands still until a node moves it."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Finder(Node):
    """One face a frame; a batch costs ``base`` seconds and ``each`` a frame."""

    kind, name, unit = "face", "finder", "frame"
    provides = ("box", "score", "points5")

    def __init__(self, now: Now | None = None, base: float = 1.0, each: float = 0.1) -> None:
        super().__init__()
        self.now, self.base, self.each = now or Now(), base, each
        self.seen: list[int] = []
        self.most = 10**6

    def pre_process(self, batch: Any) -> Any:
        return batch

    def process(self, inputs: Any) -> Any:
        count = len(inputs.frames if self.unit == "frame" else inputs.faces)
        if count > self.most:
            raise MemoryError
        self.seen.append(count)
        self.now.seconds += self.base + self.each * count
        return inputs

    def post_process(self, batch: Any, outputs: Any) -> Any:
        n = len(batch.frames)
        fields = {
            "box": np.tile(np.float32([1, 1, 5, 5]), (n, 1)),
            "score": np.ones(n, np.float32),
            "points5": np.zeros((n, 5, 2), np.float32),
        }
        return FaceBatch(batch.frames.uids.copy(), fields)


class Teller(Finder):
    kind, name, unit = "gaze", "teller", "face"
    requires, provides = ("box",), ("gaze",)
    shapes = {"gaze": (3,)}  # noqa: RUF012

    def post_process(self, batch: Any, outputs: Any) -> Any:
        return {"gaze": np.zeros((len(batch.faces), 3), np.float32)}


SMALL = Effort(faces_per_frame=2, seconds=10, largest=64, frame_size=(40, 60))


def test_rates_are_rows_over_seconds_and_faces_count_by_the_frame() -> None:
    now = Now()
    face, gaze = Finder(now, 1, 0), Teller(now, 2, 0)
    found = profile_nodes([face, gaze], Effort(3, 10, 1, frame_size=(40, 60)), clock=now)
    (only,) = found.trials
    assert only.sizes == {"face/finder": 1, "gaze/teller": 1}
    # 10 seconds of 1 frame a second; 10 of 1 face in 2 seconds, which is 1/6 of a frame.
    assert only.frames_s == pytest.approx({"face/finder": 1.0, "gaze/teller": 1 / 6})
    assert only.slowest == "gaze/teller"


def test_the_best_least_throughput_is_found_and_told() -> None:
    now = Now()
    # Frames a second: n / (1 + n / 10) of the one, n / 2 / (1 + n / 100) of the other.
    face, gaze = Finder(now, 1, 0.1), Teller(now, 1, 0.01)
    told: list[Trial] = []
    found = profile_nodes([face, gaze], SMALL, tell=told.append, clock=now)
    assert tuple(told) == found.trials
    best = max(found.trials, key=lambda trial: trial.least)
    assert found.sizes == best.sizes
    assert best.least > 3 * found.trials[0].least
    assert found.device == "cpu"
    rate = found.sizes["face/finder"]
    assert best.frames_s["face/finder"] == pytest.approx(rate / (1 + 0.1 * rate), rel=0.02)


def test_running_out_of_memory_is_a_data_point() -> None:
    now = Now()
    node = Finder(now)
    node.most = 20
    found = profile_nodes([node], SMALL, clock=now)
    tried = [(trial.sizes["face/finder"], trial.fitted) for trial in found.trials]
    assert tried[:7] == [
        (1, True), (2, True), (4, True), (8, True), (16, True), (32, False), (24, False),
    ]  # fmt: skip
    assert found.sizes == {"face/finder": 20}


def test_a_limit_is_kept_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = Now()
    node = Finder(now)
    monkeypatch.setattr(measuring, "resident_bytes", lambda: 10**8 * node.seen[-1])
    told: list[Trial] = []
    effort = Effort(2, 10, 64, 10**9, (40, 60))
    found = profile_nodes([node], effort, tell=told.append, clock=now)
    assert found.sizes == {"face/finder": 8}
    assert [(trial.sizes["face/finder"], trial.fitted) for trial in told] == [
        (1, True), (2, True), (4, True), (8, True), (16, False), (12, False),
    ]  # fmt: skip
    assert tuple(told) == found.trials
    sweep = sweep_node(node, effort, clock=now)
    assert [trial.fitted for trial in sweep] == [True] * 4 + [False] * 3


def test_where_not_even_one_row_fits_there_is_no_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = Finder()
    full.most = 0
    with pytest.raises(OptionError, match="one row at a time does not fit into the memory"):
        profile_nodes([full], SMALL)
    monkeypatch.setattr(measuring, "resident_bytes", lambda: 3 * 10**9)
    now = Now()
    told: list[Trial] = []
    effort = Effort(2, 1, 4, 2 * 10**9, (8, 8))
    with pytest.raises(OptionError, match=r"into 2\.00 GB: 3\.00 GB in use; allow more"):
        profile_nodes([Finder(now)], effort, tell=told.append, clock=now)
    assert [trial.fitted for trial in told] == [False]


def test_another_error_is_raised_with_the_nodes_name() -> None:
    node = Finder()
    node.process = lambda _: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(NodeError, match="face/finder fails on made-up input: ZeroDivisionError"):
        profile_nodes([node], SMALL)
    with pytest.raises(OptionError, match="no node"):
        profile_nodes([], SMALL)


def test_a_sweep_stops_where_memory_ends_and_says_so_of_larger_ones() -> None:
    now = Now()
    node = Teller(now, 1, 0.5)
    node.most = 9
    trials = sweep_node(node, SMALL, clock=now)
    sizes = [trial.sizes["gaze/teller"] for trial in trials]
    assert sizes == [1, 2, 4, 8, 16, 32, 64]
    assert [trial.fitted for trial in trials] == [True] * 4 + [False] * 3
    assert max(node.seen) <= 9
    rates = [trial.frames_s["gaze/teller"] for trial in trials[:4]]
    assert rates == pytest.approx([n / (1 + 0.5 * n) / 2 for n in (1, 2, 4, 8)], rel=0.01)


def test_nodes_run_together_where_they_share_a_device_twice_in_a_process() -> None:
    both = threading.Barrier(2, timeout=20)

    class Meets(Finder):
        met = False

        def process(self, inputs: Any) -> Any:
            if not self.met:  # passes only while the other node runs too
                both.wait()
                self.met = True
            return super().process(inputs)

    for _ in range(2):
        nodes = [Meets(), Meets()]
        bench = measuring.Bench(nodes, Effort(2, 0.01, frame_size=(8, 8)), _ticking())
        runs = [measuring._Run(node, 2, bench) for node in nodes]
        measuring._together(runs)
        assert all(run.rows_s > 0 for run in runs)


def test_the_error_of_one_of_them_is_raised_and_ends_the_others() -> None:
    good, bad = Finder(), Finder()
    bad.most = 1
    bench = measuring.Bench([good, bad], Effort(2, 0.01, frame_size=(8, 8)), _ticking())
    runs = [measuring._Run(node, 2, bench) for node in (good, bad)]
    with pytest.raises(MemoryError):
        measuring._together(runs)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("profile")]


def _ticking() -> Callable[[], float]:
    ticks = iter(range(10**6))
    return lambda: next(ticks) * 0.004


def test_a_profile_is_kept_as_it_is(tmp_path: Path) -> None:
    now = Now()
    node = Finder(now)
    node.most = 5
    found = profile_nodes([node], SMALL, clock=now)
    back = Profile.load(found.save(tmp_path / "p.json"))
    assert back.sizes == found.sizes
    assert back.faces_per_frame == 2
    assert [trial.fitted for trial in back.trials] == [trial.fitted for trial in found.trials]
    assert [p.name for p in tmp_path.iterdir()] == ["p.json"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"sizes": {}}', '{"featflow_profile": 9}',
     '{"featflow_profile": 1, "device": "cpu", "faces_per_frame": 2, "sizes": {"a": 0},'
     ' "trials": []}'],
)  # fmt: skip
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(InputError, match=r"p\.json: is no profile"):
        Profile.load(tmp_path / "p.json")
    with pytest.raises(MissingInputError):
        Profile.load(tmp_path / "q.json")


def detector(profile: Any, **options: Any) -> Detector:
    return Detector.only(face=Finder(), gaze=Teller(), device="cpu", profile=profile, **options)


def test_a_detector_really_uses_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    Profile("cpu", 2, {"face/finder": 5, "gaze/teller": 3, "au/other": 9}).save(path)
    frames = [np.zeros((9, 9, 3), np.uint8)] * 15
    for profile in (path, Profile.load(path)):
        made = detector(profile)
        fex = made.detect(frames, progress_bar=False)
        assert made.nodes["face"].seen == [5, 5, 5]  # type: ignore[attr-defined]
        assert made.nodes["gaze"].seen == [3] * 5  # type: ignore[attr-defined]
    asked = detector(path)
    asked.detect(frames, batch_size=15, progress_bar=False)
    assert asked.nodes["face"].seen == [15]  # type: ignore[attr-defined]
    later = Detector.only(
        gaze=Teller(), device="cpu", profile=Profile("cpu", 2, {"gaze/teller": 4})
    )
    later.detect_from(fex.assign(input="x"), progress_bar=False)
    assert later.nodes["gaze"].seen == [4, 4, 4, 3]  # type: ignore[attr-defined]


def test_a_profile_of_another_device_or_other_nodes_is_refused() -> None:
    with pytest.raises(OptionError, match="made on cuda and the detector runs on cpu"):
        detector(Profile("cuda", 2, {"face/finder": 5, "gaze/teller": 3}))
    with pytest.raises(OptionError, match="no batch size of gaze/teller"):
        detector(Profile("cpu", 2, {"face/finder": 5}))


@pytest.mark.parametrize(
    "wrong", [{"seconds": 0}, {"largest": 0}, {"faces_per_frame": -1}, {"limit_bytes": 0}]
)
def test_efforts_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Effort(**wrong)


def test_the_table_has_a_line_a_trial_and_none_for_what_did_not_fit(
    capfd: pytest.CaptureFixture[str],
) -> None:
    from featflow.cli.profile import _show

    trials = (
        Trial({"a/x": 1}, {"a/x": 10.0}, 2 * 10**9),
        Trial({"a/x": 8}, {"a/x": 40.0}, 0),
        Trial({"a/x": 16}),
    )
    _show(trials, {"a/x": 8})
    lines = capfd.readouterr().out.strip("\n").splitlines()
    assert len(lines) == 3
    assert lines[0].split() == ["a/x", "least", "memory"]
    assert lines[1].split() == ["1:", "10.0/s", "10.0/s", "2.00", "GB"]
    assert lines[2].split() == [">", "8:", "40.0/s", "40.0/s"]


def test_the_command_prints_one_line_a_trial_saves_and_is_used(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from featflow.cli.app import run

    path = tmp_path / "p.json"
    slots = ("pose", "au", "emotion", "identity", "gaze")
    off = [word for slot in slots for word in (f"--{slot}", "none")]
    flags = ["--seconds", "0.01", "--largest", "2", "--frame-size", "64x64", "--device", "cpu"]
    flags += off
    assert run(["profile", *flags, "--save", str(path)]) == 0
    out = capfd.readouterr().out
    trials = json.loads(path.read_text())["trials"]
    assert out.count("/s") == 3 * len(trials)
    assert out.count(">") == 1
    photo = ["detect", "sample:photo", "--device", "cpu", *off, "--quiet"]
    assert run([*photo, "--profile", str(path)]) == 0
    assert run([*photo[:4], *off[2:], "--profile", str(path)]) == 2
    assert "pose/mlp" in capfd.readouterr().err
    assert run(["profile", "--frame-size", "wide"]) == 2
