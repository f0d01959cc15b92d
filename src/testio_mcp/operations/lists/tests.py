"""Exploratory tests (test cycles): the list, and one of them."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select

from testio_mcp import fields as payload_fields
from testio_mcp.database.dialect import fetch, fetch_records
from testio_mcp.database.tables import (
    Bug,
    BugDevice,
    Execution,
    Feature,
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
from testio_mcp.domain import OPEN_IN_WORDS, TestingType, TestStatus, auto_accept_at
from testio_mcp.operations import figures
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
from testio_mcp.operations.figures import RAN
from testio_mcp.operations.lists.details import (
    GONE,
    BugCounts,
    RecentBug,
    TimelineEntry,
    links,
    past_end,
    recent_bugs,
    the_one,
    timeline,
)
from testio_mcp.operations.lists.filters import Among, Equal, FromDay, NamedPerson, NoneOf, ToDay, When, any_of
from testio_mcp.operations.lists.listing import ListQuery, Order, list_operation
from testio_mcp.operations.lists.paging import Cursor, Page, as_of
from testio_mcp.operations.registry import operation
from testio_mcp.operations.work.search import HasWords
from testio_mcp.settings import Settings

_PRODUCTS, _TESTS, _BUGS = table_of(Product), table_of(Test), table_of(Bug)
_PEOPLE, _SECTIONS, _ENVIRONMENTS = table_of(Person), table_of(Section), table_of(TestEnvironment)
_BUG_DEVICES, _COPIES, _RESULTS = table_of(BugDevice), table_of(TestFeature), table_of(TestStoryResult)
_FEATURE_RESULTS = table_of(TestFeatureResult)
_product, _test, _bug, _person = _PRODUCTS.c, _TESTS.c, _BUGS.c, _PEOPLE.c
_section, _environment, _execution, _bug_device = _SECTIONS.c, _ENVIRONMENTS.c, table_of(Execution).c, _BUG_DEVICES.c
_copy, _result, _platform, _metric = _COPIES.c, _RESULTS.c, table_of(TestPlatform).c, table_of(TestMetric).c
_feature_result, _case_result = _FEATURE_RESULTS.c, table_of(TestCaseResult).c

TestSort = Literal["newest", "oldest"]

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
        Among(_copy.feature_id, of=_copy.test_id, exists=table_of(Feature)),
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
        TestSort, order_by(end_at=("newest", "oldest")), Field(description="newest or oldest end first.")
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
    .outerjoin_from(_TESTS, _PEOPLE, _test.created_by_id == _person.id)
    .where(any_of(_test.id, "ids"))
)
_features_of = (
    select(_copy.test_id, _copy.feature_id)
    .where(any_of(_copy.test_id, "ids"), _copy.feature_id.is_not(None))
    .distinct()
    .order_by(_copy.test_id, _copy.feature_id)
)


def _add_requested(conn: Connection, items: list[dict[str, Any]], ids: list[int]) -> None:
    """Add to the records of a page what is read only on request."""
    more = {row["id"]: row for row in fetch_records(conn, _more, {"ids": ids})}
    features: dict[int, list[int]] = {}
    for test_id, feature_id in fetch(conn, _features_of, {"ids": ids}):
        features.setdefault(test_id, []).append(feature_id)
    for item in items:
        item.update(more[item["id"]], feature_ids=features.get(item["id"], []))


_creator, _submitter = table_of(Person).alias("creator"), table_of(Person).alias("submitter")
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
        _product.name.label("product"),
        _section.name.label("section"),
        _test.status,
        _test.review_status,
        _test.testing_type,
        _test.report_language,
        _environment.title.label("test_environment"),
        _environment.url.label("test_environment_url"),
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
    .join_from(_TESTS, _PRODUCTS)
    .outerjoin(_SECTIONS, _test.section_id == _section.id)
    .outerjoin(_ENVIRONMENTS, _test.test_environment_id == _environment.id)
    .outerjoin(_creator, _test.created_by_id == _creator.c.id)
    .outerjoin(_submitter, _test.submitted_by_id == _submitter.c.id)
    .where(_test.id == bindparam("id"))
)
_features = (
    select(_copy.id, _copy.feature_id, _copy.title, _feature_result.execution_status, _feature_result.testers)
    .outerjoin_from(
        _COPIES,
        _FEATURE_RESULTS,
        (_feature_result.test_id == _copy.test_id) & (_feature_result.test_feature_id == _copy.id),
    )
    .where(_copy.test_id == bindparam("id"))
    .order_by(_copy.id)
)
_stories = (
    select(
        _result.user_story_id,
        _result.title,
        _copy.title.label("feature"),
        _result.execution_status,
        _result.testers,
        _result.bugs,
    )
    .outerjoin_from(_RESULTS, _COPIES, _result.test_feature_id == _copy.id)
    .where(_result.test_id == bindparam("id"))
    .order_by(_result.position)
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
_cases = (
    select(_case_result.status, func.count())
    .where(_case_result.test_id == bindparam("id"))
    .group_by(_case_result.status)
)


def _bugs_by(column: ColumnElement[Any]) -> Select[Any]:
    return (
        select(column, func.count(_bug_device.bug_id.distinct()))
        .join_from(_BUGS, _BUG_DEVICES)
        .where(_bug.test_id == bindparam("id"), _bug.gone_at.is_(None))
        .group_by(column)
    )


_by_system, _by_device = _bugs_by(_bug_device.operating_system), _bugs_by(_bug_device.name)


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
    record = payload_fields.Fields(json.loads(base["raw"]))
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
        "attachments": links(each.url for each in payload_fields.read_attachments(record)),
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


def _allowed_levels(record: payload_fields.Fields) -> list[str]:
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
