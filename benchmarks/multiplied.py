"""A large store made of a smaller one: its tests that have ended, and all that hangs on them, again and again.

A copy has other ids, and its dates are some hours earlier. What the search holds of it is what it holds of the
original under the code of another slice, which takes a tenth of the time that indexing takes.
"""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import Table

from testio_mcp.database.search import SOURCES, Kind, document, slice_code
from testio_mcp.database.tables import (
    Bug,
    ChangeLog,
    Execution,
    Test,
    TestMetric,
    table_of,
)
from testio_mcp.database.tables.search import ALWAYS, NEVER
from testio_mcp.database.types import utc_text
from testio_mcp.sync.rows import BUGS, EXECUTIONS, METRICS, TESTS

_SHIFT = 2**20
"""What separates the ids of one copy from the next: more than the ids of any table span, and a number of slices."""
_SLICE = 12
_HOURS = 29
_ENDED = "SELECT id FROM source.test WHERE status IN ('archived', 'cancelled', 'locked')"
_OF_ENDED = {
    "id": _ENDED,
    "test_id": _ENDED,
    "bug_id": f"SELECT id FROM source.bug WHERE test_id IN ({_ENDED})",
    "execution_id": f"SELECT id FROM source.execution WHERE test_id IN ({_ENDED})",
}
_OWNERS: tuple[tuple[Table, str], ...] = (
    (table_of(Test), "id"),
    *TESTS.parts,
    (table_of(TestMetric), "id"),
    *METRICS.parts,
    (table_of(Bug), "test_id"),
    *BUGS.parts,
    (table_of(Execution), "test_id"),
    *EXECUTIONS.parts,
)
"""The tables of a copy, parents first, each with the column that says what a row belongs to."""
_IDS = frozenset({"id", "test_id", "bug_id", "execution_id", "test_feature_id"})
_TIMES = frozenset({"start_at", "end_at", "sort_at", "reported_at", "exported_at", "executed_at", "created_at"})
_SEARCHED: tuple[tuple[Kind, str], ...] = (("test", "id"), ("bug", "test_id"))
_FAST = ("journal_mode=OFF", "synchronous=OFF", "cache_size=-524288", "temp_store=MEMORY")


def multiply(source: Path, path: Path, times: int) -> None:
    """Write to `path` the store at `source` with its ended tests so many times."""
    shutil.copyfile(source, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.create_function("slice_code", 1, lambda key: slice_code(key >> _SLICE), deterministic=True)
        for pragma in _FAST:
            db.execute(f"PRAGMA {pragma}")
        db.execute("ATTACH ? AS source", (f"file:{source.absolute()}?mode=ro",))
        indexes = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL").fetchall()
        for name, _ in indexes:
            db.execute(f"DROP INDEX {name}")
        for copy in range(1, times):
            for statement in _repeats(copy):
                db.execute(statement)
        for _, sql in indexes:
            db.execute(sql)
        for statement in (*_slices(), *_lines(times)):
            db.execute(statement)
        _check(db)
        db.execute("DETACH source")
        db.execute("PRAGMA journal_mode=WAL")


def _repeats(copy: int) -> Iterator[str]:
    """Statements that repeat all tests that have ended, and what the search holds of them."""
    for target, owner in _OWNERS:
        values = ", ".join(_repeated(column.name, copy) for column in target.c)
        names = ", ".join(column.name for column in target.c)
        yield (
            f"INSERT INTO {target.name} ({names}) SELECT {values} FROM source.{target.name} "
            f"WHERE {owner} IN ({_OF_ENDED[owner]}) ORDER BY rowid"
        )
    for kind, owner in _SEARCHED:
        far = copy * _SHIFT
        texts = ("title", "body", "comments", "words")
        moved = ", ".join(f"replace({text}, slice_code(id), slice_code(id + {far}))" for text in texts)
        yield (
            f"INSERT INTO search_{kind} (rowid, {', '.join(texts)}) SELECT id + {far}, {moved} FROM "
            f"(SELECT rowid AS id, {', '.join(texts)} FROM source.search_{kind} WHERE rowid IN "
            f"(SELECT id FROM source.{kind} WHERE {owner} IN ({_ENDED})) ORDER BY rowid)"
        )


def _repeated(column: str, copy: int) -> str:
    if column in _IDS:
        return f"{column} + {copy * _SHIFT}"
    if column in _TIMES:
        return f"strftime('%Y-%m-%dT%H:%M:%S', {column}, '-{copy * _HOURS} hours') || '.000000Z'"
    return column


def _slices() -> Iterator[str]:
    """Statements that note which moments the slices of the search hold, for all products and for each."""
    for kind, _ in _SEARCHED:
        at = SOURCES[kind].at
        first, last = (f"coalesce({end}({at}), '{utc_text(no)}')" for end, no in (("min", ALWAYS), ("max", NEVER)))
        for product in ("0", "product_id"):
            yield (
                "INSERT OR REPLACE INTO search_slice (kind, product_id, number, first_at, last_at) "
                f"SELECT '{kind}', {product} AS owner, id >> {_SLICE} AS slice, {first}, {last} "
                f"FROM {kind} GROUP BY owner, slice"
            )


def _lines(times: int) -> Iterator[str]:
    """Statements that have every change of a repeated record follow that of the original."""
    names = [column.name for column in table_of(ChangeLog).c if column.name not in ("id", "entity_id")]
    rest = ", ".join(names)
    known = " OR ".join(
        f"entity = '{kind}' AND entity_id + copy * {_SHIFT} IN (SELECT id FROM {kind})" for kind, _ in _SEARCHED
    )
    yield "DELETE FROM change_log"
    yield (
        f"WITH RECURSIVE copies (copy) AS (SELECT 0 UNION ALL SELECT copy + 1 FROM copies WHERE copy < {times - 1}) "
        f"INSERT INTO change_log (entity_id, {rest}) SELECT entity_id + copy * {_SHIFT}, {rest} "
        f"FROM source.change_log, copies WHERE copy = 0 OR {known} ORDER BY id, copy"
    )


def _check(db: sqlite3.Connection) -> None:
    """Compare what the search holds of some repeated bugs with what indexing them gives."""
    db.row_factory = sqlite3.Row
    ids = [row[0] for row in db.execute("SELECT id FROM bug WHERE id > ?", (2 * _SHIFT,))]
    for key in random.Random(1).sample(ids, min(100, len(ids))):
        row = db.execute("SELECT * FROM bug WHERE id = ?", (key,)).fetchone()
        comments = db.execute("SELECT body FROM bug_comment WHERE bug_id = ? ORDER BY position", (key,))
        made = document(SOURCES["bug"], dict(row), [comment[0] for comment in comments])
        held = db.execute("SELECT title, body, comments FROM search_bug WHERE rowid = ?", (key,)).fetchone()
        assert tuple(held) == (made.title, made.body, made.comments), key
