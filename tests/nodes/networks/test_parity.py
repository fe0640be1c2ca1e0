"""The bare networks against the layouts and outputs of the published checkpoints."""

from __future__ import annotations

import copy
import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from featflow.errors import UnknownNodeError
from featflow.nodes._folding import fold_traced
from featflow.nodes.networks import network, network_names
from featflow.nodes.networks.mp_mixer import BLENDSHAPES, MESH_POINTS

PUBLISHED = [name for name in network_names() if not name.startswith("tha3_")]
"""Those of THA3 have tests of their own, in tests/animate."""

WITH_OUTPUTS = [name for name in PUBLISHED if name != "img2pose"]

# Fully convolutional networks are checked on smaller pictures, which keeps the suite quick.
SMALL = {
    "facenet": (3, 96, 96),
    "l2cs_r50": (3, 64, 64),
    "resmasknet": (3, 64, 64),
    "retinaface_r34": (3, 64, 96),
}


def as_arrays(output: Any) -> list[np.ndarray]:
    """One array an output, in order."""
    outputs = output if isinstance(output, tuple) else (output,)
    return [part.numpy() for part in outputs]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest expected magnitude."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module", params=WITH_OUTPUTS)
def loaded(request: pytest.FixtureRequest, expectation: Callable) -> tuple:
    """A network with its stand-in weights, built once for all tests of it."""
    expected = expectation(request.param)
    module = network(request.param)
    module.load_state_dict(expected.weights(), strict=True)
    return expected, module


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_the_published_ones(name: str, expectation: Callable) -> None:
    with torch.device("meta"):
        state = network(name).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == expectation(name).layout


def test_outputs_are_the_published_ones(loaded: tuple) -> None:
    expected, module = loaded
    with torch.inference_mode():
        found = as_arrays(module(expected.inputs()))
    arrays = expected.arrays()
    published = [arrays[f"output_{i}"] for i in range(len(found))]
    assert f"output_{len(found)}" not in arrays
    errors = [relative_error(*pair) for pair in zip(found, published, strict=True)]
    assert max(errors) < 1e-4


def test_outputs_are_the_same_with_batch_norms_folded(loaded: tuple) -> None:
    expected, module = loaded
    shape = SMALL.get(expected.name, tuple(expected.arrays()["input_shape"][1:]))
    inputs = expected.inputs((2, *shape), seed=3)
    tensors = {id(t): t for t in itertools.chain(module.parameters(), module.buffers())}
    folded = fold_traced(copy.deepcopy(module, tensors))  # the tensors are not copied
    # What stays: IR-50's 24 norms before a convolution and one before the flattening, and the
    # norm of PFLD that nothing uses.
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    left = sum(isinstance(each, kinds) for each in folded.modules())
    assert left == {"arcface_r50": 25, "pfld": 1}.get(expected.name, 0)
    with torch.inference_mode():
        pairs = zip(as_arrays(folded(inputs)), as_arrays(module(inputs)), strict=True)
        # Processors round differently: 1.4e-4 has been seen (RetinaFace, AMD EPYC).
        assert max(relative_error(*pair) for pair in pairs) < 1e-3


def test_twenty_random_batches_equal_single_results(loaded: tuple) -> None:
    expected, module = loaded
    shape = SMALL.get(expected.name, tuple(expected.arrays()["input_shape"][1:]))
    pool = expected.inputs((3, *shape), seed=7)
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        single = [as_arrays(module(pool[i : i + 1])) for i in range(len(pool))]
        for _ in range(20):
            rows = rng.integers(0, len(pool), rng.integers(1, 4))
            found = as_arrays(module(pool[rows]))
            for number, batch in enumerate(found):
                alone = np.concatenate([single[row][number] for row in rows])
                assert relative_error(batch, alone) < 1e-4


def test_a_result_depends_on_the_picture(loaded: tuple) -> None:
    expected, module = loaded
    shape = SMALL.get(expected.name, tuple(expected.arrays()["input_shape"][1:]))
    pool = expected.inputs((2, *shape), seed=11)
    with torch.inference_mode():
        first, second = as_arrays(module(pool))[0]
    assert relative_error(first, second) > 1e-3


@pytest.mark.parametrize("name", ["mobilenet_gdconv", "pfld"])
def test_loads_without_random_weights(name: str, expectation: Callable) -> None:
    expected = expectation(name)
    with torch.device("meta"):
        module = network(name)
    module.load_state_dict(expected.weights(), strict=True, assign=True)
    with torch.inference_mode():
        found = as_arrays(module(expected.inputs()))
    assert relative_error(found[0], expected.arrays()["output_0"]) < 1e-4


def test_networks_are_built_in_evaluation_mode() -> None:
    with torch.device("meta"):
        modules = [network(name) for name in PUBLISHED]
    assert not any(part.training for module in modules for part in module.modules())


def test_an_unknown_name_lists_those_that_exist() -> None:
    with pytest.raises(UnknownNodeError) as caught:
        network("retinaface_r50")
    assert "retinaface_r50" in str(caught.value)
    assert all(name in str(caught.value) for name in PUBLISHED)


def test_two_names_of_one_tensor_are_one_tensor() -> None:
    with torch.device("meta"):
        landmark, emotion = network("mobilenet_gdconv"), network("resmasknet")
    for module, one, other in (
        (landmark, "pretrain_net.features.3", "base_net.0.3"),
        (emotion, "mask1.downsample2", "mask1.conv2.downsample"),
        (emotion, "mask4.downsample2", "mask4.conv2.downsample"),
    ):
        assert module.get_submodule(one) is module.get_submodule(other)
    assert parameters(emotion) == pytest.approx(137.8e6, rel=1e-3)


def parameters(module: nn.Module) -> int:
    """Learned values, each shared tensor counted once."""
    return sum(tensor.numel() for tensor in module.parameters())


def shared_maker(shared: Path) -> ModuleType:
    """The project's own ``parity_weights.py``."""
    spec = importlib.util.spec_from_file_location(
        "parity_weights", shared / "parity" / "parity_weights.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stand_in_weights_equal_the_shared_ones(
    shared: Path, stand_in_tensor: Callable, expectation: Callable
) -> None:
    published = shared_maker(shared)
    for name, seed in itertools.product(("pfld", "mp_blendshapes", "pose_mlp"), (0, 5)):
        for key, shape in expectation(name).layout.items():
            theirs = published.tensor_for(key, shape, seed)
            mine = stand_in_tensor(key, shape, seed)
            assert theirs.dtype == mine.dtype
            np.testing.assert_array_equal(theirs, mine)


def test_copies_equal_the_shared_files(shared: Path) -> None:
    folder = Path(__file__).parents[2] / "parity"
    copies = [*folder.glob("*.layout.json"), *folder.glob("*.npz")]
    assert len(copies) == 2 * len(PUBLISHED)
    for ours in copies:
        original = shared / "parity" / ours.name
        if original.exists():
            assert ours.read_bytes() == original.read_bytes()


def test_blendshapes_do_not_depend_on_place_and_size(expectation: Callable) -> None:
    expected = expectation("mp_blendshapes")
    module = network("mp_blendshapes")
    module.load_state_dict(expected.weights())
    points = expected.inputs()
    with torch.inference_mode():
        found, moved = module(points), module(points * 3 - 70)
    torch.testing.assert_close(found, moved, atol=1e-4, rtol=1e-4)


def test_blendshape_names_and_points() -> None:
    assert len(BLENDSHAPES) == len(set(BLENDSHAPES)) == 52
    assert [BLENDSHAPES[i] for i in (0, 9, 10, 25)] == [
        "_neutral",
        "eyeBlinkLeft",
        "eyeBlinkRight",
        "jawOpen",
    ]
    assert "tongueOut" not in BLENDSHAPES
    assert sorted(set(MESH_POINTS)) == list(MESH_POINTS)
    assert len(MESH_POINTS) == 146
    assert MESH_POINTS[-10:] == tuple(range(468, 478))  # both irises
