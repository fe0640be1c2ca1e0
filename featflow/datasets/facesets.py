"""Faces of several people at once, in endless order, and the batches that a trainer draws."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from featflow.datasets.faces import FaceDataset, Sample
from featflow.errors import OptionError

Batch = dict[str, Any]
Transform = Callable[[Batch, torch.Generator], Batch]


class EndlessOrder:
    """A shuffled order that goes on for ever and shows everything before anything comes again.

    It is a pure function of the position, so any process can look up any place.

    Args:
        count: how many items there are.
        seed: of the shuffling; several numbers make one seed.
    """

    def __init__(self, count: int, seed: tuple[int, ...]) -> None:
        self.count, self.seed = count, seed
        self._round, self._permutation = -1, np.zeros(0, np.int64)

    def __call__(self, position: int) -> int:
        """Which item stands at a position."""
        number, place = divmod(position, self.count)
        if number != self._round:
            self._permutation = self.permutation(number)
            self._round = number
        return int(self._permutation[place])

    def permutation(self, number: int) -> NDArray[np.int64]:
        """The order of one round."""
        return np.random.default_rng([*self.seed, number]).permutation(self.count)


class FaceSets(Dataset[dict[str, Sample]]):
    """Any number of identities, each with its own faces; a sample has one face of each.

    Sets may be unequal: each is shuffled by itself, and all its faces are used before any comes
    again. An epoch is as long as the largest set.

    Args:
        sets: identity to its faces, of equal crops.
        seed: of the order.

    Raises:
        OptionError: there is no set, or crops differ in size or masks.
    """

    def __init__(self, sets: Mapping[str, FaceDataset], seed: int = 0) -> None:
        kinds = {(each.crop.size, each.mask_names) for each in sets.values()}
        if len(kinds) != 1:
            raise OptionError(
                f"sets must be one or more, with equal crop sizes and masks; got {sorted(kinds)}"
            )
        self.sets, self.seed = dict(sets), seed
        self.epoch = 0
        counts = [len(each) for each in self.sets.values()]
        self.orders = [EndlessOrder(n, (seed, which)) for which, n in enumerate(counts)]
        self._length = max(counts)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the identities."""
        return tuple(self.sets)

    def __len__(self) -> int:
        return self._length

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of ``sets[0]``, ``sets[1]``, ...; for samplers of torch."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Sample]:
        return self.at(self.epoch * len(self) + range(len(self))[index])

    def at(self, position: int) -> dict[str, Sample]:
        """The sample at a position of the endless order."""
        pairs = zip(self.sets.items(), self.orders, strict=True)
        return {label: faces[order(position)] for (label, faces), order in pairs}


class _Single:
    """One dataset in endless order."""

    def __init__(self, faces: FaceDataset, seed: int) -> None:
        self.faces, self.order = faces, EndlessOrder(len(faces), (seed, 0))

    def at(self, position: int) -> Sample:
        """The sample at a position of the endless order."""
        return self.faces[self.order(position)]


class _Numbered(Sampler[int]):
    """Batch numbers from one on."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start)


class FaceLoader(Dataset[Batch]):
    """Endless batches of faces; batch ``n`` is the same however it is reached.

    What a batch holds depends on the seed and its number alone: not on the number of workers,
    nor on where a run stopped. Batches may be larger than the sets.

    Args:
        data: one dataset, or several identities.
        batch_size: samples a batch, in each process.
        seed: of order and transform; :class:`FaceSets` have a seed of their own for the order.
        workers: processes that read and transform; 0 works in the caller's.
        transform: changes a collated batch with the chance that it is given. One with an
            attribute ``share`` is given equal chance in each process, and draws its share.
        rank: number of this process among those that train together.
        world: how many those are; together their batches are one process's larger batch.

    Raises:
        OptionError: a number is out of range.
    """

    def __init__(
        self,
        data: FaceDataset | FaceSets,
        batch_size: int,
        *,
        seed: int = 0,
        workers: int = 0,
        transform: Transform | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch_size < 1 or workers < 0 or not 0 <= rank < world or seed < 0:
            raise OptionError(
                "a loader needs batch_size >= 1, workers >= 0, seed >= 0 and 0 <= rank < world, "
                f"got {batch_size}, {workers}, {seed}, {rank} and {world}"
            )
        self.data = data
        self.source = data if isinstance(data, FaceSets) else _Single(data, seed)
        self.batch_size, self.seed, self.workers = batch_size, seed, workers
        self.transform, self.rank, self.world = transform, rank, world

    @property
    def per_epoch(self) -> int:
        """Batches that show every face of the largest set at least once."""
        return -(-len(self.data) // (self.batch_size * self.world))

    def __getitem__(self, number: int) -> Batch:
        first = number * self.batch_size * self.world + self.rank
        positions = range(first, first + self.batch_size * self.world, self.world)
        batch: Batch = default_collate([self.source.at(p) for p in positions])
        if self.transform is None:
            return batch
        rank = 0 if hasattr(self.transform, "share") else self.rank
        entropy = np.random.SeedSequence([self.seed, rank, number]).generate_state(2)
        chance = torch.Generator().manual_seed(int(entropy[0]) << 31 ^ int(entropy[1]))
        return self.transform(batch, chance)

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Batches without end, from number ``start`` on."""
        loader: DataLoader[Batch] = DataLoader(
            self,
            batch_size=None,
            sampler=_Numbered(start),
            num_workers=self.workers,
            # Without one of its own the loader draws a seed from the process's generator.
            generator=torch.Generator(),
        )
        return iter(loader)
