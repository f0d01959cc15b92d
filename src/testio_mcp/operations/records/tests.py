"""Exploratory tests (test cycles)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy import Connection, bindparam, func, select

from testio_mcp.database.dialect import fetch, fetch_records
from testio_mcp.database.tables import Bug, Feature, Person, Product, Test, TestFeature, table_of
from testio_mcp.domain import OPEN_IN_WORDS, TestingType, TestStatus, is_past_end
from testio_mcp.operations.arguments import (
    OF_PRODUCT,
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
from testio_mcp.operations.lists.filters import Among, Equal, FromDay, NamedPerson, NoneOf, ToDay, When, any_of
from testio_mcp.operations.lists.listing import ListQuery, Order, list_operation
from testio_mcp.operations.lists.paging import Cursor, Page
from testio_mcp.operations.work.search import HasWords

Sort = Literal["newest", "oldest"]

_TESTS, _PRODUCTS = table_of(Test), table_of(Product)
_test, _bug, _product = _TESTS.c, table_of(Bug).c, _PRODUCTS.c
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
_ALONG = frozenset({"product_id", "end_from", "end_to"})


@list_operation(
    "/tests",
    "tests list",
    table=_TESTS,
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
    joins=((_PRODUCTS, _test.product_id == _product.id),),
    orders={
        "newest": Order((_test.sort_at, _test.id), along=_ALONG),
        "oldest": Order((_test.sort_at, _test.id), is_descending=False, along=_ALONG),
    },
    toolset="tests",
    needs=("tests", "bugs"),
    examples=({"statuses": ["running"]}, {"product_id": 1}),
)
def list_tests(
    query: ListQuery,
    product_id: Annotated[int | None, Equal(_test.product_id, exists=_PRODUCTS), OF_PRODUCT] = None,
    test_ids: Annotated[Ids, Among(_test.id, exists=_TESTS), Field(description="Only these tests.")] = [],  # noqa: B006 - never changed
    exclude_test_ids: Annotated[Ids, NoneOf(_test.id), Field(description="All but these.")] = [],  # noqa: B006
    scope: Annotated[ScopeOfTests, When({"ran": RAN})] = "all",
    statuses: Annotated[TestStatuses, Among(_test.status)] = [],  # noqa: B006
    testing_types: Annotated[TestingTypes, Among(_test.testing_type)] = [],  # noqa: B006
    end_from: Annotated[date | None, FromDay(_test.sort_at), Field(description="First day of the test end.")] = None,
    end_to: Annotated[date | None, ToDay(_test.sort_at), Field(description="Last day of the test end.")] = None,
    feature_ids: Annotated[
        Ids,
        Among(_feature.feature_id, of=_feature.test_id, exists=table_of(Feature)),
        Field(description="Only tests of these features; list_features shows the ids."),
    ] = [],  # noqa: B006
    contacts: Annotated[
        list[str], AsList, NamedPerson(_test.created_by_id), Field(description="Full names of creators.")
    ] = [],  # noqa: B006
    test_environment_id: Annotated[
        int | None, Equal(_test.test_environment_id), Field(description="Only tests on this environment.")
    ] = None,
    text: Annotated[str | None, HasWords("test", _test.id), Field(description="Words that all occur.")] = None,
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
    page = query.page()
    ids = [item["id"] for item in page["items"]]
    counts = count_bugs(query.conn, ids) if ids else {}
    for item in page["items"]:
        item["bugs"] = counts.get(item["id"], {})
        item["is_past_end"] = past_end(item)
    if ids and _REQUESTED & {*fields}:
        _add_requested(query.conn, page["items"], ids)
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
