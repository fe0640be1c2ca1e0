"""The five networks. Images are (N, 4, h, w) linear RGBA in -1..1; outputs keep their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from featflow.animate.tha3.blocks import (
    PoserBody,
    ResizeBody,
    Style,
    UNetBody,
    alpha_head,
    colour_head,
    grid_head,
    mixed,
    mixed_rgb,
    planes,
    warped,
)

_LEAK = 0.1


class EyebrowDecomposer(nn.Module):
    """Splits a face (128 x 128) into the brows and what lies behind them; knows no pose."""

    def __init__(self, separable: bool) -> None:
        super().__init__()
        self.body = PoserBody(Style(separable), 4, 0)
        self.background_layer_alpha = alpha_head(64)
        self.background_layer_color_change = colour_head(64)
        self.eyebrow_layer_alpha = alpha_head(64)
        self.eyebrow_layer_color_change = colour_head(64)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Brow layer, its alpha and colour; background layer, its alpha and colour."""
        feature = self.body(image)
        behind_alpha = self.background_layer_alpha(feature)
        behind_colour = self.background_layer_color_change(feature)
        brow_alpha = self.eyebrow_layer_alpha(feature)
        brow_colour = self.eyebrow_layer_color_change(feature)
        # The brows keep the image where alpha is 1, the background where it is 0.
        brows = mixed(brow_alpha, image, brow_colour)
        behind = mixed(behind_alpha, behind_colour, image)
        return [brows, brow_alpha, brow_colour, behind, behind_alpha, behind_colour]


class EyebrowMorphingCombiner(nn.Module):
    """Moves the brows by 12 parameters and lays them over the background (128 x 128)."""

    def __init__(self, separable: bool) -> None:
        super().__init__()
        self.body = PoserBody(Style(separable), 8, 12)
        self.morphed_eyebrow_layer_grid_change = grid_head(64)
        self.morphed_eyebrow_layer_alpha = alpha_head(64)
        self.morphed_eyebrow_layer_color_change = colour_head(64)
        self.combine_alpha = alpha_head(64)

    def forward(self, background: Tensor, eyebrow: Tensor, pose: Tensor) -> list[Tensor]:
        """Image by a learned alpha, that alpha, image by the layer's own alpha, and layers."""
        feature = self.body(torch.cat([background, eyebrow], 1), pose)
        change = self.morphed_eyebrow_layer_grid_change(feature)
        alpha = self.morphed_eyebrow_layer_alpha(feature)
        colour = self.morphed_eyebrow_layer_color_change(feature)
        moved = warped(eyebrow, change)
        morphed = mixed(alpha, colour, moved)
        combine = self.combine_alpha(feature)
        image = mixed_rgb(combine, morphed, background)
        own = mixed_rgb((morphed[:, 3:4] + 1) / 2, morphed, background)
        return [image, combine, own, morphed, alpha, colour, moved, change]


def _add_face_heads(module: nn.Module) -> None:
    for name, head in (
        ("iris_mouth_grid_change", grid_head(64)),
        ("iris_mouth_color_change", colour_head(64)),
        ("iris_mouth_alpha", alpha_head(64)),
        ("eye_color_change", colour_head(64)),
        ("eye_alpha", alpha_head(64)),
    ):
        module.add_module(name, head)


def _finish_face(module: Any, image: Tensor, feature: Tensor) -> list[Tensor]:
    """Image, alpha and colour of the eyes; then of irises and mouth, and the warp alone."""
    moved = warped(image, module.iris_mouth_grid_change(feature))
    mouth_colour = module.iris_mouth_color_change(feature)
    mouth_alpha = module.iris_mouth_alpha(feature)
    mouth = mixed(mouth_alpha, mouth_colour, moved)
    eye_colour, eye_alpha = module.eye_color_change(feature), module.eye_alpha(feature)
    face = mixed(eye_alpha, eye_colour, mouth)
    return [face, eye_alpha, eye_colour, mouth, mouth_alpha, mouth_colour, moved]


class SeparableFaceMorpher(nn.Module):
    """Moves eyes, irises and mouth (192 x 192) by 27 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body = PoserBody(Style(separable=True), 4, 27)
        _add_face_heads(self)

    def encode(self, image: Tensor) -> Tensor:
        """What the image alone decides."""
        code: Tensor = self.body.encode(image)
        return code

    def morph(self, image: Tensor, code: Tensor, pose: Tensor) -> list[Tensor]:
        """Outputs for a code of :meth:`encode` and a pose (N, 27)."""
        return _finish_face(self, image, self.body.decode(code, pose))

    def forward(self, image: Tensor, pose: Tensor) -> list[Tensor]:
        """Image, alpha and colour of the eyes; of irises and mouth; and the warp alone."""
        return self.morph(image, self.encode(image), pose)


class StandardFaceMorpher(PoserBody):
    """The same with standard convolutions; published without the prefix ``body``."""

    def __init__(self) -> None:
        super().__init__(Style(separable=False), 4, 27)
        _add_face_heads(self)

    def morph(self, image: Tensor, code: Tensor, pose: Tensor) -> list[Tensor]:
        """Outputs for a code of :meth:`encode` and a pose (N, 27)."""
        return _finish_face(self, image, self.decode(code, pose))

    def forward(self, image: Tensor, pose: Tensor) -> list[Tensor]:  # type: ignore[override]
        """Image, alpha and colour of the eyes; of irises and mouth; and the warp alone."""
        return self.morph(image, self.encode(image), pose)


class TwoAlgoFaceBodyRotator(nn.Module):
    """Turns head and body by 6 parameters, at half size (256 x 256)."""

    def __init__(self, separable: bool) -> None:
        super().__init__()
        self.encoder_decoder = ResizeBody(Style(separable, _LEAK), 10)
        self.direct_creator = colour_head(64)
        self.grid_change_creator = grid_head(64)

    def forward(self, image: Tensor, pose: Tensor) -> list[Tensor]:
        """Image made directly, image made by a warp, and that warp."""
        feature = self.encoder_decoder(torch.cat([image, planes(pose, image)], 1))
        change = self.grid_change_creator(feature)
        return [self.direct_creator(feature), warped(image, change), change]


class Editor(nn.Module):
    """Corrects the half-size turn at full size (512 x 512)."""

    def __init__(self, separable: bool) -> None:
        super().__init__()
        self.body = UNetBody(Style(separable, _LEAK), 16)
        self.color_change_creator = colour_head(32)
        self.alpha_creator = alpha_head(32, 4)
        self.grid_change_creator = grid_head(32)

    def forward(self, image: Tensor, turned: Tensor, change: Tensor, pose: Tensor) -> list[Tensor]:
        """Final image, alpha and colour of what was painted, image before it, warp."""
        feature = self.body(torch.cat([image, turned, change, planes(pose, image)], 1))
        change = change + self.grid_change_creator(feature)
        colour, alpha = self.color_change_creator(feature), self.alpha_creator(feature)
        moved = warped(image, change)
        return [mixed(alpha, colour, moved), alpha, colour, moved, change]


_BUILDERS: dict[str, Callable[[bool], nn.Module]] = {
    "eyebrow_decomposer": EyebrowDecomposer,
    "eyebrow_morphing_combiner": EyebrowMorphingCombiner,
    "face_morpher": lambda separable: (
        SeparableFaceMorpher() if separable else StandardFaceMorpher()
    ),
    "two_algo_face_body_rotator": TwoAlgoFaceBodyRotator,
    "editor": Editor,
}


def build(part: str, *, separable: bool) -> nn.Module:
    """One of the networks by its published file name."""
    return _BUILDERS[part](separable)
