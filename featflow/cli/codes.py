"""Exit codes, and how errors become them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import typer

from featflow.cli.console import errors
from featflow.errors import FeatflowError, OptionError, RecipeError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

P = ParamSpec("P")
R = TypeVar("R")


def exits_cleanly(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that featflow knows into one line on stderr and an exit code.

    What it does not know is a bug and keeps its traceback.
    """

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            errors.print("interrupted; what was finished is kept", style="yellow")
            raise typer.Exit(INTERRUPTED) from None
        except FeatflowError as error:
            errors.print(f"featflow: {error}", style="red", markup=False, soft_wrap=True)
            wrong_usage = isinstance(error, OptionError | RecipeError)
            raise typer.Exit(USAGE if wrong_usage else FAILED) from error

    return run
