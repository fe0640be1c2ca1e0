"""Recipes of face models: data, model, losses, augmentation, schedule and seeds in one TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from featflow.datasets.faces import STORED
from featflow.errors import OptionError, RecipeError
from featflow.geometry.centring import Centring
from featflow.geometry.crop import CropRule
from featflow.geometry.hull_masks import PART_NAMES
from featflow.geometry.warp import Outside
from featflow.train.augment import AugmentOptions
from featflow.train.losses.collator import LossCollator
from featflow.train.models.autoencoder import Preset, shape_of
from featflow.train.optim import OptimConfig
from featflow.train.tables import fill, override, read_toml, refuse_unknown, sub_table
from featflow.train.trainer import Intervals

TABLES = ("face", "identities", "data", "losses", "augment", "optim", "every")


@dataclass(frozen=True, slots=True)
class FaceModel:
    """``[face]``: which model.

    Attributes:
        model: a key of :data:`featflow.train.models.autoencoder.SHAPES`.
        preset: ``full`` or ``tiny``.
        learn_mask: also learn to draw where the face is.
        seed: of weights, order and augmentation.
    """

    model: str
    preset: Preset = "full"
    learn_mask: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise OptionError(f"seed must be 0 or more, got {self.seed}")


@dataclass(frozen=True, slots=True)
class FaceData:
    """``[data]``: how faces are cut.

    Attributes:
        root: folder that relative paths of the tables start from; empty for that of the recipe.
        centring: what lies in the middle.
        coverage: part of that centring's crop that is wanted.
        shift_y: centre moved down by this part of the side.
        outside: what lies beyond the frame.
        mask: mask of the face: ``stored``, or a part that landmarks give.
        missing: whether sources that are gone are an error.
        workers: processes that load and augment.
        cache: folder of the crops; empty for featflow's own.
        preview: faces of each identity on a preview sheet; 0 draws none.
        show_mask: lay red over what lies outside the mask on preview sheets.
    """

    root: str = ""
    centring: Centring = "face"
    coverage: float = 0.875
    shift_y: float = 0.0
    outside: Outside = "replicate"
    mask: str = "extended"
    missing: Literal["raise", "skip"] = "raise"
    workers: int = 0
    cache: str = ""
    preview: int = 4
    show_mask: bool = False

    def __post_init__(self) -> None:
        if min(self.workers, self.preview) < 0:
            raise OptionError(
                f"workers and preview must be 0 or more, got {self.workers} and {self.preview}"
            )
        if not 0 < self.coverage <= 2 or abs(self.shift_y) > 0.5:
            raise OptionError(
                "coverage must be above 0 and at most 2, shift_y within half a side, "
                f"got {self.coverage} and {self.shift_y}"
            )
        if self.mask not in (STORED, *PART_NAMES):
            raise OptionError(
                f"mask must be {STORED!r} or one of {', '.join(PART_NAMES)}, got {self.mask!r}"
            )


@dataclass(frozen=True, slots=True)
class FaceRecipe:
    """One training run of a face model.

    Attributes:
        face: which model.
        identities: name to the table of their faces.
        data: how faces are cut.
        losses: what weighs them.
        augment: how faces are changed.
        to_landmarks: warp towards landmarks of the next identity.
        optim: how weights are fitted; its ``steps`` are those of the run.
        batch_size: faces of each identity a step.
        every: how often what happens.
        path: the file that it was read from.
    """

    face: FaceModel
    identities: Mapping[str, Path]
    data: FaceData
    losses: LossCollator
    augment: AugmentOptions
    to_landmarks: bool
    optim: OptimConfig
    batch_size: int
    every: Intervals
    path: Path

    @property
    def crop(self) -> CropRule:
        """How faces are cut."""
        data, side = self.data, shape_of(self.face.model, self.face.preset).side
        return CropRule.centred(side, data.centring, data.coverage, data.outside, data.shift_y)

    @property
    def masks(self) -> tuple[str, ...]:
        """Masks that the faces need: the face's first."""
        found = [self.data.mask]
        found += [part for part, times in self.losses.multipliers.items() if times != 1]
        return tuple(dict.fromkeys(found))


def is_face_recipe(path: str | Path) -> bool:
    """Whether a recipe is one of a face model, and not of a node.

    Raises:
        RecipeError: the file is missing or not TOML.
    """
    return "face" in read_toml(Path(path))


def read_face_recipe(path: str | Path, changes: Mapping[str, Any] | None = None) -> FaceRecipe:
    """Read and check a recipe of a face model.

    Args:
        path: TOML file with the tables :data:`TABLES`; ``face``, ``identities`` and ``optim``
            are needed.
        changes: dotted key to value, for example ``{"optim.steps": 10}``.

    Raises:
        RecipeError: the file is missing or not TOML, or a key is unknown, missing or has an
            unusable value; the message names the file and the key.
    """
    path = Path(path)
    tables = read_toml(path)
    override(path, tables, changes or {})
    refuse_unknown(path, "the recipe", tables, set(TABLES))
    face = fill(path, "face", sub_table(path, tables, "face"), FaceModel)
    try:
        side = shape_of(face.model, face.preset).side
    except OptionError as error:
        raise RecipeError(f"{path}: [face] model: {error}") from error
    augment = sub_table(path, tables, "augment")
    to_landmarks = augment.pop("to_landmarks", False)
    optim = sub_table(path, tables, "optim")
    batch_size = optim.pop("batch_size", 16)
    if not isinstance(batch_size, int) or batch_size < 1 or not isinstance(to_landmarks, bool):
        raise RecipeError(
            f"{path}: [optim] batch_size must be 1 or more and [augment] to_landmarks true or "
            f"false, got {batch_size!r} and {to_landmarks!r}"
        )
    config = fill(path, "optim", optim, OptimConfig)
    if config.steps < 1:
        raise RecipeError(f"{path}: [optim] steps must be 1 or more, got {config.steps}")
    return FaceRecipe(
        face=face,
        identities=_identities(path, sub_table(path, tables, "identities")),
        data=fill(path, "data", sub_table(path, tables, "data"), FaceData),
        losses=_losses(path, sub_table(path, tables, "losses"), face, side),
        augment=_augment(path, augment, side),
        to_landmarks=to_landmarks,
        optim=config,
        batch_size=batch_size,
        every=fill(path, "every", sub_table(path, tables, "every"), Intervals),
        path=path,
    )


def _identities(path: Path, table: Mapping[str, Any]) -> dict[str, Path]:
    if len(table) < 2 or not all(isinstance(name, str) for name in table.values()):
        raise RecipeError(
            f"{path}: [identities] must name the table of faces of two or more identities, "
            f"such as A = 'ann.parquet'; got {dict(table)}"
        )
    return {label: path.parent / name for label, name in table.items()}


def _losses(path: Path, table: dict[str, Any], face: FaceModel, side: int) -> LossCollator:
    known = {"functions", "use_mask", "eye_multiplier", "mouth_multiplier", "mask_loss", "options"}
    refuse_unknown(path, "[losses]", table, known)
    options = {"functions": {"ssim": 1.0, "mse": 1.0}, **table}
    if face.learn_mask:
        options.setdefault("mask_loss", "mse")
    elif "mask_loss" in options:
        raise RecipeError(f"{path}: [losses] mask_loss needs [face] learn_mask = true")
    try:
        return LossCollator(smallest_output=side, **options)
    except (OptionError, TypeError, AttributeError) as error:
        raise RecipeError(f"{path}: [losses]: {error}") from error


def _augment(path: Path, table: Mapping[str, Any], side: int) -> AugmentOptions:
    try:
        return AugmentOptions.from_config(side, table)
    except OptionError as error:
        raise RecipeError(f"{path}: [augment]: {error}") from error
