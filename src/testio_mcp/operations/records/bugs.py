"""Bugs."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field
from sqlalchemy import Connection, func, or_, select

from testio_mcp.database.dialect import fetch_records
from testio_mcp.database.tables import Bug, BugDevice, BugField, Feature, Person, Product, Test, table_of
from testio_mcp.domain import FAR_FUTURE, BugKind, BugStatus, Level, auto_accept_at
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
from testio_mcp.operations.lists.paging import Cursor, Page
from testio_mcp.operations.records.tests import TestingTypes, TestStatuses
from testio_mcp.operations.work.search import HasWords

Sort = Literal["newest", "oldest"]

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


_TEXTS = texts_of_devices(_device)
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
    product_id: Annotated[int | None, Equal(_bug.product_id, exists=_product), OF_PRODUCT] = None,
    test_ids: Annotated[
        Ids, Among(_bug.test_id, exists=_TESTS), Field(description="Only these tests; list_tests shows the ids.")
    ] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, NoneOf(_bug.test_id), Field(description="All but these.")] = [],  # noqa: B006
    scope: Annotated[ScopeOfTests, When({"ran": RAN & _test.gone_at.is_(None)}, of=_test.id)] = "all",
    test_statuses: Annotated[TestStatuses, Among(_test.status, of=_test.id, also=_test.gone_at.is_(None))] = [],  # noqa: B006
    testing_types: Annotated[TestingTypes, Among(_test.testing_type, of=_test.id)] = [],  # noqa: B006
    feature_ids: Annotated[
        Ids,
        Among(_bug.feature_id, exists=_feature),
        Field(description="Only these features; list_features shows the ids."),
    ] = [],  # noqa: B006
    bug_ids: Annotated[Ids, Among(_bug.id, exists=_BUGS), Field(description="Only these bugs.")] = [],  # noqa: B006
    reporters: Annotated[
        list[str], AsList, NamedPerson(_bug.author_id), Field(description="Full names, as list_people shows.")
    ] = [],  # noqa: B006
    levels: Annotated[Levels, Among(_bug.level)] = [],  # noqa: B006
    kinds: Annotated[list[BugKind], AsList, Among(_bug.kind), Field(description="Kinds of bugs.")] = [],  # noqa: B006
    statuses: Annotated[Statuses, Among(_bug.status)] = [],  # noqa: B006
    known: Annotated[bool | None, Equal(_bug.is_known), Field(description="Tagged as known.")] = None,
    exported: Annotated[bool | None, holds(_is_exported), Field(description="Exported to a tracker.")] = None,
    rejection_reason: Annotated[
        str | None,
        Contains(_bug.rejection_reason, also=_bug.status == "rejected"),
        Field(description="Part of it: duplicate, unrecognised."),
    ] = None,
    device: Annotated[
        str | None, Contains(_TEXTS["device"], of=_device.bug_id), Field(description="Part of its name.")
    ] = None,
    device_category: Annotated[
        str | None,
        Contains(_TEXTS["device_category"], of=_device.bug_id),
        Field(description="Part of it, such as phone."),
    ] = None,
    operating_system: Annotated[
        str | None,
        Contains(_TEXTS["operating_system"], of=_device.bug_id),
        Field(description="Part of it: ios, Windows 11."),
    ] = None,
    browser: Annotated[
        str | None, Contains(_TEXTS["browser"], of=_device.bug_id), Field(description="Part of its name.")
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
