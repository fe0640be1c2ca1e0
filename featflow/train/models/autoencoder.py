"""Autoencoders of faces: a shared encoder, and a decoder for each identity.

What the encoder says of one person's face, another person's decoder draws with its own features.
Pictures are RGB, (N, 3, side, side), 0..1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from featflow.errors import ArrayError, MissingInputError, OptionError, WeightsError
from featflow.files import write_atomically
from featflow.geometry.crop import CropRule

Preset = Literal["full", "tiny"]

FORMAT = "featflow face model 1"
_TINY = 8


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of an autoencoder.

    Attributes:
        side: of input and output, pixels.
        encoder: channels of the encoder's layers; each halves the side.
        bottleneck: numbers that a face is squeezed into.
        seed: channels of the picture that they unfold to, ``seed_side`` pixels wide.
        seed_side: its side.
        shared: channels after the shared doubling.
        decoder: channels of each decoder's doublings.
        residual: whether residual blocks follow each doubling of a decoder.
    """

    side: int
    encoder: tuple[int, ...]
    bottleneck: int
    seed: int
    seed_side: int
    shared: int
    decoder: tuple[int, ...]
    residual: bool = False

    def divided(self, by: int) -> Shape:
        """The same with fewer channels."""
        return replace(
            self,
            encoder=tuple(max(1, width // by) for width in self.encoder),
            bottleneck=self.bottleneck // by,
            seed=self.seed // by,
            shared=self.shared // by,
            decoder=tuple(max(1, width // by) for width in self.decoder),
        )


SHAPES: MappingProxyType[str, Shape] = MappingProxyType(
    {
        "autoencoder/original": Shape(
            64, (128, 256, 512, 1024), 1024, 1024, 4, 512, (256, 128, 64)
        ),
        "autoencoder/light": Shape(64, (128, 256, 512), 512, 512, 4, 256, (512, 256, 128)),
        "autoencoder/df": Shape(
            128, (126, 252, 504, 1008), 512, 512, 8, 512, (504, 252, 126), residual=True
        ),
    }
)
"""Sizes by name; the preset ``tiny`` has an eighth of the channels."""


def shape_of(kind: str, preset: Preset) -> Shape:
    """The sizes of a named model.

    Raises:
        OptionError: name or preset is unknown.
    """
    if kind not in SHAPES:
        raise OptionError(f"there is no face model {kind!r}; known: {', '.join(SHAPES)}")
    if preset not in ("full", "tiny"):
        raise OptionError(f"preset must be 'full' or 'tiny', got {preset!r}")
    return SHAPES[kind] if preset == "full" else SHAPES[kind].divided(_TINY)


class Upscale(nn.Sequential):
    """Doubles the side: a convolution to four times the channels, folded into 2 x 2 pixels.

    Args:
        channels: of the input.
        width: of the output.
        slope: of the leaky rectifier.
    """

    def __init__(self, channels: int, width: int, slope: float = 0.1) -> None:
        super().__init__(
            nn.Conv2d(channels, 4 * width, 3, padding=1), nn.LeakyReLU(slope), nn.PixelShuffle(2)
        )


class ResidualBlock(nn.Module):
    """Two convolutions beside a short cut.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, width, 3, padding=1)
        # Begin near the identity: a small variance, as networks without norms need it.
        nn.init.trunc_normal_(last.weight, std=math.sqrt(0.2 / (9 * width)))
        first = nn.Conv2d(width, width, 3, padding=1)
        self.inner = nn.Sequential(first, nn.LeakyReLU(0.2), last)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w), the same size."""
        return nn.functional.leaky_relu(x + self.inner(x), 0.2)


class Encoder(nn.Module):
    """Faces (N, 3, side, side) to codes (N, shared, 2 seed_side, 2 seed_side).

    Args:
        shape: the sizes.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in shape.encoder:
            layers += [nn.Conv2d(channels, width, 5, stride=2, padding=2), nn.LeakyReLU(0.1)]
            channels = width
        side = shape.side >> len(shape.encoder)
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(channels * side * side, shape.bottleneck),
            nn.Linear(shape.bottleneck, shape.seed * shape.seed_side**2),
            nn.Unflatten(1, (shape.seed, shape.seed_side, shape.seed_side)),
            Upscale(shape.seed, shape.shared),
        )

    def forward(self, faces: Tensor) -> Tensor:
        """Codes."""
        codes: Tensor = self.layers(faces)
        return codes


class Decoder(nn.Sequential):
    """Codes to pictures in 0..1.

    Args:
        shape: the sizes.
        channels: 3 for a face, 1 for a mask.
    """

    def __init__(self, shape: Shape, channels: int = 3) -> None:
        layers: list[nn.Module] = []
        before = shape.shared
        for width in shape.decoder:
            layers.append(Upscale(before, width, 0.2 if shape.residual else 0.1))
            if shape.residual and channels == 3:
                layers += [ResidualBlock(width), ResidualBlock(width)]
            before = width
        layers += [nn.Conv2d(before, channels, 5, padding=2), nn.Sigmoid()]
        super().__init__(*layers)


@dataclass(frozen=True)
class Drawn:
    """What a face model drew.

    Attributes:
        faces: (N, 3, side, side) by identity.
        masks: (N, 1, side, side) by identity, empty without learned masks.
    """

    faces: dict[str, Tensor]
    masks: dict[str, Tensor]


class FaceAutoencoder(nn.Module):
    """A shared encoder with a decoder for each identity.

    Args:
        kind: a key of :data:`SHAPES`.
        labels: the identities, two or more.
        preset: ``full``, or ``tiny`` for small machines.
        learn_mask: also draw where the face is.

    Raises:
        OptionError: an option cannot be used.
    """

    def __init__(
        self,
        kind: str,
        labels: Sequence[str],
        preset: Preset = "full",
        learn_mask: bool = False,
    ) -> None:
        super().__init__()
        if len(labels) < 2 or len(set(labels)) < len(labels) or not all(labels):
            raise OptionError(f"a face model needs two or more different names, got {labels}")
        if any("." in label for label in labels):
            raise OptionError(f"names of identities must not contain a dot, got {labels}")
        self.kind, self.labels, self.preset = kind, tuple(labels), preset
        self.learn_mask = learn_mask
        self.shape = shape_of(kind, preset)
        self.encoder = Encoder(self.shape)
        self.decoders = nn.ModuleDict({label: Decoder(self.shape) for label in labels})
        self.maskers = nn.ModuleDict(
            {label: Decoder(self.shape, 1) for label in labels} if learn_mask else {}
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    @property
    def side(self) -> int:
        """Side of the pictures in pixels."""
        return self.shape.side

    def forward(self, faces: Mapping[str, Tensor], to: str | None = None) -> Drawn:
        """Draw faces by identity, each by its own decoder, or all by that of ``to``.

        Args:
            faces: identity to (N, 3, side, side).
            to: an identity.

        Raises:
            ArrayError: faces have another side than the model's.
        """
        for label, each in faces.items():
            if tuple(each.shape[1:]) != (3, self.side, self.side):
                raise ArrayError(
                    f"faces of {label}",
                    f"are {tuple(each.shape)}",
                    f"{self.kind} takes (N, 3, {self.side}, {self.side}): cut them with a crop "
                    f"rule of {self.side} pixels",
                )
        codes = {label: self.encoder(each) for label, each in faces.items()}
        names = {label: label if to is None else to for label in codes}
        drawn = {label: self.decoders[names[label]](code) for label, code in codes.items()}
        masks = {
            label: self.maskers[names[label]](code)
            for label, code in codes.items()
            if self.learn_mask
        }
        return Drawn(drawn, masks)

    def check_label(self, label: str) -> str:
        """The label, if the model knows it.

        Raises:
            OptionError: it does not.
        """
        if label not in self.labels:
            raise OptionError(f"the model has no {label!r}; it has {', '.join(self.labels)}")
        return label


def save_face_model(
    path: str | Path, model: FaceAutoencoder, crop: CropRule, about: Mapping[str, Any] | None = None
) -> None:
    """Write a model with all that is needed to use it: kind, identities, crop rule.

    Args:
        path: a safetensors file, written whole or not at all.
        model: its present weights.
        crop: how its faces were cut.
        about: what else shall be known, as JSON takes it.
    """
    notes = {
        "kind": model.kind,
        "labels": list(model.labels),
        "preset": model.preset,
        "learn_mask": model.learn_mask,
        "crop": asdict(crop),
        "about": dict(about or {}),
    }
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    content = save(tensors, {"format": FORMAT, "featflow": json.dumps(notes)})
    write_atomically(path, content)


def load_face_model(path: str | Path) -> tuple[FaceAutoencoder, CropRule]:
    """Read what :func:`save_face_model` wrote; the model is in evaluation mode.

    Raises:
        MissingInputError: there is no such file.
        WeightsError: it is damaged, or is something else.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(str(path), "no such model")
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: is damaged or not a safetensors file: {error}") from error
    if meta.get("format") != FORMAT:
        raise WeightsError(f"{path}: is not a face model of featflow")
    notes = json.loads(meta["featflow"])
    model = FaceAutoencoder(notes["kind"], notes["labels"], notes["preset"], notes["learn_mask"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(f"{path}: weights do not fit {notes['kind']}: {error}") from error
    with torch.no_grad():
        return model.eval(), CropRule(**notes["crop"])
