"""``torchrun -m featflow.train RECIPE ...``: the command ``featflow train`` in each process."""

from __future__ import annotations

import sys


def main() -> int:
    """Join the other processes, if there are any, and train."""
    from featflow.cli.app import run
    from featflow.train.distributed import process_group

    with process_group() as (rank, _):
        quiet = ["--quiet"] if rank else []
        return run(["train", *sys.argv[1:], *quiet])


if __name__ == "__main__":
    raise SystemExit(main())
