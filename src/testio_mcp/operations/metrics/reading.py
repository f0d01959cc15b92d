"""From what people write to a question, and from ids back to names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, get_args
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Select, bindparam, select
from sqlmodel import SQLModel

from testio_mcp.database.dialect import among, fetch
from testio_mcp.database.tables import (
    Bug,
    BugDevice,
    ExecutionDevice,
    Feature,
    Person,
    Product,
    Section,
    Test,
    TestEnvironment,
    UserStory,
    table_of,
)
from testio_mcp.domain import BugKind, BugStatus, Level, TestingType, TestStatus
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.arguments import read_words
from testio_mcp.operations.lists.filters import people_named, spelled_like, texts_of_devices
from testio_mcp.operations.metrics.definitions import metric
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.operations.metrics.questions import Filters, FilterValue, Question, Time, dimension_named

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
_WORDS: Mapping[str, tuple[str, ...]] = {
    "severity": get_args(Level),
    "kind": get_args(BugKind),
    "bug_status": get_args(BugStatus),
    "test_status": get_args(TestStatus),
    "testing_type": get_args(TestingType),
}
"""The dimensions whose values are words of the domain, beside others that the store may have."""
_ID = re.compile(r"-?[0-9]{1,19}")
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
        tuple(dict.fromkeys(metric(name).name for name in metrics)),
        tuple(dict.fromkeys(dimension_named(name, metrics).name for name in by)),
        read_filters(conn, filters, metrics),
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


def named_filters(written: Iterable[str], metrics: Iterable[str] = ()) -> list[tuple[str, str]]:
    """The name and the values in each part of `severity=critical,high` and the like.

    What has no `=` is one more value of the filter before. `metrics` say which status `status` is.
    """
    found: list[tuple[str, str]] = []
    for part in written:
        said, has_name, value = part.partition("=")
        if not has_name and not found:
            raise BadInput(f"filters: {part[:60]!r} names no dimension.", "Write it as severity=critical,high.")
        name, values = (dimension_named(said, metrics).name, value) if has_name else (found[-1][0], part)
        found.append((name, read_words(values, _WORDS[name]) if name in _WORDS else values))
    return found


def read_filters(conn: Connection, written: Iterable[str], metrics: Iterable[str] = ()) -> Filters:
    """What filters such as `severity=critical,high` ask for; `metrics` say which status `status` is."""
    found: dict[str, list[FilterValue]] = {}
    for name, values in named_filters(written, metrics):
        found.setdefault(name, []).extend(
            value for each in values.split(",") for value in _values(conn, name, each.strip())
        )
    return tuple((name, tuple(dict.fromkeys(values))) for name, values in found.items())


def _values(conn: Connection, name: str, said: str) -> Sequence[FilterValue]:
    """What one value of a filter stands for: one id or word, or all spellings of it and all people who match."""
    if not said:
        raise BadInput(f"filters: {name} has no value.", f"Write {name}=..., or {name}=none for records without.")
    if said.lower() in _NONE and name != "severity":
        return [None]
    if name == "known":
        if said.lower() not in _FLAGS:
            raise BadInput(f"filters: known is true or false, not {said[:60]!r}.", "Write known=true.")
        return [_FLAGS[said.lower()]]
    if name in HAS_ID:
        return _ids(conn, name, said)
    columns = _spellings(name)
    return spelled_like(conn, said, *columns, is_list=name == "browser") if columns else [said.lower()]


def _ids(conn: Connection, name: str, said: str) -> list[int]:
    """The id of a record, or those of people by name."""
    _, _, shown_by = _TITLES[name]
    if _ID.fullmatch(said):
        keys = [int(said)]
    elif name in _PEOPLE:
        keys = people_named(conn, [said])
    else:
        raise BadInput(f"filters: {name} takes ids, not {said[:60]!r}.", f"{shown_by} shows them.")
    known = titles(conn, name, [key for key in keys if abs(key) < 2**63])
    if not known:
        raise NotFound(f"There is no {name.replace('_', ' ')} {said[:60]!r} in the store.", f"{shown_by} shows them.")
    return [key for key in keys if key in known]


@cache
def _spellings(name: str) -> tuple[ColumnElement[Any], ...]:
    """The columns that hold the values of a dimension as the account writes them; none for words of the API."""
    if name == "rejection_reason":
        return (table_of(Bug).c.rejection_reason,)
    found: list[ColumnElement[Any]] = []
    for devices in (table_of(BugDevice).c, table_of(ExecutionDevice).c):
        texts = texts_of_devices(devices)
        texts["operating_system_version"] = texts["operating_system"]
        found += [texts[name]] if name in texts else []
        found += [devices.operating_system] if name == "operating_system" else []
    return tuple(found)


@cache
def _title_statement(name: str) -> Select[Any]:
    model, title, _ = _TITLES[name]
    columns = table_of(model).c
    return select(columns.id, columns[title]).where(among(columns.id, bindparam("ids")))


def titles(conn: Connection, name: str, ids: Iterable[Any]) -> dict[int, str]:
    """The names of records of a dimension by their ids."""
    listed = f"[{','.join(str(key) for key in ids)}]"
    return {row[0]: row[1] for row in fetch(conn, _title_statement(name), {"ids": listed})}
