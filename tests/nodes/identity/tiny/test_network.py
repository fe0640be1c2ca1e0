import numpy as np
import torch

from featflow.nodes._layers import for_inference
from featflow.nodes.identity.tiny.network import IdentityNet, both_ways


def small():
    torch.manual_seed(0)
    return IdentityNet(64, (4, 8, 8, 8), (1, 1, 1)).eval()


def noise(count, seed=1):
    return torch.randn(count, 3, 64, 64, generator=torch.manual_seed(seed))


def test_vectors_have_length_1_and_128_numbers():
    with torch.no_grad():
        vectors = small()(noise(3))
    assert vectors.shape == (3, 128)
    assert np.allclose(vectors.norm(dim=1), 1.0, atol=1e-6)


def test_every_crop_is_answered_alone():
    net = small()
    with torch.no_grad():
        together = net(noise(5))
        assert torch.allclose(together[2:3], net(noise(5)[2:3]), atol=1e-5)


def test_a_face_and_its_mirror_image_are_one():
    net = small()
    with torch.no_grad():
        vectors = both_ways(net, noise(3))
        mirrored = both_ways(net, noise(3).flip(-1))
        assert torch.allclose(vectors, mirrored, atol=1e-6)
        assert np.allclose(vectors.norm(dim=1), 1.0, atol=1e-6)
        upside_down = both_ways(net, noise(3).flip(-2))
        one = net(noise(3))
    assert not torch.allclose(vectors, upside_down, atol=1e-3)
    expected = one + net(noise(3).flip(-1)).detach()
    assert torch.allclose(vectors, expected / expected.norm(dim=1, keepdim=True), atol=1e-6)


def test_places_have_weights_of_their_own():
    """Two crops with the same content at other places are told apart."""
    net, half = small(), torch.zeros(1, 3, 64, 64)
    half[..., :32] = 2.0
    with torch.no_grad():
        left, right = net(half), net(half.flip(-1))
    assert (left * right).sum() < 0.999


def test_folding_changes_nothing():
    net = small()
    with torch.no_grad():
        for norm in [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]:
            norm.running_mean.normal_(0, 0.2)
            norm.running_var.uniform_(0.5, 2)
        before = net(noise(2))
        after = for_inference(net, torch.device("cpu"))(noise(2))
    assert torch.allclose(before, after, atol=1e-5)
