"""Features of products, and their user stories."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, ScalarSelect, Text, bindparam, exists

from testio_mcp.database.dialect import among
from testio_mcp.database.tables import (
    Bug,
    BugDevice,
    Execution,
    ExecutionDevice,
    Feature,
    Product,
    Test,
    TestFeature,
    UserStory,
    table_of,
)
from testio_mcp.domain import OPEN_IN_WORDS, RAN_IN_WORDS
from testio_mcp.operations.arguments import AsList, Ids, OtherName, TotalOnly, order_by
from testio_mcp.operations.figures import RAN, count_present
from testio_mcp.operations.lists.listing import Listing, Order, system_with_version, text_among
from testio_mcp.operations.lists.matching import containing
from testio_mcp.operations.lists.paging import Cursor, Page
from testio_mcp.operations.metrics.engine import measure
from testio_mcp.operations.metrics.periods import ALL_TIME, period_of, today_in
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.reading import question_of
from testio_mcp.operations.registry import operation
from testio_mcp.operations.reports.cells import RESULTS
from testio_mcp.settings import Settings

Sort = Literal["title", "newest"]

_FEATURES, _STORIES, _PRODUCTS = table_of(Feature), table_of(UserStory), table_of(Product)
_feature, _story, _product = _FEATURES.c, _STORIES.c, _PRODUCTS.c
_BUGS, _EXECUTIONS = table_of(Bug), table_of(Execution)
_bug, _execution, _test, _copy = _BUGS.c, _EXECUTIONS.c, table_of(Test).c, table_of(TestFeature).c


class FeatureSummary(BaseModel):
    """One feature in a list."""

    id: int
    title: str
    product_id: int
    product: str
    user_stories: int
    bugs: int
    open_bugs: int = Field(description="Without a decision (status open).")
    tested: Annotated[bool, OtherName("is_tested")] = Field(
        description="Whether a test that ran had it; of those in period and filters where these are given."
    )


class FeaturePage(Page):
    """Features by title, unless asked otherwise."""

    items: list[FeatureSummary]
    scope: str = f"bugs: of all tests; {OPEN_IN_WORDS}; tested: by {RAN_IN_WORDS}"


class UserStorySummary(BaseModel):
    """One user story in a list, with its executions by status."""

    id: int
    title: str
    feature_id: int
    feature: str
    product_id: int
    product: str
    executions: int
    passed: int
    failed: int
    blocked: int


class UserStoryPage(Page):
    """User stories by title, unless asked otherwise."""

    items: list[UserStorySummary]
    scope: str = "executions: of all tests, also pending and cancelled"


def _orders(columns: Any) -> dict[str, Order]:
    return {
        "title": Order((columns.title, columns.id), (str, int), is_descending=False),
        "newest": Order((columns.id,), (int,)),
    }


_is_tested = exists().where(
    _copy.feature_id == _feature.id,
    _copy.test_id == _test.id,
    _test.gone_at.is_(None),
    RAN,
)
_run_device, _bug_device = table_of(ExecutionDevice).c, table_of(BugDevice).c
_run_system, _bug_system = system_with_version(_run_device), system_with_version(_bug_device)
_ran_on = exists().where(
    _story.feature_id == _feature.id,
    _execution.user_story_id == _story.id,
    _execution.gone_at.is_(None),
    _execution.status.in_(RESULTS),
    _run_device.execution_id == _execution.id,
    text_among(_run_system, "untested_on"),
)
_bug_on = exists().where(
    _bug.feature_id == _feature.id,
    _bug.gone_at.is_(None),
    _bug_device.bug_id == _bug.id,
    text_among(_bug_system, "untested_on"),
)
_features = Listing(
    table=_FEATURES,
    columns=(
        _feature.id,
        _feature.title,
        _feature.product_id,
        _product.name.label("product"),
        count_present(_STORIES, _story.feature_id == _feature.id).label("user_stories"),
        count_present(_BUGS, _bug.feature_id == _feature.id).label("bugs"),
        count_present(_BUGS, _bug.feature_id == _feature.id, _bug.status == "open").label("open_bugs"),
        _is_tested.label("tested"),
    ),
    joins=((_PRODUCTS, _feature.product_id == _product.id),),
    always=(_feature.gone_at.is_(None),),
    filters={
        "product_id": _feature.product_id == bindparam("product_id"),
        "text": text_among(_feature.title, "text"),
        "tested": _is_tested,
        "untested": ~_is_tested,
        "product_ids": among(_feature.product_id, bindparam("product_ids", type_=Text)),
        "tested_ids": among(_feature.id, bindparam("tested_ids", type_=Text)),
        "untested_ids": ~among(_feature.id, bindparam("untested_ids", type_=Text)),
        "untested_on": ~(_ran_on | _bug_on),
    },
    orders=_orders(_feature),
    resources=("features", "tests", "bugs"),
    known={"product_id": (_PRODUCTS, "Product", "list_products shows the ids.")},
)


def _runs_of(*conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    """How many executions a user story has."""
    return count_present(_EXECUTIONS, _execution.user_story_id == _story.id, *conditions)


_was_executed = exists().where(_execution.user_story_id == _story.id, _execution.gone_at.is_(None))
_stories = Listing(
    table=_STORIES,
    columns=(
        _story.id,
        _story.title,
        _story.feature_id,
        _feature.title.label("feature"),
        _story.product_id,
        _product.name.label("product"),
        _runs_of().label("executions"),
        *(_runs_of(_execution.status == word).label(word) for word in ("passed", "failed", "blocked")),
    ),
    joins=((_PRODUCTS, _story.product_id == _product.id), (_FEATURES, _story.feature_id == _feature.id)),
    always=(_story.gone_at.is_(None),),
    filters={
        "product_id": _story.product_id == bindparam("product_id"),
        "feature_ids": _story.feature_id.in_(bindparam("feature_ids", expanding=True)),
        "text": text_among(_story.title, "text"),
        "executed": _was_executed,
        "unexecuted": ~_was_executed,
    },
    orders=_orders(_story),
    resources=("features", "executions"),
    known={
        "product_id": (_PRODUCTS, "Product", "list_products shows the ids."),
        "feature_ids": (_FEATURES, "Feature", "list_features shows the ids."),
    },
)


@operation(
    "/features",
    command="features list",
    toolset="catalog",
    needs=("features", "tests", "bugs"),
    examples=({"product_id": 1}, {"tested": False}, {"untested_on": "ios"}),
)
def list_features(
    conn: Connection,
    settings: Settings,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    text: Annotated[str | None, Field(description="Part of the title.")] = None,
    tested: Annotated[bool | None, Field(description="false: no test of period, filters, test_ids had it.")] = None,
    period: Annotated[str, Field(description="As in query_metrics.")] = "",
    filters: Annotated[list[str], AsList, Field(description="As in query_metrics.")] = [],  # noqa: B006
    test_ids: Annotated[Ids, Field(description="Only these tests.")] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, Field(description="All but these.")] = [],  # noqa: B006
    untested_on: Annotated[
        str | None,
        Field(description="Part of a system (ios): never run nor found broken on it."),
    ] = None,
    sort: Annotated[
        Sort, order_by(id=("newest", "id")), Field(description="By title, or newest id first.")
    ] = "title",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Features per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> FeaturePage:
    """List the features of products: how many user stories and bugs they have, and whether they were tested.

    list_bugs and list_tests take the ids as feature_ids.
    """
    scope = None
    if period or filters or test_ids or exclude_test_ids:
        question = question_of(
            conn,
            metrics=["features_tested"],
            by=["feature"],
            filters=filters,
            period=period_of(
                period or ALL_TIME, today_in(settings.zone, datetime.now(UTC)), settings.fiscal_year_starts
            ),
            zone=settings.zone,
            test_ids=test_ids,
            exclude_test_ids=exclude_test_ids,
        )
        scope = _find_tested(conn, question)
    given = {
        "product_id": product_id,
        "text": containing(conn, text, _feature.title),
        "untested_on": containing(conn, untested_on, _run_system, _bug_system),
        **_by_tests(tested, scope),
    }
    page = _features.page(conn, given, order=sort, cursor=cursor, limit=limit, total_only=total_only)
    if scope:
        for item in page["items"]:
            item["tested"] = item["id"] in scope.features
        page["scope"] = f"bugs: of all tests; {OPEN_IN_WORDS}; tested: in this scope, by {RAN_IN_WORDS}"
    return FeaturePage.model_validate(page)


class _Scope(NamedTuple):
    """The features that the tests of a scope had, and the products that the scope names, if any."""

    features: frozenset[object]
    products: Sequence[object]


def _find_tested(conn: Connection, question: Question) -> _Scope:
    """What was tested in a scope, as `features_tested` of query_metrics counts it."""
    products = [key for key in question.values_of("product") or () if key is not None]
    return _Scope(frozenset(key[0] for key in measure(conn, question).rows), products)


def _by_tests(tested: bool | None, scope: _Scope | None) -> dict[str, Any]:
    """The filters for features that were tested, or were not: by any test, or in a scope."""
    name = {True: "tested", False: "untested", None: ""}[tested]
    if scope is None:
        return {name: True} if name else {}
    given = {f"{name}_ids": json.dumps(sorted(key for key in scope.features if isinstance(key, int)))} if name else {}
    return given | ({"product_ids": json.dumps(list(scope.products))} if scope.products else {})


@operation(
    "/user-stories",
    command="stories list",
    toolset="catalog",
    needs=("features", "executions"),
    examples=({"product_id": 1},),
    by_default=False,
)
def list_user_stories(
    conn: Connection,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    feature_ids: Annotated[Ids, Field(description="Only these features; list_features shows the ids.")] = [],  # noqa: B006
    text: Annotated[str | None, Field(description="Part of the title.")] = None,
    executed: Annotated[bool | None, Field(description="false: only those that were never executed.")] = None,
    sort: Annotated[
        Sort, order_by(id=("newest", "id")), Field(description="By title, or newest id first.")
    ] = "title",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="User stories per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> UserStoryPage:
    """List user stories with the number of their executions by status.

    execution_matrix shows the same by device, environment or test.
    """
    given = {
        "product_id": product_id,
        "feature_ids": feature_ids,
        "text": containing(conn, text, _story.title),
        "executed": executed or None,
        "unexecuted": True if executed is False else None,
    }
    return UserStoryPage.model_validate(
        _stories.page(conn, given, order=sort, cursor=cursor, limit=limit, total_only=total_only)
    )
