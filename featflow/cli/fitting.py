"""What ``featflow train`` does with a node's recipe and with a face model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from featflow.errors import MissingExtraError, OptionError
from featflow.train.callbacks import Callback
from featflow.train.distributed import rank_and_world
from featflow.train.events import TensorBoard
from featflow.train.face_recipe import read_face_recipe
from featflow.train.face_run import finish, prepare
from featflow.train.loop import NodeTrainer
from featflow.train.lr_finder import Mode
from featflow.train.preview import PreviewBuffer
from featflow.train.recipe import read_recipe
from featflow.train.run import build_task
from featflow.train.run import train as fit_node
from featflow.train.trainer import Trainer
from featflow.train.tuning import dry_run, find_learning_rate

FIGURE = "learning_rate.png"
_SWEEP_STEPS = 300


@dataclass(frozen=True)
class Wanted:
    """The arguments of the command.

    Attributes:
        recipe: TOML file.
        work: folder of checkpoints, or None.
        resume: go on from the last checkpoint.
        changes: dotted key of the recipe to value.
        ship: put a node's weights into the package.
        dry_run: only look.
        find_lr: mode of the search, or empty.
        tensorboard: write for TensorBoard.
        preview: open a window.
        say: takes a line for the user.
    """

    recipe: Path
    work: Path | None
    resume: bool
    changes: Mapping[str, Any]
    ship: bool
    dry_run: bool
    find_lr: str
    tensorboard: bool
    preview: bool
    say: Callable[[str], Any]

    def check(self) -> None:
        """Refuse what does not go together, before any data are read.

        Raises:
            OptionError: an option cannot be used.
        """
        if self.find_lr not in ("", *get_args(Mode)):
            raise OptionError(f"--find-lr is one of {get_args(Mode)}, got {self.find_lr!r}")
        if self.find_lr and rank_and_world()[1] > 1:
            raise OptionError("--find-lr works in one process: each would find a rate of its own")
        if self.find_lr and self.resume:
            raise OptionError(
                "--find-lr is for the start of a run, and a resumed run keeps the rate that it "
                "has; leave out --find-lr or --resume"
            )

    def folder(self, name: str) -> Path:
        """Where checkpoints go."""
        return self.work or Path("runs") / name

    def board(self, folder: Path) -> TensorBoard | None:
        """What writes for TensorBoard, if that is wanted."""
        wanted = self.tensorboard and not self.dry_run and not rank_and_world()[0]
        return TensorBoard(folder / "tensorboard") if wanted else None


def node(wanted: Wanted) -> dict[str, Any]:
    """Fit a node; returns what to print."""
    wanted.check()
    recipe = read_recipe(wanted.recipe, wanted.changes)
    folder = wanted.folder(recipe.node.replace("/", "-"))
    if wanted.preview:
        wanted.say("no preview window: a node draws no faces")
    if wanted.dry_run or wanted.find_lr:
        trainer = NodeTrainer(build_task(recipe), recipe, folder)
        looked = _look(wanted, trainer, folder)
        if wanted.dry_run or wanted.find_lr == "graph_and_exit":
            return looked
        if looked["learning_rate"] is not None:
            recipe = read_recipe(
                wanted.recipe, {**wanted.changes, "optim.lr": looked["learning_rate"]}
            )

    def report(step: int, terms: Mapping[str, float]) -> None:
        shown = "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
        wanted.say(f"step {step}/{recipe.optim.steps}  {shown}")

    board = wanted.board(folder)
    results = fit_node(
        recipe,
        folder,
        resume=wanted.resume,
        report=report,
        callbacks=(board,) if board else (),
        ship=wanted.ship and not wanted.find_lr,
    )
    validation: dict[str, Any] = results["training"]["validation"]
    return validation


def faces(wanted: Wanted) -> dict[str, Any]:
    """Fit a face model; returns what to print."""
    from featflow.train.callbacks import Progress

    wanted.check()
    recipe = read_face_recipe(wanted.recipe, wanted.changes)
    folder = wanted.folder(wanted.recipe.stem)
    callbacks: list[Callback] = [Progress(wanted.say)]
    buffer = PreviewBuffer()
    if wanted.preview:
        callbacks += _window(wanted, buffer)
    run = prepare(recipe, folder, callbacks=callbacks, board=wanted.board(folder), buffer=buffer)
    found: dict[str, Any] = {"faces": {label: len(each) for label, each in run.sets.sets.items()}}
    if wanted.dry_run or wanted.find_lr:
        found |= _look(wanted, run.trainer, folder)
        if wanted.dry_run or wanted.find_lr == "graph_and_exit":
            return found
    run.trainer.fit(recipe.optim.steps, resume=wanted.resume)
    results = finish(run, folder)
    last = results["training"]["curve"][-1] if results["training"]["curve"] else {}
    return {**found, "model": str(folder / "model.safetensors"), **last}


def _look(wanted: Wanted, trainer: Trainer, folder: Path) -> dict[str, Any]:
    """One batch on trial, or a search for the learning rate."""
    if wanted.dry_run:
        return dry_run(trainer)
    figure = None
    if wanted.find_lr != "set":
        folder.mkdir(parents=True, exist_ok=True)
        figure = folder / FIGURE
    finder = find_learning_rate(trainer, figure, mode=wanted.find_lr, steps=_SWEEP_STEPS)
    wanted.say(f"learning rate: {finder.best_lr or 'none found'}")
    return {"learning_rate": finder.best_lr, **({"figure": str(figure)} if figure else {})}


def _window(wanted: Wanted, buffer: PreviewBuffer) -> list[Callback]:
    from featflow.train.preview_window import PreviewWindow

    try:
        return [PreviewWindow(buffer)]
    except MissingExtraError as error:
        wanted.say(str(error))
        return []
