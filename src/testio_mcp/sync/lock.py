"""One sync per store at a time, whatever process asks.

Two means together. A lock of the operating system (SQLite) or of the server (PostgreSQL) says at once who is first,
and is free again the moment its holder is killed. A lease row says who holds it since when, and its fence number,
compared in every transaction of a run, keeps a holder who lost the lock without noticing from writing any more.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from filelock import Timeout
from sqlalchemy import Connection, insert, select, text, update

from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.engine import sync_file_lock
from testio_mcp.database.tables import SyncLease, table_of
from testio_mcp.errors import Conflict

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 15.0
_NAME = "sync"
_WAIT = "Wait until it ends; get_status shows when."
_KEY = "SELECT {verb}(hashtextextended('testio-mcp sync ' || current_schema(), 0))"
_LEASE = table_of(SyncLease)


@dataclass(frozen=True)
class Lease:
    """The right to write entity data, as long as nobody has taken it over."""

    fence: int

    def confirm(self, conn: Connection) -> None:
        """Prolong the lease inside a transaction. Raises `Conflict` when another process has taken it over."""
        held = update(_LEASE).where(_LEASE.c.name == _NAME, _LEASE.c.fence == self.fence)
        if conn.execute(held.values(expires_at=_later())).rowcount != 1:
            raise Conflict("Another process has taken over the sync of this store.", _WAIT)


@asynccontextmanager
async def sync_lock(store: PersistentCache) -> AsyncIterator[Lease]:
    """Hold the right to sync. Raises `Conflict` at once while another process, or this one, has it."""
    async with _exclusive(store):
        lease = await store.write(_take)
        heart = asyncio.create_task(_beat(store, lease))
        try:
            yield lease
        finally:
            heart.cancel()
            with contextlib.suppress(asyncio.CancelledError, Conflict):
                await heart
            await store.write(lambda conn: _give_back(conn, lease))


def _later() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)


def _take(conn: Connection) -> Lease:
    last = conn.execute(select(_LEASE.c.fence).where(_LEASE.c.name == _NAME)).scalar()
    row = {
        "owner": f"process {os.getpid()} on {socket.gethostname()}",
        "fence": (last or 0) + 1,
        "acquired_at": datetime.now(UTC),
        "expires_at": _later(),
    }
    if last is None:
        conn.execute(insert(_LEASE).values(name=_NAME, **row))
    else:
        conn.execute(update(_LEASE).where(_LEASE.c.name == _NAME).values(row))
    return Lease((last or 0) + 1)


def _give_back(conn: Connection, lease: Lease) -> None:
    held = update(_LEASE).where(_LEASE.c.name == _NAME, _LEASE.c.fence == lease.fence)
    conn.execute(held.values(expires_at=datetime.now(UTC)))


async def _beat(store: PersistentCache, lease: Lease) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        await store.write(lease.confirm)


async def _busy(store: PersistentCache) -> Conflict:
    def holder(conn: Connection) -> str:
        row = conn.execute(select(_LEASE.c.owner, _LEASE.c.acquired_at).where(_LEASE.c.name == _NAME)).first()
        return f" since {row[1]:%Y-%m-%d %H:%M:%S} UTC ({row[0]})" if row else ""

    return Conflict(f"A sync of the store {store.place} is already running{await store.read(holder)}.", _WAIT)


@asynccontextmanager
async def _exclusive(store: PersistentCache) -> AsyncIterator[None]:
    if store.is_memory:
        yield
    elif store.connection is not None:
        async with _file_lock(store):
            yield
    else:
        async with _advisory_lock(store):
            yield


@asynccontextmanager
async def _file_lock(store: PersistentCache) -> AsyncIterator[None]:
    lock = sync_file_lock(store.db_path)
    try:
        lock.acquire()
    except Timeout:
        raise await _busy(store) from None
    try:
        yield
    finally:
        lock.release()


@asynccontextmanager
async def _advisory_lock(store: PersistentCache) -> AsyncIterator[None]:
    async with store.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        if not (await connection.execute(text(_KEY.format(verb="pg_try_advisory_lock")))).scalar():
            raise await _busy(store)
        try:
            yield
        finally:
            await connection.execute(text(_KEY.format(verb="pg_advisory_unlock")))
