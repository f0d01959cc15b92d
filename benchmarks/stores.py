"""The stores that are measured: simulated accounts of three sizes, built once and kept in `.bench/`.

The small and the middle store hold what `testio_mcp.sandbox.World` tells, read and written by the product's own
parsers and `store_records`. That would take a quarter of an hour for the large one, so it is the middle one whose
finished tests and their bugs are repeated under other ids and dates, without the comments of the bugs.
"""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Table

from benchmarks import machine
from benchmarks.machine import talk
from testio_mcp.api.payloads import parse_bug, parse_feature, parse_product, parse_test
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.migrate import HEAD, MIGRATIONS
from testio_mcp.database.tables import Bug, BugDevice, Test, TestFeature, TestPlatform, table_of
from testio_mcp.sandbox import World
from testio_mcp.sync import state
from testio_mcp.sync.resources import BUGS, FEATURES, PRODUCTS, TESTS
from testio_mcp.sync.rows import Scope
from testio_mcp.sync.writer import store_records

T = TypeVar("T")

PRODUCTS_EACH = 20
BUGS_PER_TEST = 3
NOW = datetime(2026, 11, 1, tzinfo=UTC)
"""The present of every simulated account, so that every build holds the same."""

_EDITION = 1
_MIDDLE = 40_000
_BATCH = 500
_SHIFT = 10_000_000
_SHIFTED_IDS = {"test": ("id",), "bug": ("id", "test_id", "test_feature_id")}
_SHIFTED_IDS |= {"test_feature": ("id", "test_id"), "test_platform": ("test_id",), "bug_device": ("bug_id",)}
_SHIFTED_TIMES = frozenset({"start_at", "end_at", "sort_at", "reported_at", "exported_at"})


def world_of(tests: int) -> World:
    """The simulated account with so many tests."""
    return World(
        seed=1, products=PRODUCTS_EACH, tests_per_product=tests // PRODUCTS_EACH, bugs_per_test=BUGS_PER_TEST, now=NOW
    )


async def store_with(tests: int) -> Path:
    """The file of the store with so many tests; builds it when there is none of the present schema."""
    path = machine.CACHE / f"tests-{tests}-{_key()}.db"
    if not path.exists():
        for old in machine.CACHE.glob(f"tests-{tests}-*"):
            old.unlink()
        partial = path.with_suffix(".partial")
        machine.CACHE.mkdir(exist_ok=True)
        talk(f"building the store of {tests} tests")
        if tests > _MIDDLE:
            _multiply(await store_with(_MIDDLE), partial, tests // _MIDDLE)
        else:
            await _copy_account(world_of(tests), partial)
        partial.replace(path)
    return path


def _key() -> str:
    scripts = sorted((MIGRATIONS / "versions").glob("*.py"))
    text = f"{HEAD} {_EDITION} {PRODUCTS_EACH} {BUGS_PER_TEST}" + "".join(script.read_text() for script in scripts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`, without holding more than one of them."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


async def _copy_account(world: World, path: Path) -> None:
    async with PersistentCache(path) as store:
        await store.write(lambda conn: begin(conn, world))
        for product_id in world.product_ids:
            for page in batches(world.iter_tests(product_id), _BATCH):
                await store.write(lambda conn, pid=product_id, page=page: _copy_page(conn, world, pid, page))  # type: ignore[misc]
        await store.write(_finish)
    _settle(path)


def begin(conn: Connection, world: World) -> None:
    """Store the products and features of an account, as a run that has begun."""
    state.begin_run(conn, "full", NOW)
    products = [parse_product(payload) for payload in world.iter_products()]
    store_records(conn, PRODUCTS, products, Scope(0, NOW), 1, log_new=False)
    for product in products:
        features = [parse_feature(payload) for payload in world.features(product.id, objects=True)]
        store_records(conn, FEATURES, features, Scope(product.id, NOW), 1, log_new=False)
        for resource in (FEATURES, TESTS):
            state.save_checkpoint(conn, resource.name, product.id, state.Point(None, NOW))


def _copy_page(conn: Connection, world: World, product_id: int, page: list[dict[str, Any]]) -> None:
    tests = [parse_test(payload) for payload in page]
    store_records(conn, TESTS, tests, Scope(product_id, NOW), 1, log_new=False)
    ids = [test.id for test in tests]
    scope = Scope(product_id, NOW, dict.fromkeys(ids, product_id))
    bugs = [parse_bug(payload) for test_id in ids for payload in world.bugs_of(test_id)]
    known = [bug for bug in bugs if bug.test_id is not None]
    for batch in batches(known, _BATCH):
        store_records(conn, BUGS, batch, scope, 1, log_new=False)
    state.mark_bugs_read(conn, ids)


def _finish(conn: Connection) -> None:
    for resource in (PRODUCTS, BUGS):
        state.save_checkpoint(conn, resource.name, state.ACCOUNT, state.Point(None, NOW))
    state.end_run(conn, 1, status="completed", finished_at=NOW)


def _multiply(source: Path, path: Path, times: int) -> None:
    """Repeat the finished tests of `source` until there are about `times` as many."""
    shutil.copyfile(source, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-524288", "temp_store=MEMORY"):
            db.execute(f"PRAGMA {pragma}")
        indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL").fetchall()
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        last_id = db.execute("SELECT max(id) FROM test").fetchone()[0]
        for copy in range(1, times):
            for statement in _repeats(copy, last_id):
                db.execute(statement)
        for _, sql in indexes:
            db.execute(sql)
        db.execute(_RECOUNT)
        db.execute("PRAGMA journal_mode=WAL")
    _settle(path)


def _repeats(copy: int, last_id: int) -> Iterator[str]:
    """Statements that repeat all finished tests: a copy's tests end `copy` times 29 hours earlier."""
    finished = f"SELECT id FROM test WHERE status IN ('archived', 'cancelled') AND id <= {last_id}"
    bugs = f"SELECT id FROM bug WHERE test_id IN ({finished})"
    owners = {Test: ("id", finished), BugDevice: ("bug_id", bugs)}
    for model in (Test, TestFeature, TestPlatform, Bug, BugDevice):
        table = table_of(model)
        owner, chosen = owners.get(model, ("test_id", finished))
        values = ", ".join(_repeated(table, column.name, copy) for column in table.c)
        names = ", ".join(column.name for column in table.c)
        yield f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {table.name} WHERE {owner} IN ({chosen})"


def _repeated(table: Table, column: str, copy: int) -> str:
    if column in _SHIFTED_IDS[table.name]:
        return f"{column} + {copy * _SHIFT}"
    if column in _SHIFTED_TIMES:
        return f"strftime('%Y-%m-%dT%H:%M:%S', {column}, '-{copy * 29} hours') || '.000000Z'"
    return column


_RECOUNT = """
UPDATE product_count SET
  tests = (SELECT count(*) FROM test WHERE test.product_id = product_count.product_id AND gone_at IS NULL),
  bugs = (SELECT count(*) FROM bug WHERE bug.product_id = product_count.product_id AND gone_at IS NULL),
  open_bugs = (SELECT count(*) FROM bug WHERE bug.product_id = product_count.product_id AND status = 'open'
               AND gone_at IS NULL)
"""


def _settle(path: Path) -> None:
    """Leave one file behind that nothing waits to be written to."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("rb+") as file:
        os.fsync(file.fileno())
