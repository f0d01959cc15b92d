"""People: testers and the customer's contacts."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Connection, exists

from testio_mcp.database.tables import Bug, Execution, Person, Test, table_of
from testio_mcp.operations.arguments import TotalOnly
from testio_mcp.operations.figures import count_present
from testio_mcp.operations.lists.listing import Listing, Order, text_among
from testio_mcp.operations.lists.matching import containing
from testio_mcp.operations.lists.paging import Cursor, Page
from testio_mcp.operations.registry import operation

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
_listing = Listing(
    table=_PEOPLE,
    columns=(
        _person.id,
        _person.name,
        *(count_present(table, mine).label(name) for name, (table, mine) in _theirs.items()),
    ),
    filters={
        "text": text_among(_person.name, "text"),
        "tester": _has["bugs_reported"] | _has["executions"],
        "contact": _has["tests_created"],
    },
    orders={"name": Order((_person.name, _person.id), (str, int), is_descending=False)},
    resources=("tests", "bugs"),
)


@operation(
    "/people",
    command="people list",
    toolset="catalog",
    needs=("tests", "bugs"),
    examples=({"role": "tester"}, {"role": "contact"}),
)
def list_people(
    conn: Connection,
    role: Annotated[Role | None, Field(description="tester or contact (who creates tests).")] = None,
    text: Annotated[str | None, Field(description="Part of the name.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="People per page, 1 to 100.")] = 20,
    total_only: TotalOnly = False,
) -> PersonPage:
    """List testers and customer contacts by name, with what they did: bugs, executions, tests.

    list_bugs takes the names as reporters, list_tests as contacts.
    """
    given = {
        "text": containing(conn, text, _person.name),
        "tester": role == "tester" or None,
        "contact": role == "contact" or None,
    }
    return PersonPage.model_validate(
        _listing.page(conn, given, order="name", cursor=cursor, limit=limit, total_only=total_only)
    )
