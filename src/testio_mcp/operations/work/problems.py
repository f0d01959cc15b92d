"""What could not be copied, and how the API departs from its reference."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field
from sqlalchemy import Connection, bindparam, func, or_, select

from testio_mcp.app import App, Report, silent
from testio_mcp.database.tables import DeadLetter, Drift, Product, table_of
from testio_mcp.database.types import BigId
from testio_mcp.errors import NotFound
from testio_mcp.operations.arguments import DELETED, Ids
from testio_mcp.operations.lists.paging import Cursor, Page, as_of, decode_cursor, encode_cursor
from testio_mcp.operations.registry import operation
from testio_mcp.sync import state
from testio_mcp.sync.engine import SyncOptions, SyncSummary, run_sync

_letter, _drift, _product = table_of(DeadLetter).c, table_of(Drift).c, table_of(Product).c


class Problem(BaseModel):
    """A record that could not be copied (dead letter)."""

    id: int
    resource: str
    product: str | None
    record: str = Field(description="The record's id, or where it stands when it has none.")
    reason: str
    attempts: int
    first_seen_at: datetime
    last_seen_at: datetime


class DriftNote(BaseModel):
    """An unknown field (+name), an unknown word (name=word) or a wrong type (name:type) in the API's answers."""

    resource: str
    note: str
    records: int
    last_seen_at: datetime


class ProblemPage(Page):
    """Dead letters, newest first, and the most frequent drift."""

    items: list[Problem]
    drift: list[DriftNote]


class Cleared(BaseModel):
    """How many problems were forgotten."""

    cleared: int


_is_of_product = or_(bindparam("product_id", type_=BigId).is_(None), _letter.product_id == bindparam("product_id"))
_list = (
    select(
        _letter.id,
        _letter.resource,
        _product.name.label("product"),
        _letter.record_key.label("record"),
        _letter.reason,
        _letter.attempts,
        _letter.first_seen_at,
        _letter.last_seen_at,
    )
    .outerjoin_from(table_of(DeadLetter), table_of(Product), _letter.product_id == _product.id)
    .where(_letter.id < bindparam("before"), _is_of_product)
    .order_by(_letter.id.desc())
    .limit(bindparam("limit"))
)
NEWEST = 5
"""How many problems the status shows."""


def newest_problems(conn: Connection) -> list[Problem]:
    """The problems that were met last."""
    rows = conn.execute(_list, {"before": 2**63 - 1, "limit": NEWEST, "product_id": None}).mappings()
    return [Problem.model_validate(dict(row)) for row in rows]


_count = select(func.count(_letter.id)).where(_is_of_product).scalar_subquery()
_about = select(_count, as_of("products", "tests", "bugs"))
_drifts = (
    select(_drift.resource, _drift.note, _drift.records, _drift.last_seen_at)
    .order_by(_drift.records.desc(), _drift.resource, _drift.note)
    .limit(20)
)


@operation("/problems", command="problems list", toolset="sync", examples=({},), by_default=False)
def list_problems(
    conn: Connection,
    product_id: Annotated[int | None, Field(description="Only of this product; list_products shows the ids.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Field(ge=1, le=200, description="Problems per page, 1 to 200.")] = 50,
) -> ProblemPage:
    """List the records that could not be copied, with the reason, and how the API departs from its reference.

    Use it when sync_data ends incomplete. Every sync tries them again; retry_problems does so at once.
    """
    before = decode_cursor(cursor, int)[0] if cursor else 2**62
    rows = conn.execute(_list, {"before": before, "limit": limit + 1, "product_id": product_id}).mappings().all()
    total, moment = conn.execute(_about, {"product_id": product_id}).one()
    return ProblemPage(
        items=[Problem(**row) for row in rows[:limit]],
        total=total,
        drift=[DriftNote(**row) for row in conn.execute(_drifts).mappings()],
        next_cursor=encode_cursor(rows[limit - 1]["id"]) if len(rows) > limit else None,
        as_of=moment,
    )


@operation(
    "/problems/retry",
    command="problems retry",
    toolset="sync",
    safety="write",
    by_default=False,
    examples=({},),
)
async def retry_problems(app: App, report: Report = silent) -> SyncSummary:
    """Try again to copy the records that could not be copied, in an incremental sync of their products."""
    products = await app.store.read(state.products_with_problems)
    return await run_sync(app, SyncOptions(product_ids=tuple(products)), report)


@operation(
    "/problems/clear",
    command="problems clear",
    toolset="sync",
    safety="write",
    open_world=False,
    by_default=False,
    examples=({},),
)
async def clear_problems(
    app: App,
    problem_ids: Annotated[Ids, DELETED, Field(description="Ids of list_problems; all problems when left out.")] = [],  # noqa: B006
) -> Cleared:
    """Forget problems without copying the records; a sync that meets them again lists them again."""
    cleared = await app.store.write(lambda conn: state.forget_problems(conn, problem_ids))
    if problem_ids and not cleared:
        raise NotFound("No problem has one of these ids.", "list_problems shows the ids.")
    return Cleared(cleared=cleared)
