"""Believing that records are gone: only after a complete listing, and only if it did not shrink suspiciously."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, update

from testio_mcp.database.dialect import BATCH
from testio_mcp.database.search import index_again
from testio_mcp.database.tables import TestFeature, table_of
from testio_mcp.database.types import utc_text
from testio_mcp.sync.resources import (
    BUGS,
    ENVIRONMENTS,
    EXECUTIONS,
    FEATURES,
    METRICS,
    PRODUCTS,
    SECTIONS,
    STORIES,
    TEMPLATES,
    TESTS,
    Resource,
)
from testio_mcp.sync.rows import Scope
from testio_mcp.sync.state import log_changes

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
