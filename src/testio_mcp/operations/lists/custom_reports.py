"""Custom reports: the answers to questions of the customer's own that bugs carry."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    String,
    Subquery,
    bindparam,
    cast,
    exists,
    func,
    literal_column,
    select,
)

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import Bug, BugField, Person, Product, Test, table_of
from testio_mcp.domain import BugStatus, Level, share
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.arguments import AsList, Ids, OpenWords
from testio_mcp.operations.lists.filters import Among, Equal, Where
from testio_mcp.operations.lists.listing import Listing, Order
from testio_mcp.operations.lists.paging import Cursor, Page, as_of, decode_cursor, encode_cursor
from testio_mcp.operations.lists.report_fields import (
    CUT,
    OTHER,
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
from testio_mcp.operations.metrics.periods import ALL_TIME, Period, bounds, period_of, today_in
from testio_mcp.operations.registry import operation
from testio_mcp.settings import Settings

_PRODUCTS, _TESTS, _BUGS = table_of(Product), table_of(Test), table_of(Bug)
_PEOPLE, _FIELDS = table_of(Person), table_of(BugField)
_product, _test, _bug, _person = _PRODUCTS.c, _TESTS.c, _BUGS.c, _PEOPLE.c
_field = _FIELDS.c

Time = Literal["end", "report"]
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
        _product.name.label("product"),
        _bug.test_id,
        _test.title.label("test"),
        _person.name.label("reporter"),
        _bug.reported_at,
    ),
    joins=(
        (_PRODUCTS, _bug.product_id == _product.id),
        (_TESTS, _bug.test_id == _test.id),
        (_PEOPLE, _bug.author_id == _person.id),
    ),
    always=(_bug.gone_at.is_(None),),
    filters={
        "configuration_id": Where(_with_report(_field.configuration_id == bindparam("configuration_id"))),
        "unnamed": Where(_with_report(bindparam("unnamed") == CONFIGURATION)),
        "product_id": Equal(_bug.product_id, exists=_PRODUCTS),
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


def filters_of_period(days: Period, time: Time, settings: Settings) -> dict[str, datetime | None]:
    """The filters for a period, by the end of tests or the reports of bugs."""
    start, end = bounds(days, settings.zone)
    return {f"{time}_from": start, f"{time}_before": end}


def without_absent(**filters: Any) -> dict[str, Any]:
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


FieldsByReport = dict[int, dict[str, KnownField]]


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


def known_fields(conn: Connection, filters: Mapping[str, Any]) -> FieldsByReport:
    """The fields of custom reports in the bugs that pass the filters, in the order of the report."""
    by_report: FieldsByReport = defaultdict(dict)
    for report, key, position, *rest in fetch(conn, _contents(frozenset(filters)), filters):
        by_report[report].setdefault(key, KnownField(key, position)).add(position, *rest)
    return {
        report: dict(sorted(fields.items(), key=lambda item: (item[1].position, item[0])))
        for report, fields in by_report.items()
    }


_as_of = as_of(*RECORDS.resources)
AS_OF = select(_as_of)


@lru_cache(maxsize=64)
def _reports(names: frozenset[str]) -> Select[Any]:
    """Tests and bugs by custom report and product."""
    tests, bugs = func.count(_bug.test_id.distinct()), func.count(_bug.id.distinct())
    source = _FIELDS.join(_BUGS, _field.bug_id == _bug.id).join(_PRODUCTS, _bug.product_id == _product.id)
    return (
        select(CONFIGURATION.label("id"), _bug.product_id, _product.name.label("product"), tests, bugs, _as_of)
        .select_from(source)
        .where(*RECORDS.conditions(names))
        .group_by(CONFIGURATION, _bug.product_id, _product.name)
        .order_by(CONFIGURATION, _product.name, _bug.product_id)
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
        "report_fields": [
            _describe_field(row, known_field, every) for row in page for known_field in fields[row["id"]].values()
        ],
        "total": len(reports),
        "next_cursor": encode_cursor(page[-1]["id"]) if len(rest) > limit else None,
        "as_of": moment,
    }


def _describe_field(report: Mapping[str, Any], known_field: KnownField, every: FieldsByReport) -> dict[str, Any]:
    kind = every[report["id"]][known_field.key].content_type
    return {
        "configuration_id": report["id"],
        "key": known_field.key,
        "name": known_field.name,
        "content_type": kind,
        "declared_type": known_field.declared,
        **filling(known_field.values, report["bugs"]),
        **(statistics(known_field.values) if kind == "numeric" else {}),
        "values": [text for text, _ in frequent(known_field.values)] if kind == "categorical" else [],
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


_answer = table_of(BugField).alias("answer")
_UNANSWERED = "no answer"
_AS_IN_LIST_BUGS = Field(description="As in list_bugs.")
_Statuses = Annotated[list[str], AsList, OpenWords(get_args(BugStatus), _bug.status), _AS_IN_LIST_BUGS]
_Levels = Annotated[list[Level], AsList, _AS_IN_LIST_BUGS]
Labels = tuple[str, ...]
# The words of the product that group bugs, besides the fields of a report.
_WORDS: Mapping[str, ColumnElement[Any]] = {
    "test": cast(_bug.test_id, String).concat(literal_column("' '")).concat(_test.title),
    "product": _product.name,
    "status": _bug.status,
    "level": _bug.level,
}
_SOURCE = _BUGS.join(_TESTS, _bug.test_id == _test.id).join(_PRODUCTS, _bug.product_id == _product.id)


class CustomReportItem(BaseModel):
    """A custom report, a field of one in a group of bugs, or a bug with its answers: only the fields that it has."""

    id: int | None = Field(default=None, description="Of a report: its configuration_id, 0 without one; of a bug.")
    products: list[str] = []
    product_ids: list[int] = []
    tests: int | None = None
    field_count: int | None = None
    group: list[str] = Field(default=[], description="The value of each of group_by.")
    bugs: int | None = Field(default=None, description="Bugs of the report or the group.")
    field: str | None = Field(default=None, description="The key of the field.")
    name: str | None = None
    content_type: ContentType | None = Field(default=None, description="As its content shows.")
    value: str | None = Field(default=None, description=f"Of a categorical field; {OTHER}: less frequent ones.")
    count: int | None = Field(default=None, description="Bugs with this value; of a numeric field, with a number.")
    share: float | None = Field(default=None, description="count of filled, of a categorical field.")
    mean: Statistic = None
    median: Statistic = None
    min: Statistic = None
    max: Statistic = None
    sum: Statistic = None
    filled: Filled | None = None
    empty: Empty | None = None
    null: Null | None = None
    distinct_values: int | None = None
    title: str | None = None
    level: str | None = None
    status: str | None = None
    rejection_reason: str | None = None
    product: str | None = None
    test_id: int | None = None
    test: str | None = None
    reporter: str | None = None
    reported_at: datetime | None = None
    values: dict[str, str | None] = Field(default={}, description="By the key of the field.")

    @model_serializer(mode="wrap")
    def _without_others(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if name in self.model_fields_set}


class CustomReportPage(Page):
    """The custom reports; of one of them its fields in groups of bugs, most bugs first, or its bugs, newest first."""

    items: list[CustomReportItem]
    report_fields: list[ReportField] = Field(default=[], description="Of the reports, in their order.")
    configuration_id: int | None = None
    bugs: int | None = Field(default=None, description="All bugs that were added up.")
    groups: int | None = None
    group_by: list[str] = Field(default=[])
    period: str = Field(description="The days, by the end of tests or the reports of bugs.")


class _Split(NamedTuple):
    """What groups bugs: a word of the product, or without one the field of this name."""

    name: str
    word: str


class _Fields:
    """The fields of a report, by any of their names."""

    def __init__(self, by_key: Mapping[str, KnownField]) -> None:
        self.by_key = by_key
        self._by_name: dict[str, str] = {(each.name or key).casefold(): key for key, each in by_key.items()}
        self._by_name |= {key.casefold(): key for key in by_key}

    def has(self, word: str) -> bool:
        """Whether this is a field, or a word of the product."""
        return word.casefold() in self._by_name or word.casefold() in _WORDS

    def named(self, word: str, argument: str, others: Sequence[str] = ()) -> str:
        """The key of the field with this name. Raises `BadInput` with the names that are nearest."""
        if key := self._by_name.get(word.casefold()):
            return key
        near = get_close_matches(word.casefold(), [*others, *self._by_name], n=3, cutoff=0.4)
        names = dict.fromkeys(self._by_name.get(name, name)[:CUT] for name in near)
        step = f"Did you mean {' or '.join(names)}? " if names else ""
        raise BadInput(
            f"{argument}: this report has no field {word[:60]!r}.", f"{step}custom_report without an id shows all."
        )


@lru_cache(maxsize=256)
def _chosen(names: frozenset[str], by: tuple[str, ...]) -> Subquery:
    """The bugs with the value of each group; `by` has words of the product, or nothing for a field."""
    return (
        select(_bug.id, *((_WORDS.get(word, _select_answer(n))).label(f"group_{n}") for n, word in enumerate(by)))
        .select_from(_SOURCE)
        .where(*RECORDS.conditions(names))
        .subquery()
    )


def _select_answer(position: int) -> ColumnElement[Any]:
    """The answer that groups bugs at a place."""
    named = key_of(_answer) == bindparam(f"field_{position}", type_=String)
    return (
        select(func.substr(func.trim(_answer.c.value), 1, CUT))
        .where(_answer.c.bug_id == _bug.id, named)
        .order_by(_answer.c.position)
        .limit(1)
        .correlate(_BUGS)
        .scalar_subquery()
    )


@lru_cache(maxsize=256)
def _bugs(names: frozenset[str], by: tuple[str, ...]) -> Select[Any]:
    chosen = _chosen(names, by)
    groups = [chosen.c[f"group_{n}"] for n in range(len(by))]
    return select(*groups, func.count(chosen.c.id)).group_by(*groups)


@lru_cache(maxsize=256)
def _values(names: frozenset[str], by: tuple[str, ...]) -> Select[Any]:
    """How often each value was given, by group and field."""
    chosen = _chosen(names, by)
    groups = [chosen.c[f"group_{n}"] for n in range(len(by))]
    value = func.trim(_field.value)
    return (
        select(*groups, KEY, func.substr(value, 1, CUT), func.count())
        .select_from(chosen.join(_FIELDS, _field.bug_id == chosen.c.id))
        .where(FIRST, KEY.in_(bindparam("wanted", expanding=True)))
        .group_by(*groups, KEY, value)
    )


@operation(
    "/custom-reports",
    command="custom-reports",
    toolset="numbers",
    needs=("tests", "bugs"),
    examples=(
        {},
        {"configuration_id": 12, "report_fields": ["basket", "again"], "group_by": ["payment", "status"], "limit": 5},
        {"configuration_id": 12, "report_fields": ["satisfaction"], "group_by": ["test"], "time": "report"},
        {"configuration_id": 12, "records": True, "statuses": ["accepted"], "limit": 2},
    ),
)
def custom_report(
    conn: Connection,
    settings: Settings,
    configuration_id: Annotated[int | None, Field(description="Of the report; lists all when left out.")] = None,
    records: Annotated[bool, Field(description="The bugs with their answers instead.")] = False,
    report_fields: Annotated[list[str], AsList, Field(description="Keys or names.")] = [],  # noqa: B006
    group_by: Annotated[
        list[str], AsList, Field(max_length=2, description="Fields, test, product, status, level.")
    ] = [],  # noqa: B006
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    test_ids: Annotated[Ids, Field(description="Only these tests; list_tests shows the ids.")] = [],  # noqa: B006
    statuses: _Statuses = [],  # noqa: B006
    levels: _Levels = [],  # noqa: B006
    period: Annotated[str, Field(description="As in query_metrics.")] = "",
    time: Annotated[Time, Field(description="Of the period.")] = "end",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=200, description="Records per page, 1 to 200.")] = 50,
) -> CustomReportPage:
    """Add up the custom fields of bugs: mean, sum and range of numbers, shares of other values.

    Without an id or fields it lists the reports with their fields.
    """
    days = days_of(period, settings)
    filters = without_absent(product_id=product_id, test_ids=test_ids, statuses=statuses, levels=levels)
    filters |= without_absent(**filters_of_period(days, time, settings))
    answer: dict[str, Any]
    if configuration_id is None and not (report_fields or group_by or records):
        answer = list_reports(conn, filters, cursor, limit)
        return CustomReportPage.model_validate(answer | {"period": str(days)})
    if configuration_id is None:
        configuration_id = _only_report(conn, [*report_fields, *group_by])
    must_exist(conn, configuration_id)
    filters |= of_report(configuration_id)
    if records:
        answer = list_records(conn, configuration_id, filters, cursor, limit)
    else:
        answer = _summary(conn, configuration_id, filters, report_fields, group_by)
        answer |= _page(answer.pop("rows"), len(group_by), cursor, limit)
    return CustomReportPage.model_validate(answer | {"configuration_id": configuration_id, "period": str(days)})


def _only_report(conn: Connection, words: Sequence[str]) -> int:
    """The report that is meant where none was named: the only one with such fields.

    Raises `NotFound` when there is no report, `BadInput` when several could be meant.
    """
    reports = known_fields(conn, {})
    if not reports:
        raise NotFound("No bug carries a custom report.", "sync_data copies what is new.")
    having = [report for report, fields in reports.items() if all(_Fields(fields).has(word) for word in words)]
    meant = having or list(reports)
    if len(meant) > 1:
        listed = ", ".join(map(str, sorted(meant)[:20]))
        raise BadInput(
            "configuration_id: several reports could be meant.", f"configuration_id takes one of: {listed}."
        )
    return meant[0]


def _summary(
    conn: Connection,
    configuration_id: int,
    filters: Mapping[str, Any],
    report_fields: Sequence[str],
    group_by: Sequence[str],
) -> dict[str, Any]:
    """What a summary holds, with all its rows."""
    fields = _Fields(known_fields(conn, of_report(configuration_id))[configuration_id])
    wanted = [fields.named(word, "report_fields") for word in report_fields] or list(fields.by_key)
    by = [_split(word, fields) for word in group_by]
    groups = _groups(conn, filters, by)
    if not groups:
        RECORDS.page(conn, filters, order="newest", cursor=None, limit=1)  # says which id is unknown, if any
    return {
        "rows": _rows(conn, filters, by, groups, [fields.by_key[key] for key in dict.fromkeys(wanted)]),
        "bugs": sum(groups.values()),
        "groups": len(groups),
        "group_by": [split.name for split in by],
        "as_of": fetch(conn, AS_OF, {})[0][0],
    }


def _split(word: str, fields: _Fields) -> _Split:
    folded = word.casefold()
    return _Split(folded, folded) if folded in _WORDS else _Split(fields.named(word, "group_by", tuple(_WORDS)), "")


def _binds(filters: Mapping[str, Any], by: Sequence[_Split]) -> dict[str, Any]:
    return {**filters, **{f"field_{n}": split.name for n, split in enumerate(by) if not split.word}}


def _labels(values: Sequence[str | None]) -> Labels:
    return tuple((value or "").strip() or _UNANSWERED for value in values)


def _groups(conn: Connection, filters: Mapping[str, Any], by: Sequence[_Split]) -> Counter[Labels]:
    """The groups and their bugs, most first."""
    counts: Counter[Labels] = Counter()
    statement = _bugs(frozenset(filters), tuple(split.word for split in by))
    for *values, bugs in fetch(conn, statement, _binds(filters, by)):
        if bugs:
            counts[_labels(values)] += bugs
    return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def _rows(
    conn: Connection,
    filters: Mapping[str, Any],
    by: Sequence[_Split],
    groups: Mapping[Labels, int],
    fields: Sequence[KnownField],
) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """What `FieldSummary` holds for each field of each group, with its place in the list."""
    values: dict[tuple[Labels, str], Values] = defaultdict(Values)
    statement = _values(frozenset(filters), tuple(split.word for split in by))
    binds = {**_binds(filters, by), "wanted": [known_field.key for known_field in fields]}
    for *labels, key, text, bugs in fetch(conn, statement, binds):
        values[_labels(labels), key].add(text, bugs)
    for group, bugs in groups.items():
        records = (
            record for known_field in fields for record in _records(known_field, values[group, known_field.key], bugs)
        )
        for position, record in enumerate(records):
            yield [-bugs, *group, position], record | {"group": group, "bugs": bugs}


def _records(known_field: KnownField, values: Values, bugs: int) -> Iterator[dict[str, Any]]:
    """One record about a field in so many bugs; for a categorical field one per value."""
    kind = known_field.content_type
    about = {"field": known_field.key, "name": known_field.name, "content_type": kind, **filling(values, bugs)}
    if kind == "categorical" and values.filled:
        for text, count in frequent(values):
            yield about | {"value": text, "count": count, "share": share(count, values.filled)}
    else:
        yield about | (statistics(values) if kind == "numeric" else {})


def _page(
    rows: Iterator[tuple[list[Any], dict[str, Any]]], parts: int, cursor: str | None, limit: int
) -> dict[str, Any]:
    """The records after the cursor."""
    every = list(rows)
    after = decode_cursor(cursor, int, *[str] * parts, int) if cursor else None
    rest = [row for row in every if after is None or row[0] > after]
    following = encode_cursor(*rest[limit - 1][0]) if len(rest) > limit else None
    return {"items": [item for _, item in rest[:limit]], "total": len(every), "next_cursor": following}
