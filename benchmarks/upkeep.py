"""What it costs to keep counts: the same changes stored with months to make again, and with none."""

import json
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.accounts import NOW, batches
from benchmarks.measure import Series, ratio
from benchmarks.report import Section, Target, spread, table, times
from testio_mcp.api.payloads import parse_bug, parse_records, parse_test
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.tables import RollupCell, RollupCount, RollupMember, table_of
from testio_mcp.sync import state
from testio_mcp.sync.resources import BUGS, TESTS, Resource
from testio_mcp.sync.rollups import renew
from testio_mcp.sync.rows import Scope
from testio_mcp.sync.writer import store_records

_TESTS, _PAGE = 50, 25
"""How many tests a sync reads the bugs of at once, and how many tests a page holds."""
_BATCHES = 10
_MOVED = timedelta(days=7)
_GOAL = 2
_NOTHING = "nothing"
_ABOUT = f"""\
Changed records through `store_records`, a transaction per batch, on two copies of the middle store in the same
rounds: *kept* has its kept months, removes those that a change makes wrong and makes them again (`renew` until
nothing is left to make); *none* has no kept months, so that nothing is removed and nothing is made. The batches are
the bugs of {_TESTS} tests with another status, of the newest tests of the account and of the newest of one product,
and pages of {_PAGE} tests of one product that end {_MOVED.days} days later or earlier. *Each* makes the months again
after every batch; *ten* stores {_BATCHES} batches and then makes them again, once, as a sync does it, and its times
are of all ten. *{_NOTHING.capitalize()}* looks for months to make where all are there. Times are milliseconds."""
_NEWEST = "SELECT id, product_id FROM test WHERE sort_at < ? AND gone_at IS NULL AND status NOT IN ({}) {} LIMIT ?"
_ORDER = "ORDER BY sort_at DESC, id DESC"
Change = Callable[[dict[str, Any], int], dict[str, Any]]


@dataclass(frozen=True)
class Batch:
    """The records of an answer of the API, and how they differ from turn to turn."""

    kind: str
    resource: Resource
    parse: Callable[[dict[str, Any]], Any]
    change: Change
    scope: Scope
    payloads: Sequence[dict[str, Any]]

    def records(self, turn: int) -> list[Any]:
        """The records as they are in a turn: all of them differ from those of the turn before."""
        return parse_records([self.change(payload, turn) for payload in self.payloads], self.parse)[0]


@dataclass
class Copy:
    """A copy of the store, whether it has kept months, and what was measured on it."""

    store: PersistentCache
    is_kept: bool
    stored: dict[str, Series] = field(default_factory=dict)
    taken: dict[str, Series] = field(default_factory=dict)

    async def write(self, name: str, batch: Sequence[Batch], turn: int, *, is_measured: bool = True) -> None:
        """Store some batches and make the months again; note the seconds of the former, and of all."""
        records = [each.records(turn) for each in batch]
        start = time.perf_counter()
        for each, some in zip(batch, records, strict=True):
            await self.store.write(
                lambda conn, each=each, some=some: store_records(  # type: ignore[misc]
                    conn, each.resource, some, each.scope, 1, log_new=True
                )
            )
        stored = time.perf_counter() - start
        while self.is_kept and await self.store.write(renew) > 0:
            pass
        taken = time.perf_counter() - start
        if is_measured:
            self.stored.setdefault(name, Series([[]])).rounds[-1].append(stored)
            self.taken.setdefault(name, Series([[]])).rounds[-1].append(taken)

    def next_round(self) -> None:
        """Begin another round of everything that is measured."""
        for series in (*self.stored.values(), *self.taken.values()):
            series.rounds.append([])


async def measure(source: Path, folder: Path, tests: int, rounds: int) -> Section:
    """The cost of a batch with and without upkeep; `source` is the store that is copied, of so many tests."""
    paths = {True: folder / "kept.db", False: folder / "none.db"}
    for path in paths.values():
        shutil.copyfile(source, path)
    _forget(paths[False])
    known = list(_batches(source))
    async with PersistentCache(paths[True]) as one, PersistentCache(paths[False]) as other:
        kept, none = Copy(one, True), Copy(other, False)
        await _rounds((kept, none), known, rounds)
    section = Section("Upkeep of kept counts", f"{_ABOUT} Store: {tests:,} tests.")
    head = ("batch", "kept p50 / p95 / p99", "of it storing", "none p50 / p95 / p99", "ratio of p50")
    section.tables.append(table(head, (_row(name, kept, none) for name in kept.taken)))
    for way, words in (("each", "after each batch"), ("ten", f"after {_BATCHES} batches, as a sync does it")):
        cost = {name: ratio(kept.taken[name], none.taken[name]) for name in kept.taken if name.endswith(way)}
        worst = max(cost, key=lambda name: cost[name])
        found = f"{times(cost[worst])} ({worst})"
        what = f"batch of a sync with upkeep of kept counts {words}, against none"
        section.targets.append(Target(what, f"at most {_GOAL}", found, cost[worst][0] <= _GOAL))
    return section


def _row(name: str, kept: Copy, none: Copy) -> list[str]:
    taken = kept.taken[name]
    if name == _NOTHING:
        return [name, spread(taken), "", "", ""]
    alone = none.taken[name]
    return [name, spread(taken), spread(kept.stored[name]), spread(alone), times(ratio(taken, alone))]


def _forget(path: Path) -> None:
    """Remove all kept months of a store."""
    with closing(sqlite3.connect(path)) as db:
        for target in (RollupCell, RollupCount, RollupMember):
            db.execute(f"DELETE FROM {table_of(target).name}")
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def _rounds(copies: Sequence[Copy], known: Sequence[Batch], rounds: int) -> None:
    """Store every batch in turn on both copies, alone and with the others of its kind, in shuffled orders.

    The first copy is the one that keeps months.
    """
    dice = random.Random(1)
    kinds = list(dict.fromkeys(batch.kind for batch in known))
    for copy in copies:
        await copy.write("", known, 0, is_measured=False)
    for number in range(rounds):
        singles = [(batch.kind, "each", [batch]) for batch in known]
        tens = [(kind, "ten", [batch for batch in known if batch.kind == kind]) for kind in kinds]
        for turn, plan in enumerate((singles, tens, tens, tens), 4 * number + 1):
            for kind, way, some in dice.sample(plan, len(plan)):
                for copy in dice.sample(copies, len(copies)):
                    await copy.write(f"{kind}, {way}", some, turn)
            await copies[0].write(_NOTHING, [], turn)
        for copy in copies if number + 1 < rounds else ():
            copy.next_round()


def _batches(path: Path) -> Iterator[Batch]:
    with closing(sqlite3.connect(path)) as db:
        reasons = tuple(db.execute("SELECT default_comment, name FROM reject_reason WHERE default_comment != ''"))
        found = _newest(db, "", _TESTS * _BATCHES)
        for tests in batches(found, max(1, min(_TESTS, len(found) // _BATCHES))):
            yield _bugs(db, f"bugs of {_TESTS} tests", tests, reasons)
        products = [row[0] for row in db.execute("SELECT id FROM product ORDER BY id LIMIT ?", (_BATCHES,))]
        for product_id in products:
            tests = _newest(db, f"AND product_id = {product_id}", _TESTS)
            yield _bugs(db, f"bugs of {_TESTS} tests of a product", tests, reasons)
        for product_id in products:
            tests = _newest(db, f"AND product_id = {product_id}", _PAGE)
            raw = _raw(db, "test", "id", tests)
            yield Batch(f"{_PAGE} tests", TESTS, parse_test, _moved, Scope(product_id, NOW), raw)


def _newest(db: sqlite3.Connection, condition: str, number: int) -> list[tuple[int, int]]:
    """The ids of the tests that ended last and ran, each with that of its product."""
    left_out = ", ".join(f"'{status}'" for status in state.WITHOUT_BUGS)
    moment = f"{NOW:%Y-%m-%dT%H:%M:%S}.000000Z"
    return db.execute(_NEWEST.format(left_out, f"{condition} {_ORDER}"), (moment, number)).fetchall()


def _bugs(db: sqlite3.Connection, kind: str, tests: Sequence[tuple[int, int]], reasons: Any) -> Batch:
    scope = Scope(0, NOW, dict(tests), reasons)
    return Batch(kind, BUGS, parse_bug, _decided, scope, _raw(db, "bug", "test_id", tests))


def _raw(db: sqlite3.Connection, name: str, owner: str, tests: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """What the API said of records, as it is stored."""
    ids = ", ".join(str(test_id) for test_id, _ in tests)
    rows = db.execute(f"SELECT raw FROM {name} WHERE {owner} IN ({ids}) AND gone_at IS NULL ORDER BY id")
    return [json.loads(raw) for (raw,) in rows]


def _decided(bug: dict[str, Any], turn: int) -> dict[str, Any]:
    """A bug that people accept in one turn and reject in the next."""
    return bug | {"status": "rejected" if turn % 2 else "accepted", "auto_accepted": False}


def _moved(test: dict[str, Any], turn: int) -> dict[str, Any]:
    """A test that ends later in one turn, and as it did in the next."""
    end = datetime.fromisoformat(test["end_at"]) + _MOVED * (turn % 2)
    return test | {"end_at": end.isoformat()}
