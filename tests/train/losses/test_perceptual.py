"""LPIPS with weights of chance against the same network written in numpy."""

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.torch import save_file

from featflow.errors import ArrayError, OptionError, WeightsError
from featflow.train.losses import LPIPS, make_loss
from featflow.train.losses.perceptual import _TRUNKS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """``files(net)`` writes a trunk and heads of chance, under the published names."""
    folder = tmp_path_factory.mktemp("lpips")

    def make(net):
        torch.manual_seed(4)
        build, _, widths = _TRUNKS[net]
        trunk = {f"features.{k}": v for k, v in build().state_dict().items()}
        trunk["classifier.1.weight"] = torch.zeros(2, 2)
        heads = {f"lin{i}.model.1.weight": torch.rand(1, w, 1, 1) for i, w in enumerate(widths)}
        save_file(trunk, folder / f"{net}.safetensors")
        torch.save(heads, folder / f"{net}_heads.pth")
        return folder / f"{net}.safetensors", folder / f"{net}_heads.pth"

    return make


def convolved(x, weight, bias, stride, pad):
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(x, weight.shape[2:], (1, 2))[:, ::stride, ::stride]
    out = np.einsum("chwij,ocij->ohw", windows, weight, optimize=True)
    return out + bias[:, None, None]


def pooled(x):
    return sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2].max((-2, -1))


def alex_features(image, state):
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x = (2 * image - 1 - shift[:, None, None]) / scale[:, None, None]
    found = []
    for layer, stride, pad, pool in ((0, 4, 2, 0), (3, 1, 2, 1), (6, 1, 1, 1), (8, 1, 1, 0)):
        x = pooled(x) if pool else x
        weight, bias = (state[f"features.{layer}.{k}"].numpy() for k in ("weight", "bias"))
        x = np.maximum(convolved(x, weight, bias, stride, pad), 0)
        found.append(x)
    weight, bias = (state[f"features.10.{k}"].numpy() for k in ("weight", "bias"))
    return [*found, np.maximum(convolved(x, weight, bias, 1, 1), 0)]


def test_lpips_is_zhangs_formula(files):
    from safetensors.torch import load_file

    trunk, heads = files("alex")
    one, other = torch.rand(2, 3, 64, 64).split(1)
    got = LPIPS("alex", trunk, heads)(one, other).item()
    state, wanted = load_file(trunk), 0.0
    linear = torch.load(heads, weights_only=True)
    pairs = zip(
        *(alex_features(x[0].numpy().astype(float), state) for x in (one, other)), strict=True
    )
    for i, (a, b) in enumerate(pairs):
        a, b = (x / (np.sqrt((x**2).sum(0)) + 1e-10) for x in (a, b))
        head = linear[f"lin{i}.model.1.weight"].numpy()[0]
        wanted += (head * (a - b) ** 2).sum(0).mean()
    assert got == pytest.approx(wanted, rel=1e-4)
    assert got > 0.01


@pytest.mark.parametrize("net", ["alex", "vgg16", "squeeze"])
def test_every_net_is_zero_on_equal_pictures_symmetric_and_has_finite_gradients(files, net):
    trunk, heads = files(net)
    loss = make_loss(f"lpips_{net}", trunk=trunk, heads=heads)
    one, other = torch.rand(2, 3, 64, 64).split(1)
    assert loss(one, one).item() == 0
    assert loss(one, other).item() == pytest.approx(loss(other, one).item(), rel=1e-5)
    moved = other.clone().requires_grad_()
    loss(moved, torch.zeros_like(other)).sum().backward()
    assert torch.isfinite(moved.grad).all()
    assert moved.grad.abs().max() > 0
    assert not any(p.requires_grad for p in loss.parameters())


def test_what_lies_outside_the_mask_does_not_count(files):
    loss = LPIPS("alex", *files("alex"))
    one, other = torch.rand(2, 3, 64, 64).split(1)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    mixed = torch.where(mask > 0, one, other)
    assert loss(mixed, one, mask).item() == 0
    composite = torch.where(mask > 0, other, one)
    assert loss(other, one, mask).item() == pytest.approx(4 * loss(composite, one).item(), rel=1e-5)
    assert loss(other, one, 0 * mask).item() == 0


def test_weights_must_be_named_and_fit(files, tmp_path):
    trunk, heads = files("alex")
    with pytest.raises(OptionError, match="trunk="):
        make_loss("lpips_alex")
    with pytest.raises(OptionError, match="squeeze"):
        LPIPS("resnet", trunk, heads)
    with pytest.raises(WeightsError, match="no such"):
        LPIPS("alex", tmp_path / "none.safetensors", heads)
    with pytest.raises(WeightsError, match="another network"):
        LPIPS("vgg16", trunk, heads)
    with pytest.raises(WeightsError, match="another network"):
        LPIPS("alex", heads, heads)
    (tmp_path / "cut.safetensors").write_bytes(trunk.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cannot be read"):
        LPIPS("alex", tmp_path / "cut.safetensors", heads)
    with pytest.raises(ArrayError, match="RGB"):
        LPIPS("alex", trunk, heads)(torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64))


def test_a_file_that_holds_code_is_refused(files, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError):
        LPIPS("alex", tmp_path / "evil.pth", files("alex")[1])
    assert not (tmp_path / "made").exists()
