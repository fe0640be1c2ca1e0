"""The search for batch sizes, on machines of pure arithmetic."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.tuning.search import BatchSearch, Trial, search


def path(found: BatchSearch) -> list[tuple[int, ...]]:
    return [tuple(trial.sizes.values()) for trial in found.trials]


def machine(
    rates: dict[str, Callable[[int], float]], memory: Callable[[dict[str, int]], int], most: int
) -> Callable[[dict[str, int]], Trial]:
    def measure(sizes: dict[str, int]) -> Trial:
        if memory(sizes) > most:
            return Trial(sizes, {}, most)
        frames = {node: rate(sizes[node]) for node, rate in rates.items()}
        return Trial(sizes, frames, memory(sizes))

    return measure


def test_the_slowest_is_doubled_and_a_failed_step_is_halved_down_to_four() -> None:
    # "a" is always slower; 100 rows fit.
    rates = {"a": lambda n: n, "b": lambda n: 1000.0 * n}
    measure = machine(rates, lambda sizes: sizes["a"], 100)
    found = search(BatchSearch(["a", "b"]), measure)
    assert path(found) == [
        (1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (32, 1), (64, 1),
        (128, 1),  # does not fit: back to 64, and half of the step
        (96, 1), (112, 1), (104, 1), (100, 1),
    ]  # fmt: skip
    assert [trial.fitted for trial in found.trials[-5:]] == [False, True, False, False, True]
    assert found.best is not None
    assert found.best.sizes == {"a": 100, "b": 1}


def test_a_small_step_that_does_not_fit_ends_the_search() -> None:
    found = search(BatchSearch(["a"]), machine({"a": float}, lambda sizes: sizes["a"], 7))
    assert path(found) == [(1,), (2,), (4,), (8,)]
    assert found.best is not None
    assert found.best.sizes == {"a": 4}


def test_nodes_take_turns_at_being_slowest() -> None:
    rates = {"a": lambda n: 3.0 * n, "b": lambda n: 2.0 * n}
    found = search(BatchSearch(["a", "b"], largest=4), machine(rates, lambda _: 0, 1))
    assert path(found) == [(1, 1), (1, 2), (2, 2), (2, 4), (4, 4)]


def test_the_limit_of_memory_counts_as_not_fitting() -> None:
    rates = {"a": lambda n: float(n)}
    measure = machine(rates, lambda sizes: 10 * sizes["a"], 10**9)
    found = search(BatchSearch(["a"], limit_bytes=200), measure)
    assert found.best is not None
    assert found.best.sizes == {"a": 20}
    assert not found.trials[-1].fitted or found.trials[-1].memory_bytes <= 200


def test_a_machine_that_is_full_is_not_asked_for_ever() -> None:
    found = search(BatchSearch(["a"], largest=10**6), machine({"a": lambda n: 5.0}, lambda _: 0, 1))
    assert path(found) == [(1,), (2,), (4,), (8,)]
    assert found.best is not None
    assert found.best.sizes == {"a": 1}  # of equals the one that needs least


def test_nothing_fits() -> None:
    found = search(BatchSearch(["a", "b"]), machine({"a": float}, lambda _: 2, 1))
    assert path(found) == [(1, 1)]
    assert found.best is None


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.floats(0.1, 50), min_size=1, max_size=3),
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
    st.integers(10, 900),
)
def test_what_is_found_is_near_the_best_that_fits(
    speeds: list[float], weights: list[int], room: int
) -> None:
    """Rates grow linearly, memory too: the best combination can be found by trying all."""
    names = [f"n{i}" for i in range(len(speeds))]
    rates = {name: partial(operator.mul, k) for name, k in zip(names, speeds, strict=True)}

    def memory(sizes: dict[str, int]) -> int:
        return sum(w * sizes[n] for n, w in zip(names, weights, strict=False))

    measure = machine(rates, memory, room)
    found = search(BatchSearch(names, largest=32), measure)
    assert len({tuple(trial.sizes.values()) for trial in found.trials}) == len(found.trials)
    if found.best is None:
        assert not measure(dict.fromkeys(names, 1)).fitted
        return
    every = itertools.product(*[[1, 2, 4, 8, 16, 32]] * len(names))
    best = max(measure(dict(zip(names, sizes, strict=True))).least for sizes in every)
    # Each step that failed cost at most a half of the batch that was to grow.
    assert found.best.least >= best / 2.01
    assert memory(found.best.sizes) <= room
