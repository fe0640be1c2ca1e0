"""The gaze network: exact under mirrors, sub-pixel in the iris, and small."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featflow.geometry.landmarks import MIRROR_68
from featflow.nodes.gaze.tiny.network import HEIGHT, WIDTH, EyeEncoder, GazeNet


@pytest.fixture(scope="module")
def net() -> GazeNet:
    torch.manual_seed(3)
    return GazeNet().eval()


def faces(count: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    eyes = torch.randn(2, count, 1, HEIGHT, WIDTH, generator=draw)
    return eyes[0], eyes[1], torch.randn(count, 68, 2, generator=draw) * 0.3


def test_a_mirror_negates_yaw_and_nothing_else(net: GazeNet) -> None:
    right, left, points = faces()
    with torch.inference_mode():
        plain = net(right, left, points)
        # In a mirror the right eye's patch is what the mirrored left eye's patch was.
        seen = net(left, right, points[:, MIRROR_68.copy()] * torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(seen.angles, plain.angles * torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(seen.logit, plain.logit)
    torch.testing.assert_close(seen.iris, plain.iris.flip(1))
    assert plain.angles[:, 1].abs().min() > 1e-4


def test_faces_do_not_depend_on_their_neighbours(net: GazeNet) -> None:
    right, left, points = faces(8)
    with torch.inference_mode():
        together = net(right, left, points).angles
        alone = torch.cat([net(right[i : i + 1], left[i : i + 1], points[i : i + 1]).angles
                           for i in range(8)])  # fmt: skip
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("row", "column"), [(5, 17), (0, 0), (15, 23)])
def test_the_iris_is_where_the_map_peaks(row: int, column: int) -> None:
    encoder = EyeEncoder((4, 4, 4), 3).eval()
    peak = torch.full((1, 1, HEIGHT // 2, WIDTH // 2), -50.0)
    peak[0, 0, row, column] = 50.0

    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return peak

    encoder.heat = Fixed()
    features, iris = encoder(torch.zeros(1, 1, HEIGHT, WIDTH))
    assert iris[0].tolist() == pytest.approx([2 * column + 1, 2 * row + 1])  # x first
    assert features[0, -2:].tolist() == pytest.approx(
        [(2 * column + 1 - WIDTH / 2) / 4, (2 * row + 1 - HEIGHT / 2) / 4]
    )


def test_the_network_is_small(net: GazeNet) -> None:
    operations = []

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        weight = module.weight
        places = output.numel() // weight.shape[0]
        operations.append(2 * weight.numel() * places)

    hooks = [
        module.register_forward_hook(count)
        for module in net.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.inference_mode():
        net(*faces(1))
    for hook in hooks:
        hook.remove()
    assert sum(operations) < 15e6
    assert sum(p.numel() for p in net.parameters()) < 0.3e6
