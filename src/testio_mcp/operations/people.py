"""People: testers and the customer's contacts."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Table, exists, func, or_, select

from testio_mcp.database.tables import Bug, Execution, Person, Test, table_of
from testio_mcp.operations.listing import Listing, Order, containing, part_of_text
from testio_mcp.operations.paging import Cursor, Page
from testio_mcp.operations.registry import operation

Role = Literal["tester", "contact"]

_PEOPLE = table_of(Person)
_person, _bug, _test, _execution = _PEOPLE.c, table_of(Bug).c, table_of(Test).c, table_of(Execution).c


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


def _count(table: Table, column: ColumnElement[int]) -> ColumnElement[int]:
    mine = (column == _person.id, table.c.gone_at.is_(None))
    return select(func.count()).select_from(table).where(*mine).scalar_subquery()


_listing = Listing(
    table=_PEOPLE,
    columns=(
        _person.id,
        _person.name,
        _count(table_of(Bug), _bug.author_id).label("bugs_reported"),
        _count(table_of(Execution), _execution.executed_by_id).label("executions"),
        _count(table_of(Test), _test.created_by_id).label("tests_created"),
        _count(table_of(Test), _test.submitted_by_id).label("tests_submitted"),
    ),
    filters={
        "text": part_of_text(_person.name, "text"),
        "tester": or_(
            exists().where(_bug.author_id == _person.id, _bug.gone_at.is_(None)),
            exists().where(_execution.executed_by_id == _person.id, _execution.gone_at.is_(None)),
        ),
        "contact": or_(
            exists().where(_test.created_by_id == _person.id, _test.gone_at.is_(None)),
            exists().where(_test.submitted_by_id == _person.id, _test.gone_at.is_(None)),
        ),
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
    role: Annotated[
        Role | None, Field(description="tester (reports bugs, runs stories) or contact (creates tests).")
    ] = None,
    text: Annotated[str | None, Field(description="Part of the name.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=100, description="People per page, 1 to 100.")] = 20,
) -> PersonPage:
    """List testers and customer contacts by name, with what they did: bugs, executions, tests.

    get tells all about one person; list_bugs takes the names as reporters, list_tests as contacts.
    """
    given = {"text": containing(text), "tester": role == "tester" or None, "contact": role == "contact" or None}
    return PersonPage.model_validate(_listing.page(conn, given, order="name", cursor=cursor, limit=limit))
