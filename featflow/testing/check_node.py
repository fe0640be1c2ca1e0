"""``check_node``: one conformance suite for the nodes of featflow and of everyone else."""

from __future__ import annotations

import copy
import inspect
import os
import random
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featflow.errors import FeatflowError, OptionError
from featflow.flow.batch import SHAPES, Batch, FaceBatch
from featflow.flow.node import InputSpec, Node
from featflow.flow.rebatch import Parcel
from featflow.flow.stage import NodeStage
from featflow.nodes._cards import CARD_NAME, Card, read_card
from featflow.nodes._weights import weights_hash
from featflow.testing.sample import sample_for

TOLERANCE = 1e-4
"""How far a face's values may differ between a batch of one and a batch of eight, absolute
and relative."""


class ConformanceError(AssertionError):
    """A node does not keep the node contract.

    Attributes:
        node: ``kind/name``.
        failures: what is wrong, one line a check.
    """

    def __init__(self, node: str, failures: tuple[str, ...]) -> None:
        self.node = node
        self.failures = failures
        super().__init__("\n".join([f"{node} breaks the node contract:", *failures]))


@dataclass(frozen=True, slots=True)
class Report:
    """What a node that passed was checked for.

    Attributes:
        node: ``kind/name``.
        checks: names of the checks, all passed.
        faces: faces that the checks saw; 0 for a detector that found none in the sample,
            whose checks of values then say nothing.
        card: its model card.
    """

    node: str
    checks: tuple[str, ...]
    faces: int
    card: Card


def check_node(node: Node | type[Node], sample: Batch | None = None) -> Report:
    """Check that a node keeps the node contract.

    Args:
        node: a node, or a class that needs no arguments. It is loaded on the CPU.
        sample: a batch with 8 faces (frame nodes: 8 frames) and the fields that the node
            requires; made up where not given.

    Raises:
        ConformanceError: lists everything that is wrong.
    """
    made = node if isinstance(node, Node) else node()
    failures = _declared(made)
    card, told = _card(made)
    failures += told
    if failures:  # the other checks rely on the declarations
        raise ConformanceError(_name(made), tuple(failures))
    assert card is not None  # noqa: S101 - no failure means that there is a card
    trial = _Trial(made, sample)
    with _restored():
        failures = trial.failures()
    if failures:
        raise ConformanceError(made.id, tuple(failures))
    names = ("declarations", "card", *trial.checks())
    return Report(made.id, names, len(trial.faces), card)


def _name(node: Node) -> str:
    return f"{getattr(node, 'kind', '?')}/{getattr(node, 'name', '?')}"


def _declared(node: Node) -> list[str]:
    """What is wrong with the class attributes."""
    told = []
    for attribute in ("kind", "name"):
        value = getattr(node, attribute, None)
        if not (isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.-]+", value)):
            told.append(f"{attribute} must be a plain word, got {value!r}")
    if getattr(node, "unit", None) not in ("frame", "face"):
        told.append(f"unit must be 'frame' or 'face', got {getattr(node, 'unit', None)!r}")
    if not (isinstance(node.batch_size, int) and node.batch_size > 0):
        told.append(f"batch_size must be a positive int, got {node.batch_size!r}")
    if not isinstance(node.spec, InputSpec) or 0.0 in node.spec.std:
        told.append(f"spec must be an InputSpec with std above 0, got {node.spec!r}")
    return [f"  declarations: {line}" for line in told + _declared_fields(node)]


def _declared_fields(node: Node) -> list[str]:
    requires, provides = node.requires, getattr(node, "provides", None)
    for attribute, value in (("requires", requires), ("provides", provides)):
        if not (isinstance(value, tuple) and all(isinstance(name, str) for name in value)):
            return [f"{attribute} must be a tuple of field names, got {value!r}"]
    assert provides is not None  # noqa: S101 - checked above
    told = [] if provides else ["provides names no field"]
    told += [f"requires and provides {n!r} at once" for n in provides if n in requires]
    told += [f"shapes does not have {n!r}" for n in provides if node.shape_of(n) is None]
    told += [
        f"shapes says {node.shapes[n]} for {n!r}, which is {SHAPES[n]} everywhere"
        for n in provides
        if n in node.shapes and n in SHAPES and node.shapes[n] != SHAPES[n]
    ]
    if getattr(node, "unit", None) == "frame" and not {"box", "score"} <= set(provides):
        told.append("a frame node must provide 'box' and 'score'")
    return told


def _card(node: Node) -> tuple[Card | None, list[str]]:
    folder = Path(inspect.getfile(type(node))).parent
    try:
        card = read_card(folder / CARD_NAME)
    except FeatflowError as error:
        return None, [f"  card: {error}"]
    told = [
        f"  card: key {key!r} says {said!r}, the node {is_!r}"
        for key, said, is_ in (
            ("id", card.id, _name(node)),
            ("requires", set(card.requires), set(node.requires)),
            ("provides", set(card.provides), set(getattr(node, "provides", ()))),
        )
        if said != is_
    ]
    hashes = [weights_hash(path) for path in folder.glob("*.safetensors")]
    if card.sha256 and card.sha256 not in hashes:
        told.append(f"  card: no .safetensors file in {folder} has the sha256 of the card")
    return card, told


class _Trial:
    """The checks that run a node."""

    def __init__(self, node: Node, sample: Batch | None) -> None:
        self.node = node
        self._given = sample
        self._settings = _settings()
        self.faces = FaceBatch.empty(())

    def failures(self) -> list[str]:
        """What is wrong, one line a check."""
        failures = []
        for name, check in self.checks().items():
            try:
                problem = check()
            except Exception as error:  # noqa: BLE001 - whatever the node raises is the finding
                problem = f"raised {type(error).__name__}: {error}"
            if problem:
                failures.append(f"  {name}: {problem}")
        return failures

    def checks(self) -> dict[str, Callable[[], str | None]]:
        """Checks by name; each returns what is wrong, or None."""
        return {
            "loads twice": self._loads_twice,
            "runs on the sample": self._runs,
            "no rows": self._no_rows,
            "one at a time": self._one_at_a_time,
            "deterministic": self._deterministic,
            "inputs unchanged": self._inputs_unchanged,
            "no infinity": self._no_infinity,
            "process state": self._process_state,
            "unreadable frames": self._unreadable,
            "pictures declared": self._pictures_declared,
            "copies": self._copies,
        }

    @property
    def sample(self) -> Batch:
        batch = self._given if self._given is not None else sample_for(self.node)
        return Batch(batch.frames, batch.faces, batch.min_score)  # without cached crops

    def run(self, batch: Batch, size: int = 8, node: Node | None = None) -> FaceBatch:
        result = NodeStage(node or self.node, size, {}).run(Parcel(batch))
        return result if isinstance(result, FaceBatch) else batch.faces.updated(result)

    def _loads_twice(self) -> None:
        self.node.load("cpu")
        self.node.load("cpu")

    def _runs(self) -> str | None:
        batch = self.sample
        rows = len(batch.frames if self.node.unit == "frame" else batch.faces)
        if rows != 8:
            raise OptionError(f"the sample has {rows} rows, not 8")
        self.faces = self.run(batch)
        return None

    def _no_rows(self) -> str | None:
        batch = self.sample.take_frames(0, 0)
        fields = self.run(batch).fields
        wrong = [name for name in self.node.provides if len(fields[name])]
        return f"fields {wrong} have rows" if wrong else None

    def _one_at_a_time(self) -> str | None:
        return _differs(self.faces, self.run(self.sample, size=1), TOLERANCE)

    def _deterministic(self) -> str | None:
        return _differs(self.faces, self.run(self.sample), 0.0)

    def _inputs_unchanged(self) -> str | None:
        batch = self.sample
        before = copy.deepcopy(batch)
        self.run(batch)
        same = all(map(np.array_equal, before.frames.images, batch.frames.images))
        if not same:
            return "the pictures were written to"
        return _differs(before.faces, batch.faces, 0.0)

    def _no_infinity(self) -> str | None:
        wrong = [
            name
            for name in self.node.provides
            if self.faces.fields[name].dtype.kind == "f" and np.isinf(self.faces.fields[name]).any()
        ]
        return f"fields {wrong} have infinite values; what is not known is NaN" if wrong else None

    def _process_state(self) -> str | None:
        batch = self.sample
        before = {**_settings(), **_generators()}
        # Not through the engine, which runs networks without gradients and would hide it.
        inputs = self.node.pre_process(batch)
        self.node.post_process(batch, self.node.process(inputs))
        # Loading may have changed a setting before any check ran.
        before.update(self._settings)
        after = {**_settings(), **_generators()}
        wrong = [name for name, value in before.items() if value != after[name]]
        return f"changed {', '.join(wrong)}" if wrong else None

    def _unreadable(self) -> str | None:
        batch = self.sample
        images = list(batch.frames.images)
        images[0] = np.zeros((0, 0, 3), np.uint8)
        lost = batch.frames.uids[0]
        found = self.run(replace(batch, frames=replace(batch.frames, images=images), _crops={}))
        kept, wanted = found.frame_uid != lost, self.faces.frame_uid != lost
        if self.node.unit == "frame" and not kept.all():
            return "found faces in a frame that has no picture"
        return _differs(self.faces[wanted], found[kept], TOLERANCE)

    def _pictures_declared(self) -> str | None:
        if self.node.needs_frames:
            return None
        batch = self.sample
        try:
            bare = self.run(replace(batch, frames=batch.frames.without_images(), _crops={}))
        except FeatflowError as error:
            return f"needs the pictures but has neither spec.crop nor reads_frames ({error})"
        told = _differs(self.faces, bare, TOLERANCE)
        return f"reads the pictures without saying so in reads_frames: {told}" if told else None

    def _copies(self) -> str | None:
        twin = copy.deepcopy(self.node)
        twin.load("cpu")
        return _differs(self.faces, self.run(self.sample, node=twin), 0.0)


def _differs(one: FaceBatch, two: FaceBatch, tolerance: float) -> str | None:
    """The first field in which two batches of faces differ."""
    if not np.array_equal(one.frame_uid, two.frame_uid):
        return f"{len(one)} faces became {len(two)}, or moved to other frames"
    for name, a in one.fields.items():
        b = two.fields[name]
        if a.shape != b.shape:
            return f"field {name!r} has shape {a.shape} and then {b.shape}"
        a64, b64 = a.astype(np.float64), b.astype(np.float64)
        if not np.allclose(a64, b64, rtol=tolerance, atol=tolerance, equal_nan=True):
            worst = np.nanmax(np.abs(a64 - b64))
            return f"field {name!r} differs by {worst:.3g}, or in what is NaN"
    return None


def _generators() -> dict[str, Any]:
    """States of the random generators that a whole process shares."""
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - the state being watched
    return {
        "the state of random": random.getstate(),
        "the state of numpy.random": (legacy["state"]["key"].tobytes(), legacy["state"]["pos"]),
        "the state of torch's generator": torch.get_rng_state().numpy().tobytes(),
    }


def _settings() -> dict[str, Any]:
    """Settings of this process that a node must leave alone."""
    return {
        "the grad mode": torch.is_grad_enabled(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's default dtype": torch.get_default_dtype(),
        "the environment": dict(os.environ),
        "the warnings filters": list(warnings.filters),
    }


@contextmanager
def _restored() -> Iterator[None]:
    """Put back what a node may have changed in this process."""
    grad, threads = torch.is_grad_enabled(), torch.get_num_threads()
    dtype = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
