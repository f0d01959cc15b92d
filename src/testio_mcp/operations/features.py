"""Features of products, and their user stories."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Connection, bindparam, exists, func, select

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
from testio_mcp.operations.arguments import Ids
from testio_mcp.operations.cells import RESULTS
from testio_mcp.operations.figures import RAN
from testio_mcp.operations.groups import has_any, number_of
from testio_mcp.operations.listing import Listing, Order, containing, part_of_text
from testio_mcp.operations.paging import Cursor, Page
from testio_mcp.operations.registry import operation
from testio_mcp.sync.counts import FEATURE_BUGS, STORY_EXECUTIONS

Sort = Literal["title", "newest"]

_FEATURES, _STORIES, _PRODUCTS = table_of(Feature), table_of(UserStory), table_of(Product)
_feature, _story, _product = _FEATURES.c, _STORIES.c, _PRODUCTS.c
_bug, _test, _copy, _execution = table_of(Bug).c, table_of(Test).c, table_of(TestFeature).c, table_of(Execution).c


class FeatureSummary(BaseModel):
    """One feature in a list."""

    id: int
    title: str
    product_id: int
    product: str
    user_stories: int
    bugs: int
    open_bugs: int = Field(description="Without a decision (status open).")
    is_tested: bool = Field(description="Whether a test that ran had it; drafts and cancelled tests do not count.")


class FeaturePage(Page):
    """Features by title, unless asked otherwise."""

    items: list[FeatureSummary]


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
_ran_on = exists().where(
    _story.feature_id == _feature.id,
    _execution.user_story_id == _story.id,
    _execution.gone_at.is_(None),
    _execution.status.in_(RESULTS),
    _run_device.execution_id == _execution.id,
    part_of_text(_run_device.operating_system, "untested_on"),
)
_bug_on = exists().where(
    _bug.feature_id == _feature.id,
    _bug.gone_at.is_(None),
    _bug_device.bug_id == _bug.id,
    part_of_text(_bug_device.operating_system, "untested_on"),
)
_features = Listing(
    table=_FEATURES,
    columns=(
        _feature.id,
        _feature.title,
        _feature.product_id,
        _product.name.label("product"),
        select(func.count())
        .where(_story.feature_id == _feature.id, _story.gone_at.is_(None))
        .scalar_subquery()
        .label("user_stories"),
        number_of(FEATURE_BUGS, _feature.id).label("bugs"),
        number_of(FEATURE_BUGS, _feature.id, status="open").label("open_bugs"),
        _is_tested.label("is_tested"),
    ),
    joins=((_PRODUCTS, _feature.product_id == _product.id),),
    always=(_feature.gone_at.is_(None),),
    filters={
        "product_id": _feature.product_id == bindparam("product_id"),
        "text": part_of_text(_feature.title, "text"),
        "tested": _is_tested,
        "untested": ~_is_tested,
        "untested_on": ~(_ran_on | _bug_on),
    },
    orders=_orders(_feature),
    resources=("features", "tests", "bugs"),
    known={"product_id": (_PRODUCTS, "Product", "list_products shows the ids.")},
)
_was_executed = has_any(_story.id, STORY_EXECUTIONS)
_stories = Listing(
    table=_STORIES,
    columns=(
        _story.id,
        _story.title,
        _story.feature_id,
        _feature.title.label("feature"),
        _story.product_id,
        _product.name.label("product"),
        number_of(STORY_EXECUTIONS, _story.id).label("executions"),
        *(
            number_of(STORY_EXECUTIONS, _story.id, status=word).label(word)
            for word in ("passed", "failed", "blocked")
        ),
    ),
    joins=((_PRODUCTS, _story.product_id == _product.id), (_FEATURES, _story.feature_id == _feature.id)),
    always=(_story.gone_at.is_(None),),
    filters={
        "product_id": _story.product_id == bindparam("product_id"),
        "feature_ids": _story.feature_id.in_(bindparam("feature_ids", expanding=True)),
        "text": part_of_text(_story.title, "text"),
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
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    text: Annotated[str | None, Field(description="Part of the title.")] = None,
    tested: Annotated[bool | None, Field(description="false: only those that no test ever had.")] = None,
    untested_on: Annotated[
        str | None,
        Field(description="Part of a system's name, such as ios: never run nor found broken on it."),
    ] = None,
    sort: Annotated[Sort, Field(description="By title, or newest first.")] = "title",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Features per page, 1 to 100.")] = 20,
) -> FeaturePage:
    """List the features of products with their numbers of user stories and bugs, and whether they were ever tested.

    list_bugs and list_tests take the ids as feature_ids.
    """
    given = {
        "product_id": product_id,
        "text": containing(text),
        "tested": tested or None,
        "untested": True if tested is False else None,
        "untested_on": containing(untested_on),
    }
    return FeaturePage.model_validate(_features.page(conn, given, order=sort, cursor=cursor, limit=limit))


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
    sort: Annotated[Sort, Field(description="By title, or newest first.")] = "title",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="User stories per page, 1 to 100.")] = 20,
) -> UserStoryPage:
    """List user stories with the number of their executions by status.

    execution_matrix shows the same by device, environment or test.
    """
    given = {
        "product_id": product_id,
        "feature_ids": feature_ids,
        "text": containing(text),
        "executed": executed or None,
        "unexecuted": True if executed is False else None,
    }
    return UserStoryPage.model_validate(_stories.page(conn, given, order=sort, cursor=cursor, limit=limit))
