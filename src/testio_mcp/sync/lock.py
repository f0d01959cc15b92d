"""One sync per store at a time, whatever process asks.

Two means together. A lock of the operating system (SQLite) or of the server (PostgreSQL) says at once who is first,
and is free again the moment its holder is killed. A lease row says who holds it since when and until when he was
heard of, and its fence number, compared in every transaction of a run, keeps a holder who lost the lock without
noticing from writing any more. No clock decides who may sync: whoever has the lock takes the lease, expired or not.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from filelock import Timeout
from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from testio_mcp.api.resilience import Clock
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.engine import sync_file_lock
from testio_mcp.database.faults import store_errors
from testio_mcp.database.postgresql import IS_POOLED
from testio_mcp.database.tables import SyncLease, table_of
from testio_mcp.errors import AlreadyRunning, Conflict, StoreError

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
    clock: Clock

    def confirm(self, conn: Connection) -> None:
        """Prolong the lease inside a transaction. Raises `Conflict` when another process has taken it over."""
        held = update(_LEASE).where(_LEASE.c.name == _NAME, _LEASE.c.fence == self.fence)
        if conn.execute(held.values(expires_at=_now_plus(conn, self.clock, LEASE_SECONDS))).rowcount != 1:
            raise Conflict("Another process has taken over the sync of this store.", _WAIT)


@asynccontextmanager
async def sync_lock(store: PersistentCache, clock: Clock | None = None) -> AsyncIterator[Lease]:
    """Hold the right to sync. Raises `Conflict` at once while another process, or this one, has it."""
    clock = clock or Clock()
    async with _exclusive(store):
        lease = await store.write(lambda conn: _take(conn, clock))
        heart = asyncio.create_task(_beat(store, lease))
        try:
            yield lease
        finally:
            heart.cancel()
            with contextlib.suppress(asyncio.CancelledError, Conflict):
                await heart
            with contextlib.suppress(StoreError):  # a lease that nobody gives back is taken over like any other
                await store.write(lambda conn: _give_back(conn, lease))


def _now_plus(conn: Connection, clock: Clock, seconds: float = 0) -> Any:
    """So many seconds from now: by the clock of the database where several machines may share one."""
    now: Any = func.clock_timestamp() if conn.dialect.name == "postgresql" else clock.now()
    return now + timedelta(seconds=seconds)


def _take(conn: Connection, clock: Clock) -> Lease:
    last = conn.execute(select(_LEASE.c.fence).where(_LEASE.c.name == _NAME)).scalar()
    row = {
        "owner": f"process {os.getpid()} on {socket.gethostname()}",
        "fence": (last or 0) + 1,
        "acquired_at": _now_plus(conn, clock),
        "expires_at": _now_plus(conn, clock, LEASE_SECONDS),
    }
    if last is None:
        conn.execute(insert(_LEASE).values(name=_NAME, **row))
    else:
        conn.execute(update(_LEASE).where(_LEASE.c.name == _NAME).values(row))
    return Lease((last or 0) + 1, clock)


def _give_back(conn: Connection, lease: Lease) -> None:
    held = update(_LEASE).where(_LEASE.c.name == _NAME, _LEASE.c.fence == lease.fence)
    conn.execute(held.values(expires_at=_now_plus(conn, lease.clock)))


async def _beat(store: PersistentCache, lease: Lease) -> None:
    while True:
        await lease.clock.sleep(HEARTBEAT_SECONDS)
        with contextlib.suppress(StoreError):  # the next page finds out by itself, and says it
            await store.write(lease.confirm)


async def _busy(store: PersistentCache) -> AlreadyRunning:
    def holder(conn: Connection) -> str:
        row = conn.execute(select(_LEASE.c.owner, _LEASE.c.acquired_at).where(_LEASE.c.name == _NAME)).first()
        return f" since {row[1]:%Y-%m-%d %H:%M:%S} UTC ({row[0]})" if row else ""

    return AlreadyRunning(f"A sync of the store {store.place} is already running{await store.read(holder)}.", _WAIT)


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
    async with contextlib.AsyncExitStack() as closing:
        with store_errors(store.place):
            connection = await closing.enter_async_context(store.engine.connect())
            # Behind a pooler only a transaction keeps its connection: it has the lock, and lasts as long as the sync.
            is_pooled = bool(store.engine.get_execution_options().get(IS_POOLED))
            if not is_pooled:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
            verb = "pg_try_advisory_xact_lock" if is_pooled else "pg_try_advisory_lock"
            is_ours = (await connection.execute(text(_KEY.format(verb=verb)))).scalar()
        if not is_ours:
            raise await _busy(store)
        try:
            yield
        finally:
            with contextlib.suppress(DBAPIError):  # a connection that broke has taken the lock along
                if is_pooled:
                    await connection.rollback()
                else:
                    await connection.execute(text(_KEY.format(verb="pg_advisory_unlock")))
