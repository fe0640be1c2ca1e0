import copy

import pytest
import torch
from torch import nn

from featflow.nodes._layers import (
    ConvNorm,
    Residual,
    Separable,
    channels_last,
    fold_batch_norm,
    for_inference,
    mirrored_passes,
)
from featflow.nodes.face.tiny.network import FaceNet
from featflow.nodes.landmark.tiny.network import LandmarkNet


def trained(model):
    """Batch norms as training leaves them: no mean is 0 and no variance 1."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    return model.eval()


def test_a_norm_is_the_textbook_formula():
    layer = trained(ConvNorm(3, 5, relu=False))
    x = torch.randn(2, 3, 9, 7)
    conv, norm = layer[0](x), layer[1]

    def per_channel(v):
        return v.view(1, -1, 1, 1)

    expected = (conv - per_channel(norm.running_mean)) / per_channel(norm.running_var + 1e-5).sqrt()
    expected = expected * per_channel(norm.weight) + per_channel(norm.bias)
    assert torch.allclose(layer(x), expected, atol=1e-5)
    assert torch.equal(trained(ConvNorm(3, 5))(x).min(), torch.tensor(0.0))


@pytest.mark.parametrize("stride", [1, 2])
def test_separable_is_a_depthwise_and_a_pointwise_convolution(stride):
    layer = Separable(6, 4, stride)
    assert [tuple(m.weight.shape) for m in layer.modules() if isinstance(m, nn.Conv2d)] == [
        (6, 1, 3, 3),
        (4, 6, 1, 1),
    ]
    assert layer(torch.zeros(1, 6, 8, 8)).shape == (1, 4, 8 // stride, 8 // stride)


def test_residual_adds_to_its_input():
    layer = trained(Residual(4))
    x = torch.randn(2, 4, 6, 6)
    assert torch.allclose(layer(x), torch.relu(x + layer.second(layer.first(x))), atol=1e-6)
    for parameter in layer.second.parameters():
        parameter.data.zero_()
    layer.second[1].running_mean.zero_()
    assert torch.allclose(layer(x), torch.relu(x))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (FaceNet((4, 4, 8, 8, 8), 8), (1, 3, 64, 128)),
        (LandmarkNet(112, (4, 8, 8, 8)), (2, 3, 112, 112)),
    ],
)
@pytest.mark.parametrize("fold", [fold_batch_norm, lambda m: for_inference(m, torch.device("cpu"))])
def test_folding_changes_no_output(model, shape, fold):
    model = trained(copy.deepcopy(model))
    x = torch.randn(*shape)
    with torch.inference_mode():
        before = model(x)
        after = fold(model)(x)
    for one, two in zip(
        before if isinstance(before, tuple) else [before],
        after if isinstance(after, tuple) else [after],
        strict=True,
    ):
        assert torch.allclose(one, two, atol=1e-5 * float(one.abs().max()))
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def test_for_inference_needs_no_gradient_and_is_in_evaluation_mode():
    model = for_inference(nn.Sequential(ConvNorm(3, 8), nn.Dropout(0.5)), torch.device("cpu"))
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(m.training for m in model.modules())
    assert model[0][0].weight.is_contiguous(memory_format=torch.channels_last)


def test_channels_last_keeps_values():
    layer = nn.Conv2d(3, 8, 3)
    before = layer.weight.clone()
    changed = channels_last(layer)
    assert torch.equal(changed.weight, before)
    assert changed.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_passes_in_a_mirror_are_two_plain_passes(count):
    draw = torch.manual_seed(0)
    crops = torch.randn(count, 3, 8, 8, generator=draw)
    points = torch.randn(count, 4, generator=draw)

    class Net(torch.nn.Module):
        def forward(self, crop, point):
            across = torch.arange(8.0)
            return (crop * across).sum((1, 2, 3)), point.sum(1)

    here, there = mirrored_passes(Net(), crops, points)
    for found, seen in ((here, crops), (there, crops.flip(-1))):
        for got, wanted in zip(found, Net()(seen, points), strict=True):
            assert torch.allclose(got, wanted, atol=1e-4)
    assert not torch.allclose(here[0], there[0], atol=1e-2)
