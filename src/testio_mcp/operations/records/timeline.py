"""What the change log holds of one record, as the last part of its summary."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection, Select, bindparam, literal, select, union_all

from testio_mcp.database.dialect import fetch_records
from testio_mcp.database.tables import Bug, ChangeLog, table_of

_change, _bug = table_of(ChangeLog).c, table_of(Bug).c
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
