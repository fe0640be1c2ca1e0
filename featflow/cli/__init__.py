"""The ``featflow`` command.

Results go to stdout or to files, everything else to stderr. Exit codes: 0 all done, 1 some
inputs failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the ``featflow`` command."""
    try:
        from featflow.cli.app import run
        from featflow.cli.console import show_warnings

        show_warnings()
        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # while libraries were loaded: nothing had begun
        sys.stderr.write("interrupted\n")
        sys.exit(130)
