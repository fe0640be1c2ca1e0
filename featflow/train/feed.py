"""What a trainer is fed with: batches from any position on, drawn ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from featflow.errors import TrainingError

Batch = Mapping[str, Any]
"""Tensors by name, perhaps nested; the first dimension of each counts samples."""


@runtime_checkable
class Data(Protocol):
    """Endless batches that can be taken up anywhere."""

    def batches(self, start: int) -> Iterator[Batch]:
        """Batches from number ``start`` on, the same ones each time."""


class Repeated:
    """An iterable that is gone through again and again, such as a DataLoader.

    Taking up in the middle draws and drops what comes before, so that the batches are the same
    if the iterable's are.

    Args:
        batches: can be iterated more than once.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.source = batches

    @property
    def per_epoch(self) -> int | None:
        """Batches of one pass, where that is known."""
        try:
            return len(self.source)  # type: ignore[arg-type]
        except TypeError:
            return None

    def batches(self, start: int) -> Iterator[Batch]:
        """Batches from number ``start`` on."""
        return islice(self._endless(), start, None)

    def _endless(self) -> Iterator[Batch]:
        while True:
            count = 0
            for batch in self.source:
                yield batch
                count += 1
            if not count:
                raise TrainingError("the data hold no batch, or can be iterated only once")


def as_data(data: Data | Iterable[Batch]) -> Data:
    """Data as they are, or an iterable made endless."""
    return data if isinstance(data, Data) else Repeated(data)


def to_device(value: Any, device: torch.device) -> Any:
    """A batch with its tensors on a device; nested mappings, lists and tuples are followed."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: to_device(part, device) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_device(part, device) for part in value]
    return value


def count_samples(value: Any) -> int:
    """Samples in a batch: the length of its first tensor; for nested batches the sum of theirs."""
    if isinstance(value, Tensor):
        return len(value) if value.ndim else 1
    if isinstance(value, Mapping):
        parts = list(value.values())
        nested = [part for part in parts if isinstance(part, Mapping)]
        if nested:
            return sum(count_samples(part) for part in nested)
        return next((count_samples(part) for part in parts if isinstance(part, Tensor)), 0)
    return 0


def prefetch(batches: Iterator[Batch], depth: int = 4) -> Generator[Batch]:
    """Draw batches in a thread of their own, ``depth`` ahead; its errors surface here.

    Closing the generator ends the thread.
    """
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def draw() -> None:
        try:
            for batch in batches:
                if not _put(ready, batch, stop):
                    return
            _put(ready, None, stop)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            _put(ready, error, stop)

    thread = threading.Thread(target=draw, name="featflow-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _put(ready: queue.Queue[Any], item: object, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
