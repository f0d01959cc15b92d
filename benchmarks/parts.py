"""The parts of the benchmark, and how much of each is done."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cold, crowd, memory, plans, questions, serving, startup, syncing, writing
from benchmarks.report import Section
from benchmarks.serving import Load


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Sizes in tests, rounds and calls per round, products with tests to sync, tests of the accounts whose sync is
    watched for its memory, clients of the server whose memory is, and of how many combinations of filters one is
    looked at.
    """

    sizes: tuple[int, ...]
    rounds: int
    repeats: int
    load: Load
    cold_rounds: int
    starts: int
    written_tests: int
    synced: tuple[int, int]
    remembered: tuple[int, ...]
    crowd: int
    every_plan: int


FULL = Effort(
    (2_000, 40_000, 400_000), 6, 15, Load((1, 8, 32), 1.0, 4, 100), 6, 15, 2_000, (5, 200), (2_000, 100_000), 32, 1
)
QUICK = Effort((40,), 1, 2, Load((1, 2), 0.01, 1, 4), 1, 1, 40, (1, 4), (4, 8), 2, 11)


@dataclass(frozen=True)
class Bench:
    """What the parts work with: stores by their number of tests, and a directory that is emptied afterwards."""

    effort: Effort
    stores: dict[int, Path]
    folder: Path

    @property
    def middle(self) -> Path:
        """The store of middle size."""
        return self.stores[self.effort.sizes[len(self.effort.sizes) // 2]]


async def _operations(bench: Bench) -> Section:
    return await questions.measure(bench.stores, bench.effort.rounds, bench.effort.repeats)


async def _plans(bench: Bench) -> Section:
    largest = max(bench.stores)
    return await plans.measure(bench.stores[largest], largest, bench.effort.every_plan)


async def _serving(bench: Bench) -> Section:
    return await serving.measure(bench.stores, bench.folder, bench.effort.load)


async def _crowd(bench: Bench) -> Section:
    largest = max(bench.stores)
    return await crowd.measure(bench.stores[largest], largest, bench.folder, bench.effort.crowd)


async def _first_calls(bench: Bench) -> Section:
    return await cold.measure(bench.stores, bench.folder, bench.effort.cold_rounds)


async def _start(bench: Bench) -> Section:
    return await asyncio.to_thread(startup.measure, bench.middle, bench.folder, bench.effort.starts)


async def _writing(bench: Bench) -> Section:
    rounds = max(1, bench.effort.rounds // 2)
    return await writing.measure(bench.middle, bench.folder, bench.effort.written_tests, rounds)


async def _sync(bench: Bench) -> Section:
    return await syncing.measure(bench.folder, *bench.effort.synced)


async def _memory(bench: Bench) -> Section:
    return await memory.measure(bench.folder, bench.effort.remembered)


PARTS: dict[str, Callable[[Bench], Awaitable[Section]]] = {
    "operations": _operations,
    "plans": _plans,
    "serving": _serving,
    "crowd": _crowd,
    "first-calls": _first_calls,
    "start": _start,
    "writing": _writing,
    "sync": _sync,
    "memory": _memory,
}
