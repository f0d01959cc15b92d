"""All about one exploratory test."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select

from testio_mcp.database.dialect import fetch, fetch_records
from testio_mcp.database.tables import (
    Bug,
    BugDevice,
    Execution,
    Person,
    Product,
    Section,
    Test,
    TestCaseResult,
    TestEnvironment,
    TestFeature,
    TestFeatureResult,
    TestMetric,
    TestPlatform,
    TestStoryResult,
    table_of,
)
from testio_mcp.domain import OPEN_IN_WORDS, auto_accept_at
from testio_mcp.fields import Fields
from testio_mcp.operations import figures
from testio_mcp.operations.lists.paging import as_of
from testio_mcp.operations.records.details import GONE, RecentBug, attachments, payload, recent_bugs, the_one
from testio_mcp.operations.records.tests import BugCounts, past_end
from testio_mcp.operations.records.timeline import TimelineEntry, timeline
from testio_mcp.operations.registry import operation
from testio_mcp.settings import Settings

_test, _bug, _device = table_of(Test).c, table_of(Bug).c, table_of(BugDevice).c
_product, _section, _environment = table_of(Product), table_of(Section), table_of(TestEnvironment)
_creator, _submitter = table_of(Person).alias("creator"), table_of(Person).alias("submitter")
_copy, _platform = table_of(TestFeature).c, table_of(TestPlatform).c
_metric, _of_feature, _of_story = table_of(TestMetric).c, table_of(TestFeatureResult).c, table_of(TestStoryResult).c
_execution, _case = table_of(Execution).c, table_of(TestCaseResult).c
_PER_DEVICE = "A bug counts once for each value that its devices have; one without a device does not count."


class FeatureInTest(BaseModel):
    """A feature as this test has it."""

    id: int
    feature_id: int | None
    title: str
    bugs: int = Field(description="Bugs of this test on the feature.")
    execution_status: str | None = Field(description="not_tested, passed, failed or blocked.")
    testers: int | None


class StoryInTest(BaseModel):
    """A user story as this test has it."""

    user_story_id: int | None
    title: str | None
    feature: str | None
    execution_status: str | None
    testers: int | None
    bugs: int | None


class Platform(BaseModel):
    """A device requirement."""

    category: str | None
    operating_system: str | None
    version_from: str | None
    version_to: str | None
    browsers: str | None


class Metrics(BaseModel):
    """Totals as Test IO tells them; they may differ from what is counted here."""

    testers: int | None
    devices: int | None
    total_features: int | None
    tested_features: int | None
    passed_features: int | None
    failed_features: int | None
    total_user_stories: int | None
    tested_user_stories: int | None
    passed_user_stories: int | None
    failed_user_stories: int | None
    blocked_user_stories: int | None
    total_bugs: int | None


class TestDetail(BaseModel):
    """One test with its configuration, its execution and its bugs."""

    id: int
    title: str
    product_id: int
    product: str
    section: str | None
    status: str
    review_status: str | None
    testing_type: str
    report_language: str | None
    test_environment: str | None
    test_environment_url: str | None
    created_by: str | None
    submitted_by: str | None
    start_at: datetime | None
    end_at: datetime | None
    is_past_end: bool | None = Field(default=None, description="true: it still runs although its end has passed.")
    auto_accept_at: datetime | None = Field(description="When the bugs that await a decision are auto-accepted.")
    goal: str | None
    instructions: str | None
    out_of_scope: str | None
    allowed_bug_types: list[str]
    allowed_levels: list[str] = Field(description="Levels of functional bugs that the test asks for.")
    attachments: list[str]
    scope: str = f"bugs: all statuses; {OPEN_IN_WORDS}; executions: all statuses"
    bugs: BugCounts
    bugs_by_kind: dict[str, int]
    bugs_by_status: dict[str, int]
    open_bugs_by_level: dict[str, int]
    bugs_by_operating_system: dict[str, int] = Field(description=_PER_DEVICE)
    bugs_by_device: dict[str, int] = Field(description=_PER_DEVICE)
    rates: figures.Rates
    active_testers: int = Field(description="People who reported one of these bugs.")
    executions: dict[str, int] = Field(description="Runs of user stories by status.")
    pass_rate: float | None = Field(description="Passed runs of those that passed, failed or were blocked.")
    metrics: Metrics | None
    test_cases: dict[str, int] = Field(description="Results of test cases by status.")
    features: list[FeatureInTest]
    user_stories: list[StoryInTest]
    platforms: list[Platform]
    recent_bugs: list[RecentBug]
    timeline: list[TimelineEntry] = Field(description="Last changes of the test and its bugs, oldest first.")
    as_of: datetime | None
    gone_at: datetime | None = Field(description=GONE)


_base = (
    select(
        _test.id,
        _test.title,
        _test.product_id,
        _product.c.name.label("product"),
        _section.c.name.label("section"),
        _test.status,
        _test.review_status,
        _test.testing_type,
        _test.report_language,
        _environment.c.title.label("test_environment"),
        _environment.c.url.label("test_environment_url"),
        _creator.c.name.label("created_by"),
        _submitter.c.name.label("submitted_by"),
        _test.start_at,
        _test.end_at,
        _test.goal,
        _test.instructions,
        _test.out_of_scope,
        _test.gone_at,
        as_of("tests", "bugs", product_id=_test.product_id).label("as_of"),
        _test.raw,
    )
    .join_from(table_of(Test), _product)
    .outerjoin(_section, _test.section_id == _section.c.id)
    .outerjoin(_environment, _test.test_environment_id == _environment.c.id)
    .outerjoin(_creator, _test.created_by_id == _creator.c.id)
    .outerjoin(_submitter, _test.submitted_by_id == _submitter.c.id)
    .where(_test.id == bindparam("id"))
)
_features = (
    select(_copy.id, _copy.feature_id, _copy.title, _of_feature.execution_status, _of_feature.testers)
    .outerjoin_from(
        table_of(TestFeature),
        table_of(TestFeatureResult),
        (_of_feature.test_id == _copy.test_id) & (_of_feature.test_feature_id == _copy.id),
    )
    .where(_copy.test_id == bindparam("id"))
    .order_by(_copy.id)
)
_stories = (
    select(
        _of_story.user_story_id,
        _of_story.title,
        _copy.title.label("feature"),
        _of_story.execution_status,
        _of_story.testers,
        _of_story.bugs,
    )
    .outerjoin_from(table_of(TestStoryResult), table_of(TestFeature), _of_story.test_feature_id == _copy.id)
    .where(_of_story.test_id == bindparam("id"))
    .order_by(_of_story.position)
)
_platforms = (
    select(
        _platform.category,
        _platform.operating_system,
        _platform.version_from,
        _platform.version_to,
        _platform.browsers,
    )
    .where(_platform.test_id == bindparam("id"))
    .order_by(_platform.position)
)
_metrics = select(*(_metric[name] for name in Metrics.model_fields)).where(_metric.id == bindparam("id"))
# Counted per test: the bugs of a feature over all tests are too many to pick one test's from.
_bugs = (
    select(_bug.status, _bug.level, _bug.kind, _bug.feature_id, func.count())
    .where(_bug.test_id == bindparam("id"), _bug.gone_at.is_(None))
    .group_by(_bug.status, _bug.level, _bug.kind, _bug.feature_id)
)
_testers = select(func.count(_bug.author_id.distinct())).where(
    _bug.test_id == bindparam("id"), _bug.gone_at.is_(None)
)
_executions = (
    select(_execution.status, func.count())
    .where(_execution.test_id == bindparam("id"), _execution.gone_at.is_(None))
    .group_by(_execution.status)
)
_cases = select(_case.status, func.count()).where(_case.test_id == bindparam("id")).group_by(_case.status)


def _bugs_by(column: ColumnElement[Any]) -> Select[Any]:
    return (
        select(column, func.count(_device.bug_id.distinct()))
        .join_from(table_of(Bug), table_of(BugDevice))
        .where(_bug.test_id == bindparam("id"), _bug.gone_at.is_(None))
        .group_by(column)
    )


_by_system, _by_device = _bugs_by(_device.operating_system), _bugs_by(_device.name)


@operation(
    "/tests/{test_id}",
    command="tests show",
    toolset="tests",
    needs=("tests", "bugs", "metrics"),
    examples=({"test_id": 1},),
    about="test",
)
def get_test(
    conn: Connection,
    settings: Settings,
    test_id: Annotated[int, Field(description="Id of the test; list_tests shows the ids.")],
) -> TestDetail:
    """Tell all about one exploratory test: configuration, features, execution, bugs, rates, latest changes.

    Use it when you have a test's id; list_tests finds ids by product, status or date.
    """
    key = {"id": test_id}
    base = the_one(conn, _base, test_id, "Test", "list_tests")
    record = payload(base["raw"])
    executions = figures.tally(fetch(conn, _executions, key))
    answer: dict[str, Any] = {
        **base,
        **(of_bugs := _bug_figures(conn, test_id)),
        "auto_accept_at": auto_accept_at(
            figures.read_timestamp(base["end_at"]), of_bugs["bugs_by_status"], settings.auto_accept_days
        ),
        "is_past_end": past_end(base),
        "allowed_bug_types": record.names("allowed_bug_types"),
        "allowed_levels": _allowed_levels(record),
        "attachments": attachments(record),
        "executions": executions,
        "pass_rate": figures.pass_rate(executions),
        "metrics": next(iter(fetch_records(conn, _metrics, key)), None),
        "test_cases": figures.tally(fetch(conn, _cases, key)),
        "user_stories": fetch_records(conn, _stories, key),
        "platforms": fetch_records(conn, _platforms, key),
        "recent_bugs": recent_bugs(conn, _bug.test_id, test_id),
        "timeline": timeline(conn, "test", test_id),
    }
    return TestDetail.model_validate(answer)


def _allowed_levels(record: Fields) -> list[str]:
    return [level for level in ("critical", "high", "low") if record.flag(f"enable_{level}")]


def _bug_figures(conn: Connection, test_id: int) -> dict[str, Any]:
    """All that is counted over the bugs of the test, and its features with their share."""
    key = {"id": test_id}
    groups = fetch(conn, _bugs, key)
    by_status = figures.tally(groups, figures.STATUS)
    on_feature = {feature_id: 0 for *_, feature_id, _ in groups}
    for *_, feature_id, bugs in groups:
        on_feature[feature_id] += bugs
    return {
        "bugs": figures.bug_counts(groups),
        "bugs_by_kind": figures.tally(groups, figures.KIND),
        "bugs_by_status": by_status,
        "open_bugs_by_level": figures.tally(groups, figures.LEVEL, status="open"),
        "bugs_by_operating_system": figures.tally(fetch(conn, _by_system, key)),
        "bugs_by_device": figures.tally(fetch(conn, _by_device, key)),
        "rates": figures.rates(by_status),
        "active_testers": fetch(conn, _testers, key)[0][0],
        "features": [
            row | {"bugs": on_feature.get(row["feature_id"], 0) if row["feature_id"] else 0}
            for row in fetch_records(conn, _features, key)
        ],
    }
