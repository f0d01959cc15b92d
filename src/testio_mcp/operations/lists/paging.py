"""Keyset cursors and what every page says about itself."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, ScalarSelect, case, func, or_, select

from testio_mcp.database.tables import Checkpoint, table_of
from testio_mcp.errors import BadInput
from testio_mcp.operations.arguments import is_storable

Cursor = Annotated[str | None, Field(description="next_cursor of the page before; leave it out for the first page.")]


class Page(BaseModel):
    """What every page carries besides its items."""

    total: int | None = Field(default=None, description="Matching records, on this page and others.")
    total_is_capped: bool = Field(default=False, description="There are more than total says; it was not counted on.")
    next_cursor: str | None = Field(description="Pass it as cursor to get the next page; null on the last.")
    as_of: datetime | None = Field(
        description="The copy shows the account as of this moment; null before the first complete sync."
    )
    notes: list[str] = Field(default=[], description="What else to know, such as a filter that nothing matches.")


Fit = Callable[[Page], int]
"""How many of a page's records its reader has room for, from the first; at least one.

An operation that remembers what it has shown takes a `Fit` and remembers no more than that.
"""


def unlimited(page: Page) -> int:
    """All records of a page."""
    return len(getattr(page, "items", ()))


def encode_cursor(*position: str | int) -> str:
    """Pack the sort keys of a page's last row into an opaque word."""
    packed = json.dumps(position, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_cursor(cursor: str, *kinds: type[str] | type[int] | type[datetime]) -> list[Any]:
    """Unpack a cursor whose keys are of `kinds`. Raises `BadInput` for anything `encode_cursor` did not make."""
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return [_key(part, kind) for part, kind in zip(json.loads(packed), kinds, strict=True)]
    except (ArithmeticError, RecursionError, TypeError, ValueError):
        raise foreign_cursor() from None


def foreign_cursor() -> BadInput:
    """The error for a cursor that another list gave, or this one in another order."""
    message = "cursor: is not one that this list gave."
    return BadInput(message, "Leave it out to start from the first page, with the same sort as before.")


def _key(part: Any, kind: type) -> Any:
    """One sort key of a cursor. Raises `ArithmeticError`, `ValueError` or `TypeError` for what no store can hold."""
    if kind is datetime:
        moment = datetime.fromisoformat(part)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)  # beside the ends of the calendar there is no such moment
    if type(part) is not kind or not is_storable(part):
        raise ValueError
    return part


def as_of(*resources: str, product_id: ColumnElement[int] | None = None) -> ScalarSelect[Any]:
    """The moment up to which all of the listed resources were read completely, as a scalar subquery.

    With `product_id`, only that product's share counts. Null while any of them was never read to its end.
    """
    checkpoint = table_of(Checkpoint).c
    statement = select(
        case((func.count() == func.count(checkpoint.completed_at), func.min(checkpoint.completed_at)))
    ).where(checkpoint.resource.in_(resources))
    if product_id is not None:
        statement = statement.where(or_(checkpoint.product_id == 0, checkpoint.product_id == product_id))
    return statement.scalar_subquery()
