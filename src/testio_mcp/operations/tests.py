"""Exploratory tests (test cycles)."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field
from sqlalchemy import Connection, bindparam, exists, func, or_, select

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import Bug, Feature, Product, Test, TestFeature, table_of
from testio_mcp.operations.arguments import AsList, Ids
from testio_mcp.operations.listing import COUNTED, Counting, Listing, Order
from testio_mcp.operations.paging import Cursor, Page
from testio_mcp.operations.periods import Period, bounds
from testio_mcp.operations.registry import operation
from testio_mcp.settings import Settings
from testio_mcp.sync.rows import FAR_FUTURE, person_id

TestStatus = Literal["initialized", "customer_finalized", "waiting", "running", "locked", "archived", "cancelled"]
TestingType = Literal["rapid", "focused", "coverage", "usability", "custom", "test_case"]
Sort = Literal["newest", "oldest"]

_test, _bug, _product = table_of(Test).c, table_of(Bug).c, table_of(Product).c
_feature = table_of(TestFeature).c


class BugCounts(BaseModel):
    """Bugs of one test; every bug counts once. `other` holds the kinds that have no level."""

    total: int = 0
    critical: int = 0
    high: int = 0
    low: int = 0
    other: int = 0
    open: int = Field(default=0, description="Without a decision, whatever the level.")


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
    bugs: BugCounts


class TestPage(Page):
    """Tests by end; those without an end count as newest."""

    items: list[TestSummary]


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
        "contacts": or_(
            *(
                column.in_(bindparam("contacts", expanding=True))
                for column in (_test.created_by_id, _test.submitted_by_id)
            )
        ),
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
    split={"statuses": _test.status},
    either=("contacts", (_test.created_by_id, _test.submitted_by_id)),
    known={
        "product_id": (table_of(Product), "Product", "list_products shows the ids."),
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
    statuses: Annotated[
        list[TestStatus], AsList, Field(description=f"Any of {', '.join(get_args(TestStatus))}; all when left out.")
    ] = [],  # noqa: B006 - never changed
    testing_types: Annotated[
        list[TestingType], AsList, Field(description=f"Any of {', '.join(get_args(TestingType))}.")
    ] = [],  # noqa: B006 - never changed
    end_from: Annotated[date | None, Field(description="First day of the end (YYYY-MM-DD).")] = None,
    end_to: Annotated[date | None, Field(description="Last day of the end (YYYY-MM-DD).")] = None,
    feature_ids: Annotated[Ids, Field(description="Only tests of these features; list_features shows the ids.")] = [],  # noqa: B006
    contacts: Annotated[list[str], AsList, Field(description="Full names of who created or submitted them.")] = [],  # noqa: B006 - never changed
    test_environment_id: Annotated[int | None, Field(description="Only tests on this environment.")] = None,
    sort: Annotated[Sort, Field(description="newest or oldest end first.")] = "newest",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Tests per page, 1 to 100.")] = 20,
) -> TestPage:
    """List exploratory tests with their bug counts by level, newest end first.

    A test that has no end yet (a draft) counts as newest and is left out when a date is given.
    """
    begins, ends = bounds(Period(end_from, end_to), settings.zone)
    given = {
        "product_id": product_id,
        "statuses": statuses,
        "types": testing_types,
        "feature_ids": feature_ids,
        "contacts": [person_id(name) for name in contacts],
        "test_environment_id": test_environment_id,
        "end_from": begins,
        "end_before": ends or (FAR_FUTURE if end_from or end_to else None),
    }
    order: str = sort
    # A walk along all tests would look for those of a rare feature in vain.
    if feature_ids and len(fetch(conn, _few_with_features, {"feature_ids": feature_ids})) <= COUNTED:
        order = f"{sort} gathered"
    page = _listing.page(conn, given, order=order, cursor=cursor, limit=limit)
    counts = count_bugs(conn, [item["id"] for item in page["items"]]) if page["items"] else {}
    for item in page["items"]:
        item["bugs"] = counts.get(item["id"], {})
    return TestPage.model_validate(page)
