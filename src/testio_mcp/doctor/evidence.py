"""What the checks look at, collected once, and what they say."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import OperationalError

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.probe import PROBE_POLICY, Probe, probe
from testio_mcp.database.cache import PersistentCache, open_postgresql
from testio_mcp.database.derived import find_outdated
from testio_mcp.database.examine import find_damage, missing_parts, reading, revision_of
from testio_mcp.database.faults import store_errors
from testio_mcp.database.migrate import HEAD
from testio_mcp.database.tables import Drift, Product, SyncRun, table_of
from testio_mcp.errors import StoreBusy, StoreReadOnly, TestioError
from testio_mcp.operations.lists.paging import as_of
from testio_mcp.settings import Settings
from testio_mcp.sync.derived import first_differences
from testio_mcp.sync.state import count_problems
from testio_mcp.timeouts import run_with_timeout

State = Literal["ok", "warn", "fail", "skip"]


def _on_one_line(text: str) -> str:
    """A text that may come from the environment, a file or a server, without what a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


Line = Annotated[str, AfterValidator(_on_one_line)]


class Verdict(BaseModel):
    """The result of one check; `skip` means that it could not be made."""

    state: State
    found: Line
    fix: Line | None = None


class Finding(BaseModel):
    """A verdict, with the name of the check."""

    check: str
    state: State
    found: Line
    fix: Line | None = None


class Diagnosis(BaseModel):
    """All checks; the status is the worst of their states."""

    status: Literal["ok", "warn", "fail"]
    checks: list[Finding] = Field(description="In the order of the screen.")


def ok(found: str) -> Verdict:
    """All is well."""
    return Verdict(state="ok", found=found)


def warn(found: str, fix: str) -> Verdict:
    """It works, and could be better."""
    return Verdict(state="warn", found=found, fix=fix)


def fail(found: str, fix: str) -> Verdict:
    """Something does not work."""
    return Verdict(state="fail", found=found, fix=fix)


def skip(found: str) -> Verdict:
    """The check could not be made, and why."""
    return Verdict(state="skip", found=found)


def mebibytes(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"


LONGEST_SCAN = 30.0
"""Seconds that the search for damage may take; reading all of a large store takes minutes."""
LONGEST_INSPECTION = 60.0
"""Seconds for all of the look at the store: a disk or a server may hang."""
LONGEST_DEEP_INSPECTION = 3600.0
"""The same where all derived data are counted again."""

_run, _drift = table_of(SyncRun).c, table_of(Drift).c
_LAST_RUN = select(_run.status, _run.started_at, _run.error).order_by(_run.id.desc()).limit(1)
_DRIFT = select(_drift.resource, _drift.note, _drift.records).order_by(_drift.records.desc(), _drift.note)
_PRODUCTS = select(table_of(Product).c.id)
_COPIED = select(as_of("products", "tests", "bugs"))
_MAY_WRITE = text(
    "SELECT coalesce((SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE')"
    " FROM pg_namespace WHERE nspname = trim(both '\"' from current_setting('search_path'))),"
    " has_database_privilege(current_database(), 'CREATE'))"
)
"""Whether this user may use the schema of the connection, or make it where it is missing."""


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
    problems: int
    drift: tuple[tuple[str, str, int], ...]
    products: frozenset[int] = frozenset()


@dataclass
class StoreFacts:
    """What an examination of the store found, as far as it came; `error` is what ended it.

    `damage` is None when nothing was searched for it; `is_too_large` says that there was no time to. `outdated` names
    derived data of another version, and `differences` has the first difference of each kind that is wrong.
    """

    place: str
    exists: bool = True
    revision: str | None = None
    damage: list[str] | None = None
    is_too_large: bool = False
    may_write: bool = True
    contents: Contents | None = None
    outdated: list[str] | None = None
    differences: list[str] | None = None
    error: TestioError | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything that the checks look at."""

    settings: Settings
    store: StoreFacts
    connection: Probe
    products: frozenset[int] | None = None
    token_error: TestioError | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


async def collect_evidence(settings: Settings, *, deep: bool = False) -> Evidence:
    """Examine the store and ask the API, both at once. Neither raises: what fails is part of the evidence."""
    store, (connection, products, token_error) = await asyncio.gather(
        _inspect_store(settings, deep), _probe_api(settings)
    )
    return Evidence(settings, store, connection, products, token_error)


async def _probe_api(settings: Settings) -> tuple[Probe, frozenset[int] | None, TestioError | None]:
    connection = await probe(settings)
    if connection.failed or settings.customer_api_token is None:
        return connection, None, None
    try:
        async with CustomerApi(settings, policy=PROBE_POLICY) as api:
            return connection, frozenset(record.id for record in (await api.list_products()).records), None
    except TestioError as error:
        return connection, None, error


async def _inspect_store(settings: Settings, deep: bool) -> StoreFacts:
    url, schema = settings.database_url, settings.database_schema
    facts = StoreFacts(str(settings.db_path) if url is None else f"PostgreSQL (schema {schema})")

    def inspect() -> None:
        try:
            if url is None:
                _inspect_file(settings.db_path, facts, deep)
            else:
                asyncio.run(_inspect_server(url.get_secret_value(), schema, facts, deep))
        except TestioError as error:
            facts.error = error

    try:
        longest = LONGEST_INSPECTION if url is None else LONGEST_SCAN
        await run_with_timeout(LONGEST_DEEP_INSPECTION if deep else longest, inspect)
    except TimeoutError:
        where = "disk" if url is None else "server, or for a program that keeps its tables locked,"
        error = StoreBusy(f"The store {facts.place} does not answer.", f"Look for a {where} that hangs; try again.")
        return replace(facts, error=error)
    return facts


def _inspect_file(path: Path, facts: StoreFacts, deep: bool) -> None:
    with store_errors(facts.place):
        facts.exists = path.exists()
        if facts.exists and not path.is_file():
            raise StoreReadOnly(f"The store {path} is not a file.", "Set TESTIO_DB_PATH to the path of a file.")
    if facts.exists:
        with reading(path) as conn:
            _inspect(conn, facts, deep)


async def _inspect_server(database_url: str, schema: str, facts: StoreFacts, deep: bool) -> None:
    facts.place = PersistentCache("unused", database_url=database_url, schema=schema).place
    with store_errors(facts.place):
        engine = await open_postgresql(database_url, schema)
        try:
            async with engine.connect() as connection:
                await connection.run_sync(_inspect, facts, deep)
        finally:
            await engine.dispose()


def _inspect(conn: Connection, facts: StoreFacts, deep: bool) -> None:
    """Note down one thing after the other, so that what was found stays when the next look fails."""
    facts.revision = revision_of(conn, facts.place)
    if conn.dialect.name == "sqlite":
        with _time_limit(conn, facts):
            facts.damage = find_damage(conn, facts.revision)
    else:
        facts.may_write = bool(conn.execute(_MAY_WRITE).scalar())
        if facts.revision == HEAD:
            facts.damage = missing_parts(conn)
    if facts.revision == HEAD and not facts.damage:
        facts.contents = _read_contents(conn)
        facts.outdated = find_outdated(conn)
        if not facts.outdated:
            facts.differences = first_differences(conn, deep=deep)


@contextmanager
def _time_limit(conn: Connection, facts: StoreFacts) -> Iterator[None]:
    """Give up what takes too long, and note it."""
    driver: Any = conn.connection.driver_connection
    end = time.monotonic() + LONGEST_SCAN
    driver.set_progress_handler(lambda: time.monotonic() > end, 1_000)
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlite_errorname", None) != "SQLITE_INTERRUPT":
            raise
        facts.is_too_large = True
    finally:
        driver.set_progress_handler(None, 0)


def _read_contents(conn: Connection) -> Contents:
    last = conn.execute(_LAST_RUN).first()
    return Contents(
        as_of=conn.execute(_COPIED).scalar(),
        last_run=LastRun(*last) if last else None,
        problems=count_problems(conn),
        products=frozenset(conn.execute(_PRODUCTS).scalars()),
        drift=tuple((row[0], row[1], row[2]) for row in conn.execute(_DRIFT)),
    )
