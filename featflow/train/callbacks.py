"""What a trainer tells others, and what stops it early."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from featflow.errors import OptionError

if TYPE_CHECKING:
    from featflow.train.trainer import Trainer

Figures = Mapping[str, float]


class Callback:
    """Follows a run; override what you need.

    Attributes:
        name: key of the callback's state in a checkpoint.
    """

    @property
    def name(self) -> str:
        """The class's name."""
        return type(self).__name__

    def on_start(self, trainer: Trainer) -> None:
        """``fit`` begins, a resumed state is loaded."""

    def on_step(self, trainer: Trainer, terms: Figures) -> None:
        """A step was taken or skipped; ``terms`` are its losses."""

    def on_record(self, trainer: Trainer, row: Figures) -> None:
        """A row of metrics was noted: step, seconds, rate and mean losses."""

    def on_validate(self, trainer: Trainer, figures: Figures) -> None:
        """The model was validated."""

    def on_save(self, trainer: Trainer, path: Path) -> None:
        """A checkpoint was written."""

    def on_end(self, trainer: Trainer) -> None:
        """``fit`` ends, also by an error."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint shall keep, as JSON takes it."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where it was saved."""


class EarlyStopping(Callback):
    """Ends a run whose validation no longer improves.

    Args:
        metric: figure of the validation to watch.
        patience: validations without an improvement that are borne.
        mode: ``min`` where less is better, ``max`` where more is.
        least: change that counts as an improvement.

    Attributes:
        best: best value so far, or None.

    Raises:
        OptionError: an option cannot be used.
    """

    def __init__(
        self,
        metric: str,
        patience: int = 5,
        mode: Literal["min", "max"] = "min",
        least: float = 0.0,
    ) -> None:
        if patience < 1 or mode not in ("min", "max") or not least >= 0:
            raise OptionError(
                f"early stopping needs patience >= 1, mode 'min' or 'max' and least >= 0, "
                f"got {patience}, {mode!r} and {least}"
            )
        self.metric, self.patience, self.mode, self.least = metric, patience, mode, least
        self.best: float | None = None
        self.waited = 0

    def on_validate(self, trainer: Trainer, figures: Figures) -> None:
        """Compare with the best so far, and stop the trainer when patience is at an end."""
        if self.metric not in figures:
            known = ", ".join(figures)
            raise OptionError(f"the validation has no {self.metric!r} to watch; it has {known}")
        value = figures[self.metric] * (1 if self.mode == "min" else -1)
        best = math.inf if self.best is None else self.best * (1 if self.mode == "min" else -1)
        if value < best - self.least:
            self.best, self.waited = figures[self.metric], 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            trainer.stop(
                f"{self.metric} is no better than {self.best} after {self.waited} validations"
            )

    def state_dict(self) -> dict[str, Any]:
        """Best value and how long it has been."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where it was saved."""
        self.best, self.waited = state["best"], int(state["waited"])


class Report(Callback):
    """Hands each row of metrics to a function.

    Args:
        tell: takes the step and the mean losses.
    """

    def __init__(self, tell: Callable[[int, Figures], None]) -> None:
        self.tell = tell

    def on_record(self, trainer: Trainer, row: Figures) -> None:
        """Tell step and losses, without the bookkeeping."""
        self.tell(trainer.step, {k: v for k, v in row.items() if k not in BOOKKEEPING})


class Progress(Callback):
    """Writes a line a record: step, losses, images a second and the time left.

    Args:
        write: takes the line.
    """

    def __init__(self, write: Callable[[str], Any]) -> None:
        self.write = write

    def on_record(self, trainer: Trainer, row: Figures) -> None:
        """Write the line."""
        losses = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if k not in BOOKKEEPING)
        left = math.ceil(trainer.seconds_left)
        clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
        speed = f"{row['images_per_second']:.0f} images/s"
        self.write(f"step {trainer.step}/{trainer.last_step}  {losses}  {speed}  {clock} left")


BOOKKEEPING = ("step", "seconds", "lr", "images_per_second")
"""Columns of metrics that are not losses."""
