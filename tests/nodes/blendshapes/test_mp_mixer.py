"""``blendshapes/mp_mixer`` on stand-in weights, against the bare network and its own page."""

import re
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch

from featflow.datasets.frame import Frame
from featflow.detector import Detector
from featflow.errors import ArrayError, UnmetNeedsError
from featflow.flow import Batch, FaceBatch, Flow, FrameBatch
from featflow.nodes import card_of, make_node
from featflow.nodes.networks import network
from featflow.nodes.networks.mp_mixer import BLENDSHAPES, MESH_POINTS
from featflow.testing import check_node

PAGE = Path(__file__).parents[3] / "nodes" / "blendshapes" / "mp_mixer" / "README.md"


@pytest.fixture(scope="module")
def weights(expectation):
    """Stand-in weights, gentle enough that activations are not all 0 or 1."""
    made = expectation("mp_blendshapes").weights()
    made["output_mlp.weight"] *= 0.1
    return made


@pytest.fixture
def folder(weights, tmp_path):
    """As published: a flat PyTorch file."""
    torch.save(weights, tmp_path / "face_blendshapes.pth")
    return tmp_path


def batch(mesh):
    """One frame for two faces."""
    count = len(mesh)
    images = [np.zeros((40, 40, 3), np.uint8)] * (count // 2)
    frames = [Frame(image, f"f{at}", at, 0.0, (40, 40)) for at, image in enumerate(images)]
    box = np.concatenate([mesh[..., :2].min(1), mesh[..., :2].max(1)], 1)
    uids = np.repeat(np.arange(count // 2), 2)
    return Batch(FrameBatch.from_frames(frames), FaceBatch(uids, {"box": box, "mesh": mesh}))


def meshes(count=8, width=3):
    return np.random.RandomState(3).uniform(0, 200, (count, 478, width)).astype(np.float32)


def run(node, mesh):
    (found,) = Flow([node], given=("box", "mesh"), mode="sequential").run([batch(mesh)])
    return found.faces.fields["blendshapes"]


def expected(weights, mesh):
    model = network("mp_blendshapes")
    model.load_state_dict(weights)
    points = np.asarray(mesh, np.float64)[:, MESH_POINTS, :2]
    # Place and size by hand; the network takes them out once more.
    points = (points - points.mean(1, keepdims=True)) / 50
    with torch.inference_mode():
        return model(torch.tensor(points, dtype=torch.float32)).numpy()[:, :, 0, 0]


@pytest.mark.parametrize("width", [2, 3])
def test_values_are_those_of_the_bare_network(folder, weights, width):
    mesh = meshes(width=width)
    found = run(make_node("blendshapes", "mp_mixer", {"weights": folder}), mesh)
    assert found.dtype == np.float32
    assert found.shape == (8, len(BLENDSHAPES))
    np.testing.assert_allclose(found, expected(weights, mesh), atol=1e-4)
    assert ((found > 0.05) & (found < 0.95)).any()
    assert np.ptp(found, axis=0).max() > 0.01  # faces differ


def test_neither_place_nor_size_matters(folder):
    node = make_node("blendshapes", "mp_mixer", {"weights": folder})
    near, far = (run(node, mesh) for mesh in (meshes(), meshes() * 0.1 + [5000, 3000, 9]))
    np.testing.assert_allclose(far, near, atol=2e-3)
    mirrored = run(node, meshes() * [-1, 1, 1])
    assert np.abs(mirrored - near).max() > 0.01


def test_a_mesh_without_extent_or_with_holes_is_not_known(folder):
    mesh = meshes()
    mesh[1] = 7.0
    mesh[2, 0, 0] = np.nan
    mesh[3] = np.nan
    found = run(make_node("blendshapes", "mp_mixer", {"weights": folder}), mesh)
    assert np.isnan(found[1:4]).all()
    assert np.isfinite(found[[0, *range(4, 8)]]).all()


@pytest.mark.parametrize("shape", [(2, 468, 3), (2, 478, 4), (2, 478)])
def test_another_mesh_is_refused(folder, shape):
    node = make_node("blendshapes", "mp_mixer", {"weights": folder})
    faces = FaceBatch(np.zeros(2, np.int64), {"box": np.zeros((2, 4)), "mesh": np.zeros(shape)})
    with pytest.raises(ArrayError, match=r"mesh: has shape .*give \(N, 478, 2\)"):
        node.pre_process(batch(meshes(2)).with_faces(faces))


def test_it_conforms(folder):
    node = make_node("blendshapes", "mp_mixer", {"weights": folder})
    assert check_node(node, batch(meshes())).faces == 8


def test_what_it_lacks_is_named():
    with pytest.raises(UnmetNeedsError, match=r"needs 'mesh'.* no registered node does"):
        Flow([make_node("face", "tiny"), make_node("blendshapes", "mp_mixer")])
    with pytest.raises(TypeError, match="blendshapes"):
        Detector(blendshapes="mp_mixer")


def test_the_card_tells_the_bytes_of_the_layout(expectation):
    layout = expectation("mp_blendshapes").layout
    assert card_of("blendshapes/mp_mixer").source.tensor_bytes == 4 * sum(
        map(prod, layout.values())
    )


def test_the_page_runs_as_it_stands(folder, monkeypatch, capsys):
    monkeypatch.setenv("FEATFLOW_WEIGHTS", str(folder))
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, PAGE.name, "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == "(1,)\n"
