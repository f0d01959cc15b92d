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
from testio_mcp.operations.arguments import OF_PRODUCT, AsList, Ids, OtherName, TotalOnly, order_by
from testio_mcp.operations.figures import RAN, count_present
from testio_mcp.operations.lists.filters import (
    Among,
    Contains,
    Equal,
    Where,
    containing,
    holds,
    system_with_version,
    text_among,
)
from testio_mcp.operations.lists.listing import ListQuery, Order, list_operation
from testio_mcp.operations.lists.paging import Cursor, Page
from testio_mcp.operations.metrics.engine import measure
from testio_mcp.operations.metrics.periods import ALL_TIME, period_of, today_in
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.reading import question_of
from testio_mcp.operations.reports.cells import RESULTS

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
        "title": Order((columns.title, columns.id), is_descending=False),
        "newest": Order((columns.id,)),
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


def _runs_of(*conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    """How many executions a user story has."""
    return count_present(_EXECUTIONS, _execution.user_story_id == _story.id, *conditions)


_was_executed = exists().where(_execution.user_story_id == _story.id, _execution.gone_at.is_(None))


@list_operation(
    "/features",
    "features list",
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
    orders=_orders(_feature),
    filters={
        "product_ids": Where(among(_feature.product_id, bindparam("product_ids", type_=Text))),
        "tested_ids": Where(among(_feature.id, bindparam("tested_ids", type_=Text))),
        "untested_ids": Where(~among(_feature.id, bindparam("untested_ids", type_=Text))),
    },
    toolset="catalog",
    needs=("features", "tests", "bugs"),
    examples=({"product_id": 1}, {"tested": False}, {"untested_on": "ios"}),
)
def list_features(
    query: ListQuery,
    product_id: Annotated[int | None, Equal(_feature.product_id, exists=_PRODUCTS), OF_PRODUCT] = None,
    text: Annotated[str | None, Contains(_feature.title), Field(description="Part of the title.")] = None,
    tested: Annotated[
        bool | None, holds(_is_tested), Field(description="false: no test of period, filters, test_ids had it.")
    ] = None,
    period: Annotated[str, Field(description="As in query_metrics.")] = "",
    filters: Annotated[list[str], AsList, Field(description="As in query_metrics.")] = [],  # noqa: B006
    test_ids: Annotated[Ids, Field(description="Only these tests.")] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, Field(description="All but these.")] = [],  # noqa: B006
    untested_on: Annotated[
        str | None,
        Where(~(_ran_on | _bug_on), lambda call, text: containing(call.conn, text, _run_system, _bug_system)),
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
    conn, settings, scope = query.conn, query.settings, None
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
    page = query.page(**_by_tests(tested, scope))
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
    """The filters for features that were tested in a scope, or were not, in place of those by any test."""
    if scope is None:
        return {}
    name = {True: "tested_ids", False: "untested_ids", None: ""}[tested]
    ids = json.dumps(sorted(key for key in scope.features if isinstance(key, int)))
    products = {"product_ids": json.dumps(list(scope.products))} if scope.products else {}
    return {"tested": None} | ({name: ids} if name else {}) | products


@list_operation(
    "/user-stories",
    "stories list",
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
    orders=_orders(_story),
    toolset="catalog",
    needs=("features", "executions"),
    examples=({"product_id": 1},),
    by_default=False,
)
def list_user_stories(
    query: ListQuery,
    product_id: Annotated[int | None, Equal(_story.product_id, exists=_PRODUCTS), OF_PRODUCT] = None,
    feature_ids: Annotated[
        Ids,
        Among(_story.feature_id, exists=_FEATURES),
        Field(description="Only these features; list_features shows the ids."),
    ] = [],  # noqa: B006
    text: Annotated[str | None, Contains(_story.title), Field(description="Part of the title.")] = None,
    executed: Annotated[
        bool | None, holds(_was_executed), Field(description="false: only those that were never executed.")
    ] = None,
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
    return UserStoryPage.model_validate(query.page())
