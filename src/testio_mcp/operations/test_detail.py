"""All about one exploratory test."""

from collections import Counter
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlalchemy import Connection, bindparam, func, select

from testio_mcp.database.dialect import fetch, fetch_records
from testio_mcp.database.tables import (
    Bug,
    Person,
    Product,
    Section,
    Test,
    TestEnvironment,
    TestFeature,
    TestPlatform,
    table_of,
)
from testio_mcp.errors import NotFound
from testio_mcp.operations.paging import as_of
from testio_mcp.operations.registry import operation
from testio_mcp.operations.tests import BugCounts, count_bugs

_test, _bug = table_of(Test).c, table_of(Bug).c
_product, _section, _environment = table_of(Product), table_of(Section), table_of(TestEnvironment)
_creator, _submitter = table_of(Person).alias("creator"), table_of(Person).alias("submitter")
_feature, _platform = table_of(TestFeature).c, table_of(TestPlatform).c


class FeatureInTest(BaseModel):
    """A feature as this test has it."""

    id: int
    feature_id: int | None
    title: str
    bugs: int = Field(description="Bugs of this test on the feature.")


class Platform(BaseModel):
    """A device requirement."""

    category: str | None
    operating_system: str | None
    version_from: str | None
    version_to: str | None
    browsers: str | None


class TestDetail(BaseModel):
    """One test with its configuration and its bugs by level and status."""

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
    goal: str | None
    instructions: str | None
    out_of_scope: str | None
    bugs: BugCounts
    bugs_by_status: dict[str, int]
    features: list[FeatureInTest]
    platforms: list[Platform]
    as_of: datetime | None
    gone_at: datetime | None = Field(description="When the account stopped listing this test; null while it does.")


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
    )
    .join_from(table_of(Test), _product)
    .outerjoin(_section, _test.section_id == _section.c.id)
    .outerjoin(_environment, _test.test_environment_id == _environment.c.id)
    .outerjoin(_creator, _test.created_by_id == _creator.c.id)
    .outerjoin(_submitter, _test.submitted_by_id == _submitter.c.id)
    .where(_test.id == bindparam("test_id"))
)
_features = (
    select(_feature.id, _feature.feature_id, _feature.title)
    .where(_feature.test_id == bindparam("test_id"))
    .order_by(_feature.id)
)
_platforms = (
    select(
        _platform.category,
        _platform.operating_system,
        _platform.version_from,
        _platform.version_to,
        _platform.browsers,
    )
    .where(_platform.test_id == bindparam("test_id"))
    .order_by(_platform.position)
)
# Counted per test: the bugs of a feature over all tests are too many to pick one test's from.
_bugs = (
    select(_bug.status, _bug.feature_id, func.count())
    .where(_bug.test_id == bindparam("test_id"), _bug.gone_at.is_(None))
    .group_by(_bug.status, _bug.feature_id)
    .order_by(_bug.status)
)


@operation(
    "/tests/{test_id}",
    command="tests show",
    toolset="tests",
    needs=("tests", "bugs"),
    examples=({"test_id": 1},),
    about="test",
)
def get_test(
    conn: Connection,
    test_id: Annotated[int, Field(description="Id of the test; list_tests shows the ids.")],
) -> TestDetail:
    """Tell all about one exploratory test: configuration, features, device requirements, bugs by level and status.

    Use it when you have a test's id; list_tests finds ids by product, status or date.
    """
    key = {"test_id": test_id}
    base = fetch_records(conn, _base, key)
    if not base:
        raise NotFound(
            f"Test {test_id} is not in the store.", "list_tests shows the ids; sync_data copies what is new."
        )
    statuses: Counter[str] = Counter()
    on_feature: Counter[int | None] = Counter()
    for status, feature_id, bugs in fetch(conn, _bugs, key):
        statuses[status] += bugs
        on_feature[feature_id] += bugs if feature_id is not None else 0
    features = fetch_records(conn, _features, key)
    answer: dict[str, Any] = {
        **base[0],
        "bugs": count_bugs(conn, [test_id]).get(test_id, {}),
        "bugs_by_status": statuses,
        "features": [row | {"bugs": on_feature[row["feature_id"]]} for row in features],
        "platforms": fetch_records(conn, _platforms, key),
    }
    return TestDetail.model_validate(answer)
