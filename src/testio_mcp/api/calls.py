"""Calls that survive a bad hour of the API: attempts, waits, pauses and the circuit around single exchanges."""

import asyncio
from dataclasses import dataclass
from typing import Any

from testio_mcp.api.answers import bad_payload, not_json
from testio_mcp.api.circuit import PROBES_TO_GIVE_UP, Circuit, Pause
from testio_mcp.api.clock import Clock
from testio_mcp.api.retry import Again, Policy, backoff
from testio_mcp.api.strict_json import NotJson, read_json
from testio_mcp.api.transport import Request, Transport
from testio_mcp.errors import ApiError, RateLimited


@dataclass(slots=True)
class _Budget:
    """What is left of a call's time, in seconds: for work, for pauses that the API asks for, and for its rests.

    `probes` is how many failed ones in a row it does not outwait.
    """

    work: float
    pause: float
    rest: float
    probes: int


class Calls:
    """Makes calls over one transport, at most so many at a time."""

    def __init__(self, transport: Transport, policy: Policy, clock: Clock, in_flight: int) -> None:
        self._transport = transport
        self._policy = policy
        self._clock = clock
        self._slots = asyncio.Semaphore(in_flight)
        self.pause = Pause(clock, transport.host)
        self.circuit = Circuit(clock, transport.host)
        self.requests = 0

    async def call(self, request: Request, *, once: bool = False) -> Any:
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
            except Again as again:
                await self._wait_or_give_up(again, attempt, budget, once=once)
            attempt += 1

    async def _attempt(self, request: Request, budget: _Budget) -> Any:
        async with self._slots:
            try:
                # Whoever queued for a slot meets a rest or a pause that began meanwhile.
                budget.rest -= await self.circuit.enter(budget.rest, budget.probes)
                budget.pause -= await self.pause.wait(budget.pause)
                return await self._exchange(request, budget)
            finally:
                self.circuit.leave()

    async def _exchange(self, request: Request, budget: _Budget) -> Any:
        started = self._clock.monotonic()
        self.requests += 1
        try:
            value = self._read(request, await self._transport.exchange(request, budget.work))
            self.circuit.succeeded()
            return value
        except Again as again:
            if again.outage:
                self.circuit.failed()
            raise
        except ApiError:
            self.circuit.succeeded()
            raise
        finally:
            budget.work -= self._clock.monotonic() - started

    async def _wait_or_give_up(self, again: Again, attempt: int, budget: _Budget, *, once: bool) -> None:
        delay = backoff(self._policy, self._clock, attempt) if again.pause is None else again.pause
        if again.limited:
            self.pause.begin(delay)
        else:
            budget.work -= delay
        allowed = 1 if once and again.sent else again.attempts or self._policy.attempts
        if attempt + 1 >= allowed or budget.work <= 0:
            self._give_up(again)
        if not again.limited:
            await self._clock.sleep(delay)

    def _give_up(self, again: Again) -> None:
        if isinstance(again.error, RateLimited):
            again.error.retry_after = self.pause.remaining
        elif not again.outage:
            # One request that keeps failing counts once, however often it was tried.
            self.circuit.failed()
        raise again.error from None

    def _read(self, request: Request, body: bytes) -> Any:
        if not body.strip():
            return None
        asked = self._transport.asked(request)
        try:
            return read_json(body)
        except NotJson as error:
            if body.lstrip().startswith(b"<"):
                raise not_json(asked) from None
            attempts = None if error.truncated else 2
            raise Again(bad_payload(asked, str(error)), attempts=attempts, outage=False) from None
