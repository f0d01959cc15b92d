"""Calls that survive a bad hour of the API: attempts, waits, pauses and a circuit breaker around single exchanges."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from testio_mcp.errors import ApiError, ApiUnreachable, RateLimited

if TYPE_CHECKING:
    from testio_mcp.api.transport import Request, Transport


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """`monotonic` and `sleep` in seconds, `uniform` between two bounds, `now` in UTC."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    uniform: Callable[[float, float], float] = random.uniform
    now: Callable[[], datetime] = _utc_now


RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_RETRY_AFTER = 86_400.0
"""A `Retry-After` of more than a day, in seconds, counts as a day."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Attempts per call, and time limits in seconds.

    `total` bounds the work of one call over all attempts and backoffs; a pause that the API asked for does not
    count against it but against `longest_pause`, and a rest of an API that is down against `longest_rest`.
    """

    attempts: int = 5
    connect: float = 5.0
    read: float = 30.0
    total: float = 60.0
    longest_pause: float = 300.0
    longest_rest: float = 300.0
    backoff_base: float = 0.5
    backoff_cap: float = 20.0


class RetryableError(Exception):
    """An attempt that failed in a way that may pass.

    `error` is what to raise when giving up. `pause` is the wait that the API asked for. `attempts` bounds the
    attempts of a call that ends like this. `sent` is False if no byte of the request left. `outage` says that
    the failure tells of the whole API, not of this one request.
    """

    def __init__(
        self,
        error: ApiError,
        *,
        pause: float | None = None,
        limited: bool = False,
        attempts: int | None = None,
        sent: bool = True,
        outage: bool = True,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause = pause
        self.limited = limited
        self.attempts = attempts
        self.sent = sent
        self.outage = outage


def backoff(policy: RetryPolicy, clock: Clock, attempt: int) -> float:
    """Seconds to wait after the failed attempt of this number (from 0): full jitter."""
    return clock.uniform(0.0, min(policy.backoff_cap, policy.backoff_base * 2**attempt))


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait by the `Retry-After` header; None if it is absent or makes no sense.

    A date is compared with the `Date` of the answer, so that a wrong local clock does no harm; `now` stands in
    where there is none.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(LONGEST_RETRY_AFTER, float(value[:400]))
    moment = http_date(value)
    if moment is None:
        return None
    sent = http_date(headers.get("date", "")) or now
    return min(LONGEST_RETRY_AFTER, max(0.0, (moment - sent).total_seconds()))


def http_date(value: str) -> datetime | None:
    """The moment that a header names; None if it names none."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


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


class CircuitBreaker:
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

    async def acquire(self, budget: float, probes: int) -> float:
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

    def release(self) -> None:
        """The request has ended, in whatever way."""
        if self._prober is asyncio.current_task():
            self._prober = None
            self._probed.set()

    def record_success(self) -> None:
        """The API answered."""
        self._failures = self.failed_probes = 0
        self._open_until = None

    def record_failure(self) -> None:
        """The API did not answer, or with a sign that it is down as a whole."""
        self._failures += 1
        self.failed_probes += self._prober is asyncio.current_task()
        if self._open_until is not None or self._failures >= FAILURES_TO_OPEN:
            self._open_until = self._clock.monotonic() + OPEN_SECONDS


@dataclass(slots=True)
class _Budget:
    """What is left of a call's time, in seconds: for work, for pauses that the API asks for, and for its rests.

    `probes` is how many failed ones in a row it does not outwait.
    """

    work: float
    pause: float
    rest: float
    probes: int


class ResilientTransport:
    """Makes calls over one transport, at most so many at a time."""

    def __init__(self, transport: "Transport", policy: RetryPolicy, clock: Clock, in_flight: int) -> None:
        self._transport = transport
        self._policy = policy
        self._clock = clock
        self._slots = asyncio.Semaphore(in_flight)
        self.pause = Pause(clock, transport.host)
        self.circuit = CircuitBreaker(clock, transport.host)
        self.requests = 0

    async def call(self, request: "Request", *, once: bool = False) -> Any:
        """Ask until there is an answer, as the policy allows; the JSON value of the answer (None if empty).

        `once` is for requests that change something: they are repeated only if no byte left. Raises `ApiError`.
        """
        self._transport.require_token()
        longest_rest = 0 if once else self._policy.longest_rest
        probes = self.circuit.failed_probes + PROBES_TO_GIVE_UP
        budget = _Budget(self._policy.total, self._policy.longest_pause, longest_rest, probes)
        attempt = 0
        while True:
            try:
                return await self._attempt(request, budget)
            except RetryableError as retryable:
                await self._wait_or_give_up(retryable, attempt, budget, once=once)
            attempt += 1

    async def _attempt(self, request: "Request", budget: _Budget) -> Any:
        async with self._slots:
            try:
                # Whoever queued for a slot meets a rest or a pause that began meanwhile.
                budget.rest -= await self.circuit.acquire(budget.rest, budget.probes)
                budget.pause -= await self.pause.wait(budget.pause)
                return await self._exchange(request, budget)
            finally:
                self.circuit.release()

    async def _exchange(self, request: "Request", budget: _Budget) -> Any:
        started = self._clock.monotonic()
        self.requests += 1
        try:
            value = await self._transport.exchange(request, budget.work)
            self.circuit.record_success()
            return value
        except RetryableError as retryable:
            if retryable.outage:
                self.circuit.record_failure()
            raise
        except ApiError:
            self.circuit.record_success()
            raise
        finally:
            budget.work -= self._clock.monotonic() - started

    async def _wait_or_give_up(self, retryable: RetryableError, attempt: int, budget: _Budget, *, once: bool) -> None:
        delay = backoff(self._policy, self._clock, attempt) if retryable.pause is None else retryable.pause
        if retryable.limited:
            self.pause.begin(delay)
        else:
            budget.work -= delay
        allowed = 1 if once and retryable.sent else retryable.attempts or self._policy.attempts
        if attempt + 1 >= allowed or budget.work <= 0:
            self._give_up(retryable)
        if not retryable.limited:
            await self._clock.sleep(delay)

    def _give_up(self, retryable: RetryableError) -> None:
        if isinstance(retryable.error, RateLimited):
            retryable.error.retry_after = self.pause.remaining
        elif not retryable.outage:
            # One request that keeps failing counts once, however often it was tried.
            self.circuit.record_failure()
        raise retryable.error from None
