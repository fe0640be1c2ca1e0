"""The networks compute what the published ones compute, on stand-in weights.

The expectations were computed with two threads; where this machine's convolutions round as they
did, every output is equal bit by bit. Elsewhere the inputs matter: white noise, in which
neighbouring pixels have nothing in common. A warp reads it at ``change * size / 2`` pixels, so the
last bits of float32 in ``change`` become up to 2e-3 of the image at single pixels; in float64 our
outputs stay as far from the expectations, which are float32 themselves. There every output that is
not read through a warp is still held to 1e-4 at every pixel, a warped one to 2e-4 in the median,
and the warp itself is checked apart.
"""

import ast
import importlib.util

import numpy as np
import pytest
import torch

from featflow import nodes
from featflow.animate import tha3
from featflow.animate.tha3.blocks import warped
from featflow.errors import OptionError

# Outputs that contain pixels of the input read through a warp.
WARPED = {
    "eyebrow_decomposer": set(),
    "eyebrow_morphing_combiner": {0, 2, 3, 6},
    "face_morpher": {0, 3, 6},
    "two_algo_face_body_rotator": {1},
    "editor": {0, 3},
}

# For three networks: input image, output of the change, output of the warped image.
WARPS = {
    "eyebrow_morphing_combiner": (1, 7, 6),
    "two_algo_face_body_rotator": (0, 2, 1),
    "editor": (0, 4, 3),
}


def inputs_of(expected):
    rng = np.random.RandomState(1)
    shapes = [ast.literal_eval(str(text)) for text in expected["input_shapes"]]
    return [torch.from_numpy(rng.uniform(0, 1, size=s).astype(np.float32)) for s in shapes]


@pytest.fixture(scope="module")
def weights(shared):
    path = shared / "parity" / "parity_weights.py"
    spec = importlib.util.spec_from_file_location("parity_weights", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def part_of(layout):
    return layout.split("_", 2)[2]


@pytest.fixture
def two_threads():
    """As the expectations were computed: more threads split sums elsewhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("layout", tha3.LAYOUTS)
def test_a_network_computes_what_the_published_one_computes(layout, shared, weights, two_threads):
    expected = np.load(shared / "parity" / f"{layout}.npz")
    made = weights.state_dict_for(shared / "parity" / f"{layout}.layout.json")
    network = nodes.network(layout)
    assert list(network.state_dict()) == list(made)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in made.items()})
    with torch.inference_mode():
        outputs = network(*inputs_of(expected))
    assert f"output_{len(outputs)}" not in expected
    through_a_warp = WARPED[part_of(layout)]
    errors = {}
    for i, output in enumerate(outputs):
        truth, found = expected[f"output_{i}"], output[..., ::8, ::8].numpy()
        scale = float(np.abs(truth).max())
        errors[i] = np.abs(found - truth) / scale
        mean = float(expected[f"output_{i}_mean"])
        assert float(output.double().mean()) == pytest.approx(mean, abs=1e-4 * scale)
    plain = max(error.max() for i, error in errors.items() if i not in through_a_warp)
    assert plain <= 1e-4
    for i in through_a_warp:
        assert np.median(errors[i]) <= 2e-4, i
        # Equal convolutions leave a warp no excuse.
        assert errors[i].max() <= (1e-4 if plain == 0 else 1e-2), i


@pytest.mark.parametrize("layout", [n for n in tha3.LAYOUTS if part_of(n) in WARPS])
def test_the_warp_is_the_published_one_at_every_pixel(layout, shared):
    """Given the expected change itself, the expected image follows to 1e-5."""
    expected = np.load(shared / "parity" / f"{layout}.npz")
    source, change, image = WARPS[part_of(layout)]
    pixels = inputs_of(expected)[source]
    full = torch.zeros(1, 2, *pixels.shape[2:])
    full[..., ::8, ::8] = torch.from_numpy(expected[f"output_{change}"])
    found = warped(pixels, full)[..., ::8, ::8].numpy()
    np.testing.assert_allclose(found, expected[f"output_{image}"], atol=3e-5)


def test_sizes_are_the_published_ones():
    for variant, total in (("standard", 135.64), ("separable", 14.50)):
        count = sum(
            p.numel()
            for part in tha3.PARTS
            for p in tha3.network(f"tha3_{variant}_{part}").state_dict().values()
        )
        assert count / 1e6 == pytest.approx(total, abs=0.005)


def test_unknown_layouts_are_refused():
    with pytest.raises(OptionError, match="tha3_separable_editor"):
        tha3.network("tha3_tiny_editor")
