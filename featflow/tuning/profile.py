"""Finding the batch size of each node of a detector by trying, and keeping what was found."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featflow.errors import InputError, MissingInputError, OptionError
from featflow.files import write_text_atomic
from featflow.tuning.search import BatchSearch, Sizes, Trial, search

if TYPE_CHECKING:
    from featflow.flow.node import Node

VERSION = 1
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Profile:
    """Batch sizes that suit one machine.

    Attributes:
        device: type of the device on which they were found, ``"cpu"``, ``"cuda"``, ``"mps"``.
        faces_per_frame: faces that a frame was taken to hold.
        sizes: node id to batch size.
        trials: what was tried, in order; those that did not fit have no figures.
    """

    device: str
    faces_per_frame: float
    sizes: Sizes
    trials: tuple[Trial, ...] = ()

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, whole or not at all."""
        document = {
            "featflow_profile": VERSION,
            "device": self.device,
            "faces_per_frame": self.faces_per_frame,
            "sizes": self.sizes,
            "trials": [
                {
                    "sizes": trial.sizes,
                    "frames_s": {k: round(v, 3) for k, v in trial.frames_s.items()},
                    "memory_bytes": trial.memory_bytes,
                }
                for trial in self.trials
            ],
        }
        write_text_atomic(Path(path), json.dumps(document, indent=1) + "\n")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read what :meth:`save` wrote.

        Raises:
            MissingInputError: there is no such file.
            InputError: it is no profile.
        """
        if not Path(path).is_file():
            raise MissingInputError(str(path), "no such file", "make it with featflow profile")
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            if document["featflow_profile"] != VERSION:
                raise ValueError(f"version {document['featflow_profile']!r} is not {VERSION}")
            sizes = {str(node): int(size) for node, size in document["sizes"].items()}
            if not sizes or min(sizes.values()) < 1:
                raise ValueError("batch sizes must be at least 1")
            trials = tuple(Trial(**trial) for trial in document["trials"])
            return cls(str(document["device"]), float(document["faces_per_frame"]), sizes, trials)
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            told = f"is no profile: {type(error).__name__}: {error}"
            raise InputError(str(path), told, "make it anew with featflow profile") from error

    def sizes_for(self, nodes: Sequence[Node], device: str) -> Sizes:
        """Batch sizes for the nodes of a detector.

        Raises:
            OptionError: it was made on another kind of device, or without one of the nodes.
        """
        if device.split(":")[0] != self.device:
            raise OptionError(
                f"this profile was made on {self.device} and the detector runs on {device}"
            )
        missing = [node.id for node in nodes if node.id not in self.sizes]
        if missing:
            raise OptionError(
                f"this profile knows no batch size of {', '.join(missing)}; make it anew with "
                f"these nodes"
            )
        return {node.id: self.sizes[node.id] for node in nodes}


@dataclass(frozen=True, slots=True)
class Effort:
    """How a profile is made.

    Attributes:
        faces_per_frame: faces that a frame is taken to hold.
        seconds: how long each trial is timed; a quarter of it warms up before.
        largest: no batch grows beyond this.
        limit_bytes: most memory that may be used; None for 85 % of a GPU's, and no limit on a
            CPU.
        frame_size: height and width of made-up frames.
    """

    faces_per_frame: float = 2.0
    seconds: float = 2.0
    largest: int = 128
    limit_bytes: int | None = None
    frame_size: tuple[int, int] = (720, 1280)

    def __post_init__(self) -> None:
        wrong = {
            "faces_per_frame": self.faces_per_frame > 0,
            "seconds": self.seconds > 0,
            "largest": self.largest >= 1,
            "limit_bytes": self.limit_bytes is None or self.limit_bytes > 0,
            "frame_size": min(self.frame_size) >= 1,
        }
        for name, good in wrong.items():
            if not good:
                raise OptionError(f"{name} must be above 0, got {getattr(self, name)}")


def profile_nodes(
    nodes: Sequence[Node],
    effort: Effort | None = None,
    *,
    tell: Callable[[Trial], object] = bool,
    clock: Clock = time.perf_counter,
) -> Profile:
    """Find the batch sizes of nodes that run together.

    On a GPU the nodes run at the same time, each in its thread, for there they share memory and
    the device. On a CPU they run one after the other.

    Args:
        nodes: loaded nodes of one detector.
        effort: how long to try, and with what.
        tell: called with each trial.
        clock: gives seconds.

    Raises:
        OptionError: no nodes, or memory does not even hold one row of each.
        NodeError: a node fails for another reason than memory.
    """
    from featflow.tuning.measure import Bench

    if not nodes:
        raise OptionError("there is no node to profile")
    chosen = effort or Effort()
    bench = Bench(nodes, chosen, clock)

    def measure(sizes: Sizes) -> Trial:
        trial = _within(bench.trial(sizes), bench.limit_bytes)
        tell(trial)
        return trial

    found = search(BatchSearch([node.id for node in nodes], chosen.largest), measure)
    if found.best is None:
        raise OptionError(_too_large(found.trials[0], bench.limit_bytes))
    return Profile(bench.device, chosen.faces_per_frame, found.best.sizes, tuple(found.trials))


def sweep_node(
    node: Node, effort: Effort | None = None, *, clock: Clock = time.perf_counter
) -> list[Trial]:
    """Throughput of one node at 1, 2, 4, ... rows at a time.

    Returns:
        One trial a size up to ``effort.largest``; once one does not fit, larger ones are
        not tried and have no figures.
    """
    from featflow.tuning.measure import Bench

    chosen = effort or Effort()
    bench = Bench([node], chosen, clock)
    trials: list[Trial] = []
    size = 1
    while size <= chosen.largest:
        fits = all(trial.fitted for trial in trials)
        trial = bench.trial({node.id: size}) if fits else Trial({node.id: size})
        trials.append(_within(trial, bench.limit_bytes))
        size *= 2
    return trials


def _within(trial: Trial, limit: int | None) -> Trial:
    """The trial, without figures if it used more memory than it may."""
    over = limit is not None and trial.memory_bytes > limit
    return Trial(trial.sizes, {}, trial.memory_bytes) if over else trial


def _too_large(trial: Trial, limit: int | None) -> str:
    room = "the memory there is" if limit is None else f"{limit / 1e9:.2f} GB"
    used = f": {trial.memory_bytes / 1e9:.2f} GB in use" if trial.memory_bytes else ""
    return f"one row at a time does not fit into {room}{used}; allow more, or run fewer nodes"
