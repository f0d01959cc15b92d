"""How a page of records is stored: one transaction that writes only what differs; and how records go.

A record's content hash decides whether it is written at all. What records refer to has a name where the account does
not list it, and is found by search under it. A row that a reference alone made has no payload and is marked as gone,
so it counts nowhere. It never replaces a record, a record that is listed later replaces it, and it takes the first
name that a reference gives. That records are gone is believed only after a complete listing that did not shrink
suspiciously.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Delete,
    Select,
    Table,
    bindparam,
    delete,
    func,
    select,
    update,
)

from testio_mcp.database.dialect import BATCH, Row, among, fetch, fetch_records, insert_missing, upsert
from testio_mcp.database.search import index_again, index_rows
from testio_mcp.database.tables import Drift, TestFeature, table_of
from testio_mcp.database.types import utc_text
from testio_mcp.sync.rows import (
    BUGS,
    ENVIRONMENTS,
    EXECUTIONS,
    FEATURES,
    METRICS,
    NAME_COLUMNS,
    PRODUCTS,
    SECTIONS,
    STORIES,
    TEMPLATES,
    TESTS,
    Record,
    Resource,
    Scope,
    unnamed,
)
from testio_mcp.sync.state import log_changes

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
    held = {row[0]: (row[1], bool(row[2])) for row in fetch(conn, _select_names(table), {"ids": json.dumps(ids)})}
    missing = [row for row in rows if row["id"] not in held]
    named = [
        row for row in rows if held.get(row["id"]) == (unnamed(table, row["id"]), True) and _has_name(table, row)
    ]
    return missing, named


@cache
def _select_names(table: Table) -> Select[Any]:
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


_copy, _feature = table_of(TestFeature).c, FEATURES.table.c
SHRINK_LIMIT = 0.2
"""A listing that lost more than this share of its records at once is not believed; a single record is."""
_NEVER_EMPTY = (PRODUCTS, TESTS)
"""Lists that an API which forgets something answers empty, and an account hardly ever: these are not believed."""
_TAKEN_ALONG: dict[str, tuple[tuple[Resource, str], ...]] = {
    PRODUCTS.name: tuple(
        (kind, "product_id") for kind in (TESTS, SECTIONS, FEATURES, STORIES, ENVIRONMENTS, TEMPLATES)
    ),
    FEATURES.name: ((STORIES, "feature_id"),),
    TESTS.name: ((BUGS, "test_id"), (EXECUTIONS, "test_id"), (METRICS, "id")),
}
"""What goes with a record that is gone: the kinds of records, and the column that says to which they belong."""


@dataclass(frozen=True)
class Missing:
    """Records of the store that a complete listing did not name, of how many it could have named."""

    ids: list[int]
    known: int
    is_emptied: bool = False

    @property
    def is_suspicious(self) -> bool:
        """Whether so many are missing that the listing itself is the likelier fault."""
        return self.is_emptied or len(self.ids) > max(1, SHRINK_LIMIT * self.known)


def missing(conn: Connection, resource: Resource, listed: Collection[int], *among: ColumnElement[bool]) -> Missing:
    """The copied records of a resource, within the conditions `among`, that are not in `listed`."""
    columns = resource.table.c
    # Rows without a payload are only names.
    copied = [columns.content_hash != ""] if "raw" in columns else []
    known = [row[0] for row in conn.execute(select(columns.id).where(columns.gone_at.is_(None), *copied, *among))]
    gone = [key for key in known if key not in listed]
    return Missing(gone, len(known), is_emptied=bool(gone) and not listed and resource in _NEVER_EMPTY)


def _product(resource: Resource) -> ColumnElement[int]:
    """The product that a record belongs to: its own, that of its test, or itself."""
    columns, tests = resource.table.c, TESTS.table.c
    if "product_id" in columns:
        return columns.product_id
    if "test_id" not in columns:
        return columns.id
    return func.coalesce(select(tests.product_id).where(tests.id == columns.test_id).scalar_subquery(), 0)


def mark_gone(conn: Connection, resource: Resource, ids: list[int], scope: Scope, run_id: int) -> None:
    """Note that the account no longer has these records; they stay in the store and leave lists and counts.

    What belongs to them goes with them. What belongs to a test that comes back is read again.
    """
    columns = resource.table.c
    product = _product(resource)
    for start in range(0, len(ids), BATCH):
        batch = {"ids": ids[start : start + BATCH]}
        chosen = columns.id.in_(bindparam("ids", expanding=True))
        gone: dict[str, Any] = {"gone_at": scope.now}
        unread = {"bugs_synced_hash": None, "metrics_synced_hash": None} if resource is TESTS else {}
        conn.execute(update(resource.table).where(chosen).values(gone | unread), batch)
        if resource is FEATURES:
            index_again(conn, resource.table, batch["ids"])
        about: dict[str, Any] = {"run_id": run_id, "entity": resource.entity, "changed_at": scope.now}
        about |= {"field": "gone_at", "old_value": None, "new_value": utc_text(scope.now)}
        for kind, column in _TAKEN_ALONG.get(resource.name, ()):
            theirs = select(kind.table.c.id).where(kind.table.c[column].in_(batch["ids"]))
            left = conn.execute(theirs.where(kind.table.c.gone_at.is_(None)))
            mark_gone(conn, kind, [row[0] for row in left], scope, run_id)
        if not resource.tracked:
            continue
        rows = conn.execute(select(columns.id, product).where(chosen), batch).all()
        log_changes(conn, [about | {"entity_id": row[0], "product_id": row[1]} for row in rows])


def name_unlisted_features(conn: Connection) -> None:
    """Call features that the account does not list what the newest test that has them calls them.

    So they have one name in a first copy and in one that knew them when they were listed.
    """
    newest = (
        select(_copy.title)
        .join_from(table_of(TestFeature), TESTS.table, _copy.test_id == TESTS.table.c.id)
        .where(_copy.feature_id == _feature.id, TESTS.table.c.gone_at.is_(None))
        .order_by(_copy.test_id.desc(), _copy.id)
        .limit(1)
        .scalar_subquery()
    )
    unlisted = select(_feature.id).where(_feature.gone_at.is_not(None), newest != _feature.title)
    ids = list(conn.execute(unlisted).scalars())
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        conn.execute(update(FEATURES.table).where(_feature.id.in_(some)).values(title=newest))
        index_again(conn, FEATURES.table, some)


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
