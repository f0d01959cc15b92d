"""All that differs between SQLite and PostgreSQL in how rows are written."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from testio_mcp.database.types import utc_text

# Both dialects offer the same ON CONFLICT methods, but share no base class that has them.
_Insert = sqlite.Insert | postgresql.Insert
_INSERT: dict[str, Callable[[Table], _Insert]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
# SQLite takes 32,766 variables per statement, PostgreSQL's driver 32,767: batches stay far below.
BATCH = 500

Row = dict[str, Any]


@lru_cache(maxsize=256)
def _upsert(dialect: str, table: Table, columns: tuple[str, ...], keep: bool) -> _Insert:
    insert = _INSERT[dialect](table)
    keys = [column.name for column in table.primary_key]
    if keep:
        return insert.on_conflict_do_nothing()
    changed = {name: insert.excluded[name] for name in columns if name not in keys}
    if not changed:
        return _upsert(dialect, table, columns, True)
    return insert.on_conflict_do_update(index_elements=keys, set_=changed)


@lru_cache(maxsize=256)
def _sqlite_text(table: Table, columns: tuple[str, ...], keep: bool) -> tuple[str, Callable[[Row], tuple[Any, ...]]]:
    """The statement as text, and what picks its values from a row."""
    compiled = _upsert("sqlite", table, columns, keep).compile(dialect=sqlite.dialect(), column_keys=list(columns))
    names = compiled.positiontup or list(columns)
    pick = itemgetter(*names)
    return str(compiled), pick if len(names) > 1 else lambda row: (pick(row),)


def upsert(connection: Connection, table: Table, rows: list[Row]) -> None:
    """Insert `rows` or, where the primary key exists, replace the given columns. All rows have the same keys."""
    _write(connection, table, rows, keep=False)


def insert_missing(connection: Connection, table: Table, rows: list[Row]) -> None:
    """Insert the rows that violate no key; leave the others as they are."""
    _write(connection, table, rows, keep=True)


def _write(connection: Connection, table: Table, rows: list[Row], *, keep: bool) -> None:
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        if connection.dialect.name == "sqlite":
            # Handing tuples to the driver costs half of what SQLAlchemy's parameter processing costs per row.
            statement, pick = _sqlite_text(table, tuple(batch[0]), keep)
            values = [tuple(map(_driver_value, pick(row))) for row in batch]
            connection.exec_driver_sql(statement, values)
        else:
            connection.execute(_upsert(connection.dialect.name, table, tuple(batch[0]), keep), batch)


def _driver_value(value: Any) -> Any:
    return utc_text(value) if type(value) is datetime else value
