"""Keyset cursors and what every page says about itself."""

import base64
import binascii
import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, ScalarSelect, case, func, or_, select

from testio_mcp.database.tables import Checkpoint, table_of
from testio_mcp.errors import BadInput

Cursor = Annotated[str | None, Field(description="next_cursor of the page before; leave it out for the first page.")]


class Page(BaseModel):
    """What every page carries besides its items."""

    next_cursor: str | None = Field(description="Pass it as cursor to get the next page; null on the last.")
    as_of: datetime | None = Field(
        description="The copy shows the account as of this moment; null before the first complete sync."
    )


def encode_cursor(*position: str | int) -> str:
    """Pack the sort keys of a page's last row into an opaque word."""
    packed = json.dumps(position, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_cursor(cursor: str, *kinds: type[str] | type[int]) -> list[str | int]:
    """Unpack a cursor whose keys are of `kinds`. Raises `BadInput` for anything `encode_cursor` did not make."""
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        position = json.loads(packed)
    except (binascii.Error, ValueError):
        position = None
    if not isinstance(position, list) or [type(part) for part in position] != list(kinds):
        raise BadInput("cursor: is not one that this list gave.", "Leave it out to start from the first page.")
    return position


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
