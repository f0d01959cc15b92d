"""Engines and sessions with the connection settings that the store relies on.

SQLite: WAL, `synchronous=FULL`, foreign keys, a busy time-out, and `BEGIN IMMEDIATE` for every transaction. A
deferred transaction that reads and then writes fails at once beside another writer, whatever the time-out says.
"""

import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.pool import StaticPool
from sqlmodel.ext.asyncio.session import AsyncSession

from testio_mcp.database.mounts import refuse_network
from testio_mcp.database.postgresql import create_async_engine_for_postgresql as create_async_engine_for_postgresql
from testio_mcp.errors import StoreReadOnly

MEMORY = ":memory:"
BUSY_TIMEOUT_MS = 5_000
MIGRATION_SECONDS = 60.0
"""How long a process waits for another one that migrates the store."""
_PRAGMAS = (
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-32768",
    # 40 MB: following transactions touch many of the same index pages, which are then written to the file once.
    "PRAGMA wal_autocheckpoint=10000",
)
USUAL_CACHE = "PRAGMA cache_size=-2048"
CHECKING_CACHE = "PRAGMA cache_size=-262144"
"""An integrity check jumps from indexes to rows: where memory is short, 256 MB make it three times as quick."""
_READER_PRAGMAS = (
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA query_only=ON",
    # 2 MB for each reader: what it does not hold comes from the system's cache, and four times as much is no quicker.
    USUAL_CACHE,
    "PRAGMA temp_store=MEMORY",
)


def prepare_file(db_path: Path) -> bool:
    """Create the store's directory (0700) and file (0600) and say whether the file is new.

    SQLite gives its `-wal` and `-shm` files the mode of the main file, so all three stay private.
    Raises `StoreReadOnly` when the place cannot be written, `StoreError` when it is on a network file system.
    """
    refuse_network(db_path)
    try:
        db_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(db_path, os.O_CREAT | os.O_RDWR, 0o600))
        if not os.access(db_path.parent, os.W_OK):
            raise PermissionError
    except OSError:
        raise StoreReadOnly(
            f"The store {db_path} cannot be written.",
            "Make its directory writable for this user, or set TESTIO_DB_PATH to another place.",
        ) from None
    return db_path.stat().st_size == 0


def sync_file_lock(db_path: Path) -> FileLock:
    """The lock that whoever replaces entity data of a SQLite store holds; the system frees it with its holder."""
    return FileLock(db_path.with_name(f"{db_path.name}.sync-lock"), timeout=0, mode=0o600)


def create_async_engine_for_sqlite(db_path: str | Path) -> AsyncEngine:
    """The writing engine of a SQLite store: one connection, every transaction `BEGIN IMMEDIATE`.

    `:memory:` gives one shared connection. Nothing is opened before the first use.
    """
    if str(db_path) == MEMORY:
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    else:
        url = URL.create("sqlite+aiosqlite", database=str(db_path))
        engine = create_async_engine(url, pool_size=1, max_overflow=0)
    event.listen(engine.sync_engine, "connect", _open_writer)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def create_sqlite_writer(db_path: Path) -> Engine:
    """The engine of the writing thread: one connection, with the settings of the async engine."""
    url = URL.create("sqlite", database=str(db_path))
    engine = create_engine(url, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _open_writer)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def keep_log(connection: Connection) -> None:
    """Have SQLite leave the log as it is when this connection is closed, where Python lets us say so (from 3.12)."""
    driver: Any = connection.connection.driver_connection
    if sys.version_info >= (3, 12):
        driver.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
    else:
        del driver


def create_sqlite_reader(db_path: Path, readers: int, *, immutable: bool = False) -> Engine:
    """A read-only engine in autocommit mode for `readers` threads.

    `immutable` is for a file that nobody writes to: SQLite then needs neither locks nor files beside it.
    """
    name = f"file:{quote(str(db_path.absolute()))}"
    query = {"mode": "ro", "uri": "true"} | ({"immutable": "1"} if immutable else {})
    engine = create_engine(
        URL.create("sqlite", database=name, query=query),
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_size=readers,
        max_overflow=0,
        connect_args={"check_same_thread": False},
    )
    event.listen(engine, "connect", _open_reader)
    return engine


def create_session_factory(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Sessions of SQLModel's `AsyncSession` whose objects stay readable after the commit."""
    return async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)


@asynccontextmanager
async def get_async_session(
    session_factory: async_sessionmaker[AsyncSession],
) -> AsyncIterator[AsyncSession]:
    """A session that commits on success, rolls back on error and is always closed."""
    async with session_factory() as session:
        try:
            yield session
            await session.commit()
        except BaseException:
            await session.rollback()
            raise


async def initialize_database(engine: AsyncEngine) -> None:
    """Bring the schema to the newest revision; running it again changes nothing."""
    from testio_mcp.database.migrate import upgrade

    await upgrade(engine)


def _open_writer(connection: Any, _record: object) -> None:
    # The driver must not open transactions of its own: the `begin` event does.
    connection.isolation_level = None
    _run(connection, _PRAGMAS)


def _open_reader(connection: Any, _record: object) -> None:
    _run(connection, _READER_PRAGMAS)


def _run(connection: Any, statements: tuple[str, ...]) -> None:
    cursor = connection.cursor()
    for statement in statements:
        _patiently(cursor, statement)
    cursor.close()


def _patiently(cursor: Any, statement: str) -> None:
    """Run a statement, again while another process has the file.

    Two processes that turn the same new file to WAL would wait for each other, so SQLite refuses one of them at once.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute(statement)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_immediate(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:  # sessions on the one shared in-memory connection may overlap
        connection.exec_driver_sql("BEGIN IMMEDIATE")
