"""Kept counts: removed by the change that makes them wrong, made again after a sync.

What is kept is always a whole cell, counted in one transaction from the records, so it cannot drift from them.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import (
    CTE,
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Insert,
    Select,
    String,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
)

from testio_mcp.database.dialect import among, each_record, fetch, in_order, upsert
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
    if table not in _OWNERS:
        yield
        return
    _forget(conn, table, ids)
    yield
    _forget(conn, table, ids)


_OWNERS = {_TEST: _test.id, _BUG: _bug.test_id, _RUN: _run.test_id}
"""The tables whose records are counted, with the column of the test."""
_any = select(_CELL.c.product_id).limit(1)
_those = select(_CELL.c.product_id, _CELL.c.starts_at, _CELL.c.ends_at).where(
    among(_CELL.c.product_id, bindparam("products"))
)


@cache
def _ends_of(table: Table) -> Select[Any]:
    """The products and ends of the tests of some records."""
    return (
        select(_test.product_id, _test.sort_at)
        .where(_test.id.in_(select(_OWNERS[table]).where(among(table.c.id, bindparam("ids")))))
        .distinct()
    )


def _forget(conn: Connection, table: Table, ids: Sequence[int]) -> None:
    """Remove the cells that hold the tests of these records, with what was counted of them."""
    if not fetch(conn, _any, {}):
        return
    ends: dict[int, set[Any]] = defaultdict(set)
    for product, end in fetch(conn, _ends_of(table), {"ids": json.dumps(list(ids))}):
        ends[product].add(end)
        ends[EVERY].add(end)
    cells = fetch(conn, _those, {"products": json.dumps(list(ends))})
    _remove(conn, [Cell(*row) for row in cells if any(row[1] <= end < row[2] for end in ends[row[0]])])


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
    return len(missing) - len((of_one or missing)[:AT_ONCE])


def _months(conn: Connection, zone: ZoneInfo) -> list[Cell]:
    """The cells that there should be: the months of the time zone in which tests end, of each product and of all."""
    first, last = conn.execute(_ends).one()
    if first is None:
        return []
    products = [row[0] for row in conn.execute(_products)]
    if last - first > _LONG:
        found = [cell for product in products for cell in _stepwise(conn, product, zone)]
    else:
        spans: list[tuple[datetime, datetime]] = []
        while not spans or spans[-1][1] <= last:
            spans.append(_month(spans[-1][1] if spans else first, zone))
        every = [Cell(product, *ends) for product in products for ends in spans]
        places = conn.execute(_filled(conn.dialect.name), {"spans": _as_json(every)})
        found = [every[row[0]] for row in places]
    return [*found, *(Cell(EVERY, *ends) for ends in dict.fromkeys(cell[1:] for cell in found))]


def _stepwise(conn: Connection, product: int, zone: ZoneInfo) -> Iterator[Cell]:
    """The months of one product, from one that is not empty to the next: single ends may be far away."""
    after = datetime.min.replace(tzinfo=UTC)
    while (moment := _next_end(conn, product, after)) is not None:
        cell = Cell(product, *_month(moment, zone))
        yield cell
        after = cell.ends_at


_LONG = timedelta(days=3_660)
"""How long the ends of all tests may span for every month between them to be looked at."""
_known_end = _test.sort_at < FAR_FUTURE
_ends = select(
    *(
        select(_test.sort_at).where(_known_end).order_by(order).limit(1).scalar_subquery()
        for order in (_test.sort_at, _test.sort_at.desc())
    )
)


@cache
def _filled(dialect: str) -> Select[Any]:
    """The places of the spans in which a test ends."""
    span = _span(dialect)
    inside = and_(_test.product_id == span.c.product_id, _test.sort_at >= span.c.starts, _test.sort_at < span.c.ends)
    return select(span.c.place).where(exists().where(inside)).order_by(span.c.place)


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
    for statement in statements(conn.dialect.name):
        conn.execute(statement, {"spans": _as_json(cells)})
    upsert(conn, _CELL, [cell._asdict() for cell in cells])


def _as_json(cells: Sequence[Cell]) -> str:
    return json.dumps(
        [(place, c.product_id, utc_text(c.starts_at), utc_text(c.ends_at)) for place, c in enumerate(cells)]
    )


def _remove(conn: Connection, cells: Iterable[Cell]) -> None:
    """Remove cells, with what was counted of them."""
    for cell in cells:
        for table in (_CELL, _COUNT, _MEMBER):
            words = [table.c.product_id == cell.product_id, table.c.starts_at == cell.starts_at]
            facts = [] if table is _CELL else [table.c.fact.in_(_FACTS)]
            conn.execute(delete(table).where(*words, *facts))


def _span(dialect: str) -> CTE:
    moment = String() if dialect == "sqlite" else UtcDateTime()
    columns = {"place": BigInteger(), "product_id": BigInteger(), "starts": moment, "ends": moment}
    return each_record("spans", columns, dialect)


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
        split = [column for column in columns if not isinstance(column, BindParameter)]
        found = select(*columns, func.count()).select_from(source).where(*_RAN, *also).group_by(*split)
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
        count(bugs, "bug_levels", testing_type=literal(""), status=_bug.status, level=_bug.level),
        count(runs, "executions", status=_run.status),
        members(bugs, "testers", _bug.author_id),
        members(runs, "stories", _run.user_story_id),
        members(copies, "features", _COPY.c.feature_id),
    ]


_FACTS = ("tests", "created", "submitted", "bugs", "bug_levels", "executions", "testers", "stories", "features")
_RAN = (_test.gone_at.is_(None), _test.status.not_in(WITHOUT_BUGS))
