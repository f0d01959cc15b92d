"""Test environments and test templates."""

from typing import Annotated

from pydantic import BaseModel, Field

from testio_mcp.database.tables import Product, Section, Test, TestEnvironment, TestTemplate, table_of
from testio_mcp.operations.arguments import OF_PRODUCT, TotalOnly
from testio_mcp.operations.figures import count_present
from testio_mcp.operations.lists.filters import Contains, Equal
from testio_mcp.operations.lists.listing import ListQuery, Order, list_operation
from testio_mcp.operations.lists.paging import Cursor, Page

_PRODUCTS, _TESTS, _SECTIONS = table_of(Product), table_of(Test), table_of(Section)
_ENVIRONMENTS, _TEMPLATES = table_of(TestEnvironment), table_of(TestTemplate)
_product, _test, _section, _environment = _PRODUCTS.c, _TESTS.c, _SECTIONS.c, _ENVIRONMENTS.c
_template = _TEMPLATES.c


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


@list_operation(
    "/test-environments",
    "environments list",
    table=_ENVIRONMENTS,
    columns=(
        _environment.id,
        _environment.title,
        _environment.url,
        _environment.product_id,
        _product.name.label("product"),
        count_present(_TESTS, _test.test_environment_id == _environment.id).label("tests"),
    ),
    joins=((_PRODUCTS, _environment.product_id == _product.id),),
    orders={"newest": Order((_environment.id,))},
    toolset="catalog",
    needs=("environments", "tests"),
    examples=({"product_id": 1},),
    by_default=False,
)
def list_test_environments(
    query: ListQuery,
    product_id: Annotated[int | None, Equal(_environment.product_id, exists=_PRODUCTS), OF_PRODUCT] = None,
    text: Annotated[str | None, Contains(_environment.title), Field(description="Part of the title.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Environments per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> EnvironmentPage:
    """List the test environments of products with the number of tests on them; access data is not kept.

    list_tests and list_bugs take the ids as test_environment_id.
    """
    return EnvironmentPage.model_validate(query.page())


@list_operation(
    "/test-templates",
    "templates list",
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
        (_SECTIONS, _template.section_id == _section.id),
    ),
    orders={"newest": Order((_template.id,))},
    toolset="catalog",
    needs=("templates",),
    examples=({"product_id": 1},),
    by_default=False,
)
def list_test_templates(
    query: ListQuery,
    product_id: Annotated[int | None, Equal(_template.product_id, exists=_PRODUCTS), OF_PRODUCT] = None,
    text: Annotated[str | None, Contains(_template.title), Field(description="Part of the title.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Templates per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> TemplatePage:
    """List the templates that tests are made from."""
    return TemplatePage.model_validate(query.page())
