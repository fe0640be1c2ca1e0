"""LPIPS: distances of a classifier's features, weighed so that they agree with people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from featflow.errors import ArrayError, OptionError, WeightsError
from featflow.train.losses.base import WholeLoss, masked_mean

Trunk = Literal["alex", "vgg16", "squeeze"]

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Fire(nn.Module):
    """SqueezeNet's block: a 1 x 1 bottleneck, then 1 x 1 and 3 x 3 side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Features of 2 * expanded channels."""
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu()


def _alex() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )


def _vgg16() -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        layers += [nn.MaxPool2d(2, 2)] if layers else []
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
    return nn.Sequential(*layers)


def _squeeze() -> nn.Sequential:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool()),
        *(Fire(64, 16, 64), Fire(128, 16, 64), pool()),
        *(Fire(128, 32, 128), Fire(256, 32, 128), pool()),
        *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
    )


_TRUNKS = {
    "alex": (_alex, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256)),
    "vgg16": (_vgg16, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512)),
    "squeeze": (_squeeze, (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512)),
}
"""Each trunk, the layers whose outputs are compared, and their channels."""


class LPIPS(WholeLoss):
    """Learned perceptual image patch similarity, version 0.1 (Zhang et al. 2018, 1801.03924).

    featflow ships no weights for it: name the files. Neither is trained further.

    Args:
        net: which trunk.
        trunk: the trunk's ImageNet weights under torchvision's names (``features.0.weight`` ...),
            a safetensors file or a state dict saved by torch.
        heads: the LPIPS heads (``lin0.model.1.weight`` ...), the same kinds of file.

    Raises:
        OptionError: the net is unknown, or a file was not named.
        WeightsError: a file is missing or belongs to another network.
    """

    is_mean: ClassVar[bool] = True
    smallest = 32

    def __init__(
        self,
        net: Trunk = "alex",
        trunk: str | Path | None = None,
        heads: str | Path | None = None,
    ) -> None:
        super().__init__()
        if net not in _TRUNKS:
            raise OptionError(f"LPIPS knows the nets {sorted(_TRUNKS)}, got {net!r}")
        if trunk is None or heads is None:
            raise OptionError(
                f"LPIPS ({net}) needs weights that featflow does not ship: give trunk= (ImageNet "
                "weights of torchvision) and heads= (the linear heads of the LPIPS authors)"
            )
        build, self.taps, widths = _TRUNKS[net]
        self.features = build()
        _load(self.features, trunk, _trunk_names(self.features))
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in widths)
        _load(
            self.heads, heads, {f"{i}.weight": f"lin{i}.model.1.weight" for i in range(len(widths))}
        )
        self.requires_grad_(False)

    def whole(self, prediction: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        if target.shape[1] != 3:
            raise ArrayError("LPIPS", f"pictures have {target.shape[1]} channels", "needs RGB")
        share = None
        if mask is not None:
            # Features see their surroundings, so outside the mask both show the same picture.
            prediction = target + mask * (prediction - target)
            share = masked_mean(mask, None).squeeze(1)
        one, other = self._layers(prediction), self._layers(target)
        value = torch.zeros_like(target[:, 0, 0, 0])
        for head, first, second in zip(self.heads, one, other, strict=True):
            value = value + head((first - second).square()).mean((1, 2, 3))
        return value if share is None else value / torch.where(share > 0, share, 1)

    def _layers(self, images: Tensor) -> list[Tensor]:
        """Features at the taps, each pixel's of length 1, of sRGB pictures in 0..1."""
        shift, scale = (images.new_tensor(v)[:, None, None] for v in (_SHIFT, _SCALE))
        x, found = (2 * images - 1 - shift) / scale, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                length = torch.sqrt(x.square().sum(1, keepdim=True) + 1e-20)
                found.append(x / (length + 1e-10))
        return found


def _trunk_names(features: nn.Sequential) -> dict[str, str]:
    return {name: f"features.{name}" for name in features.state_dict()}


def _load(module: nn.Module, path: str | Path, names: Mapping[str, str]) -> None:
    """Load a module from a file whose keys are called otherwise; other keys are left aside."""
    stored = _read(Path(path))
    missing = [there for there in names.values() if there not in stored]
    if missing:
        raise WeightsError(f"{path}: lacks {missing[:3]}: weights of another network?")
    try:
        module.load_state_dict({here: stored[there] for here, there in names.items()})
    except RuntimeError as error:
        raise WeightsError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such weight file")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise WeightsError(f"{path}: cannot be read as weights: {error}") from error
