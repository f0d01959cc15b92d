"""How test cases went: results of test-case tests by test case, step, tester or test."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import Person, Product, Test, TestCaseResult, table_of
from testio_mcp.domain import RAN_IN_WORDS
from testio_mcp.errors import NotFound
from testio_mcp.operations.arguments import Ids, order_by
from testio_mcp.operations.figures import RAN, pass_rate
from testio_mcp.operations.lists.filters import any_of
from testio_mcp.operations.lists.paging import Cursor, Page, as_of, decode_cursor, encode_cursor
from testio_mcp.operations.metrics.periods import ALL_TIME, bounds, period_of, today_in
from testio_mcp.operations.registry import operation
from testio_mcp.settings import Settings

_TESTS, _PEOPLE = table_of(Test), table_of(Person)
_test, _person, _case_result = _TESTS.c, _PEOPLE.c, table_of(TestCaseResult).c

By = Literal["test_case", "step", "tester", "test"]
Sort = Literal["worst", "name"]
STEPS_READ = 20_000
"""Results whose steps are looked at, of the newest tests first: steps stand in the payload alone."""
_ENDS = ("passed", "failed", "blocked")
_STEPS = ("steps", "test_case_steps", "step_results")
_NO_RATE = 10_001


class Results(BaseModel):
    """How results ended."""

    results: int
    passed: int
    failed: int
    blocked: int
    not_tested: int = Field(description="Without an end, such as pending.")
    pass_rate: float | None = Field(description="Passed, of all that passed, failed or were blocked.")


class CaseResults(BaseModel):
    """One test case, step, tester or test with its results."""

    id: int | None = Field(description="Of the test case, step, tester or test; null if the account tells none.")
    name: str
    test_case: str | None = Field(default=None, description="The test case of a step.")
    step: int | None = Field(default=None, description="Its place in the test case, from 1.")
    tests: int
    results: int
    passed: int
    failed: int
    blocked: int
    not_tested: int = Field(description="Results without an end, such as pending.")
    pass_rate: float | None = Field(description="Passed, of all that passed, failed or were blocked.")


class CaseResultPage(Page):
    """Results of test cases, the lowest pass rate first unless asked otherwise."""

    items: list[CaseResults]
    by: By
    scope: str
    period: str = Field(description="The days, by the end of tests.")
    totals: Results = Field(description="All results; by step, all results of steps.")
    results_left_out: int | None = Field(
        description=f"By step: results of test cases beyond the newest {STEPS_READ}, which were not read."
    )


class _Key(NamedTuple):
    """What tells one group from another."""

    of: int
    part: int = 0


@dataclass
class _Group:
    """Results that belong together."""

    id: int | None
    name: str
    test_case: str | None = None
    step: int | None = None
    tests: set[int] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        about = {"id": self.id, "name": self.name, "test_case": self.test_case, "step": self.step}
        return about | {"tests": len(self.tests)} | _results(self.counts)


_FILTERS: Mapping[str, ColumnElement[bool]] = {
    "product_id": _test.product_id == bindparam("product_id"),
    "test_ids": any_of(_test.id, "test_ids"),
    "end_from": _test.end_at.is_not(None) & (_test.sort_at >= bindparam("end_from", type_=_test.sort_at.type)),
    "end_before": _test.end_at.is_not(None) & (_test.sort_at < bindparam("end_before", type_=_test.sort_at.type)),
}
_results_of_tests = table_of(TestCaseResult).join(_TESTS, _case_result.test_id == _test.id)
_with_testers = _results_of_tests.outerjoin(_PEOPLE, _case_result.tester_id == _person.id)
_BY: Mapping[str, tuple[ColumnElement[Any], ColumnElement[Any]]] = {
    "test_case": (_case_result.test_case_id, _case_result.title),
    "tester": (_case_result.tester_id, _person.name),
    "test": (_test.id, _test.title),
}
_AS_OF = select(as_of("tests"))


def _conditions(names: frozenset[str]) -> list[ColumnElement[bool]]:
    """The tests: those that were named, or all that ran."""
    chosen = [condition for name, condition in _FILTERS.items() if name in names]
    return [_test.gone_at.is_(None), *chosen, *([] if "test_ids" in names else [RAN])]


@lru_cache(maxsize=64)
def _counted(names: frozenset[str], by: By) -> Select[Any]:
    """Results by group, test and status, the newest test last."""
    key, name = _BY[by]
    return (
        select(key, func.max(name), _test.id, _case_result.status, func.count())
        .select_from(_with_testers)
        .where(*_conditions(names))
        .group_by(key, _test.id, _case_result.status)
        .order_by(_test.id)
    )


@lru_cache(maxsize=16)
def _payloads(names: frozenset[str]) -> Select[Any]:
    """The payloads of results, those of the newest tests first."""
    return (
        select(_case_result.test_case_id, _case_result.title, _test.id, _case_result.raw)
        .select_from(_results_of_tests)
        .where(*_conditions(names))
        .order_by(_test.sort_at.desc(), _test.id.desc(), _case_result.position)
        .limit(bindparam("limit"))
    )


@lru_cache(maxsize=16)
def _number(names: frozenset[str]) -> Select[Any]:
    return select(func.count(_case_result.test_id)).select_from(_results_of_tests).where(*_conditions(names))


@operation(
    "/test-case-results",
    command="test-case-results",
    toolset="numbers",
    needs=("tests",),
    examples=({}, {"by": "step", "limit": 5}, {"product_id": 1, "by": "tester", "sort": "name"}, {"by": "test"}),
    by_default=False,
)
def test_case_results(
    conn: Connection,
    settings: Settings,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    test_ids: Annotated[Ids, Field(description="Only these tests; list_tests shows the ids.")] = [],  # noqa: B006
    period: Annotated[
        str | None, Field(description="When tests ended, such as 'last 30 days', 'this quarter' or '2026-Q3'.")
    ] = None,
    by: Annotated[By, Field(description="What results are added up by.")] = "test_case",
    sort: Annotated[
        Sort,
        order_by(pass_rate=("-pass_rate", "worst")),
        Field(description="worst: the lowest pass rate first; name: in order."),
    ] = "worst",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Records per page, 1 to 100.")] = 20,
) -> CaseResultPage:
    """Show how test cases, their steps or their testers did: pass rates of test-case tests.

    Only some accounts tell these results. For user stories of other tests use execution_matrix.
    """
    days = period_of(period or ALL_TIME, today_in(settings.zone, datetime.now(UTC)), settings.fiscal_year_starts)
    start, end = bounds(days, settings.zone)
    wanted = {"product_id": product_id, "test_ids": test_ids, "end_from": start, "end_before": end}
    filters = {name: value for name, value in wanted.items() if value not in (None, [])}
    groups, left_out = _by_step(conn, filters) if by == "step" else (_by_key(conn, filters, by), 0)
    if not groups:
        _must_exist(conn, filters)
    totals: Counter[str] = sum((group.counts for group in groups.values()), Counter())
    about = {
        "by": by,
        "scope": "the tests that were named" if test_ids else RAN_IN_WORDS,
        "period": str(days),
        "totals": _results(totals),
        "results_left_out": left_out or None,
        "as_of": fetch(conn, _AS_OF, {})[0][0],
    }
    return CaseResultPage.model_validate(about | _page(groups, sort, cursor, limit))


def _results(counts: Mapping[str, int]) -> dict[str, Any]:
    """What `Results` holds."""
    ends = {word: counts.get(word, 0) for word in _ENDS}
    results = sum(counts.values())
    return {
        "results": results,
        **ends,
        "not_tested": results - sum(ends.values()),
        "pass_rate": pass_rate(counts),
    }


def _by_key(conn: Connection, filters: Mapping[str, Any], by: By) -> dict[_Key, _Group]:
    groups: dict[_Key, _Group] = {}
    for group_id, name, test_id, status, results in fetch(conn, _counted(frozenset(filters), by), filters):
        group = groups.setdefault(_Key(group_id or 0), _Group(group_id, ""))
        group.name = name or group.name or _unnamed(by, group_id)
        group.tests.add(test_id)
        group.counts[status or "unknown"] += results
    return groups


def _unnamed(by: By, group_id: int | None) -> str:
    return "unknown" if group_id is None else f"{by.replace('_', ' ').capitalize()} {group_id}"


def _by_step(conn: Connection, filters: Mapping[str, Any]) -> tuple[dict[_Key, _Group], int]:
    """The groups, and how many results were not looked at."""
    names = frozenset(filters)
    groups: dict[_Key, _Group] = {}
    rows = fetch(conn, _payloads(names), {**filters, "limit": STEPS_READ})
    for case_id, title, test_id, raw in rows:
        for position, step in _steps(orjson.loads(raw)):
            step_id = step.get("id") if type(step.get("id")) is int else None
            key = _Key(case_id or 0, position if step_id is None else step_id)
            if key not in groups:
                name = _first(step, "description", "title", "name") or f"Step {position}"
                groups[key] = _Group(step_id, name, title or _unnamed("test_case", case_id), position)
            groups[key].tests.add(test_id)
            groups[key].counts[_first(step, "status", "result") or "unknown"] += 1
    total = fetch(conn, _number(names), filters)[0][0] if len(rows) == STEPS_READ else len(rows)
    return groups, total - len(rows)


def _steps(payload: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """The steps in the payload of a result, with their places from 1."""
    steps: list[Any] = next((payload[name] for name in _STEPS if isinstance(payload.get(name), list)), [])
    return ((position, step) for position, step in enumerate(steps, 1) if isinstance(step, dict))


def _first(step: Mapping[str, Any], *names: str) -> str | None:
    return next((step[name] for name in names if isinstance(step.get(name), str) and step[name]), None)


def _must_exist(conn: Connection, filters: Mapping[str, Any]) -> None:
    """Raise `NotFound` if a product or test that was named is not in the store."""
    for name, table, what in (("product_id", Product, "Product"), ("test_ids", Test, "Test")):
        wanted = filters.get(name, [])
        ids = wanted if isinstance(wanted, list) else [wanted]
        if ids and not fetch(conn, _known[table], {"ids": ids}):
            raise NotFound(f"{what} {ids[0]} is not in the store.", f"list_{what.lower()}s shows the ids.")


_known: dict[Any, Select[Any]] = {
    model: select(table_of(model).c.id).where(any_of(table_of(model).c.id, "ids")) for model in (Product, Test)
}


def _page(groups: Mapping[_Key, _Group], sort: Sort, cursor: str | None, limit: int) -> dict[str, Any]:
    """The records after the cursor, in their order."""
    kinds: Iterable[Any] = (int, int, int, int) if sort == "worst" else (str, int, int, int)
    after = decode_cursor(cursor, *kinds) if cursor else None
    ordered = sorted((_sort_key(key, group, sort), group) for key, group in groups.items())
    rest = [item for item in ordered if after is None or item[0] > after]
    following = encode_cursor(*rest[limit - 1][0]) if len(rest) > limit else None
    return {"items": [group.to_dict() for _, group in rest[:limit]], "total": len(groups), "next_cursor": following}


def _sort_key(key: _Key, group: _Group, sort: Sort) -> list[Any]:
    """Where a group stands: no two have the same place."""
    if sort == "name":
        return [group.test_case or group.name, group.step or 0, *key]
    rate = pass_rate(group.counts)
    return [_NO_RATE if rate is None else round(rate * 10_000), -group.counts.total(), *key]
