"""Writing: bulk upserts beside bare sqlite3, and whole pages from JSON to committed rows."""

import json
import random
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select

from benchmarks.accounts import BUGS_PER_TEST, NOW, batches, begin, world_of
from benchmarks.measure import Series, ratio
from benchmarks.report import Section, Target, table, times
from testio_mcp.api.payloads import parse_bug, parse_test
from testio_mcp.api.records import parse_records
from testio_mcp.api.strict_json import read_json
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.dialect import Row, upsert
from testio_mcp.database.tables import Bug, Test, metadata, table_of
from testio_mcp.sync.rows import BUGS, TESTS, Resource, Scope
from testio_mcp.sync.writer import store_records
from testio_sandbox import World

_BATCH = 500
_FAR = 500_000_000
_ABOUT = """\
*Upsert* is `database.dialect.upsert` of tests and their bugs with all columns, in batches of 500 rows, each batch one
durable transaction (`synchronous=FULL`); *bare sqlite3* is `executemany` of the same rows with the same settings in
the caller's thread. *Insert* adds new records, *replace* changes known ones. *No indexes* is the same without the
secondary indexes of the two tables: what the upsert itself takes, without the upkeep that fast lists ask for."""
_PAGES = """\
*Pages* is what a sync does with the answers of the API: JSON text, parse, compare with what is stored, write the
records with their parts, counts and change log, and commit, in pages of 25 tests and of the bugs of 50 tests. *Again*
offers the same pages once more, so that nothing has to be written."""
_SETTINGS = (
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-32768",
    "busy_timeout=5000",
    "wal_autocheckpoint=10000",
)
_GOAL = "at least 20,000 rows/s"
Batch = list[tuple[Table, list[Row]]]


@dataclass(frozen=True)
class Body:
    """One answer of the API: JSON with a list of records of one kind."""

    resource: Resource
    parse: Callable[[dict[str, Any]], Any]
    scope: Scope
    json: bytes


Write = Callable[[Batch], Awaitable[None]]


async def measure(source: Path, folder: Path, tests: int, rounds: int) -> Section:
    """Rows per second; `source` is the store whose copy is written to, `tests` how many tests a round writes."""
    found: dict[str, Series] = {}
    for about, is_indexed in (("all indexes", True), ("no indexes", False)):
        path = folder / "written.db"
        shutil.copyfile(source, path)
        if not is_indexed:
            _drop_indexes(path)
        found |= {f"{name}, {about}": series for name, series in (await _upserts(path, tests, rounds)).items()}
    section = Section("Writing", f"{_ABOUT}\n\n{_PAGES}")
    head = ("what", "rows per second", "least to most of the rounds", "against bare sqlite3, by time per batch")
    section.tables.append(table(head, (_row(name, series, found) for name, series in found.items())))
    for about in ("no indexes", "all indexes"):
        slowest = min(_overall(found[f"upsert, {kind}, {about}"]) for kind in ("insert", "replace"))
        reached = f"{slowest:,.0f} rows/s"
        section.targets.append(Target(f"bulk upsert, {about}", _GOAL, reached, slowest >= 20_000))
    section.tables.append(await _pages(world_of(tests), folder))
    return section


def _drop_indexes(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        for table_name in ("test", "bug"):
            own = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql NOT NULL AND tbl_name = ?"
            for (name,) in db.execute(own, (table_name,)).fetchall():
                db.execute(f"DROP INDEX {name}")


def _rate(samples: Iterable[float]) -> float:
    """Rows per second, from seconds per row."""
    taken = list(samples)
    return len(taken) / sum(taken)


def _row(name: str, series: Series, found: dict[str, Series]) -> list[str]:
    by_round = [_rate(samples) for samples in series.rounds]
    kind, _, way = name.partition(", ")
    against = times(ratio(series, found[f"bare sqlite3, {way}"])) if kind == "upsert" else ""
    return [name, f"{_overall(series):,.0f}", f"{min(by_round):,.0f} to {max(by_round):,.0f}", against]


def _overall(series: Series) -> float:
    return _rate(sample for samples in series.rounds for sample in samples)


async def _upserts(path: Path, tests: int, rounds: int) -> dict[str, Series]:
    """Seconds per row of each way of writing, a sample per batch."""
    found: dict[str, Series] = {}
    dice = random.Random(1)
    known = list(_batches(path, tests))
    async with PersistentCache(path) as store:
        with closing(_writer(path)) as db:
            ways: dict[str, Write] = {"upsert": _through(store), "bare sqlite3": _bare(db)}
            for number in range(rounds):
                plan = list(_plan(known, number))
                dice.shuffle(plan)
                samples: dict[str, list[float]] = {}
                for way, kind, batch in plan:
                    start = time.perf_counter()
                    await ways[way](batch)
                    took = time.perf_counter() - start
                    samples.setdefault(f"{way}, {kind}", []).append(took / sum(len(rows) for _, rows in batch))
                for name, taken in samples.items():
                    found.setdefault(name, Series()).rounds.append(taken)
    return dict(sorted(found.items(), reverse=True))


def _batches(path: Path, tests: int) -> Iterator[Batch]:
    """Tests of a store with their bugs, about 500 rows at a time."""
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        found = [dict(row) for row in db.execute("SELECT * FROM test ORDER BY id LIMIT ?", (tests,))]
        for some in batches(found, _BATCH // (1 + BUGS_PER_TEST)):
            between = (some[0]["id"], some[-1]["id"])
            bugs = [dict(row) for row in db.execute("SELECT * FROM bug WHERE test_id BETWEEN ? AND ?", between)]
            yield [(table_of(Test), some), (table_of(Bug), bugs)]


def _plan(known: list[Batch], number: int) -> Iterator[tuple[str, str, Batch]]:
    """The batches of a round: each way inserts records of its own, and replaces the same ones."""
    for place, way in enumerate(("upsert", "bare sqlite3")):
        far = _FAR * (1 + place + 2 * number)
        for batch in known:
            yield way, "insert", _changed(batch, far, "")
            yield way, "replace", _changed(batch, 0, f" {number} {way}")


def _changed(batch: Batch, far: int, more: str) -> Batch:
    """The records under ids that are `far` greater, with `more` at the end of their titles."""
    owners = [(target, "id" if target is table_of(Test) else "test_id", rows) for target, rows in batch]
    return [
        (
            target,
            [row | {owner: row[owner] + far, "id": row["id"] + far, "title": row["title"] + more} for row in rows],
        )
        for target, owner, rows in owners
    ]


def _through(store: PersistentCache) -> Write:
    async def write(batch: Batch) -> None:
        def work(conn: Connection) -> None:
            for target, rows in batch:
                upsert(conn, target, rows)

        await store.write(work)

    return write


def _writer(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in _SETTINGS:
        db.execute(f"PRAGMA {pragma}")
    return db


def _bare(db: sqlite3.Connection) -> Write:
    async def write(batch: Batch) -> None:
        db.execute("BEGIN IMMEDIATE")
        for target, rows in batch:
            names = list(rows[0])
            places = ", ".join("?" * len(names))
            # A key that is set, even to what it is, has every reference to it looked for.
            changes = ", ".join(f"{name} = excluded.{name}" for name in names if name != "id")
            statement = (
                f"INSERT INTO {target.name} ({', '.join(names)}) VALUES ({places}) "
                f"ON CONFLICT (id) DO UPDATE SET {changes}"
            )
            db.executemany(statement, [tuple(row.values()) for row in rows])
        db.execute("COMMIT")

    return write


async def _pages(world: World, folder: Path) -> str:
    """Store all pages of an account, twice."""
    pages = list(_bodies(world))
    lines = []
    async with PersistentCache(folder / "pages.db") as store:
        await store.write(lambda conn: begin(conn, world))
        for kind in ("pages", "pages, again"):
            before = await store.read(_all_rows)
            start = time.perf_counter()
            records = sum([await _store_page(store, page) for page in pages])
            wall = time.perf_counter() - start
            written = await store.read(_all_rows) - before
            lines.append([kind, f"{records / wall:,.0f}", f"{written / wall:,.0f}"])
    return table(("what", "records per second", "rows per second, parts included"), lines)


def _bodies(world: World) -> Iterator[Body]:
    """The answers of the API about an account: for each product a page of tests, then the bugs of two such pages."""
    for product_id in world.product_ids:
        waiting: list[int] = []
        for page in batches(world.iter_tests(product_id), 25):
            ids = [test["id"] for test in page]
            yield Body(TESTS, parse_test, Scope(product_id, NOW), json.dumps(page).encode())
            waiting += ids
            if len(waiting) >= 50 or len(page) < 25:
                bugs = [bug for test_id in waiting for bug in world.bugs_of(test_id)]
                scope = Scope(product_id, NOW, dict.fromkeys(waiting, product_id))
                yield Body(BUGS, parse_bug, scope, json.dumps(bugs).encode())
                waiting = []


async def _store_page(store: PersistentCache, page: Body) -> int:
    """Read one answer and store it; how many records it held."""
    records, _ = parse_records(read_json(page.json), page.parse)
    await store.write(lambda conn: store_records(conn, page.resource, records, page.scope, 1, log_new=True))
    return len(records)


def _all_rows(conn: Connection) -> int:
    counts = (select(func.count()).select_from(target) for target in metadata.sorted_tables)
    return sum(conn.execute(count).scalar_one() for count in counts)
