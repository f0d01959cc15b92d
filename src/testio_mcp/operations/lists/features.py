"""Features of products and their user stories: the lists, and one of each."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, Text, bindparam, exists, func, select

from testio_mcp.database.dialect import among, fetch, fetch_records
from testio_mcp.database.tables import (
    Bug,
    BugDevice,
    Execution,
    ExecutionDevice,
    Feature,
    FeatureSection,
    Person,
    Product,
    Section,
    Test,
    TestFeature,
    TestStoryResult,
    UserStory,
    table_of,
)
from testio_mcp.domain import OPEN_IN_WORDS, RAN_IN_WORDS
from testio_mcp.operations import figures
from testio_mcp.operations.arguments import OF_PRODUCT, AsList, Ids, OtherName, TotalOnly, order_by
from testio_mcp.operations.figures import RAN, count_present
from testio_mcp.operations.lists.details import GONE, RECENT, BugCounts, RecentBug, past_end, recent_bugs, the_one
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
from testio_mcp.operations.lists.paging import Cursor, Page, as_of
from testio_mcp.operations.metrics.engine import coverage_of, measure
from testio_mcp.operations.metrics.periods import ALL_TIME, period_of, today_in
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.reading import question_of
from testio_mcp.operations.registry import operation
from testio_mcp.operations.reports.cells import RESULTS

_PRODUCTS, _TESTS, _BUGS = table_of(Product), table_of(Test), table_of(Bug)
_FEATURES, _STORIES, _PEOPLE = table_of(Feature), table_of(UserStory), table_of(Person)
_SECTIONS, _EXECUTIONS, _MEMBERS = table_of(Section), table_of(Execution), table_of(FeatureSection)
_RESULTS = table_of(TestStoryResult)
_product, _test, _bug, _feature = _PRODUCTS.c, _TESTS.c, _BUGS.c, _FEATURES.c
_story, _person, _section, _execution = _STORIES.c, _PEOPLE.c, _SECTIONS.c, _EXECUTIONS.c
_run_device, _bug_device, _copy, _member = (
    table_of(ExecutionDevice).c,
    table_of(BugDevice).c,
    table_of(TestFeature).c,
    _MEMBERS.c,
)
_result = _RESULTS.c

CatalogSort = Literal["title", "newest"]


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
        CatalogSort, order_by(id=("newest", "id")), Field(description="By title, or newest id first.")
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
        CatalogSort, order_by(id=("newest", "id")), Field(description="By title, or newest id first.")
    ] = "title",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="User stories per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> UserStoryPage:
    """List user stories with the number of their executions by status.

    execution_matrix shows the same by device, environment or test.
    """
    return UserStoryPage.model_validate(query.page())


SHOWN = 20
"""How many executions and results of a user story are shown."""
FEW = 500
"""Up to how many tests of a feature the newest is sought among them; of more, some are among the product's newest."""


class StoryOfFeature(BaseModel):
    """A user story with the number of its executions by status."""

    id: int
    title: str
    executions: dict[str, int]


class TestOfFeature(BaseModel):
    """A test that the feature was in."""

    id: int
    title: str
    status: str
    end_at: datetime | None
    is_past_end: bool | None = Field(default=None, description="true: it still runs although its end has passed.")


class FeatureDetail(BaseModel):
    """One feature with its user stories, its tests and its bugs."""

    id: int
    title: str
    product_id: int
    product: str
    sections: list[str]
    description: str | None
    howtofind: str | None
    scope: str = f"tests: all statuses; bugs: of all tests; {OPEN_IN_WORDS}; last_tested_at: {RAN_IN_WORDS}"
    tests: int = Field(description="Tests of any status that it was in.")
    last_tested_at: datetime | None = Field(description="Latest end of the tests with it that ran.")
    bugs: BugCounts
    bugs_by_kind: dict[str, int]
    bugs_by_status: dict[str, int]
    user_stories: list[StoryOfFeature]
    story_coverage: float | None = Field(description="User stories executed in tests that ran, of all of them.")
    newest_tests: list[TestOfFeature] = Field(description=f"Newest end first, at most {RECENT}.")
    recent_bugs: list[RecentBug]
    as_of: datetime | None
    gone_at: datetime | None = Field(description=GONE)


_feature_base = (
    select(
        _feature.id,
        _feature.title,
        _feature.product_id,
        _product.name.label("product"),
        _feature.description,
        _feature.howtofind,
        as_of("features", "tests", "bugs", product_id=_feature.product_id).label("as_of"),
        _feature.gone_at,
    )
    .join_from(_FEATURES, _PRODUCTS)
    .where(_feature.id == bindparam("id"))
)
_sections = (
    select(_section.name)
    .join_from(_MEMBERS, _SECTIONS)
    .where(_member.feature_id == bindparam("id"))
    .order_by(_section.id)
)
_stories = (
    select(_story.id, _story.title)
    .where(_story.feature_id == bindparam("id"), _story.gone_at.is_(None))
    .order_by(_story.id)
)
_executions_of_stories = (
    select(_execution.user_story_id, _execution.status, func.count())
    .join_from(_STORIES, _EXECUTIONS, _execution.user_story_id == _story.id)
    .where(_story.feature_id == bindparam("id"), _story.gone_at.is_(None), _execution.gone_at.is_(None))
    .group_by(_execution.user_story_id, _execution.status)
)
_has_it = (_copy.feature_id == bindparam("id"), _copy.test_id == _test.id)
_gone = select(func.count()).where(
    _test.product_id == bindparam("product_id"), _test.gone_at.is_not(None), exists().where(*_has_it)
)
_tests: Select[Any] = select(
    select(func.count(_copy.test_id.distinct())).where(_copy.feature_id == bindparam("id")).scalar_subquery()
    - _gone.scalar_subquery()
)


def _newest(*conditions: ColumnElement[bool]) -> tuple[Select[Any], Select[Any]]:
    """The newest tests with the feature: looked for among a few of its tests, or from a product's newest on."""
    newest = (
        select(_test.id, _test.title, _test.status, _test.end_at)
        .where(_test.gone_at.is_(None), *conditions)
        .order_by(_test.sort_at.desc(), _test.id.desc())
        .limit(bindparam("limit"))
    )
    few = _test.id.in_(select(_copy.test_id).where(_copy.feature_id == bindparam("id")))
    return newest.where(few), newest.where(_test.product_id == bindparam("product_id"), exists().where(*_has_it))


_newest_tests, _newest_ran = _newest(), _newest(figures.RAN, _test.end_at.is_not(None))
_bugs = (
    select(_bug.status, _bug.level, _bug.kind, func.count())
    .where(_bug.feature_id == bindparam("id"), _bug.gone_at.is_(None))
    .group_by(_bug.status, _bug.level, _bug.kind)
)


@operation(
    "/features/{feature_id}",
    command="features show",
    toolset="catalog",
    needs=("features", "tests", "bugs", "executions", "metrics"),
    examples=({"feature_id": 1},),
    about="feature",
)
def get_feature(
    conn: Connection,
    feature_id: Annotated[int, Field(description="Id of the feature; list_features shows the ids.")],
) -> FeatureDetail:
    """Tell all about one feature: where to find it, its user stories, when it was tested, and its bugs.

    list_features finds the ids; list_bugs with feature_ids shows all of its bugs.
    """
    key = {"id": feature_id}
    base = the_one(conn, _feature_base, feature_id, "Feature", "list_features")
    runs = fetch(conn, _executions_of_stories, key)
    groups = fetch(conn, _bugs, key)
    known = key | {"product_id": base["product_id"]}
    tests = fetch(conn, _tests, known)[0][0]
    way = int(tests > FEW)
    ran = fetch_records(conn, _newest_ran[way], known | {"limit": 1})
    answer: dict[str, Any] = {
        **base,
        "story_coverage": coverage_of(conn, "feature", feature_id),
        "sections": [row[0] for row in fetch(conn, _sections, key)],
        "tests": tests,
        "last_tested_at": ran[0]["end_at"] if ran else None,
        "bugs": figures.bug_counts(groups),
        "bugs_by_kind": figures.tally(groups, figures.KIND),
        "bugs_by_status": figures.tally(groups, figures.STATUS),
        "user_stories": [
            story | {"executions": figures.tally([run[1:] for run in runs if run[0] == story["id"]])}
            for story in fetch_records(conn, _stories, key)
        ],
        "newest_tests": [
            test | {"is_past_end": past_end(test)}
            for test in fetch_records(conn, _newest_tests[way], known | {"limit": RECENT})
        ],
        "recent_bugs": recent_bugs(conn, _bug.feature_id, feature_id),
    }
    return FeatureDetail.model_validate(answer)


class ExecutionOfStory(BaseModel):
    """One tester's run of the story."""

    id: int
    status: str
    test_id: int | None
    test: str | None
    tester: str | None
    executed_at: datetime | None
    devices: list[str]
    comment: str | None


class ResultOfStory(BaseModel):
    """What the runs of the story in one test add up to."""

    test_id: int
    test: str
    end_at: datetime | None
    execution_status: str | None = Field(description="not_tested, passed, failed or blocked.")
    testers: int | None
    bugs: int | None


class UserStoryDetail(BaseModel):
    """One user story and how its executions went."""

    id: int
    title: str
    feature_id: int
    feature: str
    product_id: int
    product: str
    scope: str = "executions: of all tests, also pending and cancelled"
    executions: int
    executions_by_status: dict[str, int]
    pass_rate: float | None = Field(description="Passed runs of those that passed, failed or were blocked.")
    recent_executions: list[ExecutionOfStory] = Field(description=f"Newest first, at most {SHOWN}.")
    results: list[ResultOfStory] = Field(description=f"By test that ran, newest first, at most {SHOWN}.")
    as_of: datetime | None
    gone_at: datetime | None = Field(description=GONE)


_story_base = (
    select(
        _story.id,
        _story.title,
        _story.feature_id,
        _feature.title.label("feature"),
        _story.product_id,
        _product.name.label("product"),
        as_of("features", "executions", product_id=_story.product_id).label("as_of"),
        func.coalesce(_story.gone_at, _feature.gone_at).label("gone_at"),
    )
    .join_from(_STORIES, _FEATURES)
    .join(_PRODUCTS, _story.product_id == _product.id)
    .where(_story.id == bindparam("id"))
)
_executions = (
    select(_execution.status, func.count())
    .where(_execution.user_story_id == bindparam("id"), _execution.gone_at.is_(None))
    .group_by(_execution.status)
)
# The inner statements read an index alone; only the rows that are shown are looked up.
_newest_runs = (
    select(_execution.id)
    .where(_execution.user_story_id == bindparam("id"), _execution.gone_at.is_(None))
    .order_by(_execution.id.desc())
    .limit(SHOWN)
    .subquery()
)
_runs = (
    select(
        _execution.id,
        _execution.status,
        _execution.test_id,
        _test.title.label("test"),
        _person.name.label("tester"),
        _execution.executed_at,
        _execution.comment,
    )
    .join_from(_newest_runs, _EXECUTIONS, _execution.id == _newest_runs.c.id)
    .outerjoin(_TESTS, _execution.test_id == _test.id)
    .outerjoin(_PEOPLE, _execution.executed_by_id == _person.id)
    .order_by(_execution.id.desc())
)
_devices_of_runs = (
    select(
        _run_device.execution_id, _run_device.name, _run_device.operating_system, _run_device.operating_system_version
    )
    .where(_run_device.execution_id.in_(bindparam("ids", expanding=True)))
    .order_by(_run_device.execution_id, _run_device.position)
)
_newest_results = (
    select(_result.test_id, _result.position)
    .join(_TESTS, _result.test_id == _test.id)
    .where(_result.user_story_id == bindparam("id"), _test.gone_at.is_(None), figures.RAN)
    .order_by(_result.test_id.desc())
    .limit(SHOWN)
    .subquery()
)
_results = (
    select(
        _result.test_id,
        _test.title.label("test"),
        _test.end_at,
        _result.execution_status,
        _result.testers,
        _result.bugs,
    )
    .join_from(
        _newest_results,
        _RESULTS,
        (_result.test_id == _newest_results.c.test_id) & (_result.position == _newest_results.c.position),
    )
    .join(_TESTS, _result.test_id == _test.id)
    .order_by(_result.test_id.desc())
)


@operation(
    "/user-stories/{user_story_id}",
    command="stories show",
    toolset="catalog",
    needs=("features", "tests", "bugs", "executions", "metrics"),
    examples=({"user_story_id": 1},),
    about="user_story",
)
def get_user_story(
    conn: Connection,
    user_story_id: Annotated[int, Field(description="Id of the user story; list_user_stories shows the ids.")],
) -> UserStoryDetail:
    """Tell all about one user story: how often it passed, failed or was blocked, by whom, on what, in which tests.

    list_user_stories finds the ids; a feature shows those of its own.
    """
    key = {"id": user_story_id}
    base = the_one(conn, _story_base, user_story_id, "User story", "list_user_stories")
    statuses = figures.tally(fetch(conn, _executions, key))
    runs = fetch_records(conn, _runs, key)
    answer: dict[str, Any] = {
        **base,
        "executions": sum(statuses.values()),
        "executions_by_status": statuses,
        "pass_rate": figures.pass_rate(statuses),
        "recent_executions": _with_devices(conn, runs),
        "results": fetch_records(conn, _results, key),
    }
    return UserStoryDetail.model_validate(answer)


def _with_devices(conn: Connection, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Executions with their devices, each told in one line."""
    if not runs:
        return []
    devices: dict[int, list[str]] = {run["id"]: [] for run in runs}
    for run_id, name, *system in fetch(conn, _devices_of_runs, {"ids": list(devices)}):
        devices[run_id].append(_device_line(name, system))
    return [run | {"devices": devices[run["id"]]} for run in runs]


def _device_line(name: str | None, system: Iterable[str | None]) -> str:
    """`Pixel 10 (Android 16)`, or as much of it as is known."""
    running = " ".join(part for part in system if part)
    return f"{name} ({running})" if name and running else name or running or "unknown"
