"""All that differs between SQLite and PostgreSQL in how rows are written."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite

# Both dialects offer the same ON CONFLICT methods, but share no base class that has them.
_INSERT: dict[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
# SQLite takes 32,766 variables per statement, PostgreSQL's driver 32,767: batches stay far below.
BATCH = 500

Row = dict[str, Any]


@lru_cache(maxsize=256)
def _upsert(dialect: str, table: Table, columns: tuple[str, ...], keep: bool) -> Executable:
    insert = _INSERT[dialect](table)
    keys = [column.name for column in table.primary_key]
    if keep:
        nothing: Executable = insert.on_conflict_do_nothing()
        return nothing
    changed = {name: insert.excluded[name] for name in columns if name not in keys}
    if not changed:
        return _upsert(dialect, table, columns, True)
    replace: Executable = insert.on_conflict_do_update(index_elements=keys, set_=changed)
    return replace


def upsert(connection: Connection, table: Table, rows: list[Row]) -> None:
    """Insert `rows` or, where the primary key exists, replace the given columns. All rows have the same keys."""
    _write(connection, table, rows, keep=False)


def insert_missing(connection: Connection, table: Table, rows: list[Row]) -> None:
    """Insert the rows that violate no key; leave the others as they are."""
    _write(connection, table, rows, keep=True)


def _write(connection: Connection, table: Table, rows: list[Row], *, keep: bool) -> None:
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        statement = _upsert(connection.dialect.name, table, tuple(batch[0]), keep)
        connection.execute(statement, batch)
