"""People, testers and the customer's contacts: the list, and one of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Select, bindparam, exists, func, select

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import Bug, Execution, Person, Product, Test, table_of
from testio_mcp.domain import OPEN_IN_WORDS
from testio_mcp.operations import figures
from testio_mcp.operations.arguments import TotalOnly
from testio_mcp.operations.figures import count_present
from testio_mcp.operations.lists.details import BugCounts, RecentBug, recent_bugs, the_one
from testio_mcp.operations.lists.filters import Contains, When
from testio_mcp.operations.lists.listing import ListQuery, Order, list_operation
from testio_mcp.operations.lists.paging import Cursor, Page, as_of
from testio_mcp.operations.registry import operation

_TESTS, _BUGS, _PEOPLE = table_of(Test), table_of(Bug), table_of(Person)
_EXECUTIONS = table_of(Execution)
_product, _test, _bug, _person = table_of(Product).c, _TESTS.c, _BUGS.c, _PEOPLE.c
_execution = _EXECUTIONS.c

Role = Literal["tester", "contact"]


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
    "bugs_reported": (_BUGS, _bug.author_id == _person.id),
    "executions": (_EXECUTIONS, _execution.executed_by_id == _person.id),
    "tests_created": (_TESTS, _test.created_by_id == _person.id),
    "tests_submitted": (_TESTS, _test.submitted_by_id == _person.id),
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


PRODUCTS = 10
"""How many products are shown."""


class ProductOfPerson(BaseModel):
    """A product that the person reported bugs on."""

    id: int
    name: str
    bugs: int


class PersonDetail(BaseModel):
    """One tester or customer contact, and what they did. A display name identifies a person."""

    id: int
    name: str
    roles: list[Literal["tester", "contact"]] = Field(
        description="tester: reported bugs or executed user stories; contact: created tests."
    )
    scope: str = f"bugs and tests: all statuses, also of cancelled tests; {OPEN_IN_WORDS}"
    bugs: BugCounts
    bugs_by_status: dict[str, int]
    overall_acceptance_rate: float | None = Field(description="Accepted or auto-accepted, of all their bugs.")
    executions_by_status: dict[str, int]
    tests_created: int
    tests_submitted: int
    first_activity_at: datetime | None = Field(
        description="First bug report, execution, or start of a test that they created or submitted."
    )
    last_activity_at: datetime | None
    products: list[ProductOfPerson] = Field(description=f"Those with most of their bugs, at most {PRODUCTS}.")
    recent_bugs: list[RecentBug]
    as_of: datetime | None


_base = select(_person.id, _person.name, as_of("tests", "bugs").label("as_of")).where(_person.id == bindparam("id"))
_reported = (_bug.author_id == bindparam("id"), _bug.gone_at.is_(None))
_runs = (_execution.executed_by_id == bindparam("id"), _execution.gone_at.is_(None))
_bugs = (
    select(_bug.product_id, _bug.status, _bug.level, func.count())
    .where(*_reported)
    .group_by(_bug.product_id, _bug.status, _bug.level)
)
_executions = select(_execution.status, func.count()).where(*_runs).group_by(_execution.status)
_created, _submitted = (
    select(func.count()).where(person == bindparam("id"), _test.gone_at.is_(None))
    for person in (_test.created_by_id, _test.submitted_by_id)
)
_reports: Select[Any] = select(func.min(_bug.reported_at), func.max(_bug.reported_at)).where(*_reported)
_executed: Select[Any] = select(func.min(_execution.executed_at), func.max(_execution.executed_at)).where(*_runs)


def _started(person: ColumnElement[Any]) -> Select[Any]:
    """When the first and the last test of a person started."""
    started = _test.start_at <= bindparam("now", type_=_test.start_at.type)
    theirs = (person == bindparam("id"), _test.gone_at.is_(None), started)
    return select(func.min(_test.start_at), func.max(_test.start_at)).where(*theirs)


_starts = (_started(_test.created_by_id), _started(_test.submitted_by_id))
_names = select(_product.id, _product.name).where(_product.id.in_(bindparam("ids", expanding=True)))


@operation(
    "/people/{person_id}",
    command="people show",
    toolset="catalog",
    needs=("tests", "bugs"),
    examples=({"person_id": 1},),
    about="person",
)
def get_person(
    conn: Connection,
    person_id: Annotated[int, Field(description="Id of the person; list_people shows the ids.")],
) -> PersonDetail:
    """Tell all about one tester or customer contact: bugs, their acceptance, executions, tests, products, activity.

    list_people finds the ids by name; list_bugs with reporters shows all of their bugs.
    """
    key = {"id": person_id}
    base = the_one(conn, _base, person_id, "Person", "list_people")
    bugs, executions = fetch(conn, _bugs, key), fetch(conn, _executions, key)
    created, submitted = (fetch(conn, tests, key)[0][0] for tests in (_created, _submitted))
    spans = [fetch(conn, span, key)[0] for span in (_reports, _executed)]
    spans += [fetch(conn, span, key | {"now": datetime.now(UTC)})[0] for span in _starts]
    groups = [group[1:] for group in bugs]
    by_status = figures.tally(groups, figures.STATUS)
    first, last = _activity(spans)
    answer: dict[str, Any] = {
        **base,
        "roles": _roles(tester=bool(bugs or executions), contact=bool(created)),
        "bugs": figures.bug_counts(groups),
        "bugs_by_status": by_status,
        "overall_acceptance_rate": figures.rates(by_status)["overall_acceptance_rate"],
        "executions_by_status": figures.tally(executions),
        "tests_created": created,
        "tests_submitted": submitted,
        "first_activity_at": first,
        "last_activity_at": last,
        "products": _products(conn, bugs),
        "recent_bugs": recent_bugs(conn, _bug.author_id, person_id),
    }
    return PersonDetail.model_validate(answer)


def _roles(*, tester: bool, contact: bool) -> list[str]:
    return [role for role, is_seen in (("tester", tester), ("contact", contact)) if is_seen]


def _activity(spans: Iterable[Sequence[Any]]) -> tuple[datetime | None, datetime | None]:
    """The first and the last moment of all spans."""
    moments = [when for span in spans for when in map(figures.read_timestamp, span) if when]
    return min(moments, default=None), max(moments, default=None)


def _products(conn: Connection, bugs: Iterable[Sequence[Any]]) -> list[dict[str, Any]]:
    """The products with most of the bugs."""
    counts: Counter[int] = Counter()
    for product_id, *_, number in bugs:
        counts[product_id] += number
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:PRODUCTS]
    names = dict(map(tuple, fetch(conn, _names, {"ids": [key for key, _ in top]}))) if top else {}
    return [{"id": key, "name": names[key], "bugs": number} for key, number in top]
