"""Foreign distributions, and stand-in weights of the published networks."""

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

CARD = """
id = "toy/foreign"
summary = "Twice the score."
licence = "MIT"
commercial_use = true
size_bytes = 0
sha256 = ""
requires = ["box"]
provides = ["twice"]
data = "none"
method = "a formula"
limits = ["means nothing"]
consent = "no people"

[metrics]
error = 0.0
"""

MODULE = """
import numpy as np
from featflow.flow import Node


class Twice(Node):
    kind, name, unit = "toy", "foreign", "face"
    requires, provides = ("box",), ("twice",)
    shapes = {"twice": ()}

    def __init__(self, gain: float = 2.0, *, offset: float = 0.0) -> None:
        super().__init__()
        self.gain = gain

    def pre_process(self, batch):
        return batch.faces.box[:, 0]

    def process(self, inputs):
        return self.gain * inputs

    def post_process(self, batch, outputs):
        return {"twice": outputs}
"""


@pytest.fixture
def card_text():
    return CARD


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay a distribution with entry points on the path, as pip would."""

    def lay(entries, module=MODULE, card=CARD, package="toydist"):
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").write_text(textwrap.dedent(module))
        if card:
            (folder / "card.toml").write_text(card)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[featflow.nodes]", *lines, ""]))
        return SimpleNamespace(path=Path(folder), package=package)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield lay
    import sys

    for name in [n for n in sys.modules if n.startswith(("toydist", "otherdist"))]:
        del sys.modules[name]


FOLDER = Path(__file__).parents[1] / "parity"


def stand_in(name: str, shape: Sequence[int], seed: int = 0) -> NDArray[np.generic]:
    """Values for one state-dict entry that depend on its name, shape and the seed alone.

    Weights have the spread that keeps a ReLU network's activations level, variances are
    positive, scales lie near 3/4, shifts near 0, counters are 0.
    """
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    generator = np.random.RandomState((crc32(name.encode()) + seed) & 0xFFFFFFFF)
    noise = generator.standard_normal(tuple(shape)).astype(np.float32)
    if name.endswith("running_var"):
        return np.float32(0.5) + np.abs(noise)
    if len(shape) > 1:
        return noise * np.float32(sqrt(2.0 / prod(shape[1:])))
    if name.endswith("weight"):
        return np.float32(0.75) + np.float32(0.1) * noise
    return np.float32(0.05) * noise


@dataclass(frozen=True)
class Expectation:
    """What a published network is known to compute on the stand-in weights."""

    name: str

    @property
    def layout(self) -> dict[str, list[int]]:
        """State-dict key to shape."""
        return dict(json.loads((FOLDER / f"{self.name}.layout.json").read_text()))

    def weights(self) -> dict[str, torch.Tensor]:
        """The stand-in state dict."""
        return {
            key: torch.from_numpy(np.asarray(stand_in(key, shape)))
            for key, shape in self.layout.items()
        }

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The expectation file."""
        with np.load(FOLDER / f"{self.name}.npz", allow_pickle=False) as file:
            return dict(file)

    def inputs(self, shape: Sequence[int] | None = None, seed: int = 1) -> torch.Tensor:
        """Uniform noise in the network's input range, of the published shape or another."""
        arrays = self.arrays()
        low, high = arrays["input_range"]
        size = tuple(arrays["input_shape"]) if shape is None else tuple(shape)
        noise = np.random.RandomState(seed).uniform(low, high, size=size)
        return torch.from_numpy(noise.astype(np.float32))


@pytest.fixture(scope="session")
def stand_in_tensor() -> Callable[..., NDArray[np.generic]]:
    """:func:`stand_in`, for tests."""
    return stand_in


@pytest.fixture(scope="session")
def expectation() -> Callable[[str], Expectation]:
    """The expectation of a network by its layout name."""
    return Expectation
