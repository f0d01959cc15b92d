"""What people write in filters, as the values that the store has: whatever the case and the accents.

Neither database folds text as the other does (SQLite folds ASCII alone, PostgreSQL what its locale knows), so
neither is asked to. The distinct values of a column are few: they are folded here, as a search folds, and the
statement then compares with those that match, exactly and on both databases alike.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, bindparam, select
from sqlalchemy.sql import visitors
from sqlalchemy.sql.util import ClauseAdapter

from testio_mcp.database.dialect import among, fetch
from testio_mcp.database.tables import Person, table_of
from testio_mcp.database.words import fold
from testio_mcp.sync.rows import person_id

_SEPARATOR = ", "
"""What stands between the values of a text that lists several."""
_fold = lru_cache(maxsize=50_000)(fold)
_person = table_of(Person).c


@lru_cache(maxsize=128)
def _distinct(column: ColumnElement[Any]) -> Select[Any]:
    # Of a text that is put together its parts are made distinct: building it for each row takes several times longer.
    parts = [part for part in visitors.iterate(column) if isinstance(part, Column)]
    rows = select(*parts).distinct().subquery()
    value = ClauseAdapter(rows).traverse(column)
    return select(value.label("value")).where(value.is_not(None)).distinct()


_people = select(_person.id, _person.name)
_known = select(_person.id).where(among(_person.id, bindparam("ids")))


def containing(conn: Connection, text: str | None, *columns: ColumnElement[Any]) -> str | None:
    """The values of columns that `text` is a part of, as the JSON list that `text_among` takes; None for no text."""
    if not text:
        return None
    wanted = fold(text)
    found = (value for column in columns for (value,) in fetch(conn, _distinct(column), {}))
    return json.dumps(list(dict.fromkeys(value for value in found if wanted in _fold(value))))


def spelled_like(conn: Connection, text: str, *columns: ColumnElement[Any], is_list: bool = False) -> list[str]:
    """The values of columns that differ from `text` in case and accents at most; `text` itself where there are none.

    With `is_list` a column has several values with a comma between them.
    """
    wanted = fold(text)
    found = (value for column in columns for (value,) in fetch(conn, _distinct(column), {}))
    values = (part for value in found for part in (value.split(_SEPARATOR) if is_list else (value,)))
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
