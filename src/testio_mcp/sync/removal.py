"""Believing that records are gone: only after a complete listing, and only if it did not shrink suspiciously."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, select, update

from testio_mcp.database.dialect import BATCH
from testio_mcp.database.types import utc_text
from testio_mcp.sync.counts import counted, log_changes
from testio_mcp.sync.resources import BUGS, TESTS, Resource
from testio_mcp.sync.rows import Scope

SHRINK_LIMIT = 0.2
"""A listing that lost more than this share of its records at once is not believed; a single record always is."""


@dataclass(frozen=True)
class Missing:
    """Records of the store that a complete listing did not name, of how many it could have named."""

    ids: list[int]
    known: int

    @property
    def is_suspicious(self) -> bool:
        """Whether so many are missing that the listing itself is the likelier fault."""
        return len(self.ids) > max(1, SHRINK_LIMIT * self.known)


def missing(conn: Connection, resource: Resource, listed: Collection[int], *among: ColumnElement[bool]) -> Missing:
    """The copied records of a resource, within the conditions `among`, that are not in `listed`."""
    columns = resource.table.c
    statement = select(columns.id).where(columns.gone_at.is_(None), columns.content_hash != "", *among)
    known = [row[0] for row in conn.execute(statement)]
    return Missing([key for key in known if key not in listed], len(known))


def mark_gone(conn: Connection, resource: Resource, ids: list[int], scope: Scope, run_id: int) -> None:
    """Note that the account no longer has these records; they stay in the store and leave lists and counts.

    A test takes its bugs with it, and should it come back, they are read again.
    """
    columns = resource.table.c
    product = columns.product_id if "product_id" in columns else columns.id
    for start in range(0, len(ids), BATCH):
        batch = {"ids": ids[start : start + BATCH]}
        chosen = columns.id.in_(bindparam("ids", expanding=True))
        with counted(conn, resource.table, batch["ids"]):
            conn.execute(update(resource.table).where(chosen).values(gone_at=scope.now), batch)
        about: dict[str, Any] = {"run_id": run_id, "entity": resource.entity, "changed_at": scope.now}
        about |= {"field": "gone_at", "old_value": None, "new_value": utc_text(scope.now)}
        if resource is TESTS:
            _bugs_too(conn, batch["ids"], scope, run_id)
        rows = conn.execute(select(columns.id, product).where(chosen), batch).all()
        log_changes(conn, [about | {"entity_id": row[0], "product_id": row[1]} for row in rows])


def _bugs_too(conn: Connection, test_ids: list[int], scope: Scope, run_id: int) -> None:
    tests, bugs = TESTS.table.c, BUGS.table.c
    unread = update(TESTS.table).where(tests.id.in_(test_ids))
    conn.execute(unread.values(bugs_synced_hash=None, metrics_synced_hash=None))
    left = conn.execute(select(bugs.id).where(bugs.test_id.in_(test_ids), bugs.gone_at.is_(None)))
    mark_gone(conn, BUGS, [row[0] for row in left], scope, run_id)
