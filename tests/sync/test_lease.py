"""Who may write: the lease with its fence and its heartbeat, when its holder lives, is killed or lost the lock."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text

from testio_mcp.api.resilience import Clock
from testio_mcp.database import engine
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.tables import SyncLease, table_of
from testio_mcp.errors import Conflict
from testio_mcp.sync.lock import HEARTBEAT_SECONDS, LEASE_SECONDS, Lease, sync_lock
from tests.database.conftest import LockedBy
from tests.database.conftest import locked_by_another_process as locked_by_another_process
from tests.postgres import SCHEMA
from tests.surfaces.programs import PROGRAM, whole
from tests.sync.conftest import Account

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(seconds=LEASE_SECONDS)
_ADVISORY_LOCKS = """FROM pg_locks WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_END_ADVISORY_LOCKS = text(f"SELECT pg_terminate_backend(pid, 60000) {_ADVISORY_LOCKS}")
_COUNT_ADVISORY_LOCKS = text(f"SELECT count(*) {_ADVISORY_LOCKS}")


class Heart:
    """A clock that stands still until a test moves it, and beats when a test says so."""

    def __init__(self) -> None:
        self.now = LONG_AGO
        self._asleep: asyncio.Queue[float] = asyncio.Queue()
        self._wake: asyncio.Queue[None] = asyncio.Queue()
        self.clock = Clock(sleep=self._sleep, now=lambda: self.now)

    async def _sleep(self, seconds: float) -> None:
        self._asleep.put_nowait(seconds)
        await self._wake.get()

    async def resting(self) -> float:
        """Wait until the heart rests, and say for how long it means to."""
        return await self._asleep.get()

    def wake(self, after: float) -> None:
        """Let so many seconds pass, and the heart beat."""
        self.now += timedelta(seconds=after)
        self._wake.put_nowait(None)


def _lease(conn: Connection) -> tuple[int, datetime, datetime]:
    columns = table_of(SyncLease).c
    row = conn.execute(select(columns.fence, columns.acquired_at, columns.expires_at)).one()
    return row[0], row[1], row[2]


def _server_time(conn: Connection) -> datetime:
    moment: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    return moment


async def test_a_lease_lasts_a_minute_and_each_heartbeat_prolongs_it(sqlite_file: Path) -> None:
    heart = Heart()
    async with PersistentCache(sqlite_file) as store, sync_lock(store, heart.clock) as lease:
        assert await heart.resting() == HEARTBEAT_SECONDS < LEASE_SECONDS / 3
        assert await store.read(_lease) == (1, LONG_AGO, LONG_AGO + _MINUTE)
        for _ in range(2):
            heart.wake(HEARTBEAT_SECONDS)
            await heart.resting()
            assert await store.read(_lease) == (1, LONG_AGO, heart.now + _MINUTE)
        heart.now += timedelta(seconds=1)
        await store.write(lease.confirm)
        assert await store.read(_lease) == (1, LONG_AGO, heart.now + _MINUTE)


async def test_a_lease_on_a_server_keeps_the_time_of_the_server(postgres_url: str) -> None:
    """Machines that share a database need not agree about the time."""
    heart = Heart()
    async with PersistentCache("unused.db", database_url=postgres_url, schema=SCHEMA) as store:
        before = await store.read(_server_time)
        async with sync_lock(store, heart.clock):
            _, acquired_at, expires_at = await store.read(_lease)
            after = await store.read(_server_time)
            assert before <= acquired_at <= after
            assert before + _MINUTE <= expires_at <= after + _MINUTE
            await heart.resting()
            heart.wake(HEARTBEAT_SECONDS)
            await heart.resting()
            assert (await store.read(_lease))[2] >= after + _MINUTE
        assert (await store.read(_lease))[2] <= await store.read(_server_time)


async def test_a_heartbeat_that_cannot_be_stored_ends_no_run(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch, locked_by_another_process: LockedBy
) -> None:
    impatient = ["PRAGMA busy_timeout=0" if "busy_timeout" in line else line for line in engine._PRAGMAS]
    monkeypatch.setattr(engine, "_PRAGMAS", tuple(impatient))
    heart = Heart()
    async with PersistentCache(sqlite_file) as store, sync_lock(store, heart.clock) as lease:
        await heart.resting()
        with locked_by_another_process(sqlite_file):
            heart.wake(HEARTBEAT_SECONDS)
            await heart.resting()
        assert (await store.read(_lease))[2] == LONG_AGO + _MINUTE
        heart.wake(HEARTBEAT_SECONDS)
        await heart.resting()
        assert (await store.read(_lease))[2] == heart.now + _MINUTE
        await store.write(lease.confirm)


async def test_a_lease_that_was_taken_over_is_neither_prolonged_nor_given_back(store: PersistentCache) -> None:
    heart = Heart()
    async with sync_lock(store, heart.clock) as late:
        await heart.resting()
        await store.write(lambda conn: conn.execute(table_of(SyncLease).update().values(fence=late.fence + 1)))
        taken = await store.read(_lease)
        heart.wake(HEARTBEAT_SECONDS)
        with pytest.raises(Conflict, match="taken over"):
            await store.write(late.confirm)
    assert await store.read(_lease) == taken


def _environment(account: Account, request: pytest.FixtureRequest) -> dict[str, str]:
    """How a program is told to sync this account into this store."""
    token = account.app.settings.customer_api_token
    assert token is not None
    environment = {
        "TESTIO_CUSTOMER_API_BASE_URL": account.sandbox.url,
        "TESTIO_CUSTOMER_API_TOKEN": token.get_secret_value(),
        "TESTIO_DB_PATH": str(account.store.db_path),
    }
    if account.store.connection is None:
        environment |= {"TESTIO_DATABASE_URL": request.getfixturevalue("postgres_url")}
        environment |= {"TESTIO_DATABASE_SCHEMA": SCHEMA}
    return environment


@asynccontextmanager
async def _syncing(environment: dict[str, str], fault: str, cwd: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A sync in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, "sync", "--only", "features,tests,bugs"),
        env=whole({**environment, "TESTIO_FAULT": fault}),
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_killed_holder_leaves_a_lease_that_expires_and_keeps_nobody_out(
    account: Account, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with _syncing(_environment(account, request), "page-committed:2:kill", tmp_path) as killed:
        await killed.communicate()
        assert killed.returncode == -9
    await _freed(account)
    fence, acquired_at, expires_at = await account.store.read(_lease)
    assert acquired_at + _MINUTE <= expires_at <= datetime.now(UTC) + _MINUTE

    assert (await account.sync()).status == "completed"

    assert (await account.store.read(_lease))[0] == fence + 1
    assert [row["status"] for row in await account.rows("sync_run")] == ["interrupted", "completed"]
    with pytest.raises(Conflict, match="taken over"):
        await account.store.write(Lease(fence, Clock()).confirm)


async def _freed(account: Account) -> None:
    """Wait until a server has noticed that its client is dead; a file's lock is free at once."""
    if account.store.connection is None:
        while await account.store.read(lambda conn: conn.execute(_COUNT_ADVISORY_LOCKS).scalar()):
            pass


async def _lose_the_lock(account: Account) -> None:
    """What ends a lock while its holder lives: somebody tidies its file away, or the server drops the connection."""
    if account.store.connection is not None:
        account.store.db_path.with_name(f"{account.store.db_path.name}.sync-lock").unlink()
        return
    async with account.store.engine.begin() as connection:
        await connection.execute(_END_ADVISORY_LOCKS)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no file that is open")
async def test_a_holder_who_lost_the_lock_writes_no_further_page(
    account: Account, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with _syncing(_environment(account, request), "page-committed:2:hold", tmp_path) as late:
        assert late.stderr is not None
        while b"reached page-committed" not in (line := await late.stderr.readline()):
            assert line, "the other process ended"
        with pytest.raises(Conflict, match=f"process {late.pid} on"):
            await account.sync()
        await _lose_the_lock(account)
        assert (await account.sync()).status == "completed"
        before: Any = await account.contents()

        _, err = await late.communicate(b"\n")

    assert late.returncode == 1, err.decode()
    assert b"Another process has taken over the sync of this store." in err
    assert await account.contents() == before
    assert await account.counts() == account.truth()
    assert (await account.store.read(_lease))[0] == 2
