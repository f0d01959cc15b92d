"""Comparing two copies of one account: whatever way they came about, what counts in them is the same."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, or_, select

from testio_mcp.database.search import KINDS, SOURCES, index_table
from testio_mcp.database.tables import metadata
from tests.sync.conftest import BOOKKEEPING, VOLATILE, Account

_WRITTEN = VOLATILE | {"bugs_synced_hash", "metrics_synced_hash"}
"""Columns that tell when and why something was read, not what the account holds."""
_DERIVED = {"search_slice", "person"}
"""Tables without an owner among the records; people are compared where they are named."""


def living(table: Table) -> ColumnElement[bool] | None:
    """The rows of a table that count: those of records that are not gone."""
    if "gone_at" in table.c:
        return table.c.gone_at.is_(None)
    conditions = [
        table.c[key.parent.name].in_(select(key.column).where(key.column.table.c.gone_at.is_(None)))
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name)
        if key.parent.primary_key or key.parent.name == "test_id"
        if "gone_at" in key.column.table.c
    ]
    return conditions[0] if conditions else None


def all_that_counts(conn: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of copied records that counts, and of the search index, in a fixed order."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for table in metadata.sorted_tables:
        if table.name in BOOKKEEPING | _DERIVED:
            continue
        columns = [column for column in table.c if column.name not in _WRITTEN]
        statement = select(*columns).order_by(*table.primary_key)
        condition = living(table)
        found[table.name] = [
            tuple(row) for row in conn.execute(statement if condition is None else statement.where(condition))
        ]
    for kind in KINDS:
        index, record = index_table(conn.dialect.name, kind), SOURCES[kind].table.c
        indexed = select(index.c.id, index.c.title, index.c.body, index.c.comments).order_by(index.c.id)
        if "gone_at" in record:
            indexed = indexed.where(index.c.id.in_(select(record.id).where(record.gone_at.is_(None))))
        found[index.name] = [tuple(row) for row in conn.execute(indexed)]
    return found | names(conn)


_NAMES = {"feature": "title", "section": "name", "test_environment": "title"}


def names(conn: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """What people see of the features, sections and environments that records name, listed or not."""
    found = {}
    for kind, name in _NAMES.items():
        named, used = metadata.tables[kind].c, []
        for table in metadata.sorted_tables:
            keys = [key for key in table.foreign_keys if key.column.table.name == kind]
            condition = living(table)
            for key in keys:
                rows = select(key.parent)
                used.append(rows if condition is None else rows.where(condition))
        statement = select(named.id, named[name]).where(or_(*(named.id.in_(rows) for rows in used)))
        found[f"names of {kind}"] = [tuple(row) for row in conn.execute(statement.order_by(named.id))]
    return found


async def differences(kept: Account, fresh: Account) -> dict[str, tuple[set[Any], set[Any]]]:
    """By table, the rows that only the kept copy has and those that only the fresh one has."""
    ours, theirs = await kept.store.read(all_that_counts), await fresh.store.read(all_that_counts)
    return {
        name: (set(rows) - set(theirs[name]), set(theirs[name]) - set(rows))
        for name, rows in ours.items()
        if rows != theirs[name]
    }
