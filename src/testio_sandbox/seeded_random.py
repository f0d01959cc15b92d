"""Fast seeded choices: the same key gives the same sequence in every process and on every machine."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

_REFILL_BELOW = 1 << 64


class Dice:
    """Choices drawn from a hash of a key.

    One hash (a microsecond) yields some fifty draws; seeding `random.Random` per record costs ten times that.
    """

    __slots__ = ("_key", "_pool")

    def __init__(self, *key: int | str) -> None:
        self._key = repr(key).encode()
        self._pool = 0

    def below(self, limit: int) -> int:
        """A whole number from 0 up to, not including, `limit`."""
        if self._pool < _REFILL_BELOW:
            self._key = blake2b(self._key).digest()
            self._pool = int.from_bytes(self._key, "little")
        self._pool, drawn = divmod(self._pool, limit)
        return drawn

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def pick(self, choices: Sequence[T]) -> T:
        """One of `choices`; the same as through `below`, without the call, as it is drawn most often."""
        if self._pool < _REFILL_BELOW:
            self._key = blake2b(self._key).digest()
            self._pool = int.from_bytes(self._key, "little")
        self._pool, drawn = divmod(self._pool, len(choices))
        return choices[drawn]

    def chance(self, percent: int) -> bool:
        """True in `percent` of 100 draws."""
        return self.below(100) < percent

    def fraction(self) -> float:
        """A number from 0 up to, not including, 1."""
        return self.below(1 << 24) / (1 << 24)
