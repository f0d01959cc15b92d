"""Kept counts: removed by the change that makes them wrong, made again after a sync.

What is kept is always a whole cell, counted in one transaction from the records, so it cannot drift from them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Delete,
    FromClause,
    Insert,
    String,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
)

from testio_mcp.database.dialect import each_record, fetch, in_order, upsert
from testio_mcp.database.tables import (
    Bug,
    Execution,
    Product,
    RollupCell,
    RollupCount,
    RollupMember,
    Test,
    TestFeature,
    table_of,
)
from testio_mcp.database.tables.rollups import EVERY, NOBODY
from testio_mcp.database.types import UtcDateTime, utc_text
from testio_mcp.sync.rows import FAR_FUTURE
from testio_mcp.sync.state import WITHOUT_BUGS

AT_ONCE = 24
"""How many cells one transaction makes."""
_CELL, _COUNT, _MEMBER = table_of(RollupCell), table_of(RollupCount), table_of(RollupMember)
_TEST, _BUG, _RUN, _COPY = table_of(Test), table_of(Bug), table_of(Execution), table_of(TestFeature)
_test, _bug, _run = _TEST.c, _BUG.c, _RUN.c


class Cell(NamedTuple):
    """A product's month of tests' ends, from `starts_at` to before `ends_at`."""

    product_id: int
    starts_at: datetime
    ends_at: datetime


@contextmanager
def outdated(conn: Connection, table: Table, ids: Sequence[int]) -> Iterator[None]:
    """Remove the cells that the enclosed change of these records makes wrong: those of before and those of after."""
    owner = {_TEST: _test.id, _BUG: _bug.test_id, _RUN: _run.test_id}.get(table)
    if owner is None:
        yield
        return
    _forget(conn, table, owner, ids)
    yield
    _forget(conn, table, owner, ids)


def _forget(conn: Connection, table: Table, owner: ColumnElement[Any], ids: Sequence[int]) -> None:
    if not conn.execute(_any).all():
        return
    tests = select(owner).where(table.c.id.in_(ids)) if table is not _TEST else ids
    conn.execute(_forgotten(tests))


_any = select(_CELL.c.product_id).limit(1)


def _forgotten(tests: Any) -> Delete:
    """Removes the cells that hold any of these tests."""
    inside = and_(_test.sort_at >= _CELL.c.starts_at, _test.sort_at < _CELL.c.ends_at)
    same = or_(_test.product_id == _CELL.c.product_id, _CELL.c.product_id == EVERY)
    holds = exists().where(_test.id.in_(tests), inside, same).correlate(_CELL)
    products = select(_test.product_id).where(_test.id.in_(tests))
    return delete(_CELL).where(or_(_CELL.c.product_id.in_(products), _CELL.c.product_id == EVERY), holds)


def renew(conn: Connection, zone: ZoneInfo = ZoneInfo("UTC")) -> int:  # noqa: B008
    """Make some of the cells that are missing, for the months of a time zone; returns how many are left."""
    months = _months(conn, zone)
    there = {Cell(*row) for row in conn.execute(select(_CELL.c.product_id, _CELL.c.starts_at, _CELL.c.ends_at))}
    if strange := there.difference(months):
        _remove(conn, strange)
    missing = [cell for cell in months if cell not in there]
    of_one = [cell for cell in missing if cell.product_id != EVERY]
    if of_one:
        _make(conn, of_one[:AT_ONCE], _counting)
    elif missing:
        _make(conn, missing[:AT_ONCE], _adding)
    left = len(missing) - len((of_one or missing)[:AT_ONCE])
    if not left:
        _clear(conn, _orphans(conn))
    return left


def _months(conn: Connection, zone: ZoneInfo) -> list[Cell]:
    """The cells that there should be: the months of the time zone in which any test ends."""
    found: list[Cell] = []
    for (product,) in conn.execute(_products).all():
        after = datetime.min.replace(tzinfo=UTC)
        while (moment := _next_end(conn, product, after)) is not None:
            cell = Cell(product, *_month(moment, zone))
            found.append(cell)
            after = cell.ends_at
    return [*found, *(Cell(EVERY, *ends) for ends in dict.fromkeys(cell[1:] for cell in found))]


_products = select(table_of(Product).c.id).order_by(table_of(Product).c.id)
_next = select(func.min(_test.sort_at)).where(
    _test.product_id == bindparam("product_id"),
    _test.sort_at >= bindparam("after", type_=UtcDateTime()),
    _test.sort_at < FAR_FUTURE,
)


def _next_end(conn: Connection, product_id: int, after: datetime) -> datetime | None:
    found: Any = fetch(conn, _next, {"product_id": product_id, "after": after})[0][0]
    return datetime.fromisoformat(found) if isinstance(found, str) else found


def _month(moment: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The month around a moment: its first midnight, and that of the next one, in UTC."""
    local = moment.astimezone(zone)
    first = date(local.year, local.month, 1)
    following = date(local.year + local.month // 12, local.month % 12 + 1, 1)
    starts, ends = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (first, following))
    return starts, ends


def _make(conn: Connection, cells: Sequence[Cell], statements: Callable[[str], list[Insert]]) -> None:
    """Fill the cells, and note that they are there."""
    _clear(conn, cells)
    given = {"spans": json.dumps([(c.product_id, utc_text(c.starts_at), utc_text(c.ends_at)) for c in cells])}
    for statement in statements(conn.dialect.name):
        conn.execute(statement, given)
    upsert(conn, _CELL, [cell._asdict() for cell in cells])


def _remove(conn: Connection, cells: Iterable[Cell]) -> None:
    for cell in cells:
        conn.execute(delete(_CELL).where(_CELL.c.product_id == cell.product_id, _CELL.c.starts_at == cell.starts_at))


def _clear(conn: Connection, cells: Iterable[Cell]) -> None:
    """Remove what was counted of these cells."""
    for cell in cells:
        for table in (_COUNT, _MEMBER):
            same = (table.c.product_id == cell.product_id, table.c.starts_at == cell.starts_at)
            conn.execute(delete(table).where(*same))


def _orphans(conn: Connection) -> list[Cell]:
    """What was counted for cells that are no more."""
    return [
        Cell(row[0], row[1], row[1])
        for table in (_COUNT, _MEMBER)
        for row in conn.execute(
            select(table.c.product_id, table.c.starts_at)
            .where(~exists().where(_CELL.c.product_id == table.c.product_id, _CELL.c.starts_at == table.c.starts_at))
            .distinct()
        )
    ]


def _span(dialect: str) -> CTE:
    moment = String() if dialect == "sqlite" else UtcDateTime()
    return each_record("spans", {"product_id": BigInteger(), "starts": moment, "ends": moment}, dialect)


@cache
def _adding(dialect: str) -> list[Insert]:
    """The statements that add up the cells of all products."""
    span = _span(dialect)
    made: list[Insert] = []
    for table in (_COUNT, _MEMBER):
        words = [column for column in table.c if column.name not in ("product_id", "number")]
        numbers = [func.sum(_COUNT.c.number)] if table is _COUNT else []
        of_cell = and_(table.c.starts_at == span.c.starts, table.c.product_id.in_(select(_CELL.c.product_id)))
        found = select(span.c.product_id, *words, *numbers).select_from(in_order(span, table, of_cell))
        names = ["product_id", *(word.name for word in words), *["number"][: len(numbers)]]
        made.append(insert(table).from_select(names, found.group_by(span.c.product_id, *words)))
    return made


@cache
def _counting(dialect: str) -> list[Insert]:
    """The statements that count tests, bugs and executions of tests that ran, and who and what is in them."""
    span = _span(dialect)
    same = and_(_test.product_id == span.c.product_id, _test.sort_at >= span.c.starts, _test.sort_at < span.c.ends)
    tests = in_order(span, _TEST, same)
    bugs = in_order(tests, _BUG, and_(_bug.test_id == _test.id, _bug.gone_at.is_(None)))
    runs = in_order(tests, _RUN, and_(_run.test_id == _test.id, _run.gone_at.is_(None)))
    copies = tests.outerjoin(_COPY, _COPY.c.test_id == _test.id)

    def count(source: FromClause, fact: str, *also: ColumnElement[bool], **words: ColumnElement[Any]) -> Insert:
        words = {"testing_type": _test.testing_type, **words}
        columns = [span.c.product_id, literal(fact), span.c.starts, *words.values()]
        found = select(*columns, func.count()).select_from(source).where(*_RAN, *also).group_by(*columns)
        return insert(_COUNT).from_select(["product_id", "fact", "starts_at", *words, "number"], found)

    def members(source: FromClause, fact: str, who: ColumnElement[Any]) -> Insert:
        columns = [span.c.product_id, literal(fact), span.c.starts, func.coalesce(who, NOBODY)]
        found = select(*columns).select_from(source).where(*_RAN).distinct()
        return insert(_MEMBER).from_select(["product_id", "fact", "starts_at", "member_id"], found)

    words = {"status": _bug.status, "level": _bug.level, "kind": _bug.kind, "is_known": _bug.is_known}
    return [
        count(tests, "tests"),
        count(tests, "created", _test.created_by_id.is_not(None)),
        count(tests, "submitted", _test.submitted_by_id.is_not(None)),
        count(bugs, "bugs", **words),
        count(runs, "executions", status=_run.status),
        members(bugs, "testers", _bug.author_id),
        members(runs, "stories", _run.user_story_id),
        members(copies, "features", _COPY.c.feature_id),
    ]


_RAN = (_test.gone_at.is_(None), _test.status.not_in(WITHOUT_BUGS))
