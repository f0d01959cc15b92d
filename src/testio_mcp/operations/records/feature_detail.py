"""All about one feature and one user story of a product."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Select, bindparam, exists, func, select

from testio_mcp.database.dialect import fetch, fetch_records
from testio_mcp.database.tables import (
    Bug,
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
from testio_mcp.operations.lists.paging import as_of
from testio_mcp.operations.metrics.engine import coverage_of
from testio_mcp.operations.records.details import GONE, RECENT, RecentBug, recent_bugs, the_one
from testio_mcp.operations.records.tests import BugCounts, past_end
from testio_mcp.operations.registry import operation

SHOWN = 20
"""How many executions and results of a user story are shown."""
FEW = 500
"""Up to how many tests of a feature the newest is sought among them; of more, some are among the product's newest."""
_feature, _story, _bug = table_of(Feature).c, table_of(UserStory).c, table_of(Bug).c
_product, _section, _member = table_of(Product), table_of(Section).c, table_of(FeatureSection).c
_test, _copy, _result = table_of(Test).c, table_of(TestFeature).c, table_of(TestStoryResult).c
_execution, _device, _person = table_of(Execution).c, table_of(ExecutionDevice).c, table_of(Person)


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
        _product.c.name.label("product"),
        _feature.description,
        _feature.howtofind,
        as_of("features", "tests", "bugs", product_id=_feature.product_id).label("as_of"),
        _feature.gone_at,
    )
    .join_from(table_of(Feature), _product)
    .where(_feature.id == bindparam("id"))
)
_sections = (
    select(_section.name)
    .join_from(table_of(FeatureSection), table_of(Section))
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
    .join_from(table_of(UserStory), table_of(Execution), _execution.user_story_id == _story.id)
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
        _product.c.name.label("product"),
        as_of("features", "executions", product_id=_story.product_id).label("as_of"),
        func.coalesce(_story.gone_at, _feature.gone_at).label("gone_at"),
    )
    .join_from(table_of(UserStory), table_of(Feature))
    .join(_product, _story.product_id == _product.c.id)
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
        _person.c.name.label("tester"),
        _execution.executed_at,
        _execution.comment,
    )
    .join_from(_newest_runs, table_of(Execution), _execution.id == _newest_runs.c.id)
    .outerjoin(table_of(Test), _execution.test_id == _test.id)
    .outerjoin(_person, _execution.executed_by_id == _person.c.id)
    .order_by(_execution.id.desc())
)
_devices_of_runs = (
    select(_device.execution_id, _device.name, _device.operating_system, _device.operating_system_version)
    .where(_device.execution_id.in_(bindparam("ids", expanding=True)))
    .order_by(_device.execution_id, _device.position)
)
_newest_results = (
    select(_result.test_id, _result.position)
    .join(table_of(Test), _result.test_id == _test.id)
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
        table_of(TestStoryResult),
        (_result.test_id == _newest_results.c.test_id) & (_result.position == _newest_results.c.position),
    )
    .join(table_of(Test), _result.test_id == _test.id)
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
