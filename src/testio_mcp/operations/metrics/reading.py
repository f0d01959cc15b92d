"""From what people write to a question, and from ids back to names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Select, bindparam, select
from sqlmodel import SQLModel

from testio_mcp.database.dialect import among, fetch
from testio_mcp.database.tables import Feature, Person, Product, Section, Test, TestEnvironment, UserStory, table_of
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.metrics.questions import Filters, FilterValue, Question, Time
from testio_mcp.operations.metrics.words import dimension
from testio_mcp.operations.periods import Period, bounds
from testio_mcp.sync.rows import person_id

_TITLES: Mapping[str, tuple[type[SQLModel], str, str]] = {
    "product": (Product, "name", "list_products"),
    "section": (Section, "name", "get_product"),
    "test": (Test, "title", "list_tests"),
    "feature": (Feature, "title", "list_features"),
    "user_story": (UserStory, "title", "list_user_stories"),
    "test_environment": (TestEnvironment, "title", "list_test_environments"),
    "tester": (Person, "name", "list_people"),
    "contact": (Person, "name", "list_people"),
}
"""The dimensions whose values are ids: the table, the column of the name, and what shows the ids."""
_PEOPLE = frozenset({"tester", "contact"})
_NONE = frozenset({"none", "null"})
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
HAS_ID = frozenset(_TITLES)


def question_of(
    conn: Connection,
    *,
    metrics: Sequence[str],
    by: Sequence[str] = (),
    filters: Sequence[str] = (),
    period: Period,
    zone: ZoneInfo,
    time: Time = "end",
    test_ids: Sequence[int] = (),
    exclude_test_ids: Sequence[int] = (),
) -> Question:
    """The question in the words of `query_metrics`.

    Raises `BadInput` for names and pairs that have no meaning, `NotFound` for an id or name that is not in the store.
    """
    start, end = bounds(period, zone)
    question = Question(
        tuple(dict.fromkeys(metrics)),
        tuple(dict.fromkeys(by)),
        read_filters(conn, filters),
        start,
        end,
        time,
        tuple(dict.fromkeys(test_ids)),
        tuple(dict.fromkeys(exclude_test_ids)),
        zone,
    )
    question.check()
    return question


def in_period(question: Question, period: Period) -> Question:
    """The same question about another period."""
    start, end = bounds(period, question.zone)
    return replace(question, start=start, end=end)


def read_filters(conn: Connection, written: Iterable[str]) -> Filters:
    """Filters from `severity=critical,high` and the like; what has no `=` is one more value of the one before."""
    found: dict[str, list[FilterValue]] = {}
    name = ""
    for part in written:
        said, has_name, value = part.partition("=")
        if has_name:
            name = dimension(said.strip().lower()).name
            found.setdefault(name, [])
        if not name:
            raise BadInput(f"filters: {part[:60]!r} names no dimension.", "Write it as severity=critical,high.")
        found[name] += [_value(conn, name, each.strip()) for each in (value if has_name else part).split(",")]
    return tuple((name, tuple(dict.fromkeys(values))) for name, values in found.items())


def _value(conn: Connection, name: str, said: str) -> FilterValue:
    if not said:
        raise BadInput(f"filters: {name} has no value.", f"Write {name}=..., or {name}=none for records without.")
    if said.lower() in _NONE and name != "severity":
        return None
    if name == "known":
        if said.lower() not in _FLAGS:
            raise BadInput(f"filters: known is true or false, not {said[:60]!r}.", "Write known=true.")
        return _FLAGS[said.lower()]
    if name not in HAS_ID:
        return said
    return _id(conn, name, said)


def _id(conn: Connection, name: str, said: str) -> int:
    """The id of a record, or of a person by name."""
    _, _, shown_by = _TITLES[name]
    if name in _PEOPLE and not said.isdecimal():
        key = person_id(said)
    elif said.lstrip("-").isdecimal():
        key = int(said)
    else:
        raise BadInput(f"filters: {name} takes ids, not {said[:60]!r}.", f"{shown_by} shows them.")
    if abs(key) >= 2**63 or not titles(conn, name, [key]):
        raise NotFound(f"There is no {name.replace('_', ' ')} {said[:60]!r} in the store.", f"{shown_by} shows them.")
    return key


@cache
def _title_statement(name: str) -> Select[Any]:
    model, title, _ = _TITLES[name]
    columns = table_of(model).c
    return select(columns.id, columns[title]).where(among(columns.id, bindparam("ids")))


def titles(conn: Connection, name: str, ids: Iterable[Any]) -> dict[int, str]:
    """The names of records of a dimension by their ids."""
    listed = f"[{','.join(str(key) for key in ids)}]"
    return {row[0]: row[1] for row in fetch(conn, _title_statement(name), {"ids": listed})}
