import math

import cv2
import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator, RegularGridInterpolator

from featflow.geometry import similarity
from featflow.geometry.warp import warp
from featflow.train import warping

SIZE = 32


def drawn(count=3):
    generator = torch.Generator().manual_seed(0)
    angle, zoom = torch.rand(count, generator=generator), 0.9 + 0.2 * torch.rand(count)
    return warping.about_centre(angle, zoom, torch.randn(count, 2, generator=generator), SIZE)


def test_a_quarter_turn_takes_right_to_down_about_the_centre():
    matrix = warping.about_centre(
        torch.tensor([math.pi / 2]), torch.ones(1), torch.tensor([[0.0, 3.0]]), SIZE
    )
    points = torch.tensor([[[16.0, 16.0], [20.0, 16.0], [16.0, 10.0]]])
    wanted = [[16, 19], [16, 23], [22, 19]]
    assert warping.carry(matrix, points)[0].numpy() == pytest.approx(np.array(wanted), abs=1e-4)


def test_maps_are_those_of_featflow_geometry():
    one, other = drawn(), drawn().flip(0)
    points = torch.rand(3, 5, 2) * SIZE
    a, b, p = (x.double().numpy() for x in (one, other, points))
    assert warping.carry(one, points).numpy() == pytest.approx(similarity.apply(a, p), abs=1e-4)
    assert warping.inverse(one).numpy() == pytest.approx(similarity.invert(a), abs=1e-4)
    assert warping.compose(one, other).numpy() == pytest.approx(similarity.compose(a, b), abs=1e-4)


def test_sampling_through_a_map_is_the_one_that_nodes_see():
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8), (0, 0), 1.5)
    matrix = drawn(1)
    wanted = warp(image, matrix[0].double().numpy(), (SIZE, SIZE), "replicate")
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    field = warping.carry(warping.inverse(matrix), warping.pixel_centres(SIZE)[None])
    got = warping.sample(tensor, field)[0].permute(1, 2, 0).numpy()
    assert np.abs(got - wanted).max() < 2.5  # OpenCV rounds coordinates to 1 / 32 pixel


def test_the_identity_changes_no_pixel():
    image = torch.rand(2, 3, SIZE, SIZE)
    field = warping.pixel_centres(SIZE).expand(2, -1, -1, -1)
    assert torch.allclose(warping.sample(image, field), image, atol=1e-5)


def test_a_mirror_mirrors():
    image = torch.rand(2, 3, SIZE, SIZE)
    matrix = warping.mirror(torch.tensor([True, False]), SIZE)
    field = warping.carry(matrix, warping.pixel_centres(SIZE).expand(2, -1, -1, -1))
    got = warping.sample(image, field)
    assert torch.allclose(got[0], image[0].flip(-1), atol=1e-5)
    assert torch.allclose(got[1], image[1], atol=1e-5)


def test_nodes_are_joined_as_scipy_joins_them():
    nodes = torch.randn(2, 5, 5, 2, generator=torch.Generator().manual_seed(1))
    ends = np.linspace(0, SIZE, 5)
    centres = np.arange(SIZE) + 0.5
    grid = np.stack(np.meshgrid(centres, centres, indexing="ij"), -1)
    got = warping.spread(nodes, SIZE).numpy()
    for row in range(2):
        oracle = RegularGridInterpolator((ends, ends), nodes[row].numpy())
        assert got[row] == pytest.approx(oracle(grid), abs=1e-5)


def test_a_field_without_shifts_is_where_pixels_are():
    field = warping.field_of(torch.zeros(2, 5, 5, 2), SIZE)
    assert torch.allclose(field, warping.pixel_centres(SIZE).expand(2, -1, -1, -1), atol=1e-5)


@pytest.mark.parametrize("smooth", [0.0, 1e-3])
def test_the_spline_is_scipys_thin_plate(smooth):
    rng = np.random.default_rng(2)
    where, value = rng.uniform(0, 1, (2, 12, 2)), rng.normal(0, 1, (2, 12, 2))
    at = rng.random((9, 2))
    got = warping.spline(*(torch.from_numpy(x) for x in (where, value, at)), smooth=smooth)
    for row in range(2):
        # scipy's kernel is the same, r ** 2 log r, and its smoothing is added as here.
        oracle = RBFInterpolator(
            where[row], value[row], kernel="thin_plate_spline", smoothing=smooth
        )
        assert got[row].numpy() == pytest.approx(oracle(at), abs=1e-5)


def test_points_are_found_in_the_output_of_a_field():
    nodes = torch.randn(2, 5, 5, 2, generator=torch.Generator().manual_seed(3)) * 0.7
    field = warping.pixel_centres(SIZE) + warping.spread(nodes, SIZE)
    points = 6 + 20 * torch.rand(2, 9, 2)
    seen = warping.follow_points(points, field)
    back = warping.sample(field.permute(0, 3, 1, 2), seen[:, :, None])[..., 0].mT
    assert torch.allclose(back, points, atol=1e-3)
    assert (seen - points).abs().max() > 0.2


def test_a_landmark_field_shows_points_where_they_are_wanted_and_keeps_the_edge():
    generator = torch.Generator().manual_seed(4)
    source = 8 + 48 * torch.rand(2, 20, 2, generator=generator)
    seen = source + 0.03 * (source - 32) + torch.tensor([2.0, -1.0])
    field = warping.field_of(warping.landmark_nodes(seen, source, 64), 64)
    at_points = warping.sample(field.permute(0, 3, 1, 2), seen[:, :, None])[..., 0].mT
    assert (at_points - source).norm(dim=-1).max() < 0.3
    corners = torch.tensor([[0.5, 0.5], [63.5, 0.5], [0.5, 63.5], [63.5, 63.5]])
    got = field[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (got - corners).abs().max() < 0.5
