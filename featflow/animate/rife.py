"""RIFE 4.25 lite: learned interpolation with a user's weights.

The architecture is that of Practical-RIFE (Huang et al. 2022, ECCV, "Real-time intermediate flow
estimation for video frame interpolation"). No weights are shipped; theirs are under MIT.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from featflow.animate.interpolate import Step, check_scale
from featflow.animate.sampling import premultiply, unpremultiply
from featflow.animate.weight_files import read_tensors
from featflow.errors import MissingInputError, WeightsError

Image = NDArray[np.uint8]

WIDTHS = (192, 128, 96, 64, 24)
SCALES = (32, 16, 8, 4, 1)
_FEATURES, _EXTRA = 4, 8
_MULTIPLE = 128  # every scale halves twice more inside its block


def _conv(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(0.2))


class Head(nn.Module):
    """Four features of each pixel of an RGB image."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn0 = nn.Conv2d(3, 16, 3, 2, 1)
        self.cnn1 = nn.Conv2d(16, 16, 3, 1, 1)
        self.cnn2 = nn.Conv2d(16, 16, 3, 1, 1)
        self.cnn3 = nn.ConvTranspose2d(16, _FEATURES, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 4, h, w)."""
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            x = functional.leaky_relu(layer(x), 0.2)
        features: Tensor = self.cnn3(x)
        return features


class ResConv(nn.Module):
    """A convolution, scaled by channel and added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1)
        self.beta = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        return functional.leaky_relu(self.conv(x) * self.beta + x, 0.2)


class IFBlock(nn.Module):
    """Corrects flow and mask at one scale."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(
            _conv(inputs, channels // 2, 2), _conv(channels // 2, channels, 2)
        )
        self.convblock = nn.Sequential(*(ResConv(channels) for _ in range(8)))
        outputs = 4 * (4 + 1 + _EXTRA)
        self.lastconv = nn.Sequential(
            nn.ConvTranspose2d(channels, outputs, 4, 2, 1), nn.PixelShuffle(2)
        )

    def forward(self, x: Tensor, flow: Tensor | None, scale: int) -> tuple[Tensor, Tensor, Tensor]:
        """Change of flow (N, 4, h, w), mask (N, 1, h, w) and features (N, 8, h, w)."""
        x = _resized(x, 1 / scale)
        if flow is not None:
            x = torch.cat([x, _resized(flow, 1 / scale) / scale], 1)
        out = _resized(self.lastconv(self.convblock(self.conv0(x))), scale)
        return out[:, :4] * scale, out[:, 4:5], out[:, 5:]


def _resized(x: Tensor, factor: float) -> Tensor:
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Read (N, C, h, w) at each pixel plus its flow (N, 2, h, w) in pixels, edges repeated."""
    height, width = image.shape[2:]
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device)[None]
    across = 2 * (x + flow[:, 0]) / (width - 1) - 1
    down = 2 * (y + flow[:, 1]) / (height - 1) - 1
    grid = torch.stack([across, down], -1)
    return functional.grid_sample(
        image, grid, mode="bilinear", padding_mode="border", align_corners=True
    )


class IFNet(nn.Module):
    """Flow to both frames and a mask between them."""

    def __init__(self) -> None:
        super().__init__()
        first = 2 * 3 + 2 * _FEATURES + 1
        later = first + 1 + _EXTRA + 4
        for i, width in enumerate(WIDTHS):
            self.add_module(f"block{i}", IFBlock(first if i == 0 else later, width))
        self.encode = Head()

    def forward(self, before: Tensor, now: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Flow (N, 4, h, w) to ``before`` and to ``now``, and the weight 0..1 of ``before``.

        Args:
            before, now: (N, 3, h, w) RGB 0..1, sides multiples of 128.
            time: 0..1 from the first to the second.
        """
        ends = (before, now, self.encode(before), self.encode(now))
        when = torch.full_like(before[:, :1], time)
        flow, mask, extra = self.get_submodule("block0")(
            torch.cat([*ends, when], 1), None, SCALES[0]
        )
        for i in range(1, len(WIDTHS)):
            moved = [warp(end, flow[:, 2 * (k % 2) :][:, :2]) for k, end in enumerate(ends)]
            seen = torch.cat([*moved, when, mask, extra], 1)
            change, mask, extra = self.get_submodule(f"block{i}")(seen, flow, SCALES[i])
            flow = flow + change
        return flow, torch.sigmoid(mask)


class RifeInterpolator:
    """Interpolates with RIFE; colour and alpha follow one flow, premultiplied.

    Args:
        network: with weights, see :func:`load_rife`.
        scale: 2, 3 or 4.
        device: torch device.
        half: float16 where the device computes in it.
    """

    name = "rife"

    def __init__(
        self, network: IFNet, scale: int = 2, device: str = "cpu", *, half: bool = False
    ) -> None:
        self.scale = check_scale(scale)
        self._device = torch.device(device)
        self.half = half and self._device.type != "cpu"
        self._dtype = torch.float16 if self.half else torch.float32
        self._network = network.to(self._device, self._dtype).eval()

    def between(self, step: Step, outs: list[Image]) -> None:
        """Fill the frames in between."""
        if np.array_equal(step.frame_before, step.frame_now):
            for out in outs:
                np.copyto(out, step.frame_now)
            return
        before, now = (self._tensor(f) for f in (step.frame_before, step.frame_now))
        height, width = step.frame_now.shape[:2]
        for i, out in enumerate(outs, 1):
            with torch.inference_mode():
                mixed = self._blend(before, now, i / self.scale)[0, :, :height, :width]
            pixels = mixed.float().cpu().numpy().transpose(1, 2, 0) * np.float32(255)
            out[...] = unpremultiply(pixels[..., [2, 1, 0, 3]])

    def _tensor(self, frame: Image) -> Tensor:
        rgba = premultiply(frame)[..., [2, 1, 0, 3]].transpose(2, 0, 1)[None] / np.float32(255)
        tensor = torch.from_numpy(np.ascontiguousarray(rgba)).to(self._device, self._dtype)
        down, right = (-side % _MULTIPLE for side in frame.shape[:2])
        return functional.pad(tensor, (0, right, 0, down), mode="replicate")

    def _blend(self, before: Tensor, now: Tensor, time: float) -> Tensor:
        flow, weight = self._network(before[:, :3], now[:, :3], time)
        # Positions of 512 pixels do not fit float16: the warp is always float32.
        flow, weight = flow.float(), weight.float()
        first, second = warp(before.float(), flow[:, :2]), warp(now.float(), flow[:, 2:4])
        mixed: Tensor = first * weight + second * (1 - weight)
        return mixed


def load_rife(path: str | Path) -> IFNet:
    """A network with the weights of a file such as ``flownet.pkl`` of RIFE 4.25 lite.

    Read with ``weights_only=True``, so that no code in it runs.

    Raises:
        MissingInputError: no such file.
        WeightsError: damaged, or of another version of RIFE.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(str(path), "no such weight file")
    state = {n.removeprefix("module."): t.float() for n, t in read_tensors(path).items()}
    network = IFNet()
    wanted = network.state_dict()
    wrong = [n for n in wanted if n not in state or state[n].shape != wanted[n].shape]
    if wrong:
        raise WeightsError(f"{path}: is not RIFE 4.25 lite: key {wrong[0]!r} is missing or differs")
    # The published file also holds parts that only training uses (teacher, caltime).
    network.load_state_dict({name: state[name] for name in wanted})
    return network
