"""Where the command speaks to people: stderr, in colour only on a terminal."""

from __future__ import annotations

import logging
import sys

from rich.console import Console

# A file or pipe has no width: wrapping would cut paths in two.
errors = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 400)
results = Console(highlight=False, width=None if sys.stdout.isatty() else 400)


class ConsoleHandler(logging.Handler):
    """Shows the library's warnings as one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        told = f"{record.levelname.lower()}: {record.getMessage()}"
        errors.print(told, markup=False, soft_wrap=True)


def show_warnings() -> None:
    """Send featflow's warnings to stderr, once."""
    logger = logging.getLogger("featflow")
    if not any(isinstance(handler, ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(ConsoleHandler(logging.WARNING))
