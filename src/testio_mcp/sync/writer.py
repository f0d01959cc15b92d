"""How a page of records is stored: one transaction that writes only what differs.

A record's content hash decides whether it is written at all.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import Boolean, Connection, Delete, Select, Table, bindparam, delete, select, update

from testio_mcp.database.dialect import Row, among, fetch_records, insert_missing, upsert
from testio_mcp.database.search import index_rows
from testio_mcp.database.tables import Drift, table_of
from testio_mcp.database.types import utc_text
from testio_mcp.sync.references import store_references
from testio_mcp.sync.resources import Resource
from testio_mcp.sync.rows import Record, Scope
from testio_mcp.sync.state import log_changes

TWICE = "id:twice"
"""The drift note of a record that one answer holds twice: the later one counts."""
_DRIFT = table_of(Drift)


@dataclass(frozen=True)
class Tally:
    """How many records were new, changed and unchanged."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.new + other.new, self.changed + other.changed, self.unchanged + other.unchanged)


@dataclass(frozen=True)
class _Version:
    """A payload with the text and hash that identify its version."""

    payload: Any
    raw: str
    digest: str


def version_of(resource: Resource, payload: Any) -> _Version:
    """The payload's canonical JSON text and its 128-bit hash."""
    raw = orjson.dumps(resource.canonical(payload.raw), option=orjson.OPT_SORT_KEYS)
    return _Version(payload, raw.decode(), hashlib.blake2b(raw, digest_size=16).hexdigest())


def store_records(
    conn: Connection, resource: Resource, payloads: Sequence[Any], scope: Scope, run_id: int, *, log_new: bool
) -> Tally:
    """Write the payloads that are new or differ from what is stored, with their parts and their change log.

    `log_new` says whether new records are changes worth a line: they are not while a copy is first filled.
    """
    versions = {payload.id: version_of(resource, payload) for payload in payloads}
    stored = _stored(conn, resource, list(versions))
    fresh = {
        key: version
        for key, version in versions.items()
        if key not in stored or stored[key]["content_hash"] != version.digest or stored[key]["gone_at"] is not None
    }
    tally = Tally(
        new=sum(key not in stored for key in fresh),
        changed=sum(key in stored for key in fresh),
        unchanged=len(versions) - len(fresh),
    )
    if not fresh:
        return tally
    records = [_complete(resource.record(version.payload, scope), version, scope) for version in fresh.values()]
    _write(conn, resource, records, list(fresh))
    notes = [note for version in fresh.values() for note in version.payload.drift]
    _count_drift(conn, resource, [*notes, *[TWICE] * (len(payloads) - len(versions))], scope.now)
    changes = [line for record in records for line in _changes(resource, record.row, stored, scope, log_new)]
    if changes:
        origin = {"run_id": run_id, "entity": resource.entity, "changed_at": scope.now}
        log_changes(conn, [line | origin for line in changes])
    return tally


@cache
def _stored_statement(table: Table, tracked: tuple[str, ...]) -> Select[Any]:
    columns = table.c
    return select(*(columns[name] for name in ("id", "content_hash", "gone_at", *tracked))).where(
        among(columns.id, bindparam("ids")),
        columns.content_hash != "",  # rows without one are only names, of what the account does not list, or not yet
    )


@cache
def _delete_parts(table: Table, owner: str) -> Delete:
    return delete(table).where(among(table.c[owner], bindparam("ids")))


def _stored(conn: Connection, resource: Resource, ids: list[int]) -> dict[int, Row]:
    rows = fetch_records(conn, _stored_statement(resource.table, resource.tracked), {"ids": json.dumps(ids)})
    flags = [name for name in resource.tracked if isinstance(resource.table.c[name].type, Boolean)]
    for row in rows:
        row |= {name: bool(row[name]) for name in flags}
    return {row["id"]: row for row in rows}


def _complete(record: Record, version: _Version, scope: Scope) -> Record:
    record.row |= {"content_hash": version.digest, "synced_at": scope.now, "gone_at": None, "raw": version.raw}
    return record


def _write(conn: Connection, resource: Resource, records: Sequence[Record], ids: list[int]) -> None:
    store_references(conn, (record.needs for record in records))
    upsert(conn, resource.table, [record.row for record in records])
    for table, owner in resource.parts:
        conn.execute(_delete_parts(table, owner), {"ids": json.dumps(ids)})
    parts = rows_by_table(record.parts for record in records)
    for table, rows in parts.items():
        upsert(conn, table, rows)
    index_rows(conn, resource.table, [record.row for record in records], parts)
    for table, rows in rows_by_table(record.members for record in records).items():
        upsert(conn, table, rows)
        index_rows(conn, table, rows, {})


def rows_by_table(groups: Iterable[list[tuple[Table, Row]]]) -> dict[Table, list[Row]]:
    """The rows of many records by table; of rows with one primary key the last one counts."""
    tables: dict[Table, dict[Any, Row]] = {}
    for group in groups:
        for table, row in group:
            tables.setdefault(table, {})[_key_of(table)(row)] = row
    return {table: list(rows.values()) for table, rows in tables.items()}


@cache
def _key_of(table: Table) -> Callable[[Row], Any]:
    """What reads the primary key of a row."""
    return itemgetter(*(column.name for column in table.primary_key))


def _count_drift(conn: Connection, resource: Resource, notes: Sequence[str], now: datetime) -> None:
    """Count in how many new versions of records the API departs from its reference."""
    for note, records in Counter(notes).items():
        first = {"resource": resource.name, "note": note, "records": 0, "first_seen_at": now, "last_seen_at": now}
        insert_missing(conn, _DRIFT, [first])
        met = update(_DRIFT).where(_DRIFT.c.resource == resource.name, _DRIFT.c.note == note)
        conn.execute(met.values(records=_DRIFT.c.records + records, last_seen_at=now))


def _changes(
    resource: Resource, row: Row, stored: dict[int, dict[str, Any]], scope: Scope, log_new: bool
) -> list[dict[str, Any]]:
    about = {"entity_id": row["id"], "product_id": _product_of(row, scope)}
    old = stored.get(row["id"])
    if old is None:
        return [about | {"field": "created", "old_value": None, "new_value": None}] if log_new else []
    lines = [
        about | {"field": name, "old_value": _text(old[name]), "new_value": _text(row[name])}
        for name in resource.tracked
        if _text(old[name]) != _text(row[name])
    ]
    if old["gone_at"] is not None and resource.tracked:
        lines.append(about | {"field": "gone_at", "old_value": _text(old["gone_at"]), "new_value": None})
    return lines


def _product_of(row: Row, scope: Scope) -> int:
    """The product that a record belongs to; an execution names its test only."""
    if "product_id" not in row and "test_id" in row:
        return scope.product_of_test.get(row["test_id"], scope.product_id)
    product: int = row["product_id"] if "product_id" in row else row["id"]
    return product


def _text(value: object) -> str | None:
    if value is None:
        return None
    return utc_text(value) if isinstance(value, datetime) else str(value)
