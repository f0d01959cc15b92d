"""What all records show: the latest bugs, the timeline, attachments; and ids that begin with some digits."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, literal, select, union_all

from testio_mcp.database.dialect import fetch, fetch_records
from testio_mcp.database.tables import Bug, ChangeLog, Product, Test, table_of
from testio_mcp.domain import is_past_end
from testio_mcp.errors import NotFound
from testio_mcp.operations.figures import read_timestamp

_bug, _change = table_of(Bug).c, table_of(ChangeLog).c

RECENT = 10
"""How many of its newest bugs or tests a summary shows."""
GONE = "Since when the account does not list it; null while it does."


class BugCounts(BaseModel):
    """Bugs of one test; every bug counts once. `other` holds the kinds that have no level."""

    total: int = 0
    critical: int = 0
    high: int = 0
    low: int = 0
    other: int = 0
    open: int = Field(default=0, description="Status open, without questions; of any level.")


class RecentBug(BaseModel):
    """One of the newest bugs."""

    id: int
    title: str
    level: str
    status: str
    rejection_reason: str | None


def the_one(
    conn: Connection, statement: Select[Any], record_id: int, what: str, shown_by: str, **more: object
) -> dict[str, Any]:
    """The row of the record with this id, bound as `id`. Raises `NotFound`, which names the list that shows ids."""
    rows = fetch_records(conn, statement, {"id": record_id, **more})
    if not rows:
        raise NotFound(
            f"{what} {record_id} is not in the store.", f"{shown_by} shows the ids; sync_data copies what is new."
        )
    return rows[0]


@lru_cache(maxsize=16)
def _recent(column: ColumnElement[Any]) -> Select[Any]:
    # The inner statement reads an index alone; only the rows that are shown are looked up.
    newest = select(_bug.id).where(column == bindparam("id"), _bug.gone_at.is_(None))
    chosen = newest.order_by(_bug.id.desc()).limit(RECENT).subquery()
    columns = (_bug[name] for name in RecentBug.model_fields)
    return select(*columns).where(_bug.id == chosen.c.id).order_by(_bug.id.desc())


def recent_bugs(conn: Connection, column: ColumnElement[Any], record_id: int) -> list[dict[str, Any]]:
    """The newest bugs of which `column` holds the id, as `RecentBug` holds them."""
    return fetch_records(conn, _recent(column), {"id": record_id})


def links(addresses: Iterable[str]) -> list[str]:
    """The addresses that are links of the web; nothing else is ever shown as one."""
    return [address for address in addresses if address.lower().startswith(("https://", "http://"))]


LINES = 20
"""How many changes a summary shows."""


class TimelineEntry(BaseModel):
    """One change, at the moment of the sync that found it; field `created` is a new record, `gone_at` a lost one."""

    at: datetime
    entity: str
    entity_id: int
    field: str
    old: str | None
    new: str | None


_columns = (
    _change.id,
    _change.changed_at.label("at"),
    _change.entity,
    _change.entity_id,
    _change.field,
    _change.old_value.label("old"),
    _change.new_value.label("new"),
)


def _last(statement: Select[Any]) -> Select[Any]:
    return statement.order_by(_change.id.desc()).limit(LINES)


_of_record = _last(
    select(*_columns).where(_change.entity == bindparam("entity"), _change.entity_id == bindparam("entity_id"))
)
_of_test = _last(
    select(*_columns).where(_change.entity == literal("test"), _change.entity_id == bindparam("entity_id"))
)
# Not a join: SQLite would walk over the changes of all bugs there are.
_of_its_bugs = _last(
    select(*_columns).where(
        _change.entity == literal("bug"),
        _change.entity_id.in_(select(_bug.id).where(_bug.test_id == bindparam("entity_id"))),
    )
)
_both = union_all(select(_of_test.subquery()), select(_of_its_bugs.subquery())).subquery("changes")
_of_test_and_bugs = select(*_both.c).order_by(_both.c.id.desc()).limit(LINES)


def timeline(conn: Connection, entity: str, entity_id: int) -> list[dict[str, Any]]:
    """The last changes of a record, oldest first, as `TimelineEntry` holds them; a test's with those of its bugs."""
    if entity == "test":
        lines = fetch_records(conn, _of_test_and_bugs, {"entity_id": entity_id})
    else:
        lines = fetch_records(conn, _of_record, {"entity": entity, "entity_id": entity_id})
    return lines[::-1]


_TABLES: dict[str, Table] = {"product": table_of(Product), "test": table_of(Test), "bug": table_of(Bug)}
_DIGITS = 19


@lru_cache(maxsize=8)
def _between(kind: str) -> Select[Any]:
    """One range of ids, from its end: a walk of the primary key."""
    columns = _TABLES[kind].c
    return (
        select(columns.id)
        .where(columns.id.between(bindparam("first"), bindparam("last")), columns.gone_at.is_(None))
        .order_by(columns.id.desc())
        .limit(bindparam("limit"))
    )


def newest_ids(conn: Connection, kind: str, typed: str, limit: int) -> list[int]:
    """Ids of products, tests or bugs that begin with `typed`, the newest (the largest) first.

    One short range of the primary key for each possible length of the id.
    """
    if not typed:
        return [row[0] for row in fetch(conn, _between(kind), {"first": 0, "last": 2**63 - 1, "limit": limit})]
    if not (typed.isascii() and typed.isdigit()) or typed[0] == "0":
        return []
    ids: list[int] = []
    for more in range(_DIGITS - len(typed), -1, -1):
        first = int(typed) * 10**more
        last = min(first + 10**more, 2**63) - 1
        if first <= last:
            keys = {"first": first, "last": last, "limit": limit - len(ids)}
            ids += [row[0] for row in fetch(conn, _between(kind), keys)]
        if len(ids) == limit:
            break
    return ids


def past_end(test: Mapping[str, Any]) -> bool | None:
    """What `is_past_end` says of a test: True, or nothing."""
    return is_past_end(test["status"], read_timestamp(test["end_at"]), datetime.now(UTC)) or None
