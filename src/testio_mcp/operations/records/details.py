"""What the summaries of one record have in common: finding it, its newest bugs, and links to files."""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Connection, Select, bindparam, select

from testio_mcp.database.dialect import fetch_records
from testio_mcp.database.tables import Bug, table_of
from testio_mcp.errors import NotFound
from testio_mcp.fields import Fields, read_attachments

RECENT = 10
"""How many of its newest bugs or tests a summary shows."""
_bug = table_of(Bug).c
GONE = "Since when the account does not list it; null while it does."


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
    shown = (_bug[name] for name in RecentBug.model_fields)
    return select(*shown).where(_bug.id == chosen.c.id).order_by(_bug.id.desc())


def recent_bugs(conn: Connection, column: ColumnElement[Any], record_id: int) -> list[dict[str, Any]]:
    """The newest bugs of which `column` holds the id, as `RecentBug` holds them."""
    return fetch_records(conn, _recent(column), {"id": record_id})


def payload(raw: str) -> Fields:
    """The stored payload of one record, to read what has no column."""
    return Fields(json.loads(raw))


def attachments(record: Fields) -> list[str]:
    """Addresses of the files attached to a record."""
    return links(attachment.url for attachment in read_attachments(record))


def links(addresses: Iterable[str]) -> list[str]:
    """The addresses that are links of the web; nothing else is ever shown as one."""
    return [address for address in addresses if address.lower().startswith(("https://", "http://"))]
