import torch

from featflow.nodes.emotion.tiny.network import EmotionNet, both_ways
from featflow.nodes.emotion.tiny.training import take_trunk
from featflow.nodes.landmark.tiny.node import LandmarkTiny


def small(**options):
    torch.manual_seed(0)
    return EmotionNet(64, (4, 8, 8, 8), (1, 1, 1), 12, **options).eval()


def test_every_crop_is_answered_alone():
    net = small()
    x = torch.randn(3, 1, 64, 64, generator=torch.manual_seed(2))
    with torch.no_grad():
        logits = net(x)
        assert logits.shape == (3, 7)
        assert torch.allclose(net(x[1:2]), logits[1:2], atol=1e-5)


def test_features_weigh_each_place_of_the_map_apart():
    """The last map, a weight for each place, against sums written out."""
    net = small()
    x = torch.randn(2, 1, 64, 64, generator=torch.manual_seed(3))
    with torch.no_grad():
        seen = net.widen(net.stage16(net.stage8(net.stage4(net.stem(x)))))
        assert seen.shape == (2, 12, 4, 4)
        weights = net.places.weight[:, 0]
        features = (seen * weights).sum((2, 3)) + net.places.bias
        expected = features.clamp(min=0) @ net.classes.weight.T + net.classes.bias
        assert torch.allclose(net(x), expected, atol=1e-5)


def test_the_prior_is_part_of_the_weights_and_starts_even():
    prior = small().state_dict()["prior"]
    assert torch.allclose(prior, torch.full((7,), 1 / 7))


def test_the_trunk_of_the_landmark_node_sees_the_same_in_grey_pictures():
    """Its three equal channels become one channel with the sum of their weights."""
    node = LandmarkTiny()
    node.load("cpu")  # batch norms folded, in float32
    net = EmotionNet()
    take_trunk(net)
    net.eval()
    grey = torch.randn(2, 1, 64, 64, generator=torch.manual_seed(4))
    with torch.no_grad():
        theirs = grey.expand(-1, 3, -1, -1)
        for stage in ("stem", "stage4", "stage8", "stage16"):
            theirs = getattr(node.model, stage)(theirs)
        ours = net.stage16(net.stage8(net.stage4(net.stem(grey))))
    assert theirs.abs().max() > 0.1
    assert torch.allclose(ours, theirs, atol=2e-3, rtol=1e-3)


def test_both_ways_is_the_mean_of_a_crop_and_its_mirror_image():
    net = small()
    x = torch.randn(3, 1, 64, 64, generator=torch.manual_seed(6))
    with torch.no_grad():
        expected = (net(x) + net(torch.from_numpy(x.numpy()[..., ::-1].copy()))) / 2
        assert torch.allclose(both_ways(net, x), expected, atol=1e-5)
        assert torch.allclose(both_ways(net, x.flip(-1)), both_ways(net, x), atol=1e-5)
        assert not torch.allclose(net(x.flip(-1)), net(x), atol=1e-3)
