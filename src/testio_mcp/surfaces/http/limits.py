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
        seconds = self.seconds_until_free(address)
        if self._size and not seconds:
            left, at = self._buckets[address]
            self._buckets[address] = (left - 1, at)
        return seconds

    def seconds_until_free(self, address: str) -> int:
        """In how many seconds there is a request in the bucket of `address`: 0 if there is one, which stays there."""
        if not self._size:
            return 0
        now = time.monotonic()
        left, at = self._buckets.pop(address, (self._size, now))
        left = min(self._size, left + (now - at) * self._per_second)
        self._buckets[address] = (left, now)
        if len(self._buckets) > _ADDRESSES:  # who has not asked for longest has the fullest bucket
            self._buckets.popitem(last=False)
        return 0 if left >= 1 else max(1, math.ceil((1 - left) / self._per_second))


class Quota:
    """What all requests share: places to be worked on, or bytes that may be held."""

    def __init__(self, size: int) -> None:
        self._free = size

    def take(self, count: int = 1) -> bool:
        """Take so much, if there is so much; whoever got it gives it back."""
        if self._free < count:
            return False
        self._free -= count
        return True

    def give_back(self, count: int = 1) -> None:
        """Give so much back."""
        self._free += count
