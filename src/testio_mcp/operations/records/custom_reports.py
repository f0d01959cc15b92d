"""Custom reports: the answers to questions of the customer's own that bugs carry."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    bindparam,
    exists,
    func,
    literal_column,
    select,
)

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import Bug, BugField, Person, Product, Test, table_of
from testio_mcp.errors import NotFound
from testio_mcp.operations.lists.filters import Among, Equal, Where
from testio_mcp.operations.lists.listing import Listing, Order
from testio_mcp.operations.lists.paging import as_of, decode_cursor, encode_cursor
from testio_mcp.operations.metrics.periods import ALL_TIME, Period, bounds, period_of, today_in
from testio_mcp.operations.records.report_fields import (
    CUT,
    ContentType,
    Empty,
    Filled,
    Null,
    Statistic,
    Values,
    content_type,
    filling,
    frequent,
    statistics,
)
from testio_mcp.settings import Settings

Time = Literal["end", "report"]
_BUGS, _TESTS, _FIELDS = table_of(Bug), table_of(Test), table_of(BugField)
_bug, _test, _field = _BUGS.c, _TESTS.c, _FIELDS.c
_product, _person = table_of(Product), table_of(Person)
_earlier = _FIELDS.alias("earlier")


def key_of(table: FromClause) -> ColumnElement[Any]:
    """What names a field: its key, its name where it has none."""
    return func.coalesce(table.c.field_key, table.c.name, literal_column("'unnamed'"))


KEY = key_of(_FIELDS)
CONFIGURATION = func.coalesce(_field.configuration_id, literal_column("0"))
FIRST = ~exists().where(
    _earlier.c.bug_id == _field.bug_id, _earlier.c.position < _field.position, key_of(_earlier) == KEY
).correlate(_FIELDS)
"""A field that occurs twice in a report counts once."""


class ReportField(BaseModel):
    """A field of a custom report."""

    configuration_id: int
    key: str = Field(description="What names it in other questions.")
    name: str | None = Field(description="The question as people read it.")
    content_type: ContentType = Field(description="As its content shows.")
    declared_type: str | None = Field(description="As the API says.")
    filled: Filled
    empty: Empty
    null: Null
    distinct_values: int
    min: Statistic = None
    median: Statistic = None
    mean: Statistic = None
    max: Statistic = None
    values: list[str] = Field(description="The most frequent first, of a categorical field.")


def _with_report(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return _bug.id.in_(select(_field.bug_id).where(*conditions))


def _of_test(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(_test.id == _bug.test_id, _test.end_at.is_not(None), *conditions).correlate(_BUGS)


RECORDS = Listing(
    table=_BUGS,
    columns=(
        _bug.id,
        _bug.title,
        _bug.level,
        _bug.status,
        _bug.rejection_reason,
        _product.c.name.label("product"),
        _bug.test_id,
        _test.title.label("test"),
        _person.c.name.label("reporter"),
        _bug.reported_at,
    ),
    joins=(
        (_product, _bug.product_id == _product.c.id),
        (_TESTS, _bug.test_id == _test.id),
        (_person, _bug.author_id == _person.c.id),
    ),
    always=(_bug.gone_at.is_(None),),
    filters={
        "configuration_id": Where(_with_report(_field.configuration_id == bindparam("configuration_id"))),
        "unnamed": Where(_with_report(bindparam("unnamed") == CONFIGURATION)),
        "product_id": Equal(_bug.product_id, exists=_product),
        "test_ids": Among(_bug.test_id, exists=_TESTS),
        "statuses": Among(_bug.status),
        "levels": Among(_bug.level),
        "end_from": Where(_of_test(_test.sort_at >= bindparam("end_from", type_=_test.sort_at.type))),
        "end_before": Where(_of_test(_test.sort_at < bindparam("end_before", type_=_test.sort_at.type))),
        "report_from": Where(_bug.reported_at >= bindparam("report_from", type_=_bug.reported_at.type)),
        "report_before": Where(_bug.reported_at < bindparam("report_before", type_=_bug.reported_at.type)),
    },
    orders={"newest": Order((_bug.id,))},
    resources=("tests", "bugs"),
)
"""The bugs with a custom report; its filters choose the bugs of every question here."""


def of_report(configuration_id: int) -> dict[str, int]:
    """The filter for one custom report; the number 0 also stands for reports that name none."""
    return {"configuration_id": configuration_id} if configuration_id else {"unnamed": 0}


def days_of(period: str | None, settings: Settings) -> Period:
    """The days that a period in words has; all time without one."""
    return period_of(period or ALL_TIME, today_in(settings.zone, datetime.now(UTC)), settings.fiscal_year_starts)


def within(days: Period, time: Time, settings: Settings) -> dict[str, datetime | None]:
    """The filters for a period, by the end of tests or the reports of bugs."""
    start, end = bounds(days, settings.zone)
    return {f"{time}_from": start, f"{time}_before": end}


def given(**filters: Any) -> dict[str, Any]:
    """The filters that choose something."""
    return {name: value for name, value in filters.items() if value not in (None, [])}


@dataclass
class KnownField:
    """A field as its bugs show it."""

    key: str
    position: int
    name: str | None = None
    declared: str | None = None
    values: Values = field(default_factory=Values)

    def add(self, position: int, name: str | None, declared: str | None, text: str | None, bugs: int) -> None:
        """Learn from some bugs."""
        self.position = min(self.position, position)
        self.name, self.declared = self.name or name, self.declared or declared
        self.values.add(text, bugs)

    @property
    def content_type(self) -> ContentType:
        """What kind of content it has."""
        return content_type(self.values, self.declared)


Fields = dict[int, dict[str, KnownField]]


@lru_cache(maxsize=64)
def _contents(names: frozenset[str]) -> Select[Any]:
    """Every value of every field, by custom report."""
    value = func.trim(_field.value)
    number, name, declared = func.min(_field.position), func.max(_field.name), func.max(_field.type)
    return (
        select(CONFIGURATION, KEY, number, name, declared, func.substr(value, 1, CUT), func.count())
        .select_from(_FIELDS.join(_BUGS, _field.bug_id == _bug.id))
        .where(FIRST, *RECORDS.conditions(names))
        .group_by(CONFIGURATION, KEY, value)
    )


def known_fields(conn: Connection, filters: Mapping[str, Any]) -> Fields:
    """The fields of custom reports in the bugs that pass the filters, in the order of the report."""
    found: Fields = defaultdict(dict)
    for report, key, position, *rest in fetch(conn, _contents(frozenset(filters)), filters):
        found[report].setdefault(key, KnownField(key, position)).add(position, *rest)
    return {
        report: dict(sorted(fields.items(), key=lambda item: (item[1].position, item[0])))
        for report, fields in found.items()
    }


_as_of = as_of(*RECORDS.resources)
AS_OF = select(_as_of)


@lru_cache(maxsize=64)
def _reports(names: frozenset[str]) -> Select[Any]:
    """Tests and bugs by custom report and product."""
    tests, bugs = func.count(_bug.test_id.distinct()), func.count(_bug.id.distinct())
    source = _FIELDS.join(_BUGS, _field.bug_id == _bug.id).join(_product, _bug.product_id == _product.c.id)
    return (
        select(CONFIGURATION.label("id"), _bug.product_id, _product.c.name.label("product"), tests, bugs, _as_of)
        .select_from(source)
        .where(*RECORDS.conditions(names))
        .group_by(CONFIGURATION, _bug.product_id, _product.c.name)
        .order_by(CONFIGURATION, _product.c.name, _bug.product_id)
    )


def list_reports(conn: Connection, filters: Mapping[str, Any], cursor: str | None, limit: int) -> dict[str, Any]:
    """A page of the custom reports in the bugs that pass the filters, and the fields of those on the page.

    Whether a field is numeric, categorical or text is found from its content, in all bugs of the report.
    """
    after = decode_cursor(cursor, int)[0] if cursor else None
    reports: dict[int, dict[str, Any]] = {}
    moment = None
    for report, product, name, tests, bugs, at in fetch(conn, _reports(frozenset(filters)), filters):
        moment = at
        row = reports.setdefault(
            report, {"id": report, "products": [], "product_ids": [], "tests": 0, "bugs": 0, "field_count": 0}
        )
        row["products"].append(name)
        row["product_ids"].append(product)
        row["tests"] += tests
        row["bugs"] += bugs
    if not reports:
        # says which id is unknown, if any
        moment = RECORDS.page(conn, filters, order="newest", cursor=None, limit=1)["as_of"]
    rest = [row for report, row in reports.items() if after is None or report > after]
    page, fields = rest[:limit], known_fields(conn, filters) if rest else {}
    every = known_fields(conn, {}) if filters and rest else fields
    for row in page:
        row["field_count"] = len(fields[row["id"]])
    return {
        "items": page,
        "report_fields": [_shown(row, found, every) for row in page for found in fields[row["id"]].values()],
        "total": len(reports),
        "next_cursor": encode_cursor(page[-1]["id"]) if len(rest) > limit else None,
        "as_of": moment,
    }


def _shown(report: Mapping[str, Any], found: KnownField, every: Fields) -> dict[str, Any]:
    kind = every[report["id"]][found.key].content_type
    return {
        "configuration_id": report["id"],
        "key": found.key,
        "name": found.name,
        "content_type": kind,
        "declared_type": found.declared,
        **filling(found.values, report["bugs"]),
        **(statistics(found.values) if kind == "numeric" else {}),
        "values": [text for text, _ in frequent(found.values)] if kind == "categorical" else [],
    }


_answers = (
    select(_field.bug_id, KEY.label("key"), _field.value)
    .where(_field.bug_id.in_(bindparam("ids", expanding=True)), FIRST)
    .order_by(_field.bug_id, _field.position)
)


def list_records(
    conn: Connection, configuration_id: int, filters: Mapping[str, Any], cursor: str | None, limit: int
) -> dict[str, Any]:
    """A page of the bugs with a custom report, each with its answers, newest first."""
    page = RECORDS.page(conn, filters, order="newest", cursor=cursor, limit=limit)
    if not page["items"]:
        must_exist(conn, configuration_id)
    answers: dict[int, dict[str, str | None]] = defaultdict(dict)
    ids = [item["id"] for item in page["items"]]
    for bug_id, key, value in fetch(conn, _answers, {"ids": ids}) if ids else ():
        answers[bug_id][key] = value
    for item in page["items"]:
        item["values"] = answers[item["id"]]
    return page


_one: dict[str, Select[Any]] = {
    name: select(_bug.id).where(*RECORDS.conditions(frozenset({name}))).limit(1)
    for name in ("configuration_id", "unnamed")
}


def must_exist(conn: Connection, configuration_id: int) -> None:
    """Raise `NotFound` if no bug carries this custom report."""
    chosen = of_report(configuration_id)
    if not fetch(conn, _one[next(iter(chosen))], chosen):
        raise NotFound(f"Custom report {configuration_id} is in no bug.", "custom_report without an id shows them.")
