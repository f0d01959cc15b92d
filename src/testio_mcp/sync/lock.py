"""One sync per store at a time, whatever process asks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from filelock import FileLock, Timeout
from sqlalchemy import text

from testio_mcp.database.cache import PersistentCache
from testio_mcp.errors import Conflict

_BUSY = "A sync of the store {place} is already running."
_WAIT = "Wait until it ends; get_status shows when."
_KEY = "SELECT {verb}(hashtextextended('testio-mcp sync ' || current_schema(), 0))"


@asynccontextmanager
async def sync_lock(store: PersistentCache) -> AsyncIterator[None]:
    """Hold the right to sync. Raises `Conflict` at once while another process, or this one, has it.

    The operating system (SQLite) or the server (PostgreSQL) takes the lock back from a killed holder at once.
    """
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
    lock = FileLock(store.db_path.with_name(store.db_path.name + ".sync-lock"), timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise Conflict(_BUSY.format(place=store.place), _WAIT) from None
    try:
        yield
    finally:
        lock.release()


@asynccontextmanager
async def _advisory_lock(store: PersistentCache) -> AsyncIterator[None]:
    async with store.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        if not (await connection.execute(text(_KEY.format(verb="pg_try_advisory_lock")))).scalar():
            raise Conflict(_BUSY.format(place=store.place), _WAIT)
        try:
            yield
        finally:
            await connection.execute(text(_KEY.format(verb="pg_advisory_unlock")))
