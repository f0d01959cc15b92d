"""Exploratory tests (test cycles)."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field
from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    String,
    bindparam,
    func,
    select,
    tuple_,
    type_coerce,
    union_all,
)

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import Bug, Product, Test, table_of
from testio_mcp.database.types import utc_text
from testio_mcp.errors import NotFound
from testio_mcp.operations.arguments import AsList
from testio_mcp.operations.paging import Cursor, Page, as_of, decode_cursor, encode_cursor
from testio_mcp.operations.registry import operation

TestStatus = Literal["initialized", "customer_finalized", "waiting", "running", "locked", "archived", "cancelled"]
TestingType = Literal["rapid", "focused", "coverage", "usability", "custom", "test_case"]
Sort = Literal["newest", "oldest"]

_BEFORE_ALL = -1
_test, _bug, _product = table_of(Test).c, table_of(Bug).c, table_of(Product).c


class BugCounts(BaseModel):
    """Bugs of one test; every bug counts once. `other` holds the kinds that have no level."""

    total: int = 0
    critical: int = 0
    high: int = 0
    low: int = 0
    other: int = 0
    open: int = Field(default=0, description="Without a decision, whatever the level.")


class TestSummary(BaseModel):
    """One test in a list."""

    id: int
    title: str
    product_id: int
    product: str
    status: str
    testing_type: str
    start_at: datetime | None
    end_at: datetime | None
    bugs: BugCounts


class TestPage(Page):
    """Tests by end; those without an end count as newest."""

    items: list[TestSummary]


def count_bugs(conn: Connection, test_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """What `BugCounts` holds for each of the given tests; a test without bugs is missing from the answer."""
    rows = fetch(conn, _bug_counts, {"test_ids": list(test_ids)})
    return {
        row[0]: {
            "total": row[1],
            "critical": row[2],
            "high": row[3],
            "low": row[4],
            "other": row[1] - row[2] - row[3] - row[4],
            "open": row[5],
        }
        for row in rows
    }


_bug_counts = (
    select(
        _bug.test_id,
        func.count(),
        *(func.count().filter(_bug.level == level) for level in ("critical", "high", "low")),
        func.count().filter(_bug.status == "open"),
    )
    .where(_bug.test_id.in_(bindparam("test_ids", expanding=True)), _bug.gone_at.is_(None))
    .group_by(_bug.test_id)
)
_columns = (
    _test.id,
    _test.title,
    _test.product_id,
    _test.status,
    _test.testing_type,
    type_coerce(_test.start_at, String).label("start_at"),
    type_coerce(_test.end_at, String).label("end_at"),
    type_coerce(_test.sort_at, String).label("sort_at"),
)


def _branch(status: int | None, sort: Sort, filters: frozenset[str]) -> Select[Any]:
    """One list of tests, in the order of an index: with one status, or with any."""
    position = tuple_(_test.sort_at, _test.id)
    last = tuple_(bindparam("last_sort_at", type_=_test.sort_at.type), bindparam("last_id"))
    conditions: dict[str, ColumnElement[bool]] = {
        "product": _test.product_id == bindparam("product_id"),
        "types": _test.testing_type.in_(bindparam("types", expanding=True)),
        "ended": _test.end_at.is_not(None),
        "from": _test.sort_at >= bindparam("end_from", type_=_test.sort_at.type),
        "to": _test.sort_at < bindparam("end_before", type_=_test.sort_at.type),
        "last": position < last if sort == "newest" else position > last,
    }
    chosen = [condition for name, condition in conditions.items() if name in filters]
    if status is not None:
        chosen.append(_test.status == bindparam(f"status_{status}"))
    order = _order(_test, sort)
    return select(*_columns).where(_test.gone_at.is_(None), *chosen).order_by(*order).limit(bindparam("limit"))


def _order(columns: Any, sort: Sort) -> tuple[ColumnElement[Any], ...]:
    keys = (columns.sort_at, columns.id)
    return keys if sort == "oldest" else tuple(key.desc() for key in keys)


@lru_cache(maxsize=512)
def _list_statement(statuses: int, sort: Sort, filters: frozenset[str]) -> Select[Any]:
    """The page query for a set of filters.

    Several statuses are several branches merged by order: each reads one index from its end, so a page costs the
    same in a large store as in a small one.
    """
    if statuses > 1:
        branches = (select(_branch(n, sort, filters).subquery()) for n in range(statuses))
        rows = union_all(*branches).subquery("page")
    else:
        rows = _branch(0 if statuses else None, sort, filters).subquery("page")
    return (
        select(*rows.c, _product.name, _as_of(filters))
        .join_from(rows, table_of(Product), rows.c.product_id == _product.id)
        .order_by(*_order(rows.c, sort))
        .limit(bindparam("limit"))
    )


def _as_of(filters: frozenset[str]) -> ScalarSelect[Any]:
    return as_of("tests", "bugs", product_id=bindparam("product_id") if "product" in filters else None)


def _day(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _filters(given: dict[str, Any]) -> dict[str, Any]:
    """Bind values of the filters in use, under the names that `_branch` gives them."""
    values: dict[str, Any] = {}
    if given["product_id"] is not None:
        values["product"] = {"product_id": given["product_id"]}
    if given["testing_types"]:
        values["types"] = {"types": given["testing_types"]}
    if given["end_from"]:
        values["from"] = {"end_from": _day(given["end_from"])}
    if given["end_to"] and given["end_to"] < date.max:
        values["to"] = {"end_before": _day(given["end_to"] + timedelta(days=1))}
    if "from" in values or "to" in values:
        values["ended"] = {}
    if last := _last(given, values):
        values["last"] = {"last_sort_at": last[0], "last_id": last[1]}
    return values


def _last(given: dict[str, Any], values: dict[str, Any]) -> tuple[datetime, int] | None:
    """The position after which the page begins: the cursor's, or that of the date at which the list begins.

    It takes the place of that date: of two bounds on one side SQLite would start from either, and walk up to the
    other.
    """
    newest = given["sort"] == "newest"
    begin = values.pop("to" if newest else "from", {})
    positions = [(moment, _BEFORE_ALL) for moment in begin.values()]
    if given["cursor"]:
        sort_at, last_id = decode_cursor(given["cursor"], datetime, int)
        positions.append((sort_at, last_id))
    return (min if newest else max)(positions, default=None)


def _summary(row: Sequence[Any], counts: dict[int, dict[str, int]]) -> dict[str, Any]:
    """What `TestSummary` holds: a page is validated once as a whole, not model by model."""
    return {
        "id": row[0],
        "title": row[1],
        "product_id": row[2],
        "product": row[8],
        "status": row[3],
        "testing_type": row[4],
        "start_at": row[5],
        "end_at": row[6],
        "bugs": counts.get(row[0], {}),
    }


@operation(
    "/tests",
    command="tests list",
    toolset="tests",
    needs=("tests", "bugs"),
    examples=({"statuses": ["running"]}, {"product_id": 1}),
)
def list_tests(
    conn: Connection,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    statuses: Annotated[
        list[TestStatus], AsList, Field(description=f"Any of {', '.join(get_args(TestStatus))}; all when left out.")
    ] = [],  # noqa: B006 - never changed
    testing_types: Annotated[
        list[TestingType], AsList, Field(description=f"Any of {', '.join(get_args(TestingType))}.")
    ] = [],  # noqa: B006 - never changed
    end_from: Annotated[date | None, Field(description="Ended on or after this UTC day (YYYY-MM-DD).")] = None,
    end_to: Annotated[date | None, Field(description="Ended on or before this UTC day (YYYY-MM-DD).")] = None,
    sort: Annotated[Sort, Field(description="newest or oldest end first.")] = "newest",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Tests per page, 1 to 100.")] = 20,
) -> TestPage:
    """List exploratory tests with their bug counts by level, newest end first.

    Use it to find tests by product, status, type or date; get_test tells all about one of them. A test that has no
    end yet (a draft) counts as newest and is left out when a date is given.
    """
    values = _filters(locals())
    statement = _list_statement(len(statuses), sort, frozenset(values))
    binds: dict[str, Any] = {"limit": limit + 1}
    binds |= {f"status_{n}": status for n, status in enumerate(dict.fromkeys(statuses))}
    for part in values.values():
        binds |= part
    rows = fetch(conn, statement, binds)
    if not rows:
        return _empty_page(conn, frozenset(values), binds)
    page = rows[:limit]
    counts = count_bugs(conn, [row[0] for row in page])
    following = _cursor_after(page[-1]) if len(rows) > limit else None
    items = [_summary(row, counts) for row in page]
    return TestPage.model_validate({"items": items, "next_cursor": following, "as_of": rows[0][-1]})


def _empty_page(conn: Connection, filters: frozenset[str], binds: dict[str, Any]) -> TestPage:
    known = func.count().filter(_product.id == bindparam("product_id"))
    columns = [_as_of(filters), *([known] if "product" in filters else [])]
    moment, *found = conn.execute(select(*columns), binds).one()
    if found == [0]:
        raise NotFound(f"Product {binds['product_id']} is not in the store.", "list_products shows the ids.")
    return TestPage(items=[], next_cursor=None, as_of=moment)


def _cursor_after(row: Sequence[Any]) -> str:
    test_id, sort_at = row[0], row[7]
    return encode_cursor(sort_at if isinstance(sort_at, str) else utc_text(sort_at), test_id)
