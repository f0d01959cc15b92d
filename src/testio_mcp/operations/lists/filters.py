"""Filters of lists: each is written once, beside the argument that it belongs to.

    ProductId = Annotated[int | None, Equal(bug.product_id, exists=product), Field(description="Only this product.")]
    Device = Annotated[str | None, Contains(device.name, of=device.bug_id), Field(description="Part of its name.")]

A filter makes a condition whose variable has the argument's name, and of the argument the value of that variable.
What people write is matched whatever its case and accents. Neither database folds text as the other does (SQLite
folds ASCII alone, PostgreSQL what its locale knows), so neither is asked to: the distinct values of a column are few,
they are folded here, as a search folds, and the statement compares with those that match.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    Connection,
    Select,
    String,
    Table,
    Text,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.sql import visitors

from testio_mcp.database.dialect import among, among_texts, fetch
from testio_mcp.database.tables import Person, table_of
from testio_mcp.database.types import utc_text
from testio_mcp.database.words import fold
from testio_mcp.domain import FAR_FUTURE, person_id
from testio_mcp.operations.metrics.periods import Period, bounds
from testio_mcp.settings import Settings

_SEPARATOR = ", "
"""What stands between the values of a text that lists several."""
_fold = lru_cache(maxsize=50_000)(fold)
_person = table_of(Person).c


class Call(Protocol):
    """One call of a list, as a filter sees it."""

    @property
    def conn(self) -> Connection:
        """The connection that the list is read on."""

    @property
    def settings(self) -> Settings:
        """Where the time zone of days is set."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """All arguments of the call."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Filter:
    """An argument that chooses records.

    `of` is the key of another table that the filter is about: `device.bug_id` for devices of a bug, `test.id` for the
    test of a bug. Filters of one such table have to be met by one and the same row of it. `exists` is the table of
    the ids that the argument takes: an id that is not in it is an error.
    """

    of: ColumnElement[Any] | None = None
    exists: Table | None = None

    def bind(self, call: Call, value: Any) -> Any:
        """The value of the condition's variable; None chooses all records."""
        return value

    def key(self, name: str, value: Any) -> str | None:
        """What the condition depends on besides its variable, behind the name; None chooses all records."""
        return name

    def condition(self, name: str, variant: str) -> ColumnElement[bool]:
        """The condition, with a variable of this name."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Equal(Filter):
    """Records with this value."""

    column: ColumnElement[Any]

    def condition(self, name: str, variant: str) -> ColumnElement[bool]:
        """`column = :name`."""
        return self.column == bindparam(name)


@dataclass(frozen=True, eq=False)
class Among(Filter):
    """Records with any of these values; `also` has to hold too."""

    column: ColumnElement[Any]
    also: ColumnElement[bool] | None = None

    def condition(self, name: str, variant: str) -> ColumnElement[bool]:
        """`column IN :name`."""
        return any_of(self.column, name) if self.also is None else any_of(self.column, name) & self.also


@dataclass(frozen=True, eq=False)
class NoneOf(Filter):
    """Records with none of these values; those without a value are among them."""

    column: ColumnElement[Any]

    def condition(self, name: str, variant: str) -> ColumnElement[bool]:
        """`column NOT IN :name`."""
        others = self.column.not_in(bindparam(name, expanding=True))
        return or_(self.column.is_(None), others) if getattr(self.column, "nullable", True) else others


@dataclass(frozen=True, eq=False)
class NamedPerson(Among):
    """Records of the people with any of these names; the column has their ids."""

    def bind(self, call: Call, value: Any) -> Any:
        """The ids of the people."""
        return people_named(call.conn, value)


@dataclass(frozen=True, eq=False)
class Contains(Filter):
    """Records with the argument as a part of a text, whatever its case and accents; `also` has to hold too."""

    column: ColumnElement[Any]
    also: ColumnElement[bool] | None = None

    def bind(self, call: Call, value: Any) -> Any:
        """The texts that the argument is a part of."""
        return containing(call.conn, value, self.column)

    def condition(self, name: str, variant: str) -> ColumnElement[bool]:
        """`column` is one of those texts."""
        has_text = text_among(self.column, name)
        return has_text if self.also is None else self.also & has_text


@dataclass(frozen=True, eq=False)
class FromDay(Filter):
    """Records from the beginning of a day on; those without a moment, or one in the far future, are left out."""

    column: ColumnElement[Any]

    def bind(self, call: Call, value: date) -> datetime | None:
        """The instant at which the day begins."""
        return bounds(Period(value, None), call.settings.zone)[0]

    def condition(self, name: str, variant: str) -> ColumnElement[bool]:
        """`column >= :name`."""
        far = literal_column(f"'{utc_text(FAR_FUTURE)}'", self.column.type)
        return (self.column >= bindparam(name, type_=self.column.type)) & (self.column < far)


@dataclass(frozen=True, eq=False)
class ToDay(Filter):
    """Records to the end of a day."""

    column: ColumnElement[Any]

    def bind(self, call: Call, value: date) -> datetime:
        """The instant at which the day has ended."""
        return bounds(Period(None, value), call.settings.zone)[1] or FAR_FUTURE

    def condition(self, name: str, variant: str) -> ColumnElement[bool]:
        """`column < :name`."""
        return self.column < bindparam(name, type_=self.column.type)


@dataclass(frozen=True, eq=False)
class When(Filter):
    """A condition for each value of the argument; a value without one chooses all records."""

    conditions: Mapping[Any, ColumnElement[bool]]

    def key(self, name: str, value: Any) -> str | None:
        """The name with the value."""
        return f"{name}={value}" if value in self.conditions else None

    def condition(self, name: str, variant: str) -> ColumnElement[bool]:
        """The condition of the value."""
        return next(condition for value, condition in self.conditions.items() if str(value) == variant)


@dataclass(frozen=True, eq=False)
class Where(Filter):
    """A condition with a variable of the argument's name, and what makes its value of the argument."""

    sql: ColumnElement[bool]
    read: Callable[[Call, Any], Any] = field(default=lambda call, value: value)

    def bind(self, call: Call, value: Any) -> Any:
        """What `read` makes of the argument."""
        return self.read(call, value)

    def condition(self, name: str, variant: str) -> ColumnElement[bool]:
        """The condition as it was given."""
        return self.sql


def holds(condition: ColumnElement[bool], **options: Any) -> When:
    """The filter for records for which a condition holds, or does not."""
    return When({True: condition, False: ~condition}, **options)


def any_of(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether a column has any of the values in the list `name`."""
    return column.in_(bindparam(name, expanding=True))


def text_among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether a column has any of the texts in the JSON list `name`, as `containing` makes it."""
    return among_texts(column, bindparam(name, type_=Text))


def system_with_version(devices: Any) -> ColumnElement[Any]:
    """The operating system of a line of devices as people say it: `Windows 11`, or `Windows` without a version."""
    version = literal_column("' '", String).op("||")(
        func.nullif(devices.operating_system_version, literal_column("''"))
    )
    system: ColumnElement[Any] = devices.operating_system
    return system.op("||")(func.coalesce(version, literal_column("''")))


def texts_of_devices(devices: Any) -> dict[str, ColumnElement[Any]]:
    """The texts of a line of devices by the names of their filters."""
    return {
        "device": devices.name,
        "device_category": devices.category,
        "operating_system": system_with_version(devices),
        "browser": devices.browsers,
    }


@lru_cache(maxsize=128)
def _distinct(column: ColumnElement[Any]) -> Select[Any]:
    # Of a text that is put together its parts are made distinct: building it for each row takes several times longer.
    parts = [part for part in visitors.iterate(column) if isinstance(part, Column)]
    is_indexed = any([*index.columns] == parts for index in parts[0].table.indexes)
    rows = _steps_along_index(parts) if is_indexed else select(*parts).distinct().subquery()
    replace: Any = lambda part, **_: rows.c[part.key] if isinstance(part, Column) else None  # noqa: E731
    value: ColumnElement[Any] = visitors.replacement_traverse(column, {}, replace)
    return select(value.label("value")).where(value.is_not(None)).distinct()


def _steps_along_index(parts: Sequence[Column[Any]]) -> CTE:
    """The distinct values of indexed columns, from one to the next: each step is one look into the index.

    Within a value of the first column the second one also takes the step to no value at all.
    """
    known: CTE | None = None
    for number, part in enumerate(parts):
        before = parts[:number]
        same = [column == known.c[column.key] for column in before] if known is not None else []
        first = select(func.min(part)).where(*same).scalar_subquery().label(part.key)
        start = (
            select(*known.c, first).where(known.c[parts[0].key].is_not(None)) if known is not None else select(first)
        )
        walk = start.cte(f"each_{part.key}", recursive=True)
        same = [column == walk.c[column.key] for column in before]
        following = select(func.min(part)).where(*same, part > walk.c[part.key]).scalar_subquery()
        step = select(*(walk.c[column.key] for column in before), following).where(walk.c[part.key].is_not(None))
        known = walk.union_all(step)
    assert known is not None  # noqa: S101 - an index has columns
    return known


_people = select(_person.id, _person.name)
_known = select(_person.id).where(among(_person.id, bindparam("ids")))


def containing(conn: Connection, text: str | None, *columns: ColumnElement[Any]) -> str | None:
    """The values of columns that `text` is a part of, as the JSON list that `text_among` takes; None for no text."""
    if not text:
        return None
    wanted = fold(text)
    values = (value for column in columns for (value,) in fetch(conn, _distinct(column), {}))
    return json.dumps(list(dict.fromkeys(value for value in values if wanted in _fold(value))))


def spelled_like(conn: Connection, text: str, *columns: ColumnElement[Any], is_list: bool = False) -> list[str]:
    """The values of columns that differ from `text` in case and accents at most; `text` itself where there are none.

    With `is_list` a column has several values with a comma between them.
    """
    wanted = fold(text)
    texts = (value for column in columns for (value,) in fetch(conn, _distinct(column), {}))
    values = (part for value in texts for part in (value.split(_SEPARATOR) if is_list else (value,)))
    return list(dict.fromkeys(value for value in values if _fold(value) == wanted)) or [text]


def people_named(conn: Connection, names: Iterable[str]) -> list[int]:
    """The ids of the people with these names, as they are written or else whatever their case and accents.

    "Max" and "MAX" may be two people, so a name that is exactly somebody's is theirs alone. A name that nobody has
    gives the id that it would have.
    """
    ids = {person_id(name): name for name in names}
    present = {row[0] for row in fetch(conn, _known, {"ids": json.dumps(list(ids))})} if ids else set()
    missing = {fold(name) for key, name in ids.items() if key not in present}
    alike = [key for key, name in fetch(conn, _people, {}) if _fold(name) in missing] if missing else []
    return list(dict.fromkeys([*ids, *alike]))
