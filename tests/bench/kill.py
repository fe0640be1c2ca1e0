"""``python -m tests.bench.kill``: kill a run at random points, resume it, compare the bytes."""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import clips

FEATFLOW = [sys.executable, "-c", "from featflow.cli import main; main()"]


def main() -> None:
    """Run once whole and once with kills; print both hashes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--suffix", default=".csv")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        clip = clips.looped(Path(folder), arguments.frames)
        whole, broken = (Path(folder) / f"{name}{arguments.suffix}" for name in ("whole", "broken"))
        started = time.monotonic()
        command(clip, whole).wait()
        seconds = time.monotonic() - started
        print(f"whole run: {seconds:.1f} s, sha256 {digest(whole)}")
        killed = 0
        while killed < arguments.kills:
            process = command(clip, broken)
            try:
                process.wait(chance.uniform(0.2, 0.9) * seconds / 2)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
                pieces = len(list(Path(folder).glob(".broken*.parts/piece-*")))
                print(f"killed, {pieces} pieces finished, target there: {broken.exists()}")
        command(clip, broken).wait()
        same = whole.read_bytes() == broken.read_bytes()
        print(f"after {killed} kills: sha256 {digest(broken)}, {'equal' if same else 'DIFFERENT'}")


def command(clip: Path, save: Path) -> subprocess.Popen[bytes]:
    """Start a run that resumes where it can."""
    return subprocess.Popen(
        [*FEATFLOW, "detect", str(clip), "--save", str(save), "--resume", "--quiet"]
    )


def digest(path: Path) -> str:
    """First digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


if __name__ == "__main__":
    main()
