"""Exploratory tests (test cycles)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy import Connection, Text, bindparam, exists, func, select

from testio_mcp.database.dialect import among, fetch, fetch_records
from testio_mcp.database.tables import Bug, Feature, Person, Product, Test, TestFeature, table_of
from testio_mcp.domain import FAR_FUTURE, OPEN_IN_WORDS, TestingType, TestStatus, is_past_end
from testio_mcp.operations.arguments import (
    ON_REQUEST,
    AsList,
    Fields,
    Ids,
    OpenWords,
    ScopeOfTests,
    TotalOnly,
    order_by,
)
from testio_mcp.operations.figures import RAN, read_timestamp
from testio_mcp.operations.lists.listing import COUNTED, Counting, Listing, Order, any_of
from testio_mcp.operations.lists.matching import people_named
from testio_mcp.operations.lists.paging import Cursor, Page
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.operations.registry import operation
from testio_mcp.operations.work.search import matching_ids
from testio_mcp.settings import Settings

Sort = Literal["newest", "oldest"]

_test, _bug, _product = table_of(Test).c, table_of(Bug).c, table_of(Product).c
_feature, _person = table_of(TestFeature).c, table_of(Person).c
TestStatuses = Annotated[
    list[str],
    AsList,
    OpenWords(get_args(TestStatus), _test.status),
    Field(description=f"Any of {', '.join(get_args(TestStatus))}."),
]
TestingTypes = Annotated[
    list[str],
    AsList,
    # The API's word for custom tests.
    AfterValidator(lambda types: ["custom" if word == "external" else word for word in types]),
    OpenWords(get_args(TestingType), _test.testing_type),
    Field(description=f"Any of {', '.join(get_args(TestingType))}."),
]


class BugCounts(BaseModel):
    """Bugs of one test; every bug counts once. `other` holds the kinds that have no level."""

    total: int = 0
    critical: int = 0
    high: int = 0
    low: int = 0
    other: int = 0
    open: int = Field(default=0, description="Status open, without questions; of any level.")


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
    is_past_end: bool | None = Field(default=None, description="true: it still runs although its end has passed.")
    bugs: BugCounts
    contact: Annotated[str | None, ON_REQUEST] = Field(default=None, description="Who created it.")
    test_environment_id: Annotated[int | None, ON_REQUEST] = None
    feature_ids: Annotated[list[int], ON_REQUEST] = []


class TestPage(Page):
    """Tests by end, newest first unless asked otherwise; those without an end count as newest."""

    items: list[TestSummary]
    scope: str = f"bugs: all statuses; {OPEN_IN_WORDS}"


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
_gone = select(_test.id).where(_test.gone_at.is_not(None))
# Counted in the index of the copies of features alone; few tests are gone, and they have an index of their own.
_with_features = (
    select(_feature.test_id)
    .where(_feature.feature_id.in_(bindparam("feature_ids", expanding=True)), _feature.test_id.not_in(_gone))
    .distinct()
)
_few_with_features = (
    select(_feature.test_id)
    .where(_feature.feature_id.in_(bindparam("feature_ids", expanding=True)))
    .limit(COUNTED + 1)
)
_gathered = {
    "feature_ids": _test.id.in_(
        select(_feature.test_id).where(_feature.feature_id.in_(bindparam("feature_ids", expanding=True)))
    ),
}
_listing = Listing(
    table=table_of(Test),
    columns=(
        _test.id,
        _test.title,
        _test.product_id,
        _product.name.label("product"),
        _test.status,
        _test.testing_type,
        _test.start_at,
        _test.end_at,
    ),
    joins=((table_of(Product), _test.product_id == _product.id),),
    always=(_test.gone_at.is_(None),),
    filters={
        "product_id": _test.product_id == bindparam("product_id"),
        "statuses": _test.status.in_(bindparam("statuses", expanding=True)),
        "types": _test.testing_type.in_(bindparam("types", expanding=True)),
        "feature_ids": exists().where(
            _feature.test_id == _test.id, _feature.feature_id.in_(bindparam("feature_ids", expanding=True))
        ),
        "contacts": any_of(_test.created_by_id, "contacts"),
        "test_ids": any_of(_test.id, "test_ids"),
        "exclude_test_ids": _test.id.not_in(bindparam("exclude_test_ids", expanding=True)),
        "ran": RAN,
        "text": among(_test.id, bindparam("text", type_=Text)),
        "test_environment_id": _test.test_environment_id == bindparam("test_environment_id"),
        "end_from": _test.sort_at >= bindparam("end_from", type_=_test.sort_at.type),
        "end_before": _test.sort_at < bindparam("end_before", type_=_test.sort_at.type),
    },
    counted=_gathered,
    orders={
        "newest": Order((_test.sort_at, _test.id), (datetime, int), above="end_from", below="end_before"),
        "oldest": Order((_test.sort_at, _test.id), (datetime, int), False, above="end_from", below="end_before"),
        **{
            f"{sort} gathered": Order(
                (_test.sort_at, _test.id),
                (datetime, int),
                sort == "newest",
                above="end_from",
                below="end_before",
                instead=_gathered,
            )
            for sort in get_args(Sort)
        },
    },
    counting={"feature_ids": Counting(_with_features)},
    resources=("tests", "bugs"),
    split={"statuses": _test.status, "contacts": _test.created_by_id},
    known={
        "product_id": (table_of(Product), "Product", "list_products shows the ids."),
        "test_ids": (table_of(Test), "Test", "list_tests shows the ids."),
        "feature_ids": (table_of(Feature), "Feature", "list_features shows the ids."),
    },
)


@operation(
    "/tests",
    command="tests list",
    toolset="tests",
    needs=("tests", "bugs"),
    examples=({"statuses": ["running"]}, {"product_id": 1}),
)
def list_tests(
    conn: Connection,
    settings: Settings,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    test_ids: Annotated[Ids, Field(description="Only these tests.")] = [],  # noqa: B006 - never changed
    exclude_test_ids: Annotated[Ids, Field(description="All but these.")] = [],  # noqa: B006
    scope: ScopeOfTests = "all",
    statuses: TestStatuses = [],  # noqa: B006
    testing_types: TestingTypes = [],  # noqa: B006
    end_from: Annotated[date | None, Field(description="First day of the test end.")] = None,
    end_to: Annotated[date | None, Field(description="Last day of the test end.")] = None,
    feature_ids: Annotated[Ids, Field(description="Only tests of these features; list_features shows the ids.")] = [],  # noqa: B006
    contacts: Annotated[list[str], AsList, Field(description="Full names of creators.")] = [],  # noqa: B006
    test_environment_id: Annotated[int | None, Field(description="Only tests on this environment.")] = None,
    text: Annotated[str | None, Field(description="Words that all occur.")] = None,
    sort: Annotated[
        Sort, order_by(end_at=("newest", "oldest")), Field(description="newest or oldest end first.")
    ] = "newest",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Tests per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
    fields: Fields = [],  # noqa: B006
) -> TestPage:
    """List exploratory tests with their bug counts by level, newest end first.

    Tests without an end (drafts) count as newest; a date leaves them out.
    """
    begins, ends = bounds(Period(end_from, end_to), settings.zone)
    given = {
        "product_id": product_id,
        "test_ids": test_ids,
        "exclude_test_ids": exclude_test_ids,
        "ran": scope == "ran" or None,
        "statuses": statuses,
        "types": testing_types,
        "feature_ids": feature_ids,
        "contacts": people_named(conn, contacts),
        "test_environment_id": test_environment_id,
        "text": matching_ids(conn, "test", text, product_id),
        "end_from": begins,
        "end_before": ends or (FAR_FUTURE if end_from or end_to else None),
    }
    order: str = sort
    # A walk along all tests would look for those of a rare feature in vain.
    if feature_ids and len(fetch(conn, _few_with_features, {"feature_ids": feature_ids})) <= COUNTED:
        order = f"{sort} gathered"
    page = _listing.page(conn, given, order=order, cursor=cursor, limit=limit, total_only=total_only)
    ids = [item["id"] for item in page["items"]]
    counts = count_bugs(conn, ids) if ids else {}
    for item in page["items"]:
        item["bugs"] = counts.get(item["id"], {})
        item["is_past_end"] = past_end(item)
    if ids and _REQUESTED & {*fields}:
        _add_requested(conn, page["items"], ids)
    return TestPage.model_validate(page)


_REQUESTED = frozenset({"contact", "test_environment_id", "feature_ids"})
_more = (
    select(_test.id, _person.name.label("contact"), _test.test_environment_id)
    .outerjoin_from(table_of(Test), table_of(Person), _test.created_by_id == _person.id)
    .where(any_of(_test.id, "ids"))
)
_features_of = (
    select(_feature.test_id, _feature.feature_id)
    .where(any_of(_feature.test_id, "ids"), _feature.feature_id.is_not(None))
    .distinct()
    .order_by(_feature.test_id, _feature.feature_id)
)


def _add_requested(conn: Connection, items: list[dict[str, Any]], ids: list[int]) -> None:
    """Add to the records of a page what is read only on request."""
    more = {row["id"]: row for row in fetch_records(conn, _more, {"ids": ids})}
    features: dict[int, list[int]] = {}
    for test_id, feature_id in fetch(conn, _features_of, {"ids": ids}):
        features.setdefault(test_id, []).append(feature_id)
    for item in items:
        item.update(more[item["id"]], feature_ids=features.get(item["id"], []))


def past_end(test: Mapping[str, Any]) -> bool | None:
    """What `is_past_end` says of a test: True, or nothing."""
    return is_past_end(test["status"], read_timestamp(test["end_at"]), datetime.now(UTC)) or None
