import numpy as np
import pytest
import torch

from featflow.geometry.landmarks import mirror_landmarks
from featflow.nodes.au.tiny.network import ActionUnitNet, both_ways
from featflow.nodes.au.tiny.units import SILENT, UNITS


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return ActionUnitNet(32, (4, 8, 8, 8)).eval()


def faces(count, seed=0):
    draw = torch.manual_seed(seed)
    return torch.randn(count, 3, 32, 32, generator=draw), torch.randn(count, 68, 2, generator=draw)


def test_a_face_and_its_mirror_image_have_the_same_units(net):
    crop, points = faces(3)
    mirrored = torch.from_numpy(mirror_landmarks(points.numpy(), 0.0).astype(np.float32))
    with torch.inference_mode():
        here, there = both_ways(net, crop, points), both_ways(net, crop.flip(-1), mirrored)
        one, other = net(crop, points)[0], net(crop.flip(-1), mirrored)[0]
    assert torch.allclose(here, there, rtol=0, atol=1e-5)
    assert torch.allclose(here, (one + other) / 2, rtol=0, atol=1e-5)
    assert not torch.allclose(one, other, rtol=0, atol=1e-4)


def test_points_and_their_mirror_image_say_the_same(net):
    _, points = faces(5)
    mirrored = torch.from_numpy(mirror_landmarks(points.numpy(), 0.0).astype(np.float32))
    with torch.no_grad():
        here, there = net.from_points(points)[0], net.from_points(mirrored)[0]
        flipped_only = net.from_points(points * torch.tensor([-1.0, 1.0]))[0]
    assert torch.allclose(here, there, atol=1e-5)
    assert not torch.allclose(here, flipped_only, atol=1e-2)


def test_pixels_say_nothing_about_silent_units_and_something_about_the_others(net):
    crop, points = faces(4)
    with torch.no_grad():
        full, shape = net(crop, points)
        other, _ = net(-crop, points)
    silent = [UNITS.index(unit) for unit in SILENT]
    taught = [i for i in range(len(UNITS)) if i not in silent]
    assert torch.equal(full[:, silent], shape[:, silent])
    assert (full[:, taught] != other[:, taught]).all()
    assert torch.equal(shape, net.from_points(points)[0])


def test_every_face_is_answered_alone(net):
    crop, points = faces(6)
    with torch.no_grad():
        together, _ = net(crop, points)
        alone = torch.cat([net(c[None], p[None])[0] for c, p in zip(crop, points, strict=True)])
    assert together.shape == (6, 20)
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_shipped_size_is_small():
    parameters = sum(p.numel() for p in ActionUnitNet().parameters())
    assert parameters <= 650_000
    assert 2 * parameters <= 1.3e6


def test_constants_are_not_stored_with_the_weights(net):
    assert not {"partner", "taught"} & set(net.state_dict())
