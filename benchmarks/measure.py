"""Timing: every kind of call in turn, in shuffled rounds, so that a busy moment of the machine meets all alike."""

import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

Call = Callable[[], Awaitable[object]]
_SLOW = 0.5


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest sample that `share` of all samples do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass
class Series:
    """Durations in seconds, a list per round."""

    rounds: list[list[float]] = field(default_factory=list)

    def at(self, share: float) -> float:
        """A quantile over all rounds, in seconds."""
        return quantile(sorted(sample for samples in self.rounds for sample in samples), share)

    @property
    def p50(self) -> float:
        """The median over all rounds, in seconds."""
        return self.at(0.5)

    @property
    def medians(self) -> list[float]:
        """The median of each round, in seconds."""
        return [quantile(sorted(samples), 0.5) for samples in self.rounds]


def ratio(part: Series, whole: Series) -> tuple[float, float, float]:
    """How many times longer `part` takes: by the medians over all, and the least and the most of any round."""
    by_round = [a / b for a, b in zip(part.medians, whole.medians, strict=True)]
    return part.p50 / whole.p50, min(by_round), max(by_round)


async def interleaved(calls: Mapping[str, Call], rounds: int, repeats: int, seed: int = 1) -> dict[str, Series]:
    """Time every call `repeats` times per round (slow ones once), in an order that is shuffled anew each time."""
    dice = random.Random(seed)
    found = {name: Series() for name in calls}
    names = list(calls)
    slow = {name for name, call in calls.items() if await _warm_up(call)}
    for _ in range(rounds):
        samples: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(repeats):
            dice.shuffle(names)
            for name in [name for name in names if turn == 0 or name not in slow]:
                start = time.perf_counter()
                await calls[name]()
                samples[name].append(time.perf_counter() - start)
        for name, durations in samples.items():
            found[name].rounds.append(durations)
    return found


async def _warm_up(call: Call) -> bool:
    """Make a call a few times before it is measured; whether it is a slow one."""
    start = time.perf_counter()
    for _ in range(3):
        await call()
        if time.perf_counter() - start > _SLOW:
            return True
    return False
