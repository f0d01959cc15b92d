"""How much one client, and all of them together, may ask of the HTTP server."""

import math
import time
from collections import OrderedDict

_ADDRESSES = 10_000


class RateLimit:
    """Requests per minute and client address: a bucket each, full at first, that refills steadily.

    `per_minute` 0 means no limit.
    """

    def __init__(self, per_minute: int) -> None:
        self._size = float(per_minute)
        self._per_second = per_minute / 60
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """Take one request from the bucket of `address`; 0, or in how many seconds there will be one."""
        if not self._size:
            return 0
        now = time.monotonic()
        left, at = self._buckets.pop(address, (self._size, now))
        left = min(self._size, left + (now - at) * self._per_second)
        is_allowed = left >= 1
        self._buckets[address] = (left - is_allowed, now)
        if len(self._buckets) > _ADDRESSES:  # who has not asked for longest has the fullest bucket
            self._buckets.popitem(last=False)
        return 0 if is_allowed else max(1, math.ceil((1 - left) / self._per_second))


class Places:
    """How many requests may be worked on at once."""

    def __init__(self, most: int) -> None:
        self._free = most

    def take(self) -> bool:
        """Take a place, if there is one; whoever got it gives it back."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        """Give a place back."""
        self._free += 1
