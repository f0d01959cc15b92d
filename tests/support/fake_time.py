"""Time that passes only when somebody sleeps."""

import asyncio
from datetime import UTC, datetime, timedelta

from testio_mcp.api.resilience import Clock

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class FakeTime:
    """Counts the seconds that were slept; jitter always takes the longest wait."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []
        self.clock = Clock(
            monotonic=lambda: self.seconds,
            sleep=self._sleep,
            uniform=lambda _low, high: high,
            now=lambda: START + timedelta(seconds=self.seconds),
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)
