"""What waits for a decision: open bugs and questions, the most urgent first, and what is yet to be exported."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, bindparam, case, func, literal_column, select, true

from testio_mcp.app import App
from testio_mcp.database.dialect import fetch, fetch_records
from testio_mcp.database.tables import (
    Attachment,
    Bug,
    BugComment,
    BugDevice,
    Feature,
    Person,
    Product,
    Test,
    table_of,
)
from testio_mcp.domain import AWAITING, BugKind, Level, auto_accept_at, latest_end_due
from testio_mcp.operations.arguments import AsList, Ids, OtherName, ScopeOfTests, TotalOnly
from testio_mcp.operations.figures import RAN, read_timestamp
from testio_mcp.operations.lists.filters import Among, Equal, NoneOf, Where, any_of, people_named
from testio_mcp.operations.lists.listing import COUNTED, Listing, Order
from testio_mcp.operations.lists.paging import Cursor, Page
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.operations.registry import operation
from testio_mcp.operations.work.duplicates import Duplicate, Subject, find_duplicates

Waiting = Literal["open", "question"]
TriageOrder = Literal["urgency", "due"]
_QUOTED = 160
_PRODUCTS = 10

_bugs, _tests, _persons = table_of(Bug), table_of(Test), table_of(Person)
_products, _features = table_of(Product), table_of(Feature)
_bug, _test, _product = _bugs.c, _tests.c, _products.c
_device, _file, _comment = table_of(BugDevice), table_of(Attachment), table_of(BugComment).c


class Evidence(BaseModel):
    """How much a report shows."""

    devices: int
    comments: int
    attachments: int


class LastComment(BaseModel):
    """The newest comment of a question."""

    author: str | None
    at: datetime | None
    text: str = Field(description=f"Its first {_QUOTED} characters.")


class TriageItem(BaseModel):
    """A bug that waits for a decision."""

    id: int
    title: str
    level: str
    kind: str
    status: str
    auto_accept_at: datetime | None = Field(description="When it is auto-accepted; null until its test has ended.")
    hours_left: int | None = Field(description="Whole hours until then, rounded down: negative once it is past.")
    overdue: Annotated[bool, OtherName("is_overdue")]
    product_id: int
    product: str
    test_id: int
    test: str
    test_end_at: datetime | None
    feature_id: int | None
    feature: str | None
    reporter: str | None
    reported_at: datetime | None
    device: str | None
    has_steps: bool
    evidence: Evidence
    last_comment: LastComment | None = Field(description="Of questions only.")
    duplicates: list[Duplicate] = Field(description="Likely duplicates, likeliest first, three at most.")


class OpenByLevel(BaseModel):
    """Open bugs by level; `none` has those of kinds without levels, and levels that are not known."""

    critical: int
    high: int
    low: int
    none: int


class TriageSummary(BaseModel):
    """All matching bugs, also those of other pages; `due` counts open bugs and questions that are not overdue."""

    open: OpenByLevel
    questions: int
    overdue: int
    due_in_24_hours: int
    due_in_72_hours: int
    not_exported: int | None = Field(
        default=None, description="Accepted bugs without an export; null without include_backlog."
    )
    not_exported_is_capped: bool | None = None


class ExportBacklog(BaseModel):
    """Accepted bugs of one product, also auto-accepted ones, that were not exported."""

    product_id: int
    product: str
    bugs: int = Field(description=f"Counted up to {COUNTED}.")
    is_capped: bool
    oldest_bug_id: int | None
    oldest_reported_at: datetime | None


class TriagePage(Page):
    """Bugs that wait for a decision, by level and then by the end of their test."""

    items: list[TriageItem]
    auto_accept_days: int = Field(description="Days from the end of a test until its bugs are auto-accepted.")
    summary: TriageSummary
    export_backlog: list[ExportBacklog] = Field(
        default=[], description=f"With include_backlog: the {_PRODUCTS} products with the most, most first."
    )


def _bind_moment(name: str) -> Any:
    return bindparam(name, type_=_test.sort_at.type)


def _number_of(table: Any) -> Any:
    return select(func.count()).where(table.c.bug_id == _bug.id).scalar_subquery()


# Written out, not bound: only so can the databases see that an index of just these bugs holds them all.
_awaiting: list[Any] = [literal_column(f"'{word}'") for word in AWAITING]
_accepted: list[Any] = [literal_column("'accepted'"), literal_column("'auto_accepted'")]
_rank = case((_bug.level == "critical", 0), (_bug.level == "high", 1), (_bug.level == "low", 2), else_=3)
_waiting = _bugs.join(_tests, _bug.test_id == _test.id)
_listing = Listing(
    table=_bugs,
    columns=(
        _bug.id,
        _bug.title,
        _bug.level,
        _bug.kind,
        _bug.status,
        _bug.product_id,
        _product.name.label("product"),
        _bug.test_id,
        _test.title.label("test"),
        _test.end_at.label("test_end_at"),
        _bug.feature_id,
        _features.c.title.label("feature"),
        _persons.c.name.label("reporter"),
        _bug.reported_at,
        (func.coalesce(_bug.steps, "") != "").label("has_steps"),
        _bug.comment_count.label("comments"),
        _number_of(_device.alias()).label("devices"),
        _number_of(_file).label("attachments"),
        _device.c.vendor.label("vendor"),
        _device.c.name.label("device_name"),
        _device.c.operating_system.label("operating_system"),
        _device.c.operating_system_version.label("operating_system_version"),
    ),
    joins=(
        (_tests, _bug.test_id == _test.id),
        (_products, _bug.product_id == _product.id),
        (_features, _bug.feature_id == _features.c.id),
        (_persons, _bug.author_id == _persons.c.id),
        (_device, (_device.c.bug_id == _bug.id) & (_device.c.position == 0)),
    ),
    always=(_bug.status.in_(_awaiting), _bug.gone_at.is_(None)),
    filters={
        "statuses": Among(_bug.status),
        "product_id": Equal(_bug.product_id, exists=_products),
        "levels": Among(_bug.level),
        "kinds": Among(_bug.kind),
        "reporter_ids": Among(_bug.author_id),
        "test_ids": Among(_bug.test_id, exists=_tests),
        "exclude_test_ids": NoneOf(_bug.test_id),
        "ran": Where(RAN & _test.gone_at.is_(None)),
        # A test without an end has one in the far future here.
        "ended": Where(_test.end_at.is_not(None)),
        "ended_by": Where(_test.sort_at <= _bind_moment("ended_by")),
        "end_from": Where(_test.sort_at >= _bind_moment("end_from")),
        "end_before": Where(_test.sort_at < _bind_moment("end_before")),
        "overdue_before": Where(_test.sort_at < _bind_moment("overdue_before")),
        "not_overdue_from": Where(_test.sort_at >= _bind_moment("not_overdue_from")),
    },
    # The less time is left, the earlier the test ended; tests that still run end later than those that have ended.
    orders={
        "urgency": Order((_rank, _test.sort_at, _bug.id), is_descending=False, source=_waiting),
        "due": Order((_test.sort_at, _rank, _bug.id), is_descending=False, source=_waiting),
    },
    resources=("tests", "bugs"),
)
_written = _persons.c.name.label("author"), _comment.created_at.label("at")
_latest = (
    select(
        _comment.bug_id,
        *_written,
        func.substr(_comment.body, 1, _QUOTED).label("text"),
        func.row_number()
        .over(
            partition_by=_comment.bug_id,
            order_by=(_comment.created_at.desc().nulls_last(), _comment.position.desc()),
        )
        .label("place"),
    )
    .outerjoin_from(table_of(BugComment), _persons, _comment.author_id == _persons.c.id)
    .where(any_of(_comment.bug_id, "bug_ids"))
    .subquery()
)
_last_comments: Select[Any] = select(_latest).where(_latest.c.place == 1)
_backlog_of_product = (
    _bug.product_id == _product.id,
    _bug.status.in_(_accepted),
    _bug.exported_at.is_(None),
    _bug.external_idx.is_(None),
    _bug.gone_at.is_(None),
)
# The clock of the reports decides what is oldest; where it is not told, a bug only counts.
_oldest = (
    select(_bug.id)
    .where(*_backlog_of_product, _bug.reported_at.is_not(None))
    .correlate(_products)
    .order_by(_bug.reported_at, _bug.id)
    .limit(1)
    .scalar_subquery()
)
_counted = (
    select(literal_column("1").label("one"))
    .where(*_backlog_of_product)
    .correlate(_products)
    # In the order of that index, or SQLite reads another one and every accepted bug.
    .order_by(_bug.reported_at, _bug.id)
    .limit(COUNTED + 1)
    .subquery()
)


@lru_cache(maxsize=64)
def _select_sums(names: frozenset[str]) -> Select[Any]:
    """Open bugs by level, questions, and bugs by the time left, of those that match the filters with these names."""
    is_open, end = _bug.status == "open", _test.sort_at
    levels: list[Any] = [func.count().filter(is_open, _rank == rank) for rank in range(4)]
    return (
        select(
            *levels,
            func.count().filter(_bug.status == "question"),
            func.count().filter(end < _bind_moment("overdue")),
            func.count().filter(end >= _bind_moment("overdue"), end <= _bind_moment("in_24_hours")),
            func.count().filter(end >= _bind_moment("overdue"), end <= _bind_moment("in_72_hours")),
        )
        .select_from(_waiting)
        .where(*_listing.conditions(names))
    )


@lru_cache(maxsize=2)
def _select_backlog(of_one: bool) -> Select[Any]:
    """Per product how many accepted bugs are not exported, counted up to a limit, and the oldest."""
    bugs = select(func.count()).select_from(_counted).correlate(_products).scalar_subquery()
    condition = _product.id == bindparam("product_id") if of_one else true()
    backlog = (
        select(
            _product.id.label("product_id"),
            _product.name.label("product"),
            bugs.label("bugs"),
            _oldest.label("oldest_bug_id"),
        )
        .where(_product.gone_at.is_(None), condition)
        .subquery()
    )
    return select(*backlog.c, _bug.reported_at.label("oldest_reported_at")).outerjoin_from(
        backlog, _bugs, _bug.id == backlog.c.oldest_bug_id
    )


@operation(
    "/triage",
    command="triage",
    toolset="bugs",
    needs=("tests", "bugs"),
    examples=({"include_backlog": True}, {"product_id": 1, "levels": ["critical", "high"], "order": "due"}),
)
async def triage_queue(
    app: App,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    test_ids: Annotated[Ids, Field(description="Only these tests; list_tests shows the ids.")] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, Field(description="All but these.")] = [],  # noqa: B006
    scope: ScopeOfTests = "all",
    levels: Annotated[
        list[Level], AsList, Field(description=f"Any of {', '.join(get_args(Level))}; all when left out.")
    ] = [],  # noqa: B006 - never changed
    kinds: Annotated[list[BugKind], AsList, Field(description=f"Any of {', '.join(get_args(BugKind))}.")] = [],  # noqa: B006 - never changed
    statuses: Annotated[list[Waiting], AsList, Field(description="Any of open, question.")] = [],  # noqa: B006 - never changed
    reporters: Annotated[list[str], AsList, Field(description="Full names, as list_people shows.")] = [],  # noqa: B006 - never changed
    end_from: Annotated[date | None, Field(description="First day of the test end.")] = None,
    end_to: Annotated[date | None, Field(description="Last day of the test end.")] = None,
    due_within_days: Annotated[
        int | None, Field(ge=0, le=365, description="Due in so many days, 0 to 365, or overdue.")
    ] = None,
    overdue: Annotated[bool | None, Field(description="true: only overdue; false: none.")] = None,
    order: Annotated[TriageOrder, Field(description="By level, then time left; or time left.")] = "urgency",
    include_backlog: Annotated[bool, Field(description="Also accepted, not exported.")] = False,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Bugs per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> TriagePage:
    """List the bugs that wait for a decision, most urgent first: by level, then by the time left.

    An open bug or question is auto-accepted, and paid for, some days after the end of its test.
    list_bugs finds bugs of any status.
    """
    begins, ends = bounds(Period(end_from, end_to), app.settings.zone)
    clock = _Clock(datetime.now(UTC), app.settings.auto_accept_days)
    late = clock.latest_end_due()
    filters: dict[str, Any] = {
        "statuses": statuses,
        "product_id": product_id,
        "test_ids": test_ids,
        "exclude_test_ids": exclude_test_ids,
        "ran": scope == "ran" or None,
        "levels": levels,
        "kinds": kinds,
        "ended": end_from is not None or end_to is not None or None,
        "end_from": begins,
        "end_before": ends,
        "ended_by": None if due_within_days is None else clock.latest_end_due(days=due_within_days),
        "overdue_before": late if overdue else None,
        "not_overdue_from": late if overdue is False else None,
    }
    view = _View(order, cursor, limit, total_only, include_backlog)
    return await app.store.read(
        lambda conn: _page(conn, {**filters, "reporter_ids": people_named(conn, reporters)}, clock, view)
    )


class _View(NamedTuple):
    """Which part of the queue is shown, and how."""

    order: str
    cursor: str | None
    limit: int
    total_only: bool
    include_backlog: bool


class _Clock(NamedTuple):
    """The present, and how many days after the end of a test its bugs are auto-accepted."""

    now: datetime
    days: int

    def latest_end_due(self, **within: int) -> datetime:
        """When a test has to have ended for its bugs to be due within this time."""
        return latest_end_due(self.now, timedelta(**within), self.days)

    def time_left(self, end_at: datetime | None) -> dict[str, Any]:
        """The time left for bugs of a test with this end; nothing is said of a test that has not ended."""
        due = auto_accept_at(end_at, AWAITING, self.days) if end_at and end_at <= self.now else None
        if due is None:
            return {"auto_accept_at": None, "hours_left": None, "overdue": False}
        hours = (due - self.now) // timedelta(hours=1)
        return {"auto_accept_at": due, "hours_left": hours, "overdue": due < self.now}


def _page(conn: Connection, filters: Mapping[str, Any], clock: _Clock, view: _View) -> TriagePage:
    page = _listing.page(
        conn, filters, order=view.order, cursor=view.cursor, limit=view.limit, total_only=view.total_only
    )
    records = page["items"]
    questions = [record["id"] for record in records if record["status"] == "question"]
    comments = {
        row["bug_id"]: row for row in fetch_records(conn, _last_comments, {"bug_ids": questions}) if questions
    }
    subjects = [Subject(*(record[name] for name in Subject._fields)) for record in records]
    duplicates = find_duplicates(conn, subjects) if subjects else {}
    page["items"] = [
        _describe(record)
        | clock.time_left(read_timestamp(record["test_end_at"]))
        | {"last_comment": comments.get(record["id"]), "duplicates": duplicates.get(record["id"], [])}
        for record in records
    ]
    summary = _summarise(conn, filters, clock)
    backlog: list[dict[str, Any]] = []
    if view.include_backlog:
        backlog = _read_backlog(conn, filters["product_id"])
        summary["not_exported"] = sum(row["bugs"] for row in backlog)
        summary["not_exported_is_capped"] = any(row["is_capped"] for row in backlog)
    return TriagePage.model_validate(
        {
            **page,
            "auto_accept_days": clock.days,
            "summary": summary,
            "export_backlog": backlog[:_PRODUCTS],
        }
    )


def _describe(record: dict[str, Any]) -> dict[str, Any]:
    name = " ".join(filter(None, (record["vendor"], record["device_name"])))
    system = " ".join(filter(None, (record["operating_system"], record["operating_system_version"])))
    device = f"{name} ({system})" if name and system else name or system or None
    return record | {"device": device, "evidence": {part: record[part] for part in Evidence.model_fields}}


def _summarise(conn: Connection, filters: Mapping[str, Any], clock: _Clock) -> dict[str, Any]:
    values = {name: value for name, value in filters.items() if value not in (None, [])}
    moments = {
        "overdue": clock.latest_end_due(),
        "in_24_hours": clock.latest_end_due(hours=24),
        "in_72_hours": clock.latest_end_due(hours=72),
    }
    *levels, questions, overdue, soon, later = fetch(conn, _select_sums(frozenset(values)), values | moments)[0]
    return {
        "open": dict(zip(OpenByLevel.model_fields, levels, strict=True)),
        "questions": questions,
        "overdue": overdue,
        "due_in_24_hours": soon,
        "due_in_72_hours": later,
    }


def _read_backlog(conn: Connection, product_id: int | None) -> list[dict[str, Any]]:
    binds = {} if product_id is None else {"product_id": product_id}
    rows = [row for row in fetch_records(conn, _select_backlog(product_id is not None), binds) if row["bugs"]]
    rows.sort(key=lambda row: (-row["bugs"], row["product_id"]))
    return [row | {"bugs": min(row["bugs"], COUNTED), "is_capped": row["bugs"] > COUNTED} for row in rows]
