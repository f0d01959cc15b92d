"""A store that lost its newest transactions: what is left is whole, and the next sync fills it up."""

import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from testio_mcp.app import App
from testio_mcp.database.cache import PersistentCache
from testio_sandbox import Sandbox, World, serve_sandbox
from tests.conftest import SettingsFor
from tests.support.hasty import hasty_client
from tests.sync.conftest import Account

_FRAME = 4096 + 24


async def _account(
    closing: AsyncExitStack, world: World, sandbox: Sandbox, settings_for: SettingsFor, path: Path
) -> Account:
    store = await closing.enter_async_context(PersistentCache(path))
    settings = settings_for(customer_api_base_url=sandbox.url, db_path=path)
    return Account(world, sandbox, App(settings, store, closing, client=hasty_client))


@pytest.mark.parametrize("left", ["no log", "a third of the log", "a log with a hole", "garbage"])
async def test_the_next_sync_fills_up_what_a_lost_log_held(
    left: str, sqlite_file: Path, tmp_path: Path, settings_for: SettingsFor, canary: str
) -> None:
    world = World(seed=3, products=2, tests_per_product=30, bugs_per_test=1)
    older = tmp_path / "older.db"
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        account = await _account(closing, world, sandbox, settings_for, sqlite_file)
        await account.sync()
        world.advance(days=1)
        await account.sync()
        # The newest pages are in the log alone.
        log = bytearray(sqlite_file.with_name(f"{sqlite_file.name}-wal").read_bytes())
        assert len(log) > 30 * _FRAME
        shutil.copy(sqlite_file, older)
        await closing.aclose()

    if left == "a third of the log":
        del log[len(log) // 3 :]
    elif left == "a log with a hole":
        log[len(log) // 3 : len(log) // 3 + 100] = b"\xa5" * 100
    elif left == "garbage":
        log[:] = b"\x37\x7f\x06\x82" + b"?" * 9_000
    if left != "no log":
        older.with_name("older.db-wal").write_bytes(log)

    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        account = await _account(closing, world, sandbox, settings_for, older)
        assert await account.store.check() == []
        before = await account.counts()
        assert before != account.truth()
        assert (await account.sync()).status == "completed"
        assert await account.counts() == account.truth()
        runs = await account.rows("sync_run")
        assert runs[-1]["status"] == "completed"
        assert {row["status"] for row in runs[:-1]} <= {"completed", "interrupted"}
        await closing.aclose()
