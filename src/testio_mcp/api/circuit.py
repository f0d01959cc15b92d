"""When no request may be sent to an account: it asked for a pause, or it failed too often in a row."""

import asyncio
from typing import Any

from testio_mcp.api.clock import Clock
from testio_mcp.errors import ApiUnreachable, RateLimited

FAILURES_TO_OPEN = 10
OPEN_SECONDS = 60.0
PROBES_TO_GIVE_UP = 5
"""Who has seen so many probes fail in a row waits for no other one: the API is down for good."""


class Pause:
    """A pause of the whole account: every caller waits, not only the one that was told to."""

    def __init__(self, clock: Clock, host: str) -> None:
        self._clock = clock
        self._host = host
        self._until = float("-inf")

    @property
    def remaining(self) -> float:
        """Seconds until requests may be sent again; 0 when now."""
        return max(0.0, self._until - self._clock.monotonic())

    def begin(self, seconds: float) -> None:
        """Pause for so many seconds from now; a longer pause that runs already stays."""
        self._until = max(self._until, self._clock.monotonic() + seconds)

    async def wait(self, budget: float) -> float:
        """Wait until the pause is over; the seconds waited.

        Raises `RateLimited` at once when it is longer than `budget` seconds.
        """
        waited = 0.0
        while (left := self.remaining) > 0:
            if waited + left > budget:
                raise RateLimited(
                    f"{self._host} asks for a pause of {left:.0f} s.",
                    "Try again later; answers from the local store stay available.",
                    retry_after=left,
                )
            await self._clock.sleep(left)
            waited += left
        return waited


class Circuit:
    """Rests an API that failed often in a row, and lets one probe through after a while.

    Callers wait until the rest is over: a failure of the whole API says nothing about what each of them asks for.
    """

    def __init__(self, clock: Clock, host: str) -> None:
        self._clock = clock
        self._host = host
        self._failures = 0
        self._open_until: float | None = None
        self.failed_probes = 0
        self._prober: asyncio.Task[Any] | None = None
        self._probed = asyncio.Event()

    @property
    def remaining(self) -> float:
        """Seconds until a request may be tried again; 0 when now."""
        if self._open_until is None:
            return 0.0
        return max(0.0, self._open_until - self._clock.monotonic())

    async def enter(self, budget: float, probes: int) -> float:
        """Wait until a request may be sent; the seconds rested.

        Raises `ApiUnreachable` at once when the rest is longer than `budget` seconds or so many `probes` in a row
        have failed, or a probe is under way and there is no budget to wait for it.
        """
        rested = 0.0
        while self._open_until is not None:
            left = self.remaining
            if not left and self._prober is None:
                self._prober = asyncio.current_task()
                self._probed.clear()
                break
            if not budget or rested + left > budget or self.failed_probes >= probes:
                raise ApiUnreachable(
                    f"{self._host} failed {FAILURES_TO_OPEN} times in a row; requests rest for {left:.0f} s.",
                    "Try again after that; answers from the local store stay available.",
                    is_down=True,
                )
            await (self._clock.sleep(left) if left else self._probed.wait())
            rested += left
        return rested

    def leave(self) -> None:
        """The request has ended, in whatever way."""
        if self._prober is asyncio.current_task():
            self._prober = None
            self._probed.set()

    def succeeded(self) -> None:
        """The API answered."""
        self._failures = self.failed_probes = 0
        self._open_until = None

    def failed(self) -> None:
        """The API did not answer, or with a sign that it is down as a whole."""
        self._failures += 1
        self.failed_probes += self._prober is asyncio.current_task()
        if self._open_until is not None or self._failures >= FAILURES_TO_OPEN:
            self._open_until = self._clock.monotonic() + OPEN_SECONDS
