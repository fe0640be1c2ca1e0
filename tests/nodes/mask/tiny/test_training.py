"""Training of masks: the loss by its formula, batches by their seed, overlap by value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from featflow.errors import TrainingError
from featflow.nodes.mask.tiny.training import MaskTask, soft_dice
from featflow.train.recipe import Optim, Recipe


@pytest.fixture(scope="module")
def mask_faces(mini_faces: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The small set of photographs with mesh outlines, and masks for those of ``ytf``."""
    root = tmp_path_factory.mktemp("masks")
    (root / "images").symlink_to(Path(mini_faces) / "images")
    table = pl.read_parquet(Path(mini_faces) / "labels.parquet")
    points = np.array(table["landmarks68"].to_list()).reshape(-1, 68, 2)
    box = np.concatenate([points.min(1), points.max(1)], 1)
    table.with_columns(
        **{f"box_{n}": pl.Series(v) for n, v in zip(("x0", "y0", "x1", "y1"), box.T, strict=True)}
    ).write_parquet(root / "labels.parquet")
    angle = np.linspace(0, 2 * np.pi, 478)
    circle = np.stack([0.5 + 0.5 * np.cos(angle), 0.5 + 0.5 * np.sin(angle), angle * 0], -1)
    np.savez(root / "mesh478.npz", mesh=np.repeat(circle[None], len(table), 0).astype(np.float16))
    rows = np.flatnonzero(table["source"].to_numpy() == "ytf").astype(np.int32)
    y, x = np.mgrid[:96, :96]
    inside = np.packbits((x - 48) ** 2 + (y - 48) ** 2 < 24**2, axis=-1)
    faces = np.repeat(inside[None], len(rows), 0)
    np.savez(root / "face_masks.npz", row=rows, face=faces, hair=faces)
    return str(root)


def make(root: str, batch_size: int = 4, **data: Any) -> MaskTask:
    options = {"root": root, **data}
    model = {"widths": [4, 4, 4, 4]}
    return MaskTask(Recipe("mask/tiny", 0, Optim(1, batch_size), model, options))


def test_dice_by_its_formula() -> None:
    chance = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    mask = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert soft_dice(chance, mask).item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))
    assert soft_dice(mask, mask).item() == pytest.approx(0.0)
    assert soft_dice(chance[:0], mask[:0]).item() == 0.0


def test_pixels_that_are_not_known_cost_nothing() -> None:
    task = MaskTask.__new__(MaskTask)
    mask = torch.zeros(2, 4, 4)
    mask[:, :2] = 1
    known = torch.ones(2, 4, 4, dtype=torch.bool)
    known[1, 3] = False
    right = torch.where(mask > 0, 20.0, -20.0)
    batch = {"crop": torch.zeros(1), "mask": mask, "known": known}
    assert task.loss(lambda crop: right, batch, 0)["loss"].item() == pytest.approx(0, abs=1e-4)  # type: ignore[arg-type]
    unknown = right.clone()
    unknown[1, 3] = 20.0
    assert task.loss(lambda crop: unknown, batch, 0)["loss"].item() == pytest.approx(0, abs=1e-4)  # type: ignore[arg-type]
    wrong = right.clone()
    wrong[0, 3, 0] = 20.0
    terms = task.loss(lambda crop: wrong, batch, 0)  # type: ignore[arg-type]
    assert terms["entropy"].item() == pytest.approx(20 / 28, rel=1e-4)
    assert terms["dice"].item() == pytest.approx(1 - 17 / 18, rel=1e-3)


def test_batches_hold_both_kinds_and_follow_their_seed(mask_faces: str) -> None:
    task = make(mask_faces, bounded=0.5)
    one, two = next(task.batches(4)), next(task.batches(4))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["crop"], next(task.batches(5))["crop"])
    whole = one["known"].flatten(1).all(1)
    assert whole.tolist() == [True, True, False, False]


def test_only_masked_photographs_on_request(mask_faces: str) -> None:
    task = make(mask_faces, bounded=0.0)
    assert next(task.batches(0))["known"].all()


def test_overlap_of_an_oracle_is_one(mask_faces: str) -> None:
    task = make(mask_faces)
    truth = [torch.from_numpy(task.val.plain(row).mask) - 0.5 for row in range(len(task.val))]
    figures = task.validate(lambda crop: torch.stack(truth))  # type: ignore[arg-type]
    assert figures == {"faces": len(truth), "iou": 1.0, "iou_median": 1.0, "below_08": 0.0}
    nothing = task.validate(lambda crop: torch.full((len(truth), 96, 96), -1.0))  # type: ignore[arg-type]
    assert nothing["iou"] == 0.0
    assert nothing["below_08"] == 1.0


def test_no_masks_are_an_error_not_a_hang(mask_faces: str, tmp_path: Path) -> None:
    for entry in Path(mask_faces).iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "face_masks.npz").unlink()
    empty = np.zeros((0, 96, 12), np.uint8)
    np.savez(tmp_path / "face_masks.npz", row=np.zeros(0, np.int32), face=empty, hair=empty)
    with pytest.raises(TrainingError, match="0 training photographs have a mask"):
        make(str(tmp_path))
