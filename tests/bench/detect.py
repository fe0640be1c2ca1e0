"""``python -m tests.bench.detect``: speed of the default detector, by stage, with memory."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.bench import clips
from tests.bench.measure import THREADS, in_own_process

BATCHES = (1, 8, 32)


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--long", action="store_true", help="also 1,000 against 20,000 frames")
    arguments = parser.parse_args()
    clip = clips.one_face()
    print(f"{clip.name}, {THREADS} threads, median of {arguments.repeats} runs, ms a frame")
    for nodes, told in (("spine", "face, landmarks and pose"), ("all", "everything")):
        print(f"\n{told}, one face a frame")
        _print_stages(
            {b: in_own_process("detect", clip, b, arguments.repeats, nodes) for b in BATCHES}
        )
    with tempfile.TemporaryDirectory() as folder:
        four = clips.four_faces(Path(folder))
        print("\neverything, four faces a frame")
        _print_stages({8: in_own_process("detect", four, 8, arguments.repeats)})
    if arguments.long:
        with tempfile.TemporaryDirectory() as folder:
            _print_long([in_own_process("long_run", n, folder) for n in (1000, 20000)])


def _print_stages(results: dict[int, dict[str, object]]) -> None:
    names = list(dict.fromkeys(s for r in results.values() for s in r["stages"]))  # type: ignore[attr-defined]
    print(f"{'stage (busy time)':28s}" + "".join(f"batch {b:>3d} " for b in results))
    for name in names:
        cells = (f"{r['stages'].get(name, 0.0):9.2f} " for r in results.values())  # type: ignore[attr-defined]
        print(f"{name:28s}" + "".join(cells))
    for label, key in (("wall clock", "ms"), ("wall clock, best run", "best_ms")):
        print(f"{label:28s}" + "".join(f"{r[key]:9.2f} " for r in results.values()))
    print(f"{'frames a second':28s}" + "".join(f"{1e3 / r['ms']:9.1f} " for r in results.values()))  # type: ignore[operator]
    print(f"{'peak memory, MB':28s}" + "".join(f"{r['peak_mb']:9.0f} " for r in results.values()))


def _print_long(runs: list[dict[str, float]]) -> None:
    print("\nframes   ms a frame   first quarter   last quarter   peak MB")
    for r in runs:
        print(
            f"{r['frames']:6.0f}   {r['ms']:10.2f}   {r['ms_first_quarter']:13.2f}   "
            f"{r['ms_last_quarter']:12.2f}   {r['peak_mb']:7.0f}"
        )
    print(f"peak memory ratio {runs[1]['peak_mb'] / runs[0]['peak_mb']:.3f}")


if __name__ == "__main__":
    main()
