"""Executions of user stories."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    exists,
    literal_column,
    or_,
    select,
    true,
)

from testio_mcp.database.dialect import in_order
from testio_mcp.database.tables import Execution, ExecutionDevice, Person, Product, Test, UserStory, table_of
from testio_mcp.operations.arguments import AsList, Ids, OpenWords, ScopeOfTests, TotalOnly, order_by
from testio_mcp.operations.figures import RAN
from testio_mcp.operations.lists.listing import (
    Counting,
    Listing,
    Order,
    Part,
    any_of,
    text_among,
    texts_of_devices,
)
from testio_mcp.operations.lists.matching import containing, people_named
from testio_mcp.operations.lists.paging import Cursor, Page
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.operations.registry import operation
from testio_mcp.settings import Settings

ExecutionStatus = Literal["pending", "passed", "failed", "blocked", "cancelled", "unknown"]
Sort = Literal["newest", "oldest"]

_EXECUTIONS, _DEVICES = table_of(Execution), table_of(ExecutionDevice)
_TESTS, _STORIES = table_of(Test), table_of(UserStory)
_execution, _device, _test, _story = _EXECUTIONS.c, _DEVICES.c, _TESTS.c, _STORIES.c
_product, _person = table_of(Product).c, table_of(Person).c
_texts = texts_of_devices(_device)


Statuses = Annotated[
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


_of_product = _test.product_id == bindparam("product_id")
_with_test = in_order(_TESTS, _EXECUTIONS, _execution.test_id == _test.id)
_all_of_product: Select[Any] = (
    select(literal_column("1")).select_from(_with_test).where(_of_product, _execution.gone_at.is_(None))
)
_beside_product = frozenset({"statuses", "executed", "executed_from", "executed_before"})
_WAYS = ("newest", "oldest", "newest gathered", "oldest gathered")
_NEAR: BindParameter[int] = bindparam("near")


def _near(condition: ColumnElement[bool]) -> dict[str, ColumnElement[bool]]:
    """The filters of a walk along the ids, up to one of them."""
    walked = exists().where(_test.id == _execution.test_id, _of_product).correlate(_EXECUTIONS)
    return {"near": condition, "product_id": walked}


_listing = Listing(
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
        _device.name.label("device"),
        _device.operating_system,
        _execution.executed_at,
        _execution.comment,
    ),
    joins=(
        (_STORIES, _execution.user_story_id == _story.id),
        (_TESTS, _execution.test_id == _test.id),
        (table_of(Product), _test.product_id == _product.id),
        (table_of(Person), _execution.executed_by_id == _person.id),
        (_DEVICES, (_device.execution_id == _execution.id) & (_device.position == 0)),
    ),
    always=(_execution.gone_at.is_(None),),
    filters={
        "product_id": _execution.test_id.in_(select(_test.id).where(_of_product)),
        "near": true(),
        "test_ids": any_of(_execution.test_id, "test_ids"),
        "user_story_ids": any_of(_execution.user_story_id, "user_story_ids"),
        "tester_ids": any_of(_execution.executed_by_id, "tester_ids"),
        "statuses": any_of(_execution.status, "statuses"),
        "exclude_test_ids": or_(
            _execution.test_id.is_(None), _execution.test_id.not_in(bindparam("exclude_test_ids", expanding=True))
        ),
        "ran": exists().where(_test.id == _execution.test_id, _test.gone_at.is_(None), RAN).correlate(_EXECUTIONS),
        "executed": _execution.executed_at.is_not(None),
        "executed_from": _execution.executed_at >= bindparam("executed_from", type_=_execution.executed_at.type),
        "executed_before": _execution.executed_at < bindparam("executed_before", type_=_execution.executed_at.type),
    },
    parts=(
        Part(
            _device.execution_id == _execution.id,
            {name: text_among(column, name) for name, column in _texts.items()},
        ),
    ),
    orders={
        **{way: Order((_execution.id,), (int,), way.startswith("newest")) for way in _WAYS},
        "newest near": Order((_execution.id,), (int,), instead=_near(_execution.id >= _NEAR)),
        "oldest near": Order((_execution.id,), (int,), False, instead=_near(_execution.id <= _NEAR)),
    },
    counting={"product_id": Counting(_all_of_product, _beside_product | {"near"})},
    resources=("executions",),
    near=4_000,
    known={
        "product_id": (table_of(Product), "Product", "list_products shows the ids."),
        "test_ids": (_TESTS, "Test", "list_tests shows the ids."),
        "user_story_ids": (_STORIES, "User story", "list_user_stories shows the ids."),
    },
)


@operation(
    "/executions",
    command="executions list",
    toolset="tests",
    needs=("tests", "executions"),
    examples=({"statuses": ["failed", "blocked"]}, {"test_ids": [1]}),
    by_default=False,
)
def list_executions(
    conn: Connection,
    settings: Settings,
    product_id: Annotated[int | None, Field(description="Only this product; list_products shows the ids.")] = None,
    test_ids: Annotated[Ids, Field(description="Only these tests; list_tests shows the ids.")] = [],  # noqa: B006
    user_story_ids: Annotated[Ids, Field(description="Only these user stories.")] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, Field(description="All but these.")] = [],  # noqa: B006
    scope: ScopeOfTests = "all",
    statuses: Statuses = [],  # noqa: B006
    testers: Annotated[list[str], AsList, Field(description="Full names of testers, as list_people shows.")] = [],  # noqa: B006
    device: Annotated[str | None, Field(description="Part of the device's name.")] = None,
    device_category: Annotated[str | None, Field(description="Part of it, such as phone.")] = None,
    operating_system: Annotated[str | None, Field(description="Part of it: ios, Windows 11.")] = None,
    browser: Annotated[str | None, Field(description="Part of its name.")] = None,
    executed_from: Annotated[date | None, Field(description="Run on or after this day.")] = None,
    executed_to: Annotated[date | None, Field(description="Run on or before this day.")] = None,
    sort: Annotated[
        Sort, order_by(id=("newest", "oldest")), Field(description="newest or oldest id first.")
    ] = "newest",
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="Executions per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> ExecutionPage:
    """List single runs of user stories: who, on which device, how they ended.

    execution_matrix adds them up by story and device, environment or test.
    """
    begins, ends = bounds(Period(executed_from, executed_to), settings.zone)
    given = {
        "product_id": product_id,
        "test_ids": test_ids,
        "user_story_ids": user_story_ids,
        "exclude_test_ids": exclude_test_ids,
        "ran": scope == "ran" or None,
        "statuses": statuses,
        "tester_ids": people_named(conn, testers),
        "device": containing(conn, device, _texts["device"]),
        "device_category": containing(conn, device_category, _texts["device_category"]),
        "operating_system": containing(conn, operating_system, _texts["operating_system"]),
        "browser": containing(conn, browser, _texts["browser"]),
        "executed": executed_from is not None or executed_to is not None or None,
        "executed_from": begins,
        "executed_before": ends,
    }
    asked = {name for name, value in given.items() if value not in (None, [])}
    is_walked = product_id is not None and asked - {"product_id"} <= _beside_product
    if total_only:
        return ExecutionPage.model_validate(_listing.page(conn, given, order=sort, total_only=True))
    paged = _listing.nearest_page if is_walked else _listing.page
    return ExecutionPage.model_validate(paged(conn, given, order=sort, cursor=cursor, limit=limit))
