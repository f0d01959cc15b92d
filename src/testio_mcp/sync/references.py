"""What records refer to: a name where the account does not list it, and found by search under it.

A row that a reference alone made has no payload and is marked as gone, so it counts nowhere. It never replaces a
record, a record that is listed later replaces it, and it takes the first name that a reference gives.
"""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, select, update

from testio_mcp.database.dialect import Row, among, fetch, insert_missing
from testio_mcp.database.search import index_again
from testio_mcp.sync.rows import NAME_COLUMNS, Record, unnamed

_Needs = list[tuple[Table, Row]]


def store_references(conn: Connection, needs: Iterable[_Needs]) -> None:
    """Insert what records refer to and the store lacks, name what had only a number, and index both."""
    for table, rows in _by_table(needs).items():
        if table not in NAME_COLUMNS:
            insert_missing(conn, table, rows)
            continue
        missing, named = _compare(conn, table, rows)
        insert_missing(conn, table, missing)
        for row in named:
            name = {NAME_COLUMNS[table]: row[NAME_COLUMNS[table]]}
            conn.execute(update(table).where(table.c.id == row["id"]).values(name))
        index_again(conn, table, [row["id"] for row in (*missing, *named)])


def find_lacking(conn: Connection, records: Iterable[Record]) -> dict[tuple[Table, int], str]:
    """What `store_references` would write of the needs and members of records, in words, by table and id."""
    found: dict[tuple[Table, int], str] = {}
    for table, rows in _by_table(needs for record in records for needs in (record.needs, record.members)).items():
        if table not in NAME_COLUMNS:
            continue
        missing, named = _compare(conn, table, rows)
        found |= {(table, row["id"]): f"{table.name} {row['id']} is named by it and not stored" for row in missing}
        found |= {(table, row["id"]): f"{table.name} {row['id']} has no name and it gives one" for row in named}
    return found


def _compare(conn: Connection, table: Table, rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """The rows that the store lacks, and those whose name it lacks."""
    ids = [row["id"] for row in rows]
    held = {row[0]: (row[1], bool(row[2])) for row in fetch(conn, _held(table), {"ids": json.dumps(ids)})}
    missing = [row for row in rows if row["id"] not in held]
    named = [
        row for row in rows if held.get(row["id"]) == (unnamed(table, row["id"]), True) and _has_name(table, row)
    ]
    return missing, named


@cache
def _held(table: Table) -> Select[Any]:
    """Ids, names, and whether a reference alone made the row (sections and user stories: or the account lost it)."""
    columns = table.c
    is_name = columns.content_hash == "" if "raw" in columns else columns.gone_at.is_not(None)
    return select(columns.id, columns[NAME_COLUMNS[table]], is_name).where(among(columns.id, bindparam("ids")))


def _has_name(table: Table, row: Row) -> bool:
    return bool(row[NAME_COLUMNS[table]] != unnamed(table, row["id"]))


def _by_table(groups: Iterable[_Needs]) -> dict[Table, list[Row]]:
    """One row for each record that is referred to: the last that has a name, else the last."""
    tables: dict[Table, dict[int, Row]] = {}
    for group in groups:
        for table, row in group:
            rows = tables.setdefault(table, {})
            if row["id"] not in rows or table not in NAME_COLUMNS or _has_name(table, row):
                rows[row["id"]] = row
    return {table: list(rows.values()) for table, rows in tables.items()}
