"""Two processes that train together, against one with the double batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from featflow.train.checkpoint import NAME, part
from featflow.train.distributed import process_group, rank_and_world
from featflow.train.metrics import read_metrics

SCRIPT = """
import sys
from pathlib import Path
import torch
from torch import nn
from featflow.datasets import FaceDataset, FaceLoader, FaceSets
from featflow.geometry.crop import CropRule
from featflow.testing.painted import painted_faces
from featflow.train.distributed import process_group
from featflow.train.optim import OptimConfig
from featflow.train.trainer import Intervals, Trainer

def loss(model, batch, step):
    pixels = batch["A"]["crop"].float().flatten(1) / 255
    error = (model(pixels) - batch["B"]["crop"].float().flatten(1)[:, :4] / 255).square()
    return {"loss": error.mean()}

folder, chips = Path(sys.argv[1]), Path(sys.argv[2])
with process_group() as (rank, world):
    rule = CropRule.centred(16, "face", outside="replicate")
    sets, own = {}, chips / f"{rank} of {world}"
    own.mkdir()
    for label, count in (("A", 7), ("B", 5)):
        table = painted_faces(own, count, identity=label, seed=count)
        sets[label] = FaceDataset(table, crop=rule, cache=own)
    data = FaceLoader(FaceSets(sets, 2), 8 // world, rank=rank, world=world)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(768, 16), nn.Tanh(), nn.Linear(16, 4))
    config = OptimConfig("adamw", lr=1e-2, clip="global_norm", clip_value=0.5, accumulate=2)
    own = folder if rank == 0 else folder / "other"
    Trainer(model, data, loss, config, folder=own, every=Intervals(log=1)).fit(12)
"""


def run(folder, chips, processes):
    folder.mkdir()
    script = folder / "script.py"
    script.write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), str(script)]
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, str(folder), str(chips)], env=env, check=True, capture_output=True, timeout=240
    )
    metrics = read_metrics(folder / "metrics.csv")
    return part(load_file(folder / NAME), "model."), [row["loss"] for row in metrics]


def test_two_processes_equal_one_with_the_double_batch(tmp_path):
    (tmp_path / "chips").mkdir()
    one, losses = run(tmp_path / "one", tmp_path / "chips", 1)
    two, shared_losses = run(tmp_path / "two", tmp_path / "chips", 2)
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-5), name
    assert len(losses) == 12
    assert losses == pytest.approx(shared_losses, abs=1e-6)
    assert not (tmp_path / "two" / "other").exists(), "the second process wrote files"


def test_without_torchrun_there_is_one_process():
    assert rank_and_world() == (0, 1)
    with process_group() as found:
        assert found == (0, 1)
