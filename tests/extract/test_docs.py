"""The examples of docs/extract.md, run as they stand, and the names of docs/faceswap.md."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "extract.md").read_text(encoding="utf-8")
NAMES = (DOCS / "faceswap.md").read_text(encoding="utf-8")

HOMES = (
    "featflow", "featflow.extract", "featflow.extract.chips", "featflow.extract.realign",
    "featflow.extract.rotate", "featflow.flow", "featflow.flow.rebatch", "featflow.flow.queues",
    "featflow.datasets.frame", "featflow.geometry.centring", "featflow.geometry.crop",
    "featflow.geometry.mask_ops", "featflow.geometry.similarity", "featflow.fex.masks",
    "featflow.fex.build", "featflow.identity", "featflow.tuning", "featflow.tuning.profile",
    "featflow.tuning.compiled", "featflow.tuning.search", "featflow.errors",
    "featflow.nodes.mask.tiny.node",
)  # fmt: skip
WORDS = frozenset({
    "pose", "mask", "mask_matrix", "enroll", "profile", "rotate", "min_size", "max_size", "refeed",
    "realign", "normalise", "share", "count", "landmark_score", "wanted", "unwanted",
    "identity_threshold", "FaceShare", "Keep", "FilterReason",
})  # fmt: skip
"""Fields, columns, commands and arguments in the cells of ours; the rest are names to import."""


def test_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    space: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(block, space)
    assert capsys.readouterr().out == (
        "face/tiny+rotate landmark/tiny+clahe+refeed+realign filter/marks\n"
        "landmark/tiny+refeed+realign\n[True] 0.44\n4\nTrue True\n2.667\n"
        "1 True\n(2, 3) (128, 128, 3)\n"
    )


def rows() -> list[tuple[str, str]]:
    """(there, here) of every row of every table of the page."""
    lines = [line for line in NAMES.splitlines() if line.startswith("| ") and "there" not in line]
    cells = [line.strip("|").split("|") for line in lines]
    assert all(len(row) == 2 for row in cells)
    return [(there, here) for there, here in cells]


def theirs() -> set[str]:
    """Names of theirs: ``Class``, ``Class.member`` or a function."""
    found: set[str] = set()
    for there, _ in rows():
        owner = ""
        for span in re.findall(r"`([^`]+)`", there):
            owner = owner if span.startswith(".") else span.partition(".")[0]
            found.add(owner + span if span.startswith(".") else span)
            found.add(owner)
    return found


def documented(folder: Path) -> set[str]:
    """The classes, their methods and properties, and the functions of the two documents."""
    names: set[str] = set()
    member = re.compile(r"(?:abstractmethod |classmethod |property )?(\w+)\(|property (\w+)")
    for file in ("extract-pipeline-api.txt", "mask-runner-api.txt"):
        owner = ""
        for line in (folder / file).read_text(encoding="utf-8").splitlines():
            if found := re.match(r"class (?:lib\.infer\.\w+\.)?(\w+)", line):
                owner = found[1]
                names.add(owner)
            elif found := re.match(r"lib\.infer\.\w+\.(\w+)\(", line):
                owner = ""
                names.add(found[1])
            elif re.match(r"(Classes|Functions|Methods Summary|Class Inheritance Diagram)$", line):
                owner = ""
            elif owner and (found := member.match(line)):
                names.add(f"{owner}.{found[1] or found[2]}")
    return names


def test_every_class_and_function_there_has_its_line(shared: Path) -> None:
    wanted = documented(shared / "reference" / "documents")
    assert len(wanted) > 120
    # The stand-in for a plug-in of a file handler is no object of its own.
    missing = {name for name in wanted - theirs() if not name.startswith("Plugin")}
    assert missing == set()


def ours(name: str) -> Any:
    """What a name of ours is; None where there is none."""
    first, *rest = name.split(".")
    homes = [import_module(home) for home in HOMES]
    found = next((getattr(home, first) for home in homes if hasattr(home, first)), None)
    for part in rest:
        fields = getattr(found, "__annotations__", {})
        found = getattr(found, part, fields.get(part))
    return found


def test_every_name_of_ours_exists() -> None:
    spans = {span for _, here in rows() for span in re.findall(r"`([A-Za-z_][\w.]*)`", here)}
    missing = sorted(name for name in spans - WORDS if ours(name) is None)
    assert missing == []
    assert len(spans) > 100
    assert ours("Session.nothing") is None


def test_arguments_that_the_page_names_exist() -> None:
    from featflow import Detector
    from featflow.extract import ExtractOptions, Refeed
    from featflow.flow import Flow, Session

    for call, names in (
        (ExtractOptions, ("rotate", "min_size", "max_size", "refeed", "realign", "normalise")),
        (Detector, ("wanted", "unwanted", "identity_threshold", "compile")),
        (Refeed, ("share", "count")),
        (Flow, ("given",)),
        (Session.put, ("passthrough",)),
        (Session.put_frame, ("passthrough",)),
    ):
        assert set(names) <= inspect.signature(call).parameters.keys()
