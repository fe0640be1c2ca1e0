import cv2
import numpy as np
import pytest
import torch

from featflow.train import colour


def test_lab_is_opencvs():
    rng = np.random.default_rng(0)
    rgb = rng.uniform(0, 1, (40, 40, 3)).astype(np.float32)
    rgb[0] *= 0.02  # the straight part near black
    wanted = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    got = colour.rgb_to_lab(torch.from_numpy(rgb.transpose(2, 0, 1)).double())
    assert got.numpy().transpose(1, 2, 0) == pytest.approx(wanted, abs=0.4)  # its root is a table


def test_the_corners_of_lab():
    corners = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0]], dtype=torch.float64)[
        ..., None, None
    ]
    lab = colour.rgb_to_lab(corners)[..., 0, 0].numpy()
    assert lab[0] == pytest.approx([100, 0, 0], abs=1e-6)
    assert lab[1] == pytest.approx([0, 0, 0], abs=1e-6)
    # Lindbloom's figures for sRGB red.
    assert lab[2] == pytest.approx([53.24, 80.09, 67.20], abs=0.03)


def test_there_and_back():
    rgb = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    assert torch.allclose(colour.lab_to_rgb(colour.rgb_to_lab(rgb)), rgb, atol=1e-7)
    assert torch.allclose(colour.linear_to_srgb(colour.srgb_to_linear(rgb)), rgb, atol=1e-7)
