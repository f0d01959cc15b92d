"""All about one product."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, String, bindparam, case, exists, func, select, type_coerce

from testio_mcp.database.dialect import fetch, fetch_records
from testio_mcp.database.tables import (
    Bug,
    Feature,
    FeatureSection,
    Product,
    Section,
    Test,
    TestEnvironment,
    TestFeature,
    TestTemplate,
    UserStory,
    table_of,
)
from testio_mcp.domain import OPEN_IN_WORDS, RAN_IN_WORDS
from testio_mcp.operations import figures
from testio_mcp.operations.lists.paging import as_of
from testio_mcp.operations.metrics.engine import coverage_of
from testio_mcp.operations.records.details import GONE, the_one
from testio_mcp.operations.records.tests import BugCounts, past_end
from testio_mcp.operations.registry import operation

SHOWN = 20
"""How many running tests are shown."""
_product, _section, _member = table_of(Product).c, table_of(Section).c, table_of(FeatureSection).c
_feature = table_of(Feature).c
_test, _bug, _copy = table_of(Test).c, table_of(Bug).c, table_of(TestFeature).c


class SectionInProduct(BaseModel):
    """A section; a feature may be in several."""

    id: int
    name: str
    features: int | None = Field(description="Null when Test IO does not tell which features are in which section.")


class TestInProduct(BaseModel):
    """One test of the product."""

    id: int
    title: str
    status: str
    start_at: datetime | None
    end_at: datetime | None
    is_past_end: bool | None = Field(default=None, description="true: it still runs although its end has passed.")


class ProductDetail(BaseModel):
    """One product with what was tested, what was found, and what became of it."""

    id: int
    name: str
    type: str | None
    description: str | None
    tests: int
    tests_by_status: dict[str, int]
    newest_test: TestInProduct | None = Field(description="The first of list_tests; a draft counts as newest.")
    bugs: BugCounts
    bugs_by_kind: dict[str, int]
    bugs_by_status: dict[str, int]
    open_bugs_by_level: dict[str, int]
    questions: int = Field(description="Bugs about which the customer asked something.")
    rates: figures.Rates
    scope: str = Field(description="What each number counts.")
    features: int
    user_stories: int
    story_coverage: float | None = Field(description="User stories executed in tests that ran, of all of them.")
    untested_features: int = Field(description="Features without any test that ran.")
    test_environments: int
    test_templates: int
    sections: list[SectionInProduct]
    running_tests: list[TestInProduct] = Field(description=f"Soonest end first, at most {SHOWN}.")
    last_activity_at: datetime | None = Field(description="Newest bug report or start of a test.")
    as_of: datetime | None
    gone_at: datetime | None = Field(description=GONE)


def _number(table: type[Any], *also: Any) -> Any:
    """How many records of a table the product has."""
    columns = table_of(table).c
    return select(func.count()).where(columns.product_id == bindparam("id"), columns.gone_at.is_(None), *also)


_tested = exists().where(
    _copy.feature_id == _feature.id, _copy.test_id == _test.id, _test.gone_at.is_(None), figures.RAN
)
_newest_bug = select(func.max(type_coerce(_bug.reported_at, String))).where(
    _bug.product_id == bindparam("id"), _bug.gone_at.is_(None)
)
_newest_start = select(func.max(type_coerce(_test.start_at, String))).where(
    _test.product_id == bindparam("id"),
    _test.gone_at.is_(None),
    _test.start_at <= bindparam("now", type_=_test.start_at.type),
)
_base = select(
    _product.id,
    _product.name,
    _product.type,
    _product.description,
    _number(Feature).scalar_subquery().label("features"),
    _number(Feature, ~_tested).scalar_subquery().label("untested_features"),
    _number(UserStory).scalar_subquery().label("user_stories"),
    _number(TestEnvironment).scalar_subquery().label("test_environments"),
    _number(TestTemplate).scalar_subquery().label("test_templates"),
    _newest_bug.scalar_subquery().label("newest_bug"),
    _newest_start.scalar_subquery().label("newest_start"),
    as_of("products", "features", "tests", "bugs", product_id=_product.id).label("as_of"),
    _product.gone_at,
).where(_product.id == bindparam("id"))
# A product whose features name no sections at all has unknown memberships, not empty sections.
_is_told = (
    select(func.count())
    .join_from(table_of(FeatureSection), table_of(Section))
    .where(_section.product_id == bindparam("id"), _section.gone_at.is_(None))
    .scalar_subquery()
)
_sections: Select[Any] = (
    select(_section.id, _section.name, case((_is_told > 0, func.count(_feature.id))).label("features"))
    .outerjoin_from(table_of(Section), table_of(FeatureSection), _member.section_id == _section.id)
    .outerjoin(table_of(Feature), (_member.feature_id == _feature.id) & _feature.gone_at.is_(None))
    .where(_section.product_id == bindparam("id"), _section.gone_at.is_(None))
    .group_by(_section.id, _section.name)
    .order_by(_section.id)
)
_of_product = (_test.product_id == bindparam("id"), _test.gone_at.is_(None))
_tests = select(_test.status, func.count()).where(*_of_product).group_by(_test.status)
_bugs = (
    select(_bug.status, _bug.level, _bug.kind, func.count())
    .where(_bug.product_id == bindparam("id"), _bug.gone_at.is_(None))
    .group_by(_bug.status, _bug.level, _bug.kind)
)
# Tests that did not run have hardly any bugs: looking for those is cheaper than looking at the tests that ran.
_bugs_elsewhere = (
    select(_bug.status, func.count())
    .join_from(table_of(Test), table_of(Bug), _bug.test_id == _test.id)
    .where(_test.product_id == bindparam("id"), ~figures.RAN, _bug.gone_at.is_(None))
    .group_by(_bug.status)
)
_shown = (_test.id, _test.title, _test.status, _test.start_at, _test.end_at)
_running = (
    select(*_shown).where(*_of_product, _test.status == "running").order_by(_test.sort_at, _test.id).limit(SHOWN)
)
_newest = select(*_shown).where(*_of_product).order_by(_test.sort_at.desc(), _test.id.desc()).limit(1)


_SCOPE = f"tests: all statuses; bugs: of all tests; {OPEN_IN_WORDS}; rates: bugs of {RAN_IN_WORDS}"


def _with_end(tests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [test | {"is_past_end": past_end(test)} for test in tests]


@operation(
    "/products/{product_id}",
    command="products show",
    toolset="catalog",
    needs=("features", "tests", "bugs", "executions"),
    examples=({"product_id": 1},),
    about="product",
)
def get_product(
    conn: Connection,
    product_id: Annotated[int, Field(description="Id of the product; list_products shows the ids.")],
) -> ProductDetail:
    """Tell all about one product: sections, tests, bugs by level, kind and status, rates, and what is not tested yet.

    list_tests and list_bugs show the records behind the numbers; list_products finds the ids.
    """
    key = {"id": product_id}
    base = the_one(conn, _base, product_id, "Product", "list_products", now=datetime.now(UTC))
    tests = figures.tally(fetch(conn, _tests, key))
    groups = fetch(conn, _bugs, key)
    by_status = figures.tally(groups, figures.STATUS)
    elsewhere = figures.tally(fetch(conn, _bugs_elsewhere, key))
    answer: dict[str, Any] = {
        **base,
        "story_coverage": coverage_of(conn, "product", product_id),
        "tests": sum(tests.values()),
        "tests_by_status": tests,
        "newest_test": next(iter(_with_end(fetch_records(conn, _newest, key))), None),
        "bugs": figures.bug_counts(groups),
        "bugs_by_kind": figures.tally(groups, figures.KIND),
        "bugs_by_status": by_status,
        "open_bugs_by_level": figures.tally(groups, figures.LEVEL, status="open"),
        "questions": by_status.get("question", 0),
        "rates": figures.rates(figures.minus(by_status, elsewhere)),
        "scope": _SCOPE,
        "sections": fetch_records(conn, _sections, key),
        "running_tests": _with_end(fetch_records(conn, _running, key)),
        "last_activity_at": max((at for at in (base["newest_bug"], base["newest_start"]) if at), default=None),
    }
    return ProductDetail.model_validate(answer)
