"""Syncs that are killed, in processes that are forked from one that has everything imported.

`python -m tests.sync.killing URL TOKEN STORE`: kills syncs of one store at every fault point and at random moments,
then prints how many were killed and how many ended by themselves.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from testio_mcp.app import App, silent
from testio_mcp.database.cache import PersistentCache
from testio_mcp.errors import ApiError
from testio_mcp.settings import load_settings
from testio_mcp.sync.engine import SyncOptions, run_sync
from tests.support.hasty import hasty_client

# Before and after a transaction the store is the same: there, fewer of the many like moments do.
POINTS = {"page-begun": 4, "page-written": 1, "page-committed": 5}
RANDOM_KILLS = 30


async def sync(url: str, token: str, store: Path, *, full: bool = False) -> None:
    """One sync, as the program runs it."""
    settings = load_settings(customer_api_base_url=url, customer_api_token=token, db_path=store)
    async with AsyncExitStack() as closing:
        cache = await closing.enter_async_context(PersistentCache(store))
        await run_sync(App(settings, cache, closing, client=hasty_client), SyncOptions(full=full), silent)


def _forked(arguments: tuple[str, str, Path], fault: str) -> int:
    child = os.fork()
    if child:
        return child
    os.environ["TESTIO_FAULT"] = fault
    try:
        asyncio.run(sync(*arguments, full=True))
    except ApiError:
        os._exit(1)
    os._exit(0)


def _was_killed(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def at_every_point(arguments: tuple[str, str, Path]) -> int:
    """Kill a sync at the first and later times it reaches each point, until it ends before that; how many died."""
    killed = 0
    for point, step in POINTS.items():
        count = 1
        while _was_killed(_forked(arguments, f"{point}:{count}:kill")):
            killed, count = killed + 1, count + step
    return killed


def at_random(arguments: tuple[str, str, Path], dice: random.Random) -> int:
    """Kill syncs after random times; how many died."""
    killed = 0
    for _ in range(RANDOM_KILLS):
        child = _forked(arguments, "none:1:kill")
        time.sleep(dice.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        killed += _was_killed(child)
    return killed


def main() -> None:
    """Kill, and report."""
    url, token, store = sys.argv[1:]
    arguments = (url, token, Path(store))
    points = at_every_point(arguments)
    sys.stdout.write(json.dumps({"points": points, "random": at_random(arguments, random.Random(11))}))


if __name__ == "__main__":
    main()
