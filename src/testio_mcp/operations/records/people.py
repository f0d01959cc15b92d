"""People: testers and the customer's contacts."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from sqlalchemy import exists

from testio_mcp.database.tables import Bug, Execution, Person, Test, table_of
from testio_mcp.operations.arguments import TotalOnly
from testio_mcp.operations.figures import count_present
from testio_mcp.operations.lists.filters import Contains, When
from testio_mcp.operations.lists.listing import ListQuery, Order, list_operation
from testio_mcp.operations.lists.paging import Cursor, Page

Role = Literal["tester", "contact"]

_PEOPLE, _BUGS, _TESTS, _EXECUTIONS = table_of(Person), table_of(Bug), table_of(Test), table_of(Execution)
_person = _PEOPLE.c


class PersonSummary(BaseModel):
    """One person in a list; a display name is all the API tells, and identifies a person."""

    id: int
    name: str
    bugs_reported: int
    executions: int
    tests_created: int
    tests_submitted: int


class PersonPage(Page):
    """People by name."""

    items: list[PersonSummary]
    scope: str = "bugs, executions and tests: of all statuses, also cancelled"


_theirs = {
    "bugs_reported": (_BUGS, _BUGS.c.author_id == _person.id),
    "executions": (_EXECUTIONS, _EXECUTIONS.c.executed_by_id == _person.id),
    "tests_created": (_TESTS, _TESTS.c.created_by_id == _person.id),
    "tests_submitted": (_TESTS, _TESTS.c.submitted_by_id == _person.id),
}
_has = {name: exists().where(mine, table.c.gone_at.is_(None)) for name, (table, mine) in _theirs.items()}


@list_operation(
    "/people",
    "people list",
    table=_PEOPLE,
    columns=(
        _person.id,
        _person.name,
        *(count_present(table, mine).label(name) for name, (table, mine) in _theirs.items()),
    ),
    orders={"name": Order((_person.name, _person.id), is_descending=False)},
    toolset="catalog",
    needs=("tests", "bugs"),
    examples=({"role": "tester"}, {"role": "contact"}),
)
def list_people(
    query: ListQuery,
    role: Annotated[
        Role | None,
        When({"tester": _has["bugs_reported"] | _has["executions"], "contact": _has["tests_created"]}),
        Field(description="tester or contact (who creates tests)."),
    ] = None,
    text: Annotated[str | None, Contains(_person.name), Field(description="Part of the name.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="People per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> PersonPage:
    """List testers and customer contacts by name, with what they did: bugs, executions, tests.

    list_bugs takes the names as reporters, list_tests as contacts.
    """
    return PersonPage.model_validate(query.page())
