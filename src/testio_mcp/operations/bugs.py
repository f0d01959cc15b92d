"""Bugs."""

import json
from collections.abc import Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Text, bindparam, exists, func, or_

from testio_mcp.database.dialect import among
from testio_mcp.database.tables import Bug, BugDevice, Feature, Person, Product, Test, table_of
from testio_mcp.operations.arguments import AsList, Ids
from testio_mcp.operations.listing import Listing, Order, Part, any_of, containing, part_of_text
from testio_mcp.operations.paging import Cursor, Page
from testio_mcp.operations.periods import Period, bounds
from testio_mcp.operations.registry import operation
from testio_mcp.operations.search import matching
from testio_mcp.settings import Settings
from testio_mcp.sync.rows import person_id

Level = Literal["critical", "high", "low", "none"]
BugKind = Literal["functional", "visual", "content", "usability", "custom", "test_case", "spelling", "unknown"]
BugStatus = Literal[
    "open", "question", "accepted", "auto_accepted", "rejected", "submitted", "manager_approved", "unknown"
]
Sort = Literal["newest", "oldest"]
_DECIDED = frozenset({"accepted", "auto_accepted", "rejected"})
Levels = Annotated[list[Level], AsList, Field(description="Kinds but functional have none.")]
Statuses = Annotated[list[BugStatus], AsList, Field(description="open: undecided; question: the customer asked.")]

_BUGS, _TESTS, _DEVICES = table_of(Bug), table_of(Test), table_of(BugDevice)
_bug, _test, _device = _BUGS.c, _TESTS.c, _DEVICES.c
_product, _feature, _person = table_of(Product), table_of(Feature), table_of(Person)


class BugSummary(BaseModel):
    """One bug in a list. `kind` and `level` are the two halves of the API's severity."""

    id: int
    title: str
    level: str
    kind: str
    status: str
    is_known: bool
    product_id: int
    product: str
    test_id: int
    feature: str | None
    reporter: str | None
    reported_at: datetime | None
    exported_at: datetime | None
    comments: int


class BugPage(Page):
    """Bugs, newest first unless asked otherwise."""

    items: list[BugSummary]


_by_end = _BUGS.join(_TESTS, _bug.test_id == _test.id)
_report_keys, _report_kinds = (_bug.reported_at, _bug.id), (datetime, int)
# Hidden in a function, a status does not tempt the database to its index, and thereby into sorting.
_hidden_status = {"statuses": any_of(func.coalesce(_bug.status, ""), "statuses")}
_product_of_test = {"product_id": _test.product_id == bindparam("product_id")}


def _by_report(is_newest: bool, instead: Mapping[str, Any] = MappingProxyType({})) -> Order:
    above, below = "reported_from", "reported_before"
    return Order(_report_keys, _report_kinds, is_newest, above=above, below=below, instead=instead)


def _by_end_of_test(is_newest: bool, instead: Mapping[str, Any] = MappingProxyType({})) -> Order:
    above, below = "end_from", "end_before"
    keys, kinds = (_test.sort_at, _test.id, _bug.id), (datetime, int, int)
    instead = {**_product_of_test, **instead}
    return Order(keys, kinds, is_newest, _by_end, above=above, below=below, instead=instead)


_listing = Listing(
    table=_BUGS,
    columns=(
        _bug.id,
        _bug.title,
        _bug.level,
        _bug.kind,
        _bug.status,
        _bug.is_known,
        _bug.product_id,
        _product.c.name.label("product"),
        _bug.test_id,
        _feature.c.title.label("feature"),
        _person.c.name.label("reporter"),
        _bug.reported_at,
        _bug.exported_at,
        _bug.comment_count.label("comments"),
    ),
    joins=(
        (_product, _bug.product_id == _product.c.id),
        (_feature, _bug.feature_id == _feature.c.id),
        (_person, _bug.author_id == _person.c.id),
    ),
    always=(_bug.gone_at.is_(None),),
    filters={
        "product_id": _bug.product_id == bindparam("product_id"),
        "test_ids": any_of(_bug.test_id, "test_ids"),
        "feature_ids": any_of(_bug.feature_id, "feature_ids"),
        "reporter_ids": any_of(_bug.author_id, "reporter_ids"),
        "levels": any_of(_bug.level, "levels"),
        "kinds": any_of(_bug.kind, "kinds"),
        "statuses": any_of(_bug.status, "statuses"),
        "known": _bug.is_known == bindparam("known"),
        "exported": or_(_bug.exported_at.is_not(None), _bug.external_idx.is_not(None)) == bindparam("exported"),
        "rejection_reason": (_bug.status == "rejected") & part_of_text(_bug.rejection_reason, "rejection_reason"),
        "test_environment_id": exists()
        .where(_test.id == _bug.test_id, _test.test_environment_id == bindparam("test_environment_id"))
        .correlate(table_of(Bug)),
        "reported": _bug.reported_at.is_not(None),
        "reported_from": _bug.reported_at >= bindparam("reported_from", type_=_bug.reported_at.type),
        "reported_before": _bug.reported_at < bindparam("reported_before", type_=_bug.reported_at.type),
        "text": among(_bug.id, bindparam("text", type_=Text)),
        "ended": _test.end_at.is_not(None),
        "end_from": _test.sort_at >= bindparam("end_from", type_=_test.sort_at.type),
        "end_before": _test.sort_at < bindparam("end_before", type_=_test.sort_at.type),
    },
    parts=(
        Part(
            _device.bug_id == _bug.id,
            {
                "device": part_of_text(_device.name, "device"),
                "device_category": part_of_text(_device.category, "device_category"),
                "operating_system": part_of_text(_device.operating_system, "operating_system"),
                "browser": part_of_text(_device.browsers, "browser"),
            },
        ),
    ),
    orders={
        "newest": Order((_bug.id,), (int,)),
        "oldest": Order((_bug.id,), (int,), is_descending=False),
        **{f"{sort} report": _by_report(sort == "newest") for sort in get_args(Sort)},
        **{f"{sort} report decision": _by_report(sort == "newest", _hidden_status) for sort in get_args(Sort)},
        **{f"{sort} end": _by_end_of_test(sort == "newest") for sort in get_args(Sort)},
        **{f"{sort} end decision": _by_end_of_test(sort == "newest", _hidden_status) for sort in get_args(Sort)},
    },
    resources=("tests", "bugs"),
    split=("statuses", _bug.status),
    known={
        "product_id": (_product, "Product", "list_products shows the ids."),
        "test_ids": (_TESTS, "Test", "list_tests shows the ids."),
        "feature_ids": (_feature, "Feature", "list_features shows the ids."),
    },
)


def _values(asked: dict[str, Any]) -> dict[str, Any]:
    """What the filters compare with, of what was asked for; `text` still as it was typed."""
    ended = asked["end_from"] is not None or asked["end_to"] is not None
    reported = asked["reported_from"] is not None or asked["reported_to"] is not None
    reports = bounds(Period(asked["reported_from"], asked["reported_to"]), asked["settings"].zone)
    ends = bounds(Period(asked["end_from"], asked["end_to"]), asked["settings"].zone)
    return {
        **{name: asked[name] for name in _listing.names & asked.keys()},
        **{name: containing(asked[name]) for name in ("rejection_reason", *_listing.parts[0].filters)},
        "reporter_ids": [person_id(name) for name in asked["reporters"]],
        "reported": reported or None,
        "reported_from": reports[0],
        "reported_before": reports[1],
        "ended": ended or None,
        "end_from": ends[0],
        "end_before": ends[1],
    }


def _order(given: dict[str, Any], sort: Sort) -> str:
    """The order that costs least: decided bugs are so many that an index of the status does not help."""
    if not (given["ended"] or given["reported"]):
        return sort
    order = f"{sort} end" if given["ended"] else f"{sort} report"
    return f"{order} decision" if _DECIDED & {*given["statuses"]} else order


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
    feature_ids: Annotated[Ids, Field(description="Only these features; list_features shows the ids.")] = [],  # noqa: B006
    reporters: Annotated[list[str], AsList, Field(description="Full names, as list_people shows.")] = [],  # noqa: B006
    levels: Levels = [],  # noqa: B006
    kinds: Annotated[list[BugKind], AsList, Field(description="Kinds of bugs.")] = [],  # noqa: B006
    statuses: Statuses = [],  # noqa: B006
    known: Annotated[bool | None, Field(description="Tagged as known, or not.")] = None,
    exported: Annotated[bool | None, Field(description="Exported to a tracker, or not.")] = None,
    rejection_reason: Annotated[str | None, Field(description="Part of it, such as duplicate.")] = None,
    device: Annotated[str | None, Field(description="Part of its name.")] = None,
    device_category: Annotated[str | None, Field(description="Part of it, such as phone.")] = None,
    operating_system: Annotated[str | None, Field(description="Part of it, such as ios.")] = None,
    browser: Annotated[str | None, Field(description="Part of its name.")] = None,
    test_environment_id: Annotated[int | None, Field(description="Of tests on this environment.")] = None,
    reported_from: Annotated[date | None, Field(description="First day of the report.")] = None,
    reported_to: Annotated[date | None, Field(description="Last day of the report.")] = None,
    end_from: Annotated[date | None, Field(description="First day of the end of the test.")] = None,
    end_to: Annotated[date | None, Field(description="Last day of the end of the test.")] = None,
    text: Annotated[str | None, Field(description="Words that all occur in it.")] = None,
    sort: Annotated[Sort, Field(description="By report; with end_from or end_to by end of test.")] = "newest",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Bugs per page, 1 to 100.")] = 20,
) -> BugPage:
    """List bugs by product, test, feature, tester, severity, status, device or date.

    triage_queue has what needs a decision now, search finds words.
    """
    given = _values(locals())
    order = _order(given, sort)
    if text is None:
        return BugPage.model_validate(_listing.page(conn, given, order=order, cursor=cursor, limit=limit))
    parts = matching(conn, "bug", text, product_id, is_newest=sort == "newest")
    if order != sort:  # not in the order of the ids: all of them at once
        parts = iter([json.dumps([key for part in parts for key in json.loads(part)])])
    page = _listing.page_of_parts(conn, given, "text", parts, order=order, cursor=cursor, limit=limit)
    return BugPage.model_validate(page)
