"""All that differs between SQLite and PostgreSQL in how rows are written and lists of them read."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Literal

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    Connection,
    FromClause,
    Join,
    Select,
    Table,
    TableValuedAlias,
    bindparam,
    cast,
    func,
    literal,
    select,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from testio_mcp.database.types import UtcDateTime, utc_text

# Both dialects offer the same ON CONFLICT methods, but share no base class that has them.
_Insert = sqlite.Insert | postgresql.Insert
_INSERT: dict[str, Callable[[Table], _Insert]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
# SQLite takes 32,766 variables per statement, PostgreSQL's driver 32,767: batches stay far below.
BATCH = 500

Row = dict[str, Any]
_Meeting = Literal["replace", "keep"]
"""What happens to a row whose primary key exists."""


@lru_cache(maxsize=256)
def _upsert(dialect: str, table: Table, columns: tuple[str, ...], meeting: _Meeting) -> _Insert:
    insert = _INSERT[dialect](table)
    keys = [column.name for column in table.primary_key]
    changed: dict[str, Any] = {name: insert.excluded[name] for name in columns if name not in keys}
    if meeting == "keep" or not changed:
        return insert.on_conflict_do_nothing()
    return insert.on_conflict_do_update(index_elements=keys, set_=changed)


@lru_cache(maxsize=256)
def _sqlite_text(
    table: Table, columns: tuple[str, ...], meeting: _Meeting
) -> tuple[str, Callable[[Row], tuple[Any, ...]]]:
    """The statement as text, and what makes its values of a row."""
    compiled = _upsert("sqlite", table, columns, meeting).compile(dialect=sqlite.dialect(), column_keys=list(columns))
    names = tuple(compiled.positiontup or columns)
    return str(compiled), stored_values(table, names, "sqlite")


@lru_cache(maxsize=512)
def stored_values(table: Table, names: tuple[str, ...], dialect: str) -> Callable[[Row], tuple[Any, ...]]:
    """What makes of a row the values of these columns, as `fetch` gives them."""
    pick = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
    is_text = dialect == "sqlite"
    moments = [place for place, name in enumerate(names) if is_text and isinstance(table.c[name].type, UtcDateTime)]

    def values(row: Row) -> tuple[Any, ...]:
        found = list(pick(row))
        for place in moments:
            found[place] = _driver_value(found[place])
        return tuple(found)

    return values


def upsert(connection: Connection, table: Table, rows: list[Row]) -> None:
    """Insert `rows` or, where the primary key exists, replace the given columns. All rows have the same keys."""
    _write(connection, table, rows, "replace")


def insert_missing(connection: Connection, table: Table, rows: list[Row]) -> None:
    """Insert the rows that violate no key; leave the others as they are."""
    _write(connection, table, rows, "keep")


def _write(connection: Connection, table: Table, rows: list[Row], meeting: _Meeting) -> None:
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        if connection.dialect.name == "sqlite":
            # Handing tuples to the driver costs half of what SQLAlchemy's parameter processing costs per row.
            statement, values = _sqlite_text(table, tuple(batch[0]), meeting)
            insert_tuples(connection, statement, [values(row) for row in batch])
        else:
            connection.execute(_upsert(connection.dialect.name, table, tuple(batch[0]), meeting), batch)


_TOGETHER = (32, 8)
"""How many rows one statement inserts on SQLite."""


def insert_tuples(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run a SQLite statement that inserts one row of variables for all of `rows`.

    After each statement the driver waits for its turn among the threads of the process, up to 5 ms when another one
    computes. So rows are inserted many at a time.
    """
    start = 0
    for count in _TOGETHER:
        while len(rows) - start >= count:
            values = [value for row in rows[start : start + count] for value in row]
            connection.exec_driver_sql(_repeated(statement, len(rows[0]), count), tuple(values))
            start += count
    if start < len(rows):
        connection.exec_driver_sql(statement, list(rows[start:]))


@lru_cache(maxsize=256)
def _repeated(statement: str, columns: int, rows: int) -> str:
    """The statement for so many rows at a time."""
    row = f"({', '.join('?' * columns)})"
    head, values, tail = statement.partition(f"VALUES {row}")
    return f"{head}{values}{f', {row}' * (rows - 1)}{tail}"


def _driver_value(value: Any) -> Any:
    return utc_text(value) if type(value) is datetime else value


class among(FunctionElement[bool]):  # noqa: N801 - reads as a function
    """Whether an id is among those of a JSON list: `among(column, bindparam("ids"))`, for lists of any length."""

    type = Boolean()
    inherit_cache = True

    def self_group(self, against: Any = None) -> "among":
        """Stand alone as a condition: with the `= 1` that SQLite gets beside a flag it would use no index."""
        return self


@compiles(among, "sqlite")
def _among_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    column, listed = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({listed}))"  # noqa: S608 - compiled clauses


@compiles(among, "postgresql")
def _among_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    column, listed = (compiler.process(clause, **options) for clause in element.clauses)
    ids = f"jsonb_array_elements_text(CAST({listed} AS jsonb))"
    return f"{column} IN (SELECT CAST(value AS bigint) FROM {ids})"  # noqa: S608 - compiled clauses


class among_texts(among):  # noqa: N801 - reads as a function
    """Whether a text is among those of a JSON list: `among_texts(column, bindparam("names"))`."""

    inherit_cache = True


@compiles(among_texts, "postgresql")
def _among_texts_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    column, listed = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT jsonb_array_elements_text(CAST({listed} AS jsonb)))"


@compiles(among_texts, "sqlite")
def _among_texts_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return _among_sqlite(element, compiler, **options)


class utc_now(FunctionElement[datetime]):  # noqa: N801 - reads as a function
    """This moment, as columns of moments have it."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(utc_now, "sqlite")
def _utc_now_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"


@compiles(utc_now, "postgresql")
def _utc_now_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return "now()"


def fetch(connection: Connection, statement: Select[Any], values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """All rows of a statement that lives as long as the process. On SQLite moments are text and flags numbers.

    There the statement's text goes to the driver as it is: running it through SQLAlchemy costs several times what
    a page of a list costs SQLite.
    """
    if connection.dialect.name != "sqlite":
        return connection.execute(statement, values).all()
    lengths = tuple((name, len(value) if isinstance(value, list) else None) for name, value in values.items())
    text, names, given = _sqlite_query(statement, lengths)
    given = {**given, **values}
    for name, length in lengths:
        if length:
            given |= {f"{name}_{place}": item for place, item in enumerate(values[name], 1)}
    cursor = connection.connection.cursor()
    try:
        cursor.execute(text, [_driver_value(given[name]) for name in names])
        return cursor.fetchall()
    finally:
        cursor.close()


def fetch_records(connection: Connection, statement: Select[Any], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of `fetch`, each under the names of its columns."""
    names = _names(statement)
    return [dict(zip(names, row, strict=True)) for row in fetch(connection, statement, values)]


@lru_cache(maxsize=1024)
def _sqlite_query(
    statement: Select[Any], lengths: tuple[tuple[str, int | None], ...]
) -> tuple[str, tuple[str, ...], Mapping[str, Any]]:
    """The statement as text for lists of these lengths, the names of its variables in order, and its constants."""
    values = {name: None if length is None else [None] * length for name, length in lengths}
    state = statement.compile(dialect=sqlite.dialect()).construct_expanded_state(values)
    return state.statement, tuple(state.positiontup or ()), state.parameters


@lru_cache(maxsize=1024)
def _names(statement: Select[Any]) -> tuple[str, ...]:
    return tuple(statement.selected_columns.keys())


class _InOrder(Join):
    """A join whose left side is read first, whatever the planner thinks of it."""

    inherit_cache = True


def in_order(left: FromClause, right: FromClause, on: ColumnElement[bool]) -> Join:
    """An inner join that SQLite begins on the left: its planner has no idea how many rows a JSON list holds."""
    return _InOrder(left, right, on)


@compiles(_InOrder, "sqlite")
def _in_order_sqlite(join: Join, compiler: Any, **options: Any) -> str:
    options |= {"asfrom": True}
    left, right = (compiler.process(side, **options) for side in (join.left, join.right))
    on = compiler.process(join.onclause, **{**options, "asfrom": False})
    return f"{left} CROSS JOIN {right} ON {on}"


def each_name(column: ColumnElement[Any], dialect: str) -> TableValuedAlias:
    """The names in a text that has them with a comma and a blank between, as a table with the column `value`."""
    if dialect == "sqlite":
        names = func.replace(func.json_quote(column), ", ", '","')
        return func.json_each(literal("[").op("||")(names).op("||")("]")).table_valued("value")
    return func.unnest(func.string_to_array(column, ", ")).table_valued("value").render_derived()


def each_record(name: str, columns: Mapping[str, TypeEngine[Any]], dialect: str) -> CTE:
    """The rows of the JSON list of lists that is the variable `name`, as a table with these columns."""
    if dialect == "sqlite":
        rows = func.json_each(bindparam(name)).table_valued("value")
        parts = [func.json_extract(rows.c.value, f"$[{place}]") for place in range(len(columns))]
        found = select(
            *(type_coerce(part, columns[key]).label(key) for key, part in zip(columns, parts, strict=True))
        )
    else:
        rows = func.jsonb_array_elements(cast(bindparam(name), JSONB)).table_valued("value")
        parts = [type_coerce(rows.c.value, JSONB)[place].astext for place in range(len(columns))]
        found = select(*(cast(part, columns[key]).label(key) for key, part in zip(columns, parts, strict=True)))
    return found.cte(name).prefix_with("MATERIALIZED")
