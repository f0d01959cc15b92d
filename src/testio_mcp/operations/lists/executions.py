"""Executions of user stories."""

from datetime import date, datetime
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field

from testio_mcp.database.tables import Execution, ExecutionDevice, Person, Product, Test, UserStory, table_of
from testio_mcp.operations.arguments import OF_PRODUCT, AsList, Ids, OpenWords, ScopeOfTests, TotalOnly, order_by
from testio_mcp.operations.figures import RAN
from testio_mcp.operations.lists.filters import (
    Among,
    Contains,
    Equal,
    FromDay,
    NamedPerson,
    NoneOf,
    ToDay,
    When,
    texts_of_devices,
)
from testio_mcp.operations.lists.listing import ListQuery, Order, list_operation
from testio_mcp.operations.lists.paging import Cursor, Page

_PRODUCTS, _TESTS, _STORIES = table_of(Product), table_of(Test), table_of(UserStory)
_PEOPLE, _EXECUTIONS, _RUN_DEVICES = table_of(Person), table_of(Execution), table_of(ExecutionDevice)
_product, _test, _story, _person = _PRODUCTS.c, _TESTS.c, _STORIES.c, _PEOPLE.c
_execution, _run_device = _EXECUTIONS.c, _RUN_DEVICES.c

ExecutionStatus = Literal["pending", "passed", "failed", "blocked", "cancelled", "unknown"]
ExecutionSort = Literal["newest", "oldest"]

_texts = texts_of_devices(_run_device)


ExecutionStatuses = Annotated[
    list[str],
    AsList,
    OpenWords(get_args(ExecutionStatus), _execution.status),
    Field(description=f"Any of {', '.join(get_args(ExecutionStatus))}."),
]


class ExecutionSummary(BaseModel):
    """One tester's run of one user story."""

    id: int
    status: str
    user_story_id: int | None
    user_story: str | None
    test_id: int | None
    test: str | None
    product_id: int | None
    product: str | None
    tester: str | None
    device: str | None = Field(description="Its first device.")
    operating_system: str | None
    executed_at: datetime | None
    comment: str | None


class ExecutionPage(Page):
    """Executions by id, newest (highest) first unless asked otherwise."""

    items: list[ExecutionSummary]


@list_operation(
    "/executions",
    "executions list",
    table=_EXECUTIONS,
    columns=(
        _execution.id,
        _execution.status,
        _execution.user_story_id,
        _story.title.label("user_story"),
        _execution.test_id,
        _test.title.label("test"),
        _test.product_id,
        _product.name.label("product"),
        _person.name.label("tester"),
        _run_device.name.label("device"),
        _run_device.operating_system,
        _execution.executed_at,
        _execution.comment,
    ),
    joins=(
        (_STORIES, _execution.user_story_id == _story.id),
        (_TESTS, _execution.test_id == _test.id),
        (_PRODUCTS, _test.product_id == _product.id),
        (_PEOPLE, _execution.executed_by_id == _person.id),
        (_RUN_DEVICES, (_run_device.execution_id == _execution.id) & (_run_device.position == 0)),
    ),
    orders={"newest": Order((_execution.id,)), "oldest": Order((_execution.id,), is_descending=False)},
    resources=("executions",),
    toolset="tests",
    needs=("tests", "executions"),
    examples=({"statuses": ["failed", "blocked"]}, {"test_ids": [1]}),
    by_default=False,
)
def list_executions(
    query: ListQuery,
    product_id: Annotated[int | None, Equal(_test.product_id, of=_test.id, exists=_PRODUCTS), OF_PRODUCT] = None,
    test_ids: Annotated[
        Ids,
        Among(_execution.test_id, exists=_TESTS),
        Field(description="Only these tests; list_tests shows the ids."),
    ] = [],  # noqa: B006
    user_story_ids: Annotated[
        Ids, Among(_execution.user_story_id, exists=_STORIES), Field(description="Only these user stories.")
    ] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, NoneOf(_execution.test_id), Field(description="All but these.")] = [],  # noqa: B006
    scope: Annotated[ScopeOfTests, When({"ran": RAN & _test.gone_at.is_(None)}, of=_test.id)] = "all",
    statuses: Annotated[ExecutionStatuses, Among(_execution.status)] = [],  # noqa: B006
    testers: Annotated[
        list[str],
        AsList,
        NamedPerson(_execution.executed_by_id),
        Field(description="Full names of testers, as list_people shows."),
    ] = [],  # noqa: B006
    device: Annotated[
        str | None,
        Contains(_texts["device"], of=_run_device.execution_id),
        Field(description="Part of the device's name."),
    ] = None,
    device_category: Annotated[
        str | None,
        Contains(_texts["device_category"], of=_run_device.execution_id),
        Field(description="Part of it, such as phone."),
    ] = None,
    operating_system: Annotated[
        str | None,
        Contains(_texts["operating_system"], of=_run_device.execution_id),
        Field(description="Part of it: ios, Windows 11."),
    ] = None,
    browser: Annotated[
        str | None, Contains(_texts["browser"], of=_run_device.execution_id), Field(description="Part of its name.")
    ] = None,
    executed_from: Annotated[
        date | None, FromDay(_execution.executed_at), Field(description="Run on or after this day.")
    ] = None,
    executed_to: Annotated[
        date | None, ToDay(_execution.executed_at), Field(description="Run on or before this day.")
    ] = None,
    sort: Annotated[
        ExecutionSort, order_by(id=("newest", "oldest")), Field(description="newest or oldest id first.")
    ] = "newest",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Executions per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> ExecutionPage:
    """List single runs of user stories: who, on which device, how they ended.

    execution_matrix adds them up by story and device, environment or test.
    """
    return ExecutionPage.model_validate(query.page())
