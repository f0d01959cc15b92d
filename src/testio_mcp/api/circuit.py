"""When no request may be sent to an account: it asked for a pause, or it failed too often in a row."""

from testio_mcp.api.clock import Clock
from testio_mcp.errors import ApiUnavailable, RateLimited

FAILURES_TO_OPEN = 10
OPEN_SECONDS = 60.0


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
    """Stops calls after failures in a row, and lets one probe through after a while."""

    def __init__(self, clock: Clock, host: str) -> None:
        self._clock = clock
        self._host = host
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False

    @property
    def remaining(self) -> float:
        """Seconds until a request may be tried again; 0 when now."""
        if self._open_until is None:
            return 0.0
        return max(0.0, self._open_until - self._clock.monotonic())

    def enter(self) -> None:
        """Ask to send a request. Raises `ApiUnavailable` while the circuit is open or a probe is under way."""
        if self._open_until is None:
            return
        if self._probing or self.remaining > 0:
            raise ApiUnavailable(
                f"{self._host} failed {FAILURES_TO_OPEN} times in a row; requests rest for {self.remaining:.0f} s.",
                "Try again after that; answers from the local store stay available.",
            )
        self._probing = True

    def leave(self) -> None:
        """The request has ended, in whatever way."""
        self._probing = False

    def succeeded(self) -> None:
        """The API answered."""
        self._failures = 0
        self._open_until = None

    def failed(self) -> None:
        """The API did not answer, or with a sign that it is down as a whole."""
        self._failures += 1
        if self._open_until is not None or self._failures >= FAILURES_TO_OPEN:
            self._open_until = self._clock.monotonic() + OPEN_SECONDS
