"""Addresses of PostgreSQL as hosted databases and poolers hand them out, on a real server."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from testio_mcp.app import open_app, silent
from testio_mcp.database.cache import PersistentCache
from testio_mcp.errors import AlreadyRunning, BadInput, StoreError
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_mcp.sync.lock import sync_lock
from testio_sandbox import World, serve_sandbox
from tests.conftest import SettingsFor
from tests.postgres import SCHEMA

pytestmark = pytest.mark.slow

PARAMETERS = [
    "sslmode=disable",
    "sslmode=prefer",
    "connect_timeout=10",
    "application_name=quality%20board",
    "channel_binding=prefer",
    "channel_binding=require&sslmode=allow",
    "target_session_attrs=any",
    "gssencmode=disable&keepalives=1&keepalives_idle=30&client_encoding=utf8",
    "options=-c%20statement_timeout%3D60000",
    "pgbouncer=true&connection_limit=1&pool_timeout=10",
    "sslmode=disable&connect_timeout=3&application_name=x&channel_binding=disable",
]


@pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgresql", "postgres"])
@pytest.mark.parametrize("parameters", PARAMETERS)
async def test_what_hosted_databases_hand_out_works(
    empty_postgres_url: str, tmp_path: Path, scheme: str, parameters: str
) -> None:
    url = f"{empty_postgres_url.replace('postgresql+asyncpg', scheme)}&{parameters}"
    async with PersistentCache(tmp_path / "unused.db", database_url=url, schema=SCHEMA) as store:
        name = await store.read(lambda conn: conn.exec_driver_sql("SHOW application_name").scalar_one())
    said = parse_qs(urlsplit(url).query)
    assert name == said.get("application_name", [""])[0]


async def test_encryption_that_is_asked_for_and_not_there_is_one_error(
    empty_postgres_url: str, tmp_path: Path
) -> None:
    url = f"{empty_postgres_url}&sslmode=require".replace("host=", "host=")
    with pytest.raises((StoreError, BadInput)) as caught:
        async with PersistentCache(tmp_path / "unused.db", database_url=_by_tcp(url), schema=SCHEMA):
            pass
    assert "TESTIO_DATABASE_URL" in str(caught.value)


def _by_tcp(url: str) -> str:
    """An address of a server that speaks no PostgreSQL at all and closes every connection."""
    return f"postgresql://u:p@127.0.0.1:9/{urlsplit(url).path.strip('/')}?sslmode=require"


@asynccontextmanager
async def pooler(socket_directory: str, forgets: bytes) -> AsyncIterator[int]:
    """A proxy in front of the server that takes a setting out of what a client says at its start.

    PgBouncer does so with what stands in `ignore_startup_parameters`, as its transaction mode needs.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(4), "big")
        start = await reader.readexactly(length - 4)
        while length == 8:  # no encryption here
            writer.write(b"N")
            length = int.from_bytes(await reader.readexactly(4), "big")
            start = await reader.readexactly(length - 4)
        words = start[4:].split(b"\0")
        pairs = [(words[n], words[n + 1]) for n in range(0, len(words) - 2, 2) if words[n]]
        kept = b"".join(name + b"\0" + value + b"\0" for name, value in pairs if name != forgets) + b"\0"
        body = start[:4] + kept
        up, down = await asyncio.open_unix_connection(f"{socket_directory}/.s.PGSQL.5432")
        down.write((len(body) + 4).to_bytes(4, "big") + body)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        await asyncio.gather(copy(reader, down), copy(up, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("forgets", [b"search_path", b"nothing"])
async def test_a_pooler_that_forgets_settings_keeps_every_table_in_its_schema(
    empty_postgres_url: str, tmp_path: Path, forgets: bytes
) -> None:
    address = urlsplit(empty_postgres_url)
    [directory] = parse_qs(address.query)["host"]
    async with pooler(directory, forgets) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}{address.path}"
        async with PersistentCache(tmp_path / "unused.db", database_url=url, schema=SCHEMA) as store:
            tables = await store.read(lambda conn: conn.exec_driver_sql(_SCHEMAS).fetchall())
    assert [tuple(row) for row in tables] == [(SCHEMA,)]


_SCHEMAS = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('bug', 'product')"
_PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
_CONFIGURATION = """
[databases]
* = host={directory} user=postgres pool_size=20
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
ignore_startup_parameters = {ignored}
"""


@contextmanager
def pgbouncer(directory: str, folder: Path, mode: str, ignored: str) -> Iterator[int]:
    """PgBouncer in front of the server, and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="testio-pgbouncer-"))
    home.chmod(0o755)
    (home / "pgbouncer.ini").write_text(
        _CONFIGURATION.format(directory=directory, port=port, mode=mode, ignored=ignored)
    )
    # It does not run as root, and only the user of the server may look into the directory of its socket.
    owner = Path(directory, ".s.PGSQL.5432").stat()
    other = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.getuid() == 0 else {}
    log = (folder / "pgbouncer.log").open("wb")
    process = subprocess.Popen([str(_PGBOUNCER), str(home / "pgbouncer.ini")], stdout=log, stderr=log, **other)  # type: ignore[call-overload]
    try:
        while process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
        assert process.poll() is None, (folder / "pgbouncer.log").read_text()
        yield port
    finally:
        process.terminate()
        process.wait(10)
        log.close()
        shutil.rmtree(home)


@pytest.mark.skipif(_PGBOUNCER is None, reason="PgBouncer is not installed")
@pytest.mark.parametrize("ignored", ["", "search_path"])
@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("parameters", ["", "?pgbouncer=true&connection_limit=1"])
async def test_a_whole_sync_through_pgbouncer(
    empty_postgres_url: str, tmp_path: Path, settings_for: SettingsFor, mode: str, ignored: str, parameters: str
) -> None:
    address = urlsplit(empty_postgres_url)
    [directory] = parse_qs(address.query)["host"]
    world = World(seed=3, products=2, tests_per_product=4, bugs_per_test=2)
    with pgbouncer(directory, tmp_path, mode, ignored) as port:
        async with serve_sandbox(world) as sandbox:
            settings = settings_for(
                customer_api_base_url=sandbox.url,
                customer_api_token=sandbox.token,
                database_url=f"postgresql://postgres@127.0.0.1:{port}{address.path}{parameters}",
                database_schema="of_this_account",
            )
            async with open_app(settings) as app, open_app(settings) as other:
                summary = await run_sync(app, SyncOptions(), silent)
                counted = [
                    await each.store.read(lambda conn: conn.exec_driver_sql("SELECT count(*) FROM bug").scalar_one())
                    for each in (app, other) * 6
                ]
                async with sync_lock(app.store):
                    with pytest.raises(AlreadyRunning):
                        await run_sync(other, SyncOptions(), silent)
                again = await run_sync(other, SyncOptions(full=True), silent)
                schemas = await app.store.read(lambda conn: conn.exec_driver_sql(_SCHEMAS).fetchall())
    assert (summary.status, again.status, again.records_new) == ("completed", "completed", 0)
    assert len(set(counted)) == 1, "each transaction finds the tables of this account"
    assert counted[0] > 0
    assert [tuple(row) for row in schemas] == [("of_this_account",)]


async def test_certificates_of_an_address_are_the_drivers_to_read(empty_postgres_url: str, tmp_path: Path) -> None:
    """A file that is not there names the setting."""
    address = urlsplit(empty_postgres_url)
    for parameters in (
        "sslrootcert=/nowhere/ca.pem&sslmode=verify-full",
        "sslmode=verify-full",
        "sslrootcert=system",
    ):
        url = f"postgresql://postgres@127.0.0.1:9{address.path}?{parameters}"
        with pytest.raises((StoreError, BadInput), match="TESTIO_DATABASE_URL"):
            async with PersistentCache(tmp_path / "unused.db", database_url=url, schema=SCHEMA):
                pass
