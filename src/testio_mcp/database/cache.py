"""The store of one customer account: one writer, a few readers, migrated before the first use."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import Self, TypeVar

import aiosqlite
from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlmodel.ext.asyncio.session import AsyncSession

from testio_mcp.database import engine as engines
from testio_mcp.database.backup import back_up, check_integrity
from testio_mcp.database.derived import find_outdated, is_empty, save_versions
from testio_mcp.database.examine import refuse_emptied
from testio_mcp.database.faults import store_errors
from testio_mcp.database.identity import FileIdentity
from testio_mcp.database.migrate import HEAD, current_revision, refuse_foreign, refuse_newer, upgrade
from testio_mcp.database.postgresql import connect_postgresql, parse_database_url
from testio_mcp.database.workers import Workers, in_snapshot, in_transaction
from testio_mcp.errors import BadInput, StoreBusy, StoreCorrupt, StoreError, TestioError

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
        rebuilds_later: bool = False,
    ) -> None:
        """Name the store; nothing is opened before `initialize`. Raises `BadInput` for an unusable address.

        With `rebuilds_later`, it is open before derived data that are `outdated` are computed again.
        """
        self.outdated: list[str] = []
        self._rebuilds_later = rebuilds_later
        self.db_path = Path(db_path)
        self.is_memory = str(db_path) == engines.MEMORY
        self.connection: aiosqlite.Connection | None = None
        self._database_url = parse_database_url(database_url) if database_url else None
        self._schema = schema
        self._skip_migrations = skip_migrations
        self._engine: AsyncEngine | None = None
        self._session_maker: async_sessionmaker[AsyncSession] | None = None
        self._readers: Workers | None = None
        self._writer: Workers | None = None
        self._writing = asyncio.Lock()
        self._initializing = asyncio.Lock()
        self._identity: FileIdentity | None = None
        self._opener: asyncio.Task[object] | None = None
        self._reopening = asyncio.Lock()

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
            self._opener = asyncio.current_task()
            try:
                with store_errors(self.place):
                    await self._open()
                    await self._migrate()
                    await self._find_outdated()
            except BaseException:
                await self._close_parts()
                raise
            finally:
                self._opener = None
            self._session_maker = engines.create_session_factory(self.engine)

    async def _open(self) -> None:
        if self._database_url is not None:
            self._engine = await _connect(self._database_url, self._schema)
            return
        if self.is_memory:
            self._engine = engines.create_async_engine_for_sqlite(engines.MEMORY)
            async with self._engine.connect() as shared:
                self.connection = (await shared.get_raw_connection()).driver_connection
            return
        refuse_emptied(self.db_path)
        engines.prepare_file(self.db_path)
        self._identity = FileIdentity(self.db_path)
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

    async def _find_outdated(self) -> None:
        """Compute again what is derived by another definition than this build's, now or when the program says so."""
        if self._skip_migrations:
            return
        outdated, has_nothing = await self.read(lambda conn: (find_outdated(conn), is_empty(conn)))
        if outdated and has_nothing:
            await self.write(lambda conn: save_versions(conn, outdated))
        elif outdated:
            self.outdated = outdated
            if not self._rebuilds_later:
                await self._rebuild_outdated()

    async def rebuild_outdated(self) -> None:
        """Compute again what is `outdated`, in the background: a failure is logged, and the next sync tries again."""
        try:
            await self._rebuild_outdated()
        except TestioError as error:
            logger.warning("Derived data could not be computed again: %s", error)

    async def _rebuild_outdated(self) -> None:
        """How it is computed belongs to the sync, which is not loaded unless it is needed."""
        logger.info("Computing derived data again: %s.", ", ".join(self.outdated))

        async def write(work: Callable[[Connection], T]) -> T:
            return await self._after_others(lambda: self.write(work))

        await import_module("testio_mcp.sync.derived").rebuild_outdated(write, self.outdated)
        self.outdated = []

    async def _upgrade(self) -> None:
        async def migrate() -> None:
            with store_errors(self.place):
                await upgrade(self.engine)

        await self._after_others(migrate)

    async def _after_others(self, work: Callable[[], Awaitable[T]]) -> T:
        """Write after another process that holds the lock: most likely it does the same to the same store.

        Raises `StoreBusy` when it does not end.
        """
        deadline = time.monotonic() + engines.MIGRATION_SECONDS
        while True:
            try:
                return await work()
            except StoreBusy:  # each try waits as long as the busy time-out
                if time.monotonic() > deadline:
                    raise

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

    async def _follow_file(self) -> None:
        """Before each use: open the file again that took the place of the one that was opened.

        Raises `StoreGone` while there is none, `StoreCorrupt` for one that was cut short or is no sound store.
        """
        known = self._identity
        if known is None or asyncio.current_task() is self._opener:
            return
        if self._readers is not None and known.is_same():
            return
        async with self._reopening:
            if self._readers is not None and known is self._identity and known.is_same():
                return
            known = self._identity or known
            if self._readers is not None and known.is_same():  # another caller opened it meanwhile
                return
            logger.warning("The store %s is no longer the file that was opened.", self.place)
            is_replaced = known.is_replaced()
            if not is_replaced and self._writer is not None:
                await self._let_go_of_overwritten()
            await self._close_parts()
            try:
                known.refuse_missing()
                if is_replaced:
                    known.remove_logs()
                await self.initialize()
                if not is_replaced and (damage := await self.check()):
                    raise StoreCorrupt(
                        f"The store {self.place} was cut short or overwritten while it was open: "
                        f"{' '.join(damage[0].split())[:120]}.",
                        "End this program and run 'testio-mcp doctor --repair': it keeps the file, and restores "
                        "the newest sound backup.",
                    )
            except BaseException:
                await self._close_parts()
                self._identity = known
                raise
            logger.warning("The store %s was opened anew.", self.place)

    async def _let_go_of_overwritten(self) -> None:
        """Close what is open, and write nothing of its log into the file, which may be an older one by now.

        The connection that is closed last would; of a file that has moved SQLite itself notices it.
        """
        connection, self.connection = self.connection, None
        engine, self._engine = self._engine, None
        if connection is not None:
            await connection.close()
        if engine is not None:
            await engine.dispose()
        if self._writer is not None:
            await self._writer.run(engines.keep_log)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a consistent snapshot that nothing can write to."""
        with store_errors(self.place):
            await self._follow_file()
            if self._readers is not None:
                return await self._readers.run(work)
            async with self.engine.connect() as connection:
                if connection.dialect.name == "postgresql":
                    await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                return await connection.run_sync(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` as one transaction: all of it is stored, or nothing."""
        with store_errors(self.place):
            await self._follow_file()
            if self._writer is not None:
                return await self._writer.run(work)
            # One at a time: a queue of our own has no time-out, and two transactions cannot wait for each other.
            async with self._writing, self.engine.begin() as connection:
                return await connection.run_sync(work)

    async def backup(self) -> Path:
        """Make a verified copy beside the store and return its path. Raises `BadInput` on PostgreSQL."""
        with store_errors(self.place):
            await self._follow_file()
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
        self._identity = None
        await self._close_parts()

    async def _close_parts(self) -> None:
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


async def open_postgresql(database_url: str, schema: str) -> AsyncEngine:
    """An engine for a PostgreSQL store as it is. Raises `BadInput` for an unusable address."""
    return await _connect(parse_database_url(database_url), schema)


async def _connect(url: URL, schema: str) -> AsyncEngine:
    try:
        return await connect_postgresql(url, schema)
    except ModuleNotFoundError:
        raise BadInput(
            "PostgreSQL needs the postgres extra.", "Install it with: pip install 'testio-mcp[postgres]'"
        ) from None
