"""Products: the list, and one of them."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, String, and_, bindparam, case, exists, func, or_, select, type_coerce

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
from testio_mcp.operations.arguments import TotalOnly
from testio_mcp.operations.figures import count_all_but_gone, count_present
from testio_mcp.operations.lists.details import GONE, BugCounts, past_end, the_one
from testio_mcp.operations.lists.paging import Cursor, Page, as_of, decode_cursor, encode_cursor
from testio_mcp.operations.registry import operation

_TESTS, _BUGS, _FEATURES = table_of(Test), table_of(Bug), table_of(Feature)
_SECTIONS, _MEMBERS = table_of(Section), table_of(FeatureSection)
_product, _test, _bug, _feature = table_of(Product).c, _TESTS.c, _BUGS.c, _FEATURES.c
_section, _copy, _member = _SECTIONS.c, table_of(TestFeature).c, _MEMBERS.c


class ProductSummary(BaseModel):
    """One product in a list."""

    id: int
    name: str
    type: str | None
    tests: int = Field(description="Exploratory tests of any status.")
    bugs: int
    open_bugs: int = Field(description="Bugs without a decision (status open).")
    last_activity_at: datetime | None = Field(description="Newest bug report or start of a test.")


class ProductPage(Page):
    """Products by name."""

    items: list[ProductSummary]
    scope: str = f"tests: all statuses; bugs: of all tests; {OPEN_IN_WORDS}"


def _newest_bug() -> Select[str]:
    return select(func.max(type_coerce(_bug.reported_at, String))).where(
        _bug.product_id == _product.id, _bug.gone_at.is_(None)
    )


def _newest_start() -> Select[str]:
    return select(func.max(type_coerce(_test.start_at, String))).where(
        _test.product_id == _product.id,
        _test.gone_at.is_(None),
        _test.start_at <= bindparam("now", type_=_test.start_at.type),
    )


_after = or_(
    _product.name > bindparam("name"), and_(_product.name == bindparam("name"), _product.id > bindparam("id"))
)
_list = (
    select(
        _product.id,
        _product.name,
        _product.type,
        count_all_but_gone(_TESTS, _test.product_id == _product.id).label("tests"),
        count_all_but_gone(_BUGS, _bug.product_id == _product.id).label("bugs"),
        count_present(_BUGS, _bug.product_id == _product.id, _bug.status == "open").label("open_bugs"),
        _newest_bug().scalar_subquery().label("newest_bug"),
        _newest_start().scalar_subquery().label("newest_start"),
    )
    .where(_product.gone_at.is_(None), _after)
    .order_by(_product.name, _product.id)
    .limit(bindparam("limit"))
)
_about = select(
    select(func.count(_product.id)).where(_product.gone_at.is_(None)).scalar_subquery(),
    as_of("products", "tests", "bugs"),
)


@operation("/products", command="products list", toolset="catalog", needs=("tests", "bugs"), examples=({},))
def list_products(
    conn: Connection,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=200, description="Products per page, 1 to 200.")] = 50,
    total_only: TotalOnly = False,
) -> ProductPage:
    """List the products with their numbers of tests, bugs and open bugs.

    Start here: most tools take the ids.
    """
    total, moment = fetch(conn, _about, {})[0]
    if total_only:
        return ProductPage(items=[], total=total, next_cursor=None, as_of=moment)
    name, last_id = decode_cursor(cursor, str, int) if cursor else ("", -1)
    keys = {"name": name, "id": last_id, "limit": limit + 1, "now": datetime.now(UTC)}
    rows = fetch_records(conn, _list, keys)
    items = rows[:limit]
    for item in items:
        moments = (item.pop("newest_bug"), item.pop("newest_start"))
        item["last_activity_at"] = max((when for when in moments if when), default=None)
    following = encode_cursor(items[-1]["name"], items[-1]["id"]) if len(rows) > limit else None
    return ProductPage.model_validate({"items": items, "total": total, "next_cursor": following, "as_of": moment})


SHOWN = 20
"""How many running tests are shown."""


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
_newest_report_of_one = select(func.max(type_coerce(_bug.reported_at, String))).where(
    _bug.product_id == bindparam("id"), _bug.gone_at.is_(None)
)
_newest_start_of_one = select(func.max(type_coerce(_test.start_at, String))).where(
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
    _newest_report_of_one.scalar_subquery().label("newest_bug"),
    _newest_start_of_one.scalar_subquery().label("newest_start"),
    as_of("products", "features", "tests", "bugs", product_id=_product.id).label("as_of"),
    _product.gone_at,
).where(_product.id == bindparam("id"))
# A product whose features name no sections at all has unknown memberships, not empty sections.
_is_told = (
    select(func.count())
    .join_from(_MEMBERS, _SECTIONS)
    .where(_section.product_id == bindparam("id"), _section.gone_at.is_(None))
    .scalar_subquery()
)
_sections: Select[Any] = (
    select(_section.id, _section.name, case((_is_told > 0, func.count(_feature.id))).label("features"))
    .outerjoin_from(_SECTIONS, _MEMBERS, _member.section_id == _section.id)
    .outerjoin(_FEATURES, (_member.feature_id == _feature.id) & _feature.gone_at.is_(None))
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
    .join_from(_TESTS, _BUGS, _bug.test_id == _test.id)
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
    # Only here: the list is loaded without the metrics.
    from testio_mcp.operations.metrics.engine import coverage_of

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
