"""The store of one customer account: one writer, a few readers, migrated before the first use."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self, TypeVar

import aiosqlite
from sqlalchemy import Connection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlmodel.ext.asyncio.session import AsyncSession

from testio_mcp.database import engine as engines
from testio_mcp.database.backup import back_up, check_integrity
from testio_mcp.database.faults import store_errors
from testio_mcp.database.migrate import HEAD, current_revision, refuse_foreign, refuse_newer, upgrade
from testio_mcp.database.workers import Workers, in_snapshot, in_transaction
from testio_mcp.errors import BadInput, StoreBusy, StoreError

T = TypeVar("T")
logger = logging.getLogger(__name__)


class PersistentCache:
    """The local copy of one account, in a SQLite file or a PostgreSQL schema.

    `engine` and `async_session_maker` write; `connection` is a raw aiosqlite connection for what is SQLite's own
    (backup, integrity check, checkpoint; None on PostgreSQL). `read` and `write` run a synchronous function of a
    `Connection` as one transaction: on SQLite a read is a single hop to a reader thread.
    """

    def __init__(
        self,
        db_path: str | Path,
        *,
        database_url: str | None = None,
        schema: str = "testio",
        skip_migrations: bool = False,
    ) -> None:
        """Name the store; nothing is opened before `initialize`. Raises `BadInput` for an unusable address."""
        self.db_path = Path(db_path)
        self.is_memory = str(db_path) == engines.MEMORY
        self.connection: aiosqlite.Connection | None = None
        self._database_url = _parse(database_url) if database_url else None
        self._schema = schema
        self._skip_migrations = skip_migrations
        self._engine: AsyncEngine | None = None
        self._session_maker: async_sessionmaker[AsyncSession] | None = None
        self._readers: Workers | None = None
        self._writer: Workers | None = None
        self._writing = asyncio.Lock()
        self._initializing = asyncio.Lock()

    @property
    def place(self) -> str:
        """Where the store is, as a person may see it: a path, or host and database without credentials."""
        if self._database_url is None:
            return str(self.db_path)
        url = self._database_url
        return f"{url.host or 'localhost'}/{url.database} (schema {self._schema})"

    @property
    def engine(self) -> AsyncEngine:
        """The writing engine. Raises `StoreError` before `initialize`."""
        return self._opened(self._engine)

    @property
    def async_session_maker(self) -> async_sessionmaker[AsyncSession]:
        """Sessions on the writing engine. Raises `StoreError` before `initialize`."""
        return self._opened(self._session_maker)

    def _opened(self, part: T | None) -> T:
        if part is None:
            raise StoreError("The store is not open.", "Call initialize() first.")
        return part

    async def initialize(self) -> None:
        """Open the store and migrate it to the newest schema; calling it again does nothing.

        An existing file is backed up and the copy verified before its schema changes. When anything fails,
        whatever was opened is closed again. Raises a `StoreError`.
        """
        async with self._initializing:
            if self._session_maker is not None:
                return
            try:
                with store_errors(self.place):
                    await self._open()
                    await self._migrate()
            except BaseException:
                await self.close()
                raise
            self._session_maker = engines.create_session_factory(self.engine)

    async def _open(self) -> None:
        if self._database_url is not None:
            self._engine = _postgresql_engine(self._database_url, self._schema)
            return
        if self.is_memory:
            self._engine = engines.create_async_engine_for_sqlite(engines.MEMORY)
            async with self._engine.connect() as shared:
                self.connection = (await shared.get_raw_connection()).driver_connection
            return
        engines.prepare_file(self.db_path)
        self._engine = engines.create_async_engine_for_sqlite(self.db_path)
        self.connection = await self._connected()
        await self.connection.execute(f"PRAGMA busy_timeout={engines.BUSY_TIMEOUT_MS}")
        count = max(2, min(4, os.cpu_count() or 2))
        self._readers = Workers(engines.create_sqlite_reader(self.db_path, count), count, in_snapshot)
        self._writer = Workers(engines.create_sqlite_writer(self.db_path), 1, in_transaction)

    async def _connected(self) -> aiosqlite.Connection:
        """The raw connection; cancelled meanwhile, it is there to be closed before the loop ends."""

        async def connect() -> aiosqlite.Connection:
            return await aiosqlite.connect(self.db_path, isolation_level=None)

        connecting = asyncio.ensure_future(connect())
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            self.connection = await connecting
            raise

    async def _migrate(self) -> None:
        if self._skip_migrations:
            logger.warning("TESTIO_SKIP_MIGRATIONS is set: the store's schema is used as it is.")
            return
        revision = await self._revision()
        refuse_newer(revision, self.place)
        if revision == HEAD:
            return
        if revision is not None and self.connection is not None and not self.is_memory:
            await back_up(self.connection, self.db_path, is_urgent=True)
        await self._upgrade()
        if self.connection is not None:
            # It was opened before the file had a WAL. Closed last, it empties the WAL only if it has seen it.
            await self.connection.execute_fetchall("SELECT count(*) FROM sqlite_master")
        if self._writer is not None:
            # From here on that thread writes; a session opens a connection of its own and closes it with the store.
            await self.engine.dispose()

    async def _upgrade(self) -> None:
        """Migrate, after another process that holds the lock: most likely it migrates the same store.

        Raises `StoreBusy` when it does not end.
        """
        deadline = time.monotonic() + engines.MIGRATION_SECONDS
        while True:
            try:
                with store_errors(self.place):
                    await upgrade(self.engine)
            except StoreBusy:  # each try waits as long as the busy time-out
                if time.monotonic() > deadline:
                    raise
            else:
                return

    async def _revision(self) -> str | None:
        if self.connection is not None:
            try:
                rows = await self.connection.execute_fetchall("SELECT version_num FROM alembic_version")
            except aiosqlite.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                rows = ()
            if revision := next((str(row[0]) for row in rows), None):
                return revision
            tables = await self.connection.execute_fetchall("SELECT name FROM sqlite_master WHERE type = 'table'")
            refuse_foreign((name for (name,) in tables if not name.startswith("sqlite_")), self.place)
            return None
        async with self.engine.connect() as connection:
            return await connection.run_sync(current_revision, self.place)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a consistent snapshot that nothing can write to."""
        with store_errors(self.place):
            if self._readers is not None:
                return await self._readers.run(work)
            async with self.engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                return await connection.run_sync(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` as one transaction: all of it is stored, or nothing."""
        with store_errors(self.place):
            if self._writer is not None:
                return await self._writer.run(work)
            # One at a time: a queue of our own has no time-out, and two transactions cannot wait for each other.
            async with self._writing, self.engine.begin() as connection:
                return await connection.run_sync(work)

    async def backup(self) -> Path:
        """Make a verified copy beside the store and return its path. Raises `BadInput` on PostgreSQL."""
        with store_errors(self.place):
            return await back_up(self._sqlite("backup", "pg_dump"), self.db_path)

    async def check(self) -> list[str]:
        """What an integrity check of the whole file finds; an empty list for a sound one."""
        with store_errors(self.place):
            return await check_integrity(self._sqlite("check", "amcheck"))

    def _sqlite(self, command: str, instead: str) -> aiosqlite.Connection:
        if self.connection is None or self.is_memory:
            raise BadInput(
                f"'db {command}' works on a SQLite file.", f"Use the server's own tools, such as {instead}."
            )
        return self.connection

    async def close(self) -> None:
        """Close everything that is open; calling it again does nothing."""
        workers = [part for part in (self._readers, self._writer) if part is not None]
        self._readers = self._writer = None
        connection, self.connection = self.connection, None
        engine, self._engine = self._engine, None
        self._session_maker = None
        async with AsyncExitStack() as closing:  # every part is closed, also when another one fails
            if engine is not None:
                closing.push_async_callback(engine.dispose)
            if connection is not None and not self.is_memory:
                closing.push_async_callback(connection.close)
            for threads in workers:
                closing.push_async_callback(threads.close)

    async def __aenter__(self) -> Self:
        """Open the store."""
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the store."""
        await self.close()


def open_postgresql(database_url: str, schema: str) -> AsyncEngine:
    """An engine for a PostgreSQL store as it is. Raises `BadInput` for an unusable address."""
    return _postgresql_engine(_parse(database_url), schema)


def _parse(database_url: str) -> URL:
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername != "postgresql+asyncpg":
        raise BadInput(
            "TESTIO_DATABASE_URL names no supported database.",
            "Write it as postgresql+asyncpg://user:password@host/database.",
        )
    return url


def _postgresql_engine(url: URL, schema: str) -> AsyncEngine:
    try:
        return engines.create_async_engine_for_postgresql(url, schema)
    except ModuleNotFoundError:
        raise BadInput(
            "PostgreSQL needs the postgres extra.", "Install it with: pip install 'testio-mcp[postgres]'"
        ) from None
