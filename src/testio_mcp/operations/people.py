"""People: testers and the customer's contacts."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Connection

from testio_mcp.database.tables import Person, table_of
from testio_mcp.operations.groups import has_any, number_of
from testio_mcp.operations.listing import Listing, Order, containing, part_of_text
from testio_mcp.operations.paging import Cursor, Page
from testio_mcp.operations.registry import operation
from testio_mcp.sync.counts import AUTHOR_BUGS, CREATOR_TESTS, SUBMITTER_TESTS, TESTER_EXECUTIONS

Role = Literal["tester", "contact"]

_PEOPLE = table_of(Person)
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


_listing = Listing(
    table=_PEOPLE,
    columns=(
        _person.id,
        _person.name,
        number_of(AUTHOR_BUGS, _person.id).label("bugs_reported"),
        number_of(TESTER_EXECUTIONS, _person.id).label("executions"),
        number_of(CREATOR_TESTS, _person.id).label("tests_created"),
        number_of(SUBMITTER_TESTS, _person.id).label("tests_submitted"),
    ),
    filters={
        "text": part_of_text(_person.name, "text"),
        "tester": has_any(_person.id, AUTHOR_BUGS, TESTER_EXECUTIONS),
        "contact": has_any(_person.id, CREATOR_TESTS, SUBMITTER_TESTS),
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
) -> PersonPage:
    """List testers and customer contacts by name, with what they did: bugs, executions, tests.

    list_bugs takes the names as reporters, list_tests as contacts.
    """
    given = {"text": containing(text), "tester": role == "tester" or None, "contact": role == "contact" or None}
    return PersonPage.model_validate(_listing.page(conn, given, order="name", cursor=cursor, limit=limit))
