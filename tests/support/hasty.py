"""A client whose waits end at once."""

import asyncio
import time

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.resilience import Clock, RetryPolicy
from testio_mcp.settings import Settings


def hasty_clock() -> Clock:
    """The program's clock with waits that end at once; time passes as if they had been waited."""
    skipped = [0.0]

    async def sleep(seconds: float) -> None:
        skipped[0] += seconds
        await asyncio.sleep(0)

    return Clock(monotonic=lambda: time.monotonic() + skipped[0], sleep=sleep)


def hasty_client(settings: Settings, policy: RetryPolicy | None = None) -> CustomerApi:
    """The program's client, without its patience."""
    return CustomerApi(settings, hasty_clock(), policy)
