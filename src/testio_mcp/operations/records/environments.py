"""Test environments and test templates."""

from typing import Annotated

from pydantic import BaseModel, Field
from sqlalchemy import Connection, bindparam

from testio_mcp.database.tables import Product, Section, Test, TestEnvironment, TestTemplate, table_of
from testio_mcp.operations.arguments import TotalOnly
from testio_mcp.operations.figures import count_present
from testio_mcp.operations.lists.listing import Listing, Order, text_among
from testio_mcp.operations.lists.matching import containing
from testio_mcp.operations.lists.paging import Cursor, Page
from testio_mcp.operations.registry import operation

_ENVIRONMENTS, _TEMPLATES, _PRODUCTS = table_of(TestEnvironment), table_of(TestTemplate), table_of(Product)
_environment, _template, _product = _ENVIRONMENTS.c, _TEMPLATES.c, _PRODUCTS.c
_section, _TESTS = table_of(Section).c, table_of(Test)


class EnvironmentSummary(BaseModel):
    """One test environment; access data is never kept."""

    id: int
    title: str | None
    url: str | None
    product_id: int
    product: str
    tests: int = Field(description="Tests on it, of any status.")


class EnvironmentPage(Page):
    """Test environments, newest (highest id) first."""

    items: list[EnvironmentSummary]
    scope: str = "tests: all statuses"


class TemplateSummary(BaseModel):
    """One template to make tests from."""

    id: int
    title: str
    product_id: int
    product: str
    section: str | None


class TemplatePage(Page):
    """Test templates, newest (highest id) first."""

    items: list[TemplateSummary]


_known = {"product_id": (_PRODUCTS, "Product", "list_products shows the ids.")}
_environments = Listing(
    table=_ENVIRONMENTS,
    columns=(
        _environment.id,
        _environment.title,
        _environment.url,
        _environment.product_id,
        _product.name.label("product"),
        count_present(_TESTS, _TESTS.c.test_environment_id == _environment.id).label("tests"),
    ),
    joins=((_PRODUCTS, _environment.product_id == _product.id),),
    always=(_environment.gone_at.is_(None),),
    filters={
        "product_id": _environment.product_id == bindparam("product_id"),
        "text": text_among(_environment.title, "text"),
    },
    orders={"newest": Order((_environment.id,), (int,))},
    resources=("environments", "tests"),
    known=_known,
)
_templates = Listing(
    table=_TEMPLATES,
    columns=(
        _template.id,
        _template.title,
        _template.product_id,
        _product.name.label("product"),
        _section.name.label("section"),
    ),
    joins=(
        (_PRODUCTS, _template.product_id == _product.id),
        (table_of(Section), _template.section_id == _section.id),
    ),
    always=(_template.gone_at.is_(None),),
    filters={
        "product_id": _template.product_id == bindparam("product_id"),
        "text": text_among(_template.title, "text"),
    },
    orders={"newest": Order((_template.id,), (int,))},
    resources=("templates",),
    known=_known,
)


@operation(
    "/test-environments",
    command="environments list",
    toolset="catalog",
    needs=("environments", "tests"),
    examples=({"product_id": 1},),
    by_default=False,
)
def list_test_environments(
    conn: Connection,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    text: Annotated[str | None, Field(description="Part of the title.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Environments per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> EnvironmentPage:
    """List the test environments of products with the number of tests on them; access data is not kept.

    list_tests and list_bugs take the ids as test_environment_id.
    """
    given = {"product_id": product_id, "text": containing(conn, text, _environment.title)}
    return EnvironmentPage.model_validate(
        _environments.page(conn, given, order="newest", cursor=cursor, limit=limit, total_only=total_only)
    )


@operation(
    "/test-templates",
    command="templates list",
    toolset="catalog",
    needs=("templates",),
    examples=({"product_id": 1},),
    by_default=False,
)
def list_test_templates(
    conn: Connection,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    text: Annotated[str | None, Field(description="Part of the title.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Templates per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> TemplatePage:
    """List the templates that tests are made from."""
    given = {"product_id": product_id, "text": containing(conn, text, _template.title)}
    return TemplatePage.model_validate(
        _templates.page(conn, given, order="newest", cursor=cursor, limit=limit, total_only=total_only)
    )
