"""Waiting for what may never come back, such as a look at a disk or a name server that hangs."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def run_with_timeout(seconds: float, work: Callable[[], T]) -> T:
    """The result of `work`, which runs on a thread of its own. Raises `TimeoutError` when it takes longer.

    The thread is left behind then. Unlike those of the loop, it keeps no program from ending.
    """
    result: Future[T] = Future()

    def run() -> None:
        result.set_running_or_notify_cancel()
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - whoever waits receives it
            result.set_exception(error)
        else:
            result.set_result(value)

    threading.Thread(target=run, daemon=True).start()
    async with asyncio.timeout(seconds):
        return await asyncio.wrap_future(result)
