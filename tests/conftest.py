"""Fixtures of the whole suite: stores, settings and a canary in place of every secret.

Nothing but the network is faked: a test gets a real SQLite file and a real PostgreSQL database, each a copy of
one that was migrated once.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import AsyncMock

import aiosqlite
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession

from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.engine import MEMORY, create_async_engine_for_sqlite
from testio_mcp.settings import Settings, load_settings
from tests.postgres import SCHEMA, PostgresServer, running_server
from tests.support.canary import holders

# The programs that tests start are compiled once, as an installed package is, not by each process anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The gate draws the same examples every time; `--hypothesis-profile=search` looks for new ones.
_LENIENT = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
hypothesis_settings.register_profile(
    "gate", derandomize=True, database=None, deadline=None, max_examples=50, suppress_health_check=_LENIENT
)
hypothesis_settings.register_profile("search", deadline=None, max_examples=2_000, suppress_health_check=_LENIENT)
hypothesis_settings.load_profile("gate")


class SettingsFor(Protocol):
    """What the fixture `settings_for` gives."""

    def __call__(self, **overrides: object) -> Settings:
        """Settings made of `overrides` and the defaults of the tests."""


ON_SQLITE = pytest.mark.parametrize("closed_store", ["sqlite"], indirect=True)
"""Marks tests of what the database cannot change, such as how the API's answers are read."""
BEGAN_AT = datetime.fromisoformat(os.environ.setdefault("PYTEST_BEGAN_AT", datetime.now(UTC).isoformat()))
"""The same in all processes of a run: those of xdist inherit it."""

# A job that a shell starts in the background ignores SIGINT, and every program that it starts would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes of a run share what only one of them has to make."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def canary(testrun_uid: str) -> str:
    """The token of every test: it must not turn up in any output, file or log."""
    return f"canary-{testrun_uid}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that printed or logged its token, or left it in a file; files of settings may hold it."""
    report = yield
    given: dict[str, Any] = getattr(item, "funcargs", None) or {}
    if report.when == "call" and report.passed and (secret := given.get("canary")):
        places = [name for name, text in report.sections if secret in text]
        if "tmp_path" in given:
            places += [path for path in holders(given["tmp_path"], secret) if not path.endswith(".env")]
        if places:
            report.outcome, report.longrepr = "failed", f"The token is in: {', '.join(places)}"
    return report


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("TESTIO_")]:
        monkeypatch.delenv(name)
    # Neither a token of the person who runs the tests, nor a question whether we may see it.
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("TESTIO_CUSTOMER_API_TOKEN_FILE", os.devnull)


@pytest.fixture
def settings_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, canary: str) -> SettingsFor:
    """Settings that come from the test alone: no variables, no `.env`, a store in the test's directory."""
    monkeypatch.chdir(tmp_path)

    def build(**overrides: object) -> Settings:
        own = {"db_path": tmp_path / "store.db", "export_dir": tmp_path / "exports"}
        return load_settings(**{"customer_api_token": canary, **own, **overrides})

    return build


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "store.db"

    async def migrate() -> None:
        async with PersistentCache(path):
            pass

    asyncio.run(migrate())
    return path


@pytest.fixture
def sqlite_file(_migrated_file: Path, tmp_path: Path) -> Path:
    """A store with the newest schema and no rows."""
    path = tmp_path / "store.db"
    shutil.copy(_migrated_file, path)
    return path


@pytest.fixture
async def async_engine(_migrated_file: Path) -> AsyncIterator[AsyncEngine]:
    """An in-memory store with the newest schema, on one shared connection."""
    engine = create_async_engine_for_sqlite(MEMORY)
    async with engine.connect() as connection, aiosqlite.connect(_migrated_file) as source:
        raw = await connection.get_raw_connection()
        assert isinstance(raw.driver_connection, aiosqlite.Connection)
        await connection.rollback()
        await source.backup(raw.driver_connection)
    yield engine
    await engine.dispose()


@pytest.fixture
async def async_session(async_engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """A session whose every change, committed or not, is undone after the test."""
    async with async_engine.connect() as connection:
        transaction = await connection.begin()
        async with AsyncSession(
            bind=connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
        ) as session:
            yield session
        await transaction.rollback()


@pytest.fixture
def mock_async_session() -> AsyncMock:
    """A session for failures that cannot be caused otherwise."""
    return AsyncMock(spec=AsyncSession)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """An embedded PostgreSQL server."""
    with running_server() as server:
        yield server


@pytest.fixture
async def postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A PostgreSQL database with the newest schema and no rows.

    A test that changes the schema may do so; the next test gets another database then.
    """
    async with postgres_server.migrated_database() as url:
        yield url


@pytest.fixture
async def empty_postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A PostgreSQL database without a schema."""
    async with postgres_server.empty_database() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def closed_store(request: pytest.FixtureRequest, tmp_path: Path) -> PersistentCache:
    """A store with the newest schema and no rows, on each database in turn, not yet opened."""
    if request.param == "sqlite":
        return PersistentCache(request.getfixturevalue("sqlite_file"))
    url = request.getfixturevalue("postgres_url")
    return PersistentCache(tmp_path / "unused.db", database_url=url, schema=SCHEMA)


@pytest.fixture
async def store(closed_store: PersistentCache) -> AsyncIterator[PersistentCache]:
    """An opened store with the newest schema and no rows, on each database in turn."""
    async with closed_store:
        yield closed_store
