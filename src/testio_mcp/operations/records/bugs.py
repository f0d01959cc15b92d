"""Bugs."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Text, bindparam, exists, func, literal_column, or_, select, true

from testio_mcp.database.dialect import among, fetch_records, in_order
from testio_mcp.database.search_query import Query, read_query
from testio_mcp.database.search_read import having_words, most_records
from testio_mcp.database.tables import Bug, BugDevice, BugField, Feature, Person, Product, Test, table_of
from testio_mcp.domain import FAR_FUTURE, BugKind, BugStatus, Level, auto_accept_at
from testio_mcp.operations.arguments import (
    ON_REQUEST,
    AsList,
    Fields,
    Ids,
    OpenWords,
    OtherName,
    ScopeOfTests,
    TotalOnly,
    order_by,
)
from testio_mcp.operations.figures import RAN, read_timestamp
from testio_mcp.operations.lists.listing import (
    COUNTED,
    Counting,
    Listing,
    Order,
    Part,
    any_of,
    text_among,
    texts_of_devices,
    total_of,
)
from testio_mcp.operations.lists.matching import containing, people_named
from testio_mcp.operations.lists.paging import Cursor, Page
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.operations.records.tests import TestingTypes, TestStatuses
from testio_mcp.operations.registry import operation
from testio_mcp.operations.work.search import matching_ids
from testio_mcp.settings import Settings

Sort = Literal["newest", "oldest"]
_LISTED = get_args(Sort)
_DEARER = 12
"""How many times longer it takes to look into a bug for a text than to have the search name one."""
_DECIDED = frozenset({"accepted", "auto_accepted", "rejected"})

_BUGS, _TESTS, _DEVICES = table_of(Bug), table_of(Test), table_of(BugDevice)
_bug, _test, _device, _field = _BUGS.c, _TESTS.c, _DEVICES.c, table_of(BugField).c
_product, _feature, _person = table_of(Product), table_of(Feature), table_of(Person)
Levels = Annotated[list[Level], AsList, Field(description="Kinds but functional have none.")]
Statuses = Annotated[
    list[str],
    AsList,
    OpenWords(get_args(BugStatus), _bug.status),
    Field(description=f"{', '.join(get_args(BugStatus))}. open: undecided; question: the customer asked."),
]


class DeviceOfBug(BaseModel):
    """A device on which a bug was seen."""

    name: str | None
    category: str | None
    operating_system: str | None
    operating_system_version: str | None
    browsers: str | None


class FieldOfBug(BaseModel):
    """A field of the custom report in a bug."""

    name: str | None
    value: str | None


class BugSummary(BaseModel):
    """One bug in a list. `kind` and `level` are the two halves of the API's severity."""

    id: int
    title: str
    level: str
    kind: str
    status: str
    rejection_reason: str | None
    known: Annotated[bool, OtherName("is_known")]
    product_id: int
    product: str
    test_id: int
    feature: str | None
    reporter: str | None
    reported_at: datetime | None
    exported: bool
    exported_at: datetime | None
    comments: int
    feature_id: Annotated[int | None, ON_REQUEST] = None
    test: Annotated[str | None, ON_REQUEST] = None
    test_status: Annotated[str | None, ON_REQUEST] = None
    testing_type: Annotated[str | None, ON_REQUEST] = None
    test_environment_id: Annotated[int | None, ON_REQUEST] = None
    test_end_at: Annotated[datetime | None, ON_REQUEST] = None
    auto_accept_at: Annotated[datetime | None, ON_REQUEST] = Field(
        default=None, description="When it is auto-accepted unless somebody decides."
    )
    devices: Annotated[list[DeviceOfBug], ON_REQUEST] = []
    custom_fields: Annotated[list[FieldOfBug], ON_REQUEST] = []


class BugPage(Page):
    """Bugs by report, newest first unless asked otherwise; those without a time of report last."""

    items: list[BugSummary]


_by_end = _BUGS.join(_TESTS, _bug.test_id == _test.id)
_product_of_test = {"product_id": _test.product_id == bindparam("product_id")}
_NEVER = datetime(1000, 1, 1, tzinfo=UTC)
_REPORTED = frozenset({"product_id", "reported", "reported_from", "reported_before"})
"""Filters that lead along the order by report."""


def _by_report(is_newest: bool, instead: Mapping[str, Any] = MappingProxyType({})) -> Order:
    return Order(
        (_bug.reported_at, _bug.id),
        (datetime, int),
        is_newest,
        above="reported_from",
        below="reported_before",
        instead=instead,
        missing=_NEVER if is_newest else FAR_FUTURE,
        present="reported",
    )


def _by_end_of_test(is_newest: bool, instead: Mapping[str, Any] = MappingProxyType({})) -> Order:
    above, below = "end_from", "end_before"
    keys, kinds = (_test.sort_at, _test.id, _bug.id), (datetime, int, int)
    instead = {**_product_of_test, **instead}
    return Order(keys, kinds, is_newest, _by_end, above=above, below=below, instead=instead)


_on_environment = _test.test_environment_id == bindparam("test_environment_id")
_texts_of_device = texts_of_devices(_device)
_texts = {"rejection_reason": _bug.rejection_reason, **_texts_of_device}
_of_device = {name: text_among(column, name) for name, column in _texts_of_device.items()}
_tags = frozenset({"levels", "kinds", "known"})
_bugs_of_tests = in_order(_TESTS, _BUGS, _bug.test_id == _test.id)
_bugs_of_devices = in_order(_DEVICES, _BUGS, _bug.id == _device.bug_id)
# Counted from where the filter leads: an environment has few tests, and a device stands in a narrow table.
_counting = {
    "test_environment_id": Counting(
        select(literal_column("1")).select_from(_bugs_of_tests).where(_on_environment, _bug.gone_at.is_(None)),
        _tags,
    ),
    **{
        name: Counting(
            select(_device.bug_id).select_from(_bugs_of_devices).where(is_such, _bug.gone_at.is_(None)).distinct(),
            _tags | _of_device.keys(),
        )
        for name, is_such in _of_device.items()
    },
}
_is_exported = or_(_bug.exported_at.is_not(None), _bug.external_idx.is_not(None))
_filters: dict[str, ColumnElement[bool]] = {
    "product_id": _bug.product_id == bindparam("product_id"),
    "test_ids": any_of(_bug.test_id, "test_ids"),
    "feature_ids": any_of(_bug.feature_id, "feature_ids"),
    "reporter_ids": any_of(_bug.author_id, "reporter_ids"),
    "levels": any_of(_bug.level, "levels"),
    "kinds": any_of(_bug.kind, "kinds"),
    "statuses": any_of(_bug.status, "statuses"),
    "known": _bug.is_known == bindparam("known"),
    "exported": _is_exported == bindparam("exported"),
    "rejection_reason": (_bug.status == "rejected") & text_among(_bug.rejection_reason, "rejection_reason"),
    "test_environment_id": _bug.test_id.in_(select(_test.id).where(_on_environment)),
    "exclude_test_ids": _bug.test_id.not_in(bindparam("exclude_test_ids", expanding=True)),
    "ran": exists().where(_test.id == _bug.test_id, _test.gone_at.is_(None), RAN).correlate(_BUGS),
    "test_statuses": _bug.test_id.in_(
        select(_test.id).where(any_of(_test.status, "test_statuses"), _test.gone_at.is_(None))
    ),
    "testing_types": exists()
    .where(_test.id == _bug.test_id, any_of(_test.testing_type, "testing_types"))
    .correlate(_BUGS),
    "ids": among(_bug.id, bindparam("ids", type_=Text)),
    "bug_ids": any_of(_bug.id, "bug_ids"),
    "reported": _bug.reported_at.is_not(None),
    "reported_from": _bug.reported_at >= bindparam("reported_from", type_=_bug.reported_at.type),
    "reported_before": _bug.reported_at < bindparam("reported_before", type_=_bug.reported_at.type),
    "text": among(_bug.id, bindparam("text", type_=Text)),
    "ended": _test.end_at.is_not(None),
    "end_from": _test.sort_at >= bindparam("end_from", type_=_test.sort_at.type),
    "end_before": _test.sort_at < bindparam("end_before", type_=_test.sort_at.type),
}
# As the value of something else a condition leads to no index, which would break the order of a walk.
_hidden = {name: condition.is_(true()) for name, condition in _filters.items() if name not in _REPORTED}
_hidden_from_ends = {name: condition for name, condition in _hidden.items() if name not in ("end_from", "end_before")}
_listing = Listing(
    table=_BUGS,
    columns=(
        _bug.id,
        _bug.title,
        _bug.level,
        _bug.kind,
        _bug.status,
        _bug.rejection_reason,
        _bug.is_known.label("known"),
        _bug.product_id,
        _product.c.name.label("product"),
        _bug.test_id,
        _feature.c.title.label("feature"),
        _person.c.name.label("reporter"),
        _bug.reported_at,
        _is_exported.label("exported"),
        _bug.exported_at,
        _bug.comment_count.label("comments"),
    ),
    joins=(
        (_product, _bug.product_id == _product.c.id),
        (_feature, _bug.feature_id == _feature.c.id),
        (_person, _bug.author_id == _person.c.id),
    ),
    always=(_bug.gone_at.is_(None),),
    filters=_filters,
    parts=(
        Part(
            _device.bug_id == _bug.id,
            _of_device,
        ),
    ),
    orders={
        **{sort: _by_report(sort == "newest") for sort in get_args(Sort)},
        **{f"{sort} walk": _by_report(sort == "newest", _hidden) for sort in get_args(Sort)},
        **{f"{sort} end": _by_end_of_test(sort == "newest") for sort in get_args(Sort)},
        **{f"{sort} end walk": _by_end_of_test(sort == "newest", _hidden_from_ends) for sort in get_args(Sort)},
    },
    resources=("tests", "bugs"),
    counting=_counting,
    known={
        "product_id": (_product, "Product", "list_products shows the ids."),
        "test_ids": (_TESTS, "Test", "list_tests shows the ids."),
        "feature_ids": (_feature, "Feature", "list_features shows the ids."),
        "bug_ids": (_BUGS, "Bug", "list_bugs shows the ids."),
    },
)


def _values(conn: Connection, asked: dict[str, Any]) -> dict[str, Any]:
    """What the filters compare with, of what was asked for; `text` still as it was typed."""
    ended = asked["end_from"] is not None or asked["end_to"] is not None
    reported = asked["reported_from"] is not None or asked["reported_to"] is not None
    reports = bounds(Period(asked["reported_from"], asked["reported_to"]), asked["settings"].zone)
    ends = bounds(Period(asked["end_from"], asked["end_to"]), asked["settings"].zone)
    return {
        **{name: asked[name] for name in _listing.names & asked.keys()},
        **{name: containing(conn, asked[name], column) for name, column in _texts.items()},
        "reporter_ids": people_named(conn, asked["reporters"]),
        "ran": asked["scope"] == "ran" or None,
        "reported": reported or None,
        "reported_from": reports[0],
        "reported_before": reports[1],
        "ended": ended or None,
        "end_from": ends[0],
        "end_before": ends[1],
    }


@operation(
    "/bugs",
    command="bugs list",
    toolset="bugs",
    needs=("tests", "bugs"),
    examples=({"statuses": ["open"], "levels": ["critical", "high"]}, {"product_id": 1, "operating_system": "ios"}),
)
def list_bugs(
    conn: Connection,
    settings: Settings,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    test_ids: Annotated[Ids, Field(description="Only these tests; list_tests shows the ids.")] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, Field(description="All but these.")] = [],  # noqa: B006
    scope: ScopeOfTests = "all",
    test_statuses: TestStatuses = [],  # noqa: B006
    testing_types: TestingTypes = [],  # noqa: B006
    feature_ids: Annotated[Ids, Field(description="Only these features; list_features shows the ids.")] = [],  # noqa: B006
    bug_ids: Annotated[Ids, Field(description="Only these bugs.")] = [],  # noqa: B006
    reporters: Annotated[list[str], AsList, Field(description="Full names, as list_people shows.")] = [],  # noqa: B006
    levels: Levels = [],  # noqa: B006
    kinds: Annotated[list[BugKind], AsList, Field(description="Kinds of bugs.")] = [],  # noqa: B006
    statuses: Statuses = [],  # noqa: B006
    known: Annotated[bool | None, Field(description="Tagged as known.")] = None,
    exported: Annotated[bool | None, Field(description="Exported to a tracker.")] = None,
    rejection_reason: Annotated[str | None, Field(description="Part of it: duplicate, unrecognised.")] = None,
    device: Annotated[str | None, Field(description="Part of its name.")] = None,
    device_category: Annotated[str | None, Field(description="Part of it, such as phone.")] = None,
    operating_system: Annotated[str | None, Field(description="Part of it: ios, Windows 11.")] = None,
    browser: Annotated[str | None, Field(description="Part of its name.")] = None,
    test_environment_id: Annotated[int | None, Field(description="Only tests on this environment.")] = None,
    reported_from: Annotated[date | None, Field(description="First day of the report.")] = None,
    reported_to: Annotated[date | None, Field(description="Last day of the report.")] = None,
    end_from: Annotated[date | None, Field(description="First day of the test end.")] = None,
    end_to: Annotated[date | None, Field(description="Last day of the test end.")] = None,
    text: Annotated[str | None, Field(description="Words that all occur.")] = None,
    sort: Annotated[
        Sort,
        order_by(reported_at=("newest", "oldest")),
        Field(description="By report; with end_from or end_to by end of test."),
    ] = "newest",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Bugs per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
    fields: Fields = [],  # noqa: B006
) -> BugPage:
    """List bugs by product, test, feature, tester, severity, status, device or date.

    triage_queue has what needs a decision now, `search` finds words. `fields` also takes devices, custom_fields,
    test_status, test_end_at, auto_accept_at.
    """
    given = {name: value for name, value in _values(conn, locals()).items() if value not in (None, [])}
    order = f"{sort} end" if "ended" in given else sort
    if total_only:
        given["text"] = matching_ids(conn, "bug", text, product_id)
        return BugPage.model_validate(_listing.page(conn, given, order=order, total_only=True))
    page = _page(conn, given, order, cursor, limit)
    _add_requested(conn, page["items"], frozenset(fields), settings.auto_accept_days)
    return BugPage.model_validate(page)


def _page(conn: Connection, given: dict[str, Any], order: str, cursor: str | None, limit: int) -> dict[str, Any]:
    """A page of the bugs that match: of few in any way, of many by a walk along the order."""
    if "text" in given:
        page = _walked(conn, given, order, cursor, limit)
        if page is not None:
            return page
        given = {**given, "text": matching_ids(conn, "bug", given["text"], given.get("product_id"))}
    others = given.keys() - (_REPORTED if order in _LISTED else {"product_id", "ended", "end_from", "end_before"})
    if not others:
        return _listing.page(conn, given, order=order, cursor=cursor, limit=limit)
    ids = _listing.gather(conn, given, order)
    if not ids:
        return _listing.page(conn, given, order=order, total_only=True)
    if len(ids) > COUNTED:
        return _listing.page(conn, given, order=f"{order} walk", cursor=cursor, limit=limit, is_long=True)
    few = {name: given[name] for name in given.keys() & {"product_id"}} | {"ids": json.dumps(ids)}
    return _listing.page(conn, few, order=order, cursor=cursor, limit=limit)


_of_test = (
    select(
        _bug.id,
        _bug.feature_id,
        _test.title.label("test"),
        _test.status.label("test_status"),
        _test.testing_type,
        _test.test_environment_id,
        _test.end_at.label("test_end_at"),
    )
    .select_from(_by_end)
    .where(any_of(_bug.id, "ids"))
)
_devices = (
    select(_device.bug_id, *(_device[name] for name in DeviceOfBug.model_fields))
    .where(any_of(_device.bug_id, "ids"))
    .order_by(_device.bug_id, _device.position)
)
_fields = (
    select(_field.bug_id, func.coalesce(_field.name, _field.field_key).label("name"), _field.value)
    .where(any_of(_field.bug_id, "ids"))
    .order_by(_field.bug_id, _field.position)
)


def _add_requested(conn: Connection, items: list[dict[str, Any]], fields: frozenset[str], days: int) -> None:
    """Add to the records of a page what is read only on request."""
    ids = {"ids": [item["id"] for item in items]}
    if not items:
        return
    if fields & {*_of_test.selected_columns.keys(), "auto_accept_at"} - {"id"}:
        tests = {row["id"]: row for row in fetch_records(conn, _of_test, ids)}
        for item in items:
            item.update(tests[item["id"]])
            item["auto_accept_at"] = auto_accept_at(read_timestamp(item["test_end_at"]), [item["status"]], days)
    for name, statement in (("devices", _devices), ("custom_fields", _fields)):
        if name in fields:
            parts: dict[int, list[dict[str, Any]]] = {}
            for row in fetch_records(conn, statement, ids):
                parts.setdefault(row["bug_id"], []).append(row)
            for item in items:
                item[name] = parts.get(item["id"], [])


def _walked(
    conn: Connection, given: dict[str, Any], order: str, cursor: str | None, limit: int
) -> dict[str, Any] | None:
    """The page of what has a text, from a walk along the list without it; None where that would go too far.

    Of a common word the search names most bugs of the store: it is quicker to look into those that are listed.
    """
    listed = {name: value for name, value in given.items() if name != "text"}
    query = read_query(given["text"], argument="text")
    count = _found(conn, listed, query, order, None, COUNTED + 1)
    page = count if cursor is None or count is None else _found(conn, listed, query, order, cursor, limit + 1)
    if count is None or page is None:
        return None
    ids = json.dumps(page[: limit + 1])
    found = _listing.page(conn, {**given, "text": ids}, order=order, cursor=cursor, limit=limit)
    return found | total_of(len(count))


def _found(
    conn: Connection, listed: dict[str, Any], query: Query, order: str, cursor: str | None, enough: int
) -> list[int] | None:
    """The first listed bugs that the query finds; None once the search would have named all that it finds.

    How many these are is told from those that were looked into.
    """
    found: list[int] = []
    seen, every = 0, most_records(conn, "bug")
    for ids in _listing.keys(conn, listed, order=order, cursor=cursor):
        having = having_words(conn, "bug", query, ids)
        found += [key for key in ids if key in having]
        seen += len(ids)
        if len(found) >= enough:
            return found[:enough]
        if seen * seen * _DEARER > max(1, len(found)) * every:
            return None
    return found
