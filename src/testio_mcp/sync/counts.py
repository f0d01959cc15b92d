"""Totals that lists and summaries show, kept exact by what each change adds to them or takes away."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, delete, insert, select

from testio_mcp.database.dialect import Row, add, among, fetch
from testio_mcp.database.tables import Bug, ChangeCount, ChangeLog, Execution, KeptCount, ProductCount, Test, table_of
from testio_mcp.sync.rollups import outdated

_CHANGE, _CHANGES = table_of(ChangeLog), table_of(ChangeCount)
_KEPT, _PRODUCT = table_of(KeptCount), table_of(ProductCount)
_TEST, _BUG, _EXECUTION = table_of(Test), table_of(Bug), table_of(Execution)
_KEY = tuple(column.name for column in _KEPT.primary_key)
_ALIKE = tuple(column.name for column in _CHANGES.primary_key)
_Key = tuple[Any, ...]


@dataclass(frozen=True)
class Kept:
    """One count of the table `kept_count`: which records, by whose id (a column of theirs), and what splits it."""

    name: str
    table: Table
    owner: str
    split: tuple[str, ...] = ()


PRODUCT_BUGS = Kept("product_bugs", _BUG, "product_id", ("status", "level", "kind"))
FEATURE_BUGS = Kept("feature_bugs", _BUG, "feature_id", ("status", "level", "kind"))
AUTHOR_BUGS = Kept("author_bugs", _BUG, "author_id", ("product_id", "status", "level"))
PRODUCT_TESTS = Kept("product_tests", _TEST, "product_id", ("status",))
CREATOR_TESTS = Kept("creator_tests", _TEST, "created_by_id")
SUBMITTER_TESTS = Kept("submitter_tests", _TEST, "submitted_by_id")
ENVIRONMENT_TESTS = Kept("environment_tests", _TEST, "test_environment_id")
TESTER_EXECUTIONS = Kept("tester_executions", _EXECUTION, "executed_by_id", ("status",))
STORY_EXECUTIONS = Kept("story_executions", _EXECUTION, "user_story_id", ("status",))
ALL = (
    PRODUCT_BUGS,
    FEATURE_BUGS,
    AUTHOR_BUGS,
    PRODUCT_TESTS,
    CREATOR_TESTS,
    SUBMITTER_TESTS,
    ENVIRONMENT_TESTS,
    TESTER_EXECUTIONS,
    STORY_EXECUTIONS,
)
"""Every count; records that are gone are in none."""


@contextmanager
def counted(conn: Connection, table: Table, ids: list[int]) -> Iterator[None]:
    """Add the difference that the enclosed change of these records makes to all counts that they are in.

    The cells of `rollups` that the change makes wrong are removed.
    """
    if not _keys(table):
        yield
        return
    before = _share(conn, table, ids)
    with outdated(conn, table, ids):
        yield
    difference = _share(conn, table, ids)
    difference.subtract(before)
    changed = sorted((key, number) for key, number in difference.items() if number)
    add(conn, _KEPT, [dict(zip(_KEY, key, strict=True)) | {"number": number} for key, number in changed])
    if less := [dict(zip(_KEY, key, strict=True)) for key, number in changed if number < 0]:
        conn.execute(_emptied, less)
    _add_to_products(conn, changed)


def _share(conn: Connection, table: Table, ids: list[int]) -> Counter[_Key]:
    """What the given records contribute to each count."""
    rows = [(*row, 0, "") for row in fetch(conn, _rows(table), {"ids": json.dumps(ids)})]
    keys = ((name, *pick(row)) for name, pick in _keys(table) for row in rows)
    return Counter(key for key in keys if key[1] is not None)


@cache
def _columns(table: Table) -> tuple[str, ...]:
    """The columns that decide where a record counts."""
    return tuple(dict.fromkeys(name for kept in ALL if kept.table is table for name in (kept.owner, *kept.split)))


@cache
def _rows(table: Table) -> Select[Any]:
    columns = table.c
    chosen = (among(columns.id, bindparam("ids")), columns.gone_at.is_(None))
    return select(*(columns[name] for name in _columns(table))).where(*chosen)


@cache
def _keys(table: Table) -> list[tuple[str, Callable[[Sequence[Any]], Sequence[Any]]]]:
    """For each count, what picks the rest of its key from a record's columns with a 0 and an empty text behind."""
    columns = _columns(table)
    nothing = {"product_id": len(columns), "status": -1, "level": -1, "kind": -1}
    found: list[tuple[str, Callable[[Sequence[Any]], Sequence[Any]]]] = []
    for kept in ALL:
        if kept.table is table:
            parts = (columns.index(word) if word in kept.split else place for word, place in nothing.items())
            found.append((kept.name, itemgetter(columns.index(kept.owner), *parts)))
    return found


_emptied = delete(_KEPT).where(_KEPT.c.number == 0, *(_KEPT.c[name] == bindparam(name) for name in _KEY))


def _add_to_products(conn: Connection, changed: list[tuple[_Key, int]]) -> None:
    products: dict[int, Row] = {}
    for (name, product_id, _, status, *_), number in changed:
        if name in (PRODUCT_BUGS.name, PRODUCT_TESTS.name):
            row = products.setdefault(product_id, {"product_id": product_id, "tests": 0, "bugs": 0, "open_bugs": 0})
            row["tests" if name == PRODUCT_TESTS.name else "bugs"] += number
            row["open_bugs"] += number if (name, status) == (PRODUCT_BUGS.name, "open") else 0
    add(conn, _PRODUCT, list(products.values()))


def log_changes(conn: Connection, lines: list[Row]) -> None:
    """Write lines of the change log, and count them."""
    conn.execute(insert(_CHANGE), lines)
    alike = Counter(tuple(_word(line) if name == "word" else line[name] for name in _ALIKE) for line in lines)
    add(conn, _CHANGES, [dict(zip(_ALIKE, key, strict=True)) | {"number": alike[key]} for key in sorted(alike)])


def _word(line: Row) -> str:
    new = line["new_value"] or ""
    return {"status": new, "execution_status": new, "gone_at": "gone" if new else ""}.get(line["field"], "")
