"""Several losses at once: weighed, masked, reported by side and by function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featflow.errors import ArrayError, OptionError
from featflow.train.losses.base import ImageLoss, Region
from featflow.train.losses.pixel import learned_mask_loss
from featflow.train.losses.registry import make_loss
from featflow.train.losses.structural import MultiScaleSSIM

Values = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class BatchMasks:
    """Masks of one side's batch, each (N, 1, H, W) in 0..1, or None.

    Attributes:
        face: what belongs to the face.
        eyes: both eyes.
        mouth: the mouth.
    """

    face: Tensor | None = None
    eyes: Tensor | None = None
    mouth: Tensor | None = None

    def to(self, device: str | torch.device) -> BatchMasks:
        """The same masks on a device."""
        return self._each(lambda mask: mask.to(device))

    def __getitem__(self, rows: slice | Tensor) -> BatchMasks:
        """The masks of some rows."""
        return self._each(lambda mask: mask[rows])

    def at(self, size: tuple[int, int]) -> BatchMasks:
        """The masks at another (height, width), by the mean of the area under each pixel."""
        return self._each(
            lambda mask: (
                mask if mask.shape[-2:] == size else F.interpolate(mask, size=size, mode="area")
            )
        )

    def _each(self, change: Any) -> BatchMasks:
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: change(v) for k, v in known.items() if v is not None})


@dataclass(frozen=True)
class BatchLoss:
    """Losses of a batch, (N,) tensors by side and function, summed over a side's outputs.

    Attributes:
        unweighted: as the functions gave them.
        weighted: times their weights.
        mask: of the learned mask by side, or None.
    """

    unweighted: Values
    weighted: Values
    mask: Mapping[str, Tensor] | None = None

    @property
    def total(self) -> Tensor:
        """The scalar to minimise: batch means, summed over sides and functions, plus the mask's."""
        means = [v.mean() for side in self.weighted.values() for v in side.values()]
        means += [v.mean() for v in (self.mask or {}).values()]
        return torch.stack(means).sum()

    def to_cpu(self) -> BatchLoss:
        """The same values, detached, in main memory."""
        return BatchLoss(
            {side: _on_cpu(values) for side, values in self.unweighted.items()},
            {side: _on_cpu(values) for side, values in self.weighted.items()},
            None if self.mask is None else _on_cpu(self.mask),
        )


class LossCollator(nn.Module):
    """Weighs losses of pictures.

    A loss is a mean over the face mask (``use_mask``) or over the picture. A multiplier says how
    many times an error counts: with ``eye_multiplier=3`` each pixel of the eyes costs three times
    what it would cost elsewhere, 1 changes nothing. Where eyes and mouth overlap the larger
    multiplier holds. Losses that have no value at a pixel (``gmsd``, ``ms_ssim``) add the loss
    of the region alone, times the multiplier less 1; ``l_infinity`` scales the errors.

    Args:
        functions: weight of each loss by name; 1 is full weight, 0 is only reported.
        use_mask: compare faces only. Needs ``BatchMasks.face``.
        eye_multiplier: at least 1; above 1 needs ``BatchMasks.eyes``.
        mouth_multiplier: at least 1; above 1 needs ``BatchMasks.mouth``.
        smallest_output: side of the smallest picture that will come. ``ms_ssim`` takes as many
            scales as it has; a loss that needs larger pictures is refused now, not at the first
            batch.
        mask_loss: ``mae`` or ``mse`` of a learned mask against the face mask; None has none.
        options: options of a loss by its name, for example ``{"lpips_alex": {"trunk": ...}}``.

    Raises:
        OptionError: a name, weight, multiplier or option cannot be used.
    """

    def __init__(
        self,
        functions: Mapping[str, float],
        *,
        use_mask: bool = False,
        eye_multiplier: float = 1.0,
        mouth_multiplier: float = 1.0,
        smallest_output: int = 64,
        mask_loss: str | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        options = options or {}
        _check_numbers(functions, eye_multiplier, mouth_multiplier, options)
        if mask_loss not in (None, "mae", "mse"):
            raise OptionError(f"mask_loss must be 'mae', 'mse' or None, got {mask_loss!r}")
        self.weights = dict(functions)
        self.use_mask, self.mask_loss = use_mask, mask_loss
        self.multipliers = {"eyes": eye_multiplier, "mouth": mouth_multiplier}
        self.functions = nn.ModuleDict(
            {name: _made(name, smallest_output, options.get(name, {})) for name in functions}
        )

    def forward(
        self,
        predictions: Mapping[str, Sequence[Tensor]],
        targets: Mapping[str, Sequence[Tensor]],
        masks: Mapping[str, BatchMasks] | None = None,
        predicted_masks: Mapping[str, Tensor] | None = None,
    ) -> BatchLoss:
        """Losses of one batch.

        Args:
            predictions: pictures (N, C, H, W) by side, one for each output of the model.
            targets: the same.
            masks: by side, at any size; needed as the options say.
            predicted_masks: learned masks (N, 1, H, W) by side; needed with ``mask_loss``.

        Raises:
            OptionError: a mask that the options ask for is missing.
            ArrayError: sides, outputs or shapes do not fit.
        """
        if predictions.keys() != targets.keys() or not targets:
            raise ArrayError("losses", f"sides are {list(predictions)} and {list(targets)}")
        unweighted: dict[str, dict[str, Tensor]] = {}
        for side, wanted in targets.items():
            side_masks = (masks or {}).get(side, BatchMasks())
            unweighted[side] = self._side(predictions[side], wanted, side_masks)
        weighted = {
            side: {name: value * self.weights[name] for name, value in values.items()}
            for side, values in unweighted.items()
        }
        return BatchLoss(unweighted, weighted, self._learned(masks or {}, predicted_masks or {}))

    def _side(
        self, predictions: Sequence[Tensor], targets: Sequence[Tensor], masks: BatchMasks
    ) -> dict[str, Tensor]:
        if len(predictions) != len(targets) or not targets:
            raise ArrayError("losses", f"{len(predictions)} outputs for {len(targets)} targets")
        total: dict[str, Tensor] = {}
        for prediction, target in zip(predictions, targets, strict=True):
            fitted = masks.at((target.shape[-2], target.shape[-1]))
            face, regions = self._face(fitted), self._regions(fitted)
            for name, function in self.functions.items():
                value = function(prediction, target, face, regions)
                total[name] = total[name] + value if name in total else value
        return total

    def _face(self, masks: BatchMasks) -> Tensor | None:
        if self.use_mask and masks.face is None:
            raise OptionError("use_mask needs a face mask: give BatchMasks(face=...)")
        return masks.face if self.use_mask else None

    def _regions(self, masks: BatchMasks) -> list[Region]:
        """Regions with their multipliers, disjoint: the larger multiplier comes first."""
        found: list[Region] = []
        for name, times in sorted(self.multipliers.items(), key=lambda item: -item[1]):
            if times == 1:
                continue
            mask: Tensor | None = getattr(masks, name)
            if mask is None:
                raise OptionError(f"a multiplier of {times} needs BatchMasks({name}=...)")
            for _, taken in found:
                mask = mask * (1 - taken)
            found.append((times, mask))
        return found

    def _learned(
        self, masks: Mapping[str, BatchMasks], predicted: Mapping[str, Tensor]
    ) -> dict[str, Tensor] | None:
        if self.mask_loss is None:
            return None
        if not predicted:
            raise OptionError("mask_loss needs predicted_masks")
        values: dict[str, Tensor] = {}
        for side, mask in predicted.items():
            true = masks.get(side, BatchMasks()).at((mask.shape[-2], mask.shape[-1])).face
            if true is None:
                raise OptionError(f"mask_loss needs a face mask for side {side!r}")
            values[side] = learned_mask_loss(self.mask_loss, mask, true)
        return values


def _made(name: str, side: int, options: Mapping[str, Any]) -> ImageLoss:
    fits = name == "ms_ssim" and not options
    loss = MultiScaleSSIM.fitting(side) if fits else make_loss(name, **options)
    if loss.smallest > side:
        raise OptionError(
            f"{name} needs pictures of {loss.smallest} pixels a side; the least output has {side}"
        )
    return loss


def _check_numbers(
    functions: Mapping[str, float],
    eyes: float,
    mouth: float,
    options: Mapping[str, Mapping[str, Any]],
) -> None:
    if not functions or any(not 0 <= weight < float("inf") for weight in functions.values()):
        raise OptionError(f"losses need weights of 0 or more, got {dict(functions)}")
    for name, times in (("eye_multiplier", eyes), ("mouth_multiplier", mouth)):
        if not 1 <= times < float("inf"):
            raise OptionError(f"{name} must be 1 or more, got {times}")
    unknown = sorted(set(options) - set(functions))
    if unknown:
        raise OptionError(f"options for {unknown}, which are not among the losses")


def _on_cpu(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in values.items()}
