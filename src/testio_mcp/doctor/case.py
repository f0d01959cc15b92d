"""What the checks look at, gathered once."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.probe import PATIENCE, Probe, probe
from testio_mcp.database.cache import PersistentCache, open_postgresql
from testio_mcp.database.examine import find_damage, missing_parts, reading, revision_of
from testio_mcp.database.faults import store_errors
from testio_mcp.database.migrate import HEAD
from testio_mcp.database.tables import Drift, SyncRun, table_of
from testio_mcp.errors import StoreError, TestioError
from testio_mcp.operations.paging import as_of
from testio_mcp.settings import Settings
from testio_mcp.sync.state import count_letters

_run, _drift = table_of(SyncRun).c, table_of(Drift).c
_LAST_RUN = select(_run.status, _run.started_at, _run.error).order_by(_run.id.desc()).limit(1)
_DRIFT = select(_drift.resource, _drift.note, _drift.records).order_by(_drift.records.desc(), _drift.note)
_COPIED = select(as_of("products", "tests", "bugs"))


@dataclass(frozen=True)
class LastRun:
    """The newest run of the sync."""

    status: str
    started_at: datetime
    error: str | None


@dataclass(frozen=True)
class Contents:
    """What the sync left in the store."""

    as_of: datetime | None
    last_run: LastRun | None
    letters: int
    drift: tuple[tuple[str, str, int], ...]


@dataclass
class StoreFacts:
    """What an examination of the store found, as far as it came; `error` is what ended it.

    `damage` is None when nothing was searched for it.
    """

    place: str
    exists: bool = True
    revision: str | None = None
    damage: list[str] | None = None
    contents: Contents | None = None
    error: TestioError | None = None


@dataclass(frozen=True)
class Case:
    """Everything that the checks look at."""

    settings: Settings
    store: StoreFacts
    way: Probe
    products: int | None = None
    token_error: TestioError | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


async def gather(settings: Settings) -> Case:
    """Examine the store and ask the API, both at once. Neither raises: what fails is part of the case."""
    store, (way, products, refused) = await asyncio.gather(_look(settings), _ask(settings))
    return Case(settings, store, way, products, refused)


async def _ask(settings: Settings) -> tuple[Probe, int | None, TestioError | None]:
    way = await probe(settings)
    if way.failed or settings.customer_api_token is None:
        return way, None, None
    try:
        async with CustomerApi(settings, policy=PATIENCE) as api:
            return way, (await api.list_products()).count, None
    except TestioError as error:
        return way, None, error


async def _look(settings: Settings) -> StoreFacts:
    if settings.database_url is None:
        return await asyncio.to_thread(_look_at_file, settings)
    return await _look_at_server(settings.database_url.get_secret_value(), settings.database_schema)


def _look_at_file(settings: Settings) -> StoreFacts:
    facts = StoreFacts(str(settings.db_path), exists=settings.db_path.exists())
    try:
        if facts.exists:
            with reading(settings.db_path) as conn:
                _examine(conn, facts)
    except StoreError as error:
        facts.error = error
    return facts


async def _look_at_server(database_url: str, schema: str) -> StoreFacts:
    facts = StoreFacts(f"PostgreSQL (schema {schema})")
    try:
        facts.place = PersistentCache("unused", database_url=database_url, schema=schema).place
        engine = open_postgresql(database_url, schema)
        try:
            with store_errors(facts.place):
                async with engine.connect() as connection:
                    await connection.run_sync(_examine, facts)
        finally:
            await engine.dispose()
    except TestioError as error:
        facts.error = error
    return facts


def _examine(conn: Connection, facts: StoreFacts) -> None:
    """Note down one thing after the other, so that what was found stays when the next look fails."""
    facts.revision = revision_of(conn, facts.place)
    if conn.dialect.name == "sqlite":
        facts.damage = find_damage(conn, facts.revision)
    elif facts.revision == HEAD:
        facts.damage = missing_parts(conn)
    if facts.revision == HEAD and not facts.damage:
        facts.contents = _contents(conn)


def _contents(conn: Connection) -> Contents:
    last = conn.execute(_LAST_RUN).first()
    return Contents(
        as_of=conn.execute(_COPIED).scalar(),
        last_run=LastRun(*last) if last else None,
        letters=count_letters(conn),
        drift=tuple((row[0], row[1], row[2]) for row in conn.execute(_DRIFT)),
    )
