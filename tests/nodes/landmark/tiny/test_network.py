import numpy as np
import torch

from featflow.geometry.landmarks import MIRROR_68
from featflow.nodes.landmark.tiny.network import N_POINTS, LandmarkNet, both_ways


def small():
    torch.manual_seed(0)
    return LandmarkNet(112, (4, 8, 8, 8), (1, 1, 1)).eval()


def points_of(net, heat):
    """What the network makes of chosen heat maps."""
    handle = net.heat.register_forward_hook(lambda *_: heat)
    with torch.no_grad():
        points, _ = net(torch.zeros(len(heat), 3, net.size, net.size))
    handle.remove()
    return points


def test_a_peak_is_the_centre_of_its_cell_x_first():
    rng = np.random.default_rng(0)
    columns, rows = rng.integers(0, 28, (2, 2, N_POINTS))
    heat = torch.zeros(2, N_POINTS, 28, 28)
    for n, p in np.ndindex(2, N_POINTS):
        heat[n, p, rows[n, p], columns[n, p]] = 60.0
    expected = np.stack([columns + 0.5, rows + 0.5], -1) * 4
    assert np.allclose(points_of(small(), heat), expected, atol=1e-3)


def test_points_are_means_of_the_softmax():
    heat = torch.randn(1, N_POINTS, 28, 28, generator=torch.manual_seed(1))
    weights = np.exp(heat.double().numpy())
    weights /= weights.sum((2, 3), keepdims=True)
    y, x = (np.mgrid[0:28, 0:28] + 0.5) * 4
    expected = np.stack([(weights * x).sum((2, 3)), (weights * y).sum((2, 3))], -1)
    assert np.allclose(points_of(small(), heat), expected, atol=1e-3)


def test_a_flat_map_is_the_middle_of_the_crop():
    assert np.allclose(points_of(small(), torch.zeros(1, N_POINTS, 28, 28)), 56.0, atol=1e-3)


def test_two_equal_peaks_meet_half_way():
    heat = torch.zeros(1, N_POINTS, 28, 28)
    heat[:, :, 3, 5] = heat[:, :, 3, 6] = 60.0
    assert np.allclose(points_of(small(), heat), [[[24.0, 14.0]] * N_POINTS], atol=1e-3)


def test_every_crop_is_answered_alone():
    net = small()
    x = torch.randn(3, 3, 112, 112, generator=torch.manual_seed(2))
    with torch.no_grad():
        points, logits = net(x)
        assert points.shape == (3, N_POINTS, 2)
        assert logits.shape == (3,)
        one, logit = net(x[1:2])
    assert torch.allclose(points[1:2], one, atol=1e-3)
    assert torch.allclose(logits[1:2], logit, atol=1e-5)


def test_the_grid_of_cells_is_not_stored_with_the_weights():
    assert "places" not in small().state_dict()


def test_a_mirror_image_has_mirrored_points():
    net = small()
    x = torch.randn(3, 3, 112, 112, generator=torch.manual_seed(3))
    with torch.no_grad():
        here, logit = both_ways(net, x)
        there, other = both_ways(net, x.flip(-1))
        one, _ = net(x)
    back = there[:, MIRROR_68.tolist()] * torch.tensor([-1.0, 1.0]) + torch.tensor([112.0, 0.0])
    assert torch.allclose(here, back, atol=1e-3)
    assert torch.allclose(logit, other, atol=1e-5)
    assert not torch.allclose(one, here, atol=1e-2)
