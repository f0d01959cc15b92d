"""A store that another program keeps locked: questions are answered, a sync says so and completes later."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from testio_mcp.app import Progress
from testio_mcp.database import engine
from testio_mcp.errors import StoreBusy
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_sandbox import World, serve_sandbox
from tests.database.conftest import LockedBy
from tests.database.conftest import locked_by_another_process as locked_by_another_process
from tests.operations.conftest import ask
from tests.sync.conftest import CORE
from tests.sync.test_clock import looking


async def test_a_sync_of_a_locked_store_fails_clearly_and_the_next_one_completes(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch, locked_by_another_process: LockedBy, canary: str
) -> None:
    impatient = ["PRAGMA busy_timeout=0" if "busy_timeout" in line else line for line in engine._PRAGMAS]
    monkeypatch.setattr(engine, "_PRAGMAS", tuple(impatient))
    world = World(seed=7, products=1, tests_per_product=3)
    async with serve_sandbox(world, token=canary) as sandbox, looking(world, sandbox, sqlite_file) as account:
        with locked_by_another_process(sqlite_file):
            with pytest.raises(StoreBusy) as caught:
                await account.sync()
            assert (await ask(account, "get_status")).tests == 0
        assert (caught.value.status, caught.value.exit_code) == (503, 1)
        assert str(sqlite_file) in caught.value.message
        assert (await account.sync()).status == "completed"
        assert await account.counts() == account.truth()


async def test_a_page_is_stored_once_the_lock_is_free(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch, locked_by_another_process: LockedBy, canary: str
) -> None:
    """The other process takes the lock after the first page, and lets go once a page was refused."""
    impatient = ["PRAGMA busy_timeout=1000" if "busy_timeout" in line else line for line in engine._PRAGMAS]
    monkeypatch.setattr(engine, "_PRAGMAS", tuple(impatient))
    world = World(seed=7, products=1, tests_per_product=3)
    loop, refused, lock = asyncio.get_running_loop(), asyncio.Event(), ExitStack()

    is_taken = False

    async def take(_: Progress) -> None:
        nonlocal is_taken
        if not is_taken:
            is_taken = True
            lock.enter_context(locked_by_another_process(sqlite_file))

    async def release() -> None:
        await refused.wait()
        lock.close()

    def note(_: object) -> None:
        loop.call_soon_threadsafe(refused.set)

    async with serve_sandbox(world, token=canary) as sandbox, looking(world, sandbox, sqlite_file) as account:
        event.listen(Engine, "handle_error", note)
        try:
            releasing = asyncio.create_task(release())
            assert (await run_sync(account.app, SyncOptions(only=CORE), take)).status == "completed"
            assert refused.is_set()
            await releasing
        finally:
            event.remove(Engine, "handle_error", note)
            lock.close()
        assert await account.counts() == account.truth()
