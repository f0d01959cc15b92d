"""Bugs: the list, and one of them."""

import json
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field
from sqlalchemy import Connection, bindparam, func, or_, select

from testio_mcp import fields as payload_fields
from testio_mcp.database.dialect import fetch, fetch_records
from testio_mcp.database.tables import (
    Attachment,
    Bug,
    BugComment,
    BugDevice,
    BugField,
    Feature,
    Person,
    Product,
    Section,
    Test,
    TestFeature,
    table_of,
)
from testio_mcp.domain import FAR_FUTURE, BugKind, BugStatus, Level, auto_accept_at
from testio_mcp.operations import figures
from testio_mcp.operations.arguments import (
    OF_PRODUCT,
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
from testio_mcp.operations.lists.details import GONE, TimelineEntry, links, the_one, timeline
from testio_mcp.operations.lists.filters import (
    Among,
    Contains,
    Equal,
    FromDay,
    NamedPerson,
    NoneOf,
    ToDay,
    When,
    any_of,
    holds,
    texts_of_devices,
)
from testio_mcp.operations.lists.listing import ListQuery, Order, list_operation
from testio_mcp.operations.lists.paging import Cursor, Page, as_of
from testio_mcp.operations.lists.tests import TestingTypes, TestStatuses
from testio_mcp.operations.registry import operation
from testio_mcp.operations.work.search import HasWords
from testio_mcp.rejections import UNRECOGNISED
from testio_mcp.settings import Settings

_PRODUCTS, _TESTS, _BUGS = table_of(Product), table_of(Test), table_of(Bug)
_FEATURES, _PEOPLE, _SECTIONS = table_of(Feature), table_of(Person), table_of(Section)
_COMMENTS, _COPIES = table_of(BugComment), table_of(TestFeature)
_product, _test, _bug, _feature = _PRODUCTS.c, _TESTS.c, _BUGS.c, _FEATURES.c
_person, _section, _bug_device, _field = _PEOPLE.c, _SECTIONS.c, table_of(BugDevice).c, table_of(BugField).c
_comment, _attachment, _copy = _COMMENTS.c, table_of(Attachment).c, _COPIES.c

BugSort = Literal["newest", "oldest"]

BugLevels = Annotated[list[Level], AsList, Field(description="Kinds but functional have none.")]
BugStatuses = Annotated[
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


_TEXTS = texts_of_devices(_bug_device)
_with_tests = _BUGS.join(_TESTS, _bug.test_id == _test.id)
_is_exported = or_(_bug.exported_at.is_not(None), _bug.external_idx.is_not(None))
_BY_REPORT, _BY_END = frozenset({"product_id", "reported_from", "reported_to"}), frozenset({"end_from", "end_to"})
_NEVER = datetime(1000, 1, 1, tzinfo=UTC)
_ends = (_test.sort_at, _test.id, _bug.id)


@list_operation(
    "/bugs",
    "bugs list",
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
        _product.name.label("product"),
        _bug.test_id,
        _feature.title.label("feature"),
        _person.name.label("reporter"),
        _bug.reported_at,
        _is_exported.label("exported"),
        _bug.exported_at,
        _bug.comment_count.label("comments"),
    ),
    joins=(
        (_PRODUCTS, _bug.product_id == _product.id),
        (_FEATURES, _bug.feature_id == _feature.id),
        (_PEOPLE, _bug.author_id == _person.id),
    ),
    orders={
        "newest": Order((_bug.reported_at, _bug.id), along=_BY_REPORT, missing=_NEVER),
        "oldest": Order((_bug.reported_at, _bug.id), is_descending=False, along=_BY_REPORT, missing=FAR_FUTURE),
        "newest end": Order(_ends, along=_BY_END, source=_with_tests),
        "oldest end": Order(_ends, is_descending=False, along=_BY_END, source=_with_tests),
    },
    toolset="bugs",
    needs=("tests", "bugs"),
    examples=({"statuses": ["open"], "levels": ["critical", "high"]}, {"product_id": 1, "operating_system": "ios"}),
)
def list_bugs(
    query: ListQuery,
    product_id: Annotated[int | None, Equal(_bug.product_id, exists=_PRODUCTS), OF_PRODUCT] = None,
    test_ids: Annotated[
        Ids, Among(_bug.test_id, exists=_TESTS), Field(description="Only these tests; list_tests shows the ids.")
    ] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, NoneOf(_bug.test_id), Field(description="All but these.")] = [],  # noqa: B006
    scope: Annotated[ScopeOfTests, When({"ran": RAN & _test.gone_at.is_(None)}, of=_test.id)] = "all",
    test_statuses: Annotated[TestStatuses, Among(_test.status, of=_test.id, also=_test.gone_at.is_(None))] = [],  # noqa: B006
    testing_types: Annotated[TestingTypes, Among(_test.testing_type, of=_test.id)] = [],  # noqa: B006
    feature_ids: Annotated[
        Ids,
        Among(_bug.feature_id, exists=_FEATURES),
        Field(description="Only these features; list_features shows the ids."),
    ] = [],  # noqa: B006
    bug_ids: Annotated[Ids, Among(_bug.id, exists=_BUGS), Field(description="Only these bugs.")] = [],  # noqa: B006
    reporters: Annotated[
        list[str], AsList, NamedPerson(_bug.author_id), Field(description="Full names, as list_people shows.")
    ] = [],  # noqa: B006
    levels: Annotated[BugLevels, Among(_bug.level)] = [],  # noqa: B006
    kinds: Annotated[list[BugKind], AsList, Among(_bug.kind), Field(description="Kinds of bugs.")] = [],  # noqa: B006
    statuses: Annotated[BugStatuses, Among(_bug.status)] = [],  # noqa: B006
    known: Annotated[bool | None, Equal(_bug.is_known), Field(description="Tagged as known.")] = None,
    exported: Annotated[bool | None, holds(_is_exported), Field(description="Exported to a tracker.")] = None,
    rejection_reason: Annotated[
        str | None,
        Contains(_bug.rejection_reason, also=_bug.status == "rejected"),
        Field(description="Part of it: duplicate, unrecognised."),
    ] = None,
    device: Annotated[
        str | None, Contains(_TEXTS["device"], of=_bug_device.bug_id), Field(description="Part of its name.")
    ] = None,
    device_category: Annotated[
        str | None,
        Contains(_TEXTS["device_category"], of=_bug_device.bug_id),
        Field(description="Part of it, such as phone."),
    ] = None,
    operating_system: Annotated[
        str | None,
        Contains(_TEXTS["operating_system"], of=_bug_device.bug_id),
        Field(description="Part of it: ios, Windows 11."),
    ] = None,
    browser: Annotated[
        str | None, Contains(_TEXTS["browser"], of=_bug_device.bug_id), Field(description="Part of its name.")
    ] = None,
    test_environment_id: Annotated[
        int | None,
        Equal(_test.test_environment_id, of=_test.id),
        Field(description="Only tests on this environment."),
    ] = None,
    reported_from: Annotated[
        date | None, FromDay(_bug.reported_at), Field(description="First day of the report.")
    ] = None,
    reported_to: Annotated[date | None, ToDay(_bug.reported_at), Field(description="Last day of the report.")] = None,
    end_from: Annotated[
        date | None, FromDay(_test.sort_at, of=_test.id), Field(description="First day of the test end.")
    ] = None,
    end_to: Annotated[
        date | None, ToDay(_test.sort_at, of=_test.id), Field(description="Last day of the test end.")
    ] = None,
    text: Annotated[str | None, HasWords("bug", _bug.id), Field(description="Words that all occur.")] = None,
    sort: Annotated[
        BugSort,
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
    by_end = end_from is not None or end_to is not None
    page = query.page(order=f"{sort} end" if by_end else sort)
    _add_requested(query.conn, page["items"], frozenset(fields), query.settings.auto_accept_days)
    return BugPage.model_validate(page)


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
    .select_from(_with_tests)
    .where(any_of(_bug.id, "ids"))
)
_devices_of_page = (
    select(_bug_device.bug_id, *(_bug_device[name] for name in DeviceOfBug.model_fields))
    .where(any_of(_bug_device.bug_id, "ids"))
    .order_by(_bug_device.bug_id, _bug_device.position)
)
_fields_of_page = (
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
    for name, statement in (("devices", _devices_of_page), ("custom_fields", _fields_of_page)):
        if name in fields:
            parts: dict[int, list[dict[str, Any]]] = {}
            for row in fetch_records(conn, statement, ids):
                parts.setdefault(row["bug_id"], []).append(row)
            for item in items:
                item[name] = parts.get(item["id"], [])


COMMENTS = 50
"""How many comments are shown, the newest."""


class Device(BaseModel):
    """A device on which the bug was seen."""

    name: str | None
    vendor: str | None
    category: str | None
    operating_system: str | None
    operating_system_version: str | None
    browsers: str | None


class Comment(BaseModel):
    """A comment."""

    created_at: datetime | None
    author: str | None
    body: str


class CustomField(BaseModel):
    """A field of the custom report in a bug."""

    name: str | None
    type: str | None
    value: str | None


class BugDetail(BaseModel):
    """One bug as it was reported, what became of it, and where it belongs."""

    id: int
    title: str
    kind: str
    level: str
    status: str
    rejection_reason: str | None = Field(description=f"{UNRECOGNISED} where the comments match no reason.")
    rejection_match: str | None = Field(
        description="What told the reason, surest first: api, comment, name, key, similar, none."
    )
    known: bool
    is_fixed: bool
    exported_at: datetime | None
    external_idx: str | None = Field(description="The bug's id in the customer's own tracker.")
    auto_accept_at: datetime | None = Field(description="When it is auto-accepted, unless somebody decides.")
    product_id: int
    product: str
    section: str | None
    test_id: int
    test: str
    test_end_at: datetime | None
    feature_id: int | None
    feature: str | None
    reporter_id: int | None
    reporter: str | None
    reported_at: datetime | None
    language: str | None
    location: str | None
    steps: str | None
    expected_result: str | None
    actual_result: str | None
    reproductions: int | None = Field(description="How often others reproduced it.")
    attachments: list[str]
    devices: list[Device]
    custom_fields: list[CustomField]
    comments: list[Comment] = Field(description=f"Newest last, at most {COMMENTS}.")
    comments_left_out: int
    timeline: list[TimelineEntry] = Field(description="Last changes, oldest first.")
    as_of: datetime | None
    gone_at: datetime | None = Field(description=GONE)


_base = (
    select(
        _bug.id,
        _bug.title,
        _bug.kind,
        _bug.level,
        _bug.status,
        _bug.rejection_reason,
        _bug.rejection_match,
        _bug.is_known.label("known"),
        _bug.is_fixed,
        _bug.exported_at,
        _bug.external_idx,
        _bug.product_id,
        _product.name.label("product"),
        _section.name.label("section"),
        _bug.test_id,
        _test.title.label("test"),
        _test.end_at.label("test_end_at"),
        func.coalesce(_bug.feature_id, _copy.feature_id).label("feature_id"),
        func.coalesce(_feature.title, _copy.title).label("feature"),
        _bug.author_id.label("reporter_id"),
        _person.name.label("reporter"),
        _bug.reported_at,
        _bug.language,
        _bug.location,
        _bug.steps,
        _bug.expected_result,
        _bug.actual_result,
        _bug.comment_count,
        as_of("tests", "bugs", product_id=_bug.product_id).label("as_of"),
        _bug.gone_at,
        _bug.raw,
    )
    .join_from(_BUGS, _PRODUCTS, _bug.product_id == _product.id)
    .join(_TESTS, _bug.test_id == _test.id)
    .outerjoin(_SECTIONS, _bug.section_id == _section.id)
    .outerjoin(_FEATURES, _bug.feature_id == _feature.id)
    .outerjoin(_COPIES, _bug.test_feature_id == _copy.id)
    .outerjoin(_PEOPLE, _bug.author_id == _person.id)
    .where(_bug.id == bindparam("id"))
)
_devices = (
    select(*(_bug_device[name] for name in Device.model_fields))
    .where(_bug_device.bug_id == bindparam("id"))
    .order_by(_bug_device.position)
)
_comments = (
    select(_comment.created_at, _person.name.label("author"), _comment.body)
    .outerjoin_from(_COMMENTS, _PEOPLE, _comment.author_id == _person.id)
    .where(_comment.bug_id == bindparam("id"))
    .order_by(_comment.created_at.desc().nulls_last(), _comment.position.desc())
    .limit(COMMENTS)
)
_attachments = select(_attachment.url).where(_attachment.bug_id == bindparam("id")).order_by(_attachment.position)
_fields = (
    select(func.coalesce(_field.name, _field.field_key).label("name"), _field.type, _field.value)
    .where(_field.bug_id == bindparam("id"))
    .order_by(_field.position)
)


@operation(
    "/bugs/{bug_id}",
    command="bugs show",
    toolset="bugs",
    needs=("tests", "bugs"),
    examples=({"bug_id": 1},),
    about="bug",
)
def get_bug(
    conn: Connection,
    settings: Settings,
    bug_id: Annotated[int, Field(description="Id of the bug; list_bugs shows the ids.")],
) -> BugDetail:
    """Tell all about one bug: steps, expected and actual result, devices, comments, attachments, decision, changes.

    Use it to reproduce a bug or to decide on it; list_bugs finds ids by product, test, severity, status or date.
    """
    key = {"id": bug_id}
    base = the_one(conn, _base, bug_id, "Bug", "list_bugs")
    comments = fetch_records(conn, _comments, key)[::-1]
    answer: dict[str, Any] = {
        **base,
        "auto_accept_at": auto_accept_at(
            figures.read_timestamp(base["test_end_at"]), [base["status"]], settings.auto_accept_days
        ),
        "reproductions": payload_fields.Fields(json.loads(base["raw"])).count("reproductions"),
        "attachments": links(row[0] for row in fetch(conn, _attachments, key)),
        "devices": fetch_records(conn, _devices, key),
        "custom_fields": fetch_records(conn, _fields, key),
        "comments": comments,
        "comments_left_out": base["comment_count"] - len(comments),
        "timeline": timeline(conn, "bug", bug_id),
    }
    return BugDetail.model_validate(answer)
