"""Bugs."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, Text, bindparam, exists, func, literal_column, or_, select, true

from testio_mcp.database.dialect import among, fetch, in_order
from testio_mcp.database.search_query import Query, read_query
from testio_mcp.database.search_read import having_words, most_records
from testio_mcp.database.tables import Bug, BugDevice, Feature, Person, Product, Test, table_of
from testio_mcp.operations.arguments import AsList, Ids
from testio_mcp.operations.listing import (
    COUNTED,
    Counting,
    Listing,
    Order,
    Part,
    any_of,
    containing,
    part_of_text,
    total_of,
)
from testio_mcp.operations.paging import Cursor, Page, encode_cursor
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
_DEARER = 12
"""How many times longer it takes to look into a bug for a text than to have the search name one."""
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


_on_environment = _test.test_environment_id == bindparam("test_environment_id")
_gathered = {"test_environment_id": _bug.test_id.in_(select(_test.id).where(_on_environment))}
_of_device = {
    "device": part_of_text(_device.name, "device"),
    "device_category": part_of_text(_device.category, "device_category"),
    "operating_system": part_of_text(_device.operating_system, "operating_system"),
    "browser": part_of_text(_device.browsers, "browser"),
}
_tags = frozenset({"levels", "kinds", "known"})
_bugs_of_tests = in_order(_TESTS, _BUGS, _bug.test_id == _test.id)
_bugs_of_devices = in_order(_DEVICES, _BUGS, _bug.id == _device.bug_id)
# Counted from where the filter leads: an environment has few tests, and a device stands in a narrow table.
_counting = {
    "test_environment_id": Counting(
        select(literal_column("1")).select_from(_bugs_of_tests).where(_on_environment, _bug.gone_at.is_(None)),
        _tags | {"near"},
    ),
    **{
        name: Counting(
            select(_device.bug_id).select_from(_bugs_of_devices).where(is_such, _bug.gone_at.is_(None)).distinct(),
            _tags | _of_device.keys(),
        )
        for name, is_such in _of_device.items()
    },
}
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
        "kinds": any_of(func.coalesce(_bug.kind, ""), "kinds"),
        "kinds_alone": any_of(_bug.kind, "kinds_alone"),
        "statuses": any_of(_bug.status, "statuses"),
        "known": _bug.is_known == bindparam("known"),
        "exported": or_(_bug.exported_at.is_not(None), _bug.external_idx.is_not(None)) == bindparam("exported"),
        "rejection_reason": (_bug.status == "rejected") & part_of_text(_bug.rejection_reason, "rejection_reason"),
        "test_environment_id": exists().where(_test.id == _bug.test_id, _on_environment).correlate(_BUGS),
        "near": true(),
        "ids": among(_bug.id, bindparam("ids", type_=Text)),
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
            _of_device,
        ),
    ),
    orders={
        "newest": Order((_bug.id,), (int,)),
        "oldest": Order((_bug.id,), (int,), is_descending=False),
        "newest near": Order((_bug.id,), (int,), instead={"near": _bug.id >= bindparam("near")}),
        "oldest near": Order((_bug.id,), (int,), False, instead={"near": _bug.id <= bindparam("near")}),
        **{
            f"{sort} gathered": Order((_bug.id,), (int,), sort == "newest", instead=_gathered)
            for sort in get_args(Sort)
        },
        **{f"{sort} report": _by_report(sort == "newest") for sort in get_args(Sort)},
        **{f"{sort} report decision": _by_report(sort == "newest", _hidden_status) for sort in get_args(Sort)},
        **{f"{sort} end": _by_end_of_test(sort == "newest") for sort in get_args(Sort)},
        **{f"{sort} end decision": _by_end_of_test(sort == "newest", _hidden_status) for sort in get_args(Sort)},
    },
    resources=("tests", "bugs"),
    counting=_counting,
    split={"statuses": _bug.status, "kinds_alone": _bug.kind},
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
        given, paged = _way(conn, {name: value for name, value in given.items() if value not in (None, [])})
        return BugPage.model_validate(paged(conn, given, order=order, cursor=cursor, limit=limit))
    page = _walked(conn, given, order, cursor, limit)
    if page is None:
        parts = matching(conn, "bug", text, product_id, is_newest=sort == "newest")
        if order != sort:  # not in the order of the ids: all of them at once
            parts = iter([json.dumps([key for part in parts for key in json.loads(part)])])
        page = _of_parts(conn, given, parts, order=order, cursor=cursor, limit=limit)
    return BugPage.model_validate(page)


@lru_cache(maxsize=16)
def _with_devices(names: frozenset[str]) -> Select[Any]:
    """Ids of bugs seen on such devices, no more than are counted and one."""
    conditions = (condition for name, condition in _of_device.items() if name in names)
    return select(_device.bug_id).where(*conditions).distinct().limit(COUNTED + 1)


def _way(conn: Connection, given: dict[str, Any]) -> tuple[dict[str, Any], Callable[..., dict[str, Any]]]:
    """What leads to few bugs in place of what was asked for, and what reads the page.

    Only where nothing else leads to them: a walk along all ids looks for what is rare in vain.
    """
    others = given.keys() - _tags
    if others == {"test_environment_id"}:
        return given, _listing.nearest_page
    if others and others <= _of_device.keys():
        found = fetch(conn, _with_devices(frozenset(others)), given)
        if len(found) <= COUNTED:
            rest = {name: value for name, value in given.items() if name not in others}
            given = rest | {"ids": json.dumps([row[0] for row in found])}
    elif given.keys() == {"kinds"}:
        given = {"kinds_alone": given["kinds"]}
    return given, _listing.page


def _of_parts(
    conn: Connection, given: dict[str, Any], parts: Iterator[str], *, order: str, cursor: str | None, limit: int
) -> dict[str, Any]:
    """A page of what has a text, whose ids come in parts in the list's order.

    No more parts are read than it takes to fill the page and to count as far as a page counts.
    """
    given = {**given, "text": next(parts, "[]")}
    page = _listing.page(conn, given, order=order, cursor=cursor, limit=limit)
    while not (page["next_cursor"] and page["total_is_capped"]) and (part := next(parts, None)) is not None:
        more = _listing.page(conn, {**given, "text": part}, order=order, cursor=cursor, limit=limit)
        page = _joined(page, more, limit)
    return page


def _joined(page: dict[str, Any], more: dict[str, Any], limit: int) -> dict[str, Any]:
    """A page with what follows it in a later part; both are sorted by id."""
    items = page["items"] + more["items"]
    is_capped = page["total_is_capped"] or more["total_is_capped"]
    total = total_of(COUNTED + 1 if is_capped else page["total"] + more["total"])
    following = page["next_cursor"] or more["next_cursor"]
    if len(items) > limit:
        following = encode_cursor(items[limit - 1]["id"])
    return {**page, "items": items[:limit], "next_cursor": following, **total}


def _walked(
    conn: Connection, given: dict[str, Any], order: str, cursor: str | None, limit: int
) -> dict[str, Any] | None:
    """The page of what has a text, from a walk along the list without it; None where that would go too far.

    Of a common word the search names most bugs of the store: it is quicker to look into those that are listed.
    """
    others = {name: value for name, value in given.items() if name not in ("text", "product_id")}
    if cursor is None and not any(value not in (None, []) for value in others.values()):
        return None
    listed, query = {**given, "text": None}, read_query(given["text"], argument="text")
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
