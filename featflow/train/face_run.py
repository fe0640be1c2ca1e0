"""``featflow train`` for face models: from a recipe to a model that ``convert`` takes."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from featflow.datasets.faces import FaceDataset
from featflow.datasets.facesets import FaceLoader, FaceSets
from featflow.files import write_text_atomic
from featflow.train.augment import Share
from featflow.train.callbacks import Callback
from featflow.train.distributed import rank_and_world
from featflow.train.events import TensorBoard
from featflow.train.face_recipe import FaceRecipe
from featflow.train.models.autoencoder import FaceAutoencoder, save_face_model
from featflow.train.models.faces import AugmentFaces, FaceLosses
from featflow.train.preview import Preview, PreviewBuffer, Samples
from featflow.train.trainer import Trainer

MODEL = "model.safetensors"


@dataclass(frozen=True)
class FaceRun:
    """A run that is ready to begin.

    Attributes:
        recipe: what it does.
        sets: the faces.
        model: what is trained.
        trainer: what trains it.
    """

    recipe: FaceRecipe
    sets: FaceSets
    model: FaceAutoencoder
    trainer: Trainer


def open_sets(recipe: FaceRecipe) -> FaceSets:
    """The faces of a recipe.

    Raises:
        MissingInputError: a table or source is gone.
        SchemaError: a table has no usable faces, or lacks a mask.
    """
    data = recipe.data
    root = Path(data.root) if data.root else recipe.path.parent
    faces = {
        label: FaceDataset(
            table,
            crop=recipe.crop,
            mask=recipe.masks,
            root=root,
            missing=data.missing,
            cache=data.cache or None,
        )
        for label, table in recipe.identities.items()
    }
    return FaceSets(faces, recipe.face.seed)


def prepare(
    recipe: FaceRecipe,
    work: Path,
    *,
    device: str = "cpu",
    callbacks: Sequence[Callback] = (),
    board: TensorBoard | None = None,
    buffer: PreviewBuffer | None = None,
) -> FaceRun:
    """Read the faces and make model and trainer; nothing is trained yet.

    Args:
        recipe: what to train and how.
        work: folder for checkpoints, metrics and previews.
        device: where to train.
        callbacks: who is told of the run.
        board: shows metrics and previews in TensorBoard.
        buffer: gets previews, for a window.
    """
    face, sets = recipe.face, open_sets(recipe)
    torch.manual_seed(face.seed)
    model = FaceAutoencoder(face.model, sets.labels, face.preset, face.learn_mask).to(device)
    rank, world = rank_and_world()
    loader = FaceLoader(
        sets,
        recipe.batch_size,
        seed=face.seed,
        workers=recipe.data.workers,
        transform=AugmentFaces(
            sets, recipe.augment, to_landmarks=recipe.to_landmarks, share=Share(rank, world)
        ),
        rank=rank,
        world=world,
    )
    told = [*callbacks, *([board] if board else [])]
    if recipe.data.preview and not rank:
        samples = Samples.of(sets, recipe.data.preview)
        folder, overlay = work / "previews", recipe.data.show_mask
        told.append(Preview(samples, folder, show_mask=overlay, board=board, buffer=buffer))
    trainer = Trainer(
        model,
        loader,
        FaceLosses(recipe.losses.to(device), {"face": recipe.data.mask}),
        recipe.optim,
        folder=work,
        every=recipe.every,
        callbacks=told,
        name=f"{face.model} ({face.preset}) of {', '.join(sets.labels)}",
    )
    return FaceRun(recipe, sets, model, trainer)


def finish(run: FaceRun, work: Path) -> dict[str, Any]:
    """Write ``model.safetensors`` and ``results.json`` of a trained run, and return the record."""
    recipe, trainer = run.recipe, run.trainer
    results = {
        "model": recipe.face.model,
        "preset": recipe.face.preset,
        "identities": {label: len(each) for label, each in run.sets.sets.items()},
        "training": {
            "seed": recipe.face.seed,
            "data_version": {label: each.version for label, each in run.sets.sets.items()},
            "steps": trainer.step,
            "batch_size": recipe.batch_size,
            "seconds": round(trainer.seconds),
            "torch": torch.__version__,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "parameters": sum(p.numel() for p in run.model.parameters()),
            "curve": trainer.curve,
        },
    }
    if not rank_and_world()[0]:
        with trainer.lent(trainer.average):
            save_face_model(work / MODEL, run.model, recipe.crop, {"steps": trainer.step})
        write_text_atomic(work / "results.json", json.dumps(results, indent=1) + "\n")
    return results
