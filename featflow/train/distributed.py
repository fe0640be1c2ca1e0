"""Training in several processes, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def rank_and_world() -> tuple[int, int]:
    """Number of this process and of all that train together; 0 and 1 where there is one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
def process_group() -> Iterator[tuple[int, int]]:
    """Join the processes that ``torchrun`` started, for the time of a block.

    Processes talk by nccl where each has a GPU, by gloo otherwise. Without torchrun nothing
    happens.

    Yields:
        rank and world, see :func:`rank_and_world`.
    """
    if "WORLD_SIZE" not in os.environ or not dist.is_available():
        yield 0, 1
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group(backend)
    try:
        yield rank_and_world()
    finally:
        dist.destroy_process_group()


def mean_of_processes(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """Mean of each number over all processes; as it is where there is one.

    Args:
        values: numbers by name, the same names in each process.
        device: where the processes' model is; nccl sends nothing else.
    """
    world = rank_and_world()[1]
    if world == 1:
        return values
    numbers = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(numbers)
    return dict(zip(values, (numbers / world).tolist(), strict=True))


def shared_model(model: nn.Module) -> nn.Module:
    """The model whose gradients are the mean over all processes; itself where there is one."""
    if rank_and_world()[1] == 1:
        return model
    device = next(model.parameters()).device
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
