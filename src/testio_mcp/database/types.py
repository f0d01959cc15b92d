"""Column types that mean the same on SQLite and PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, String, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

# SQLite makes a column the row's own 64-bit key only when its type is spelled INTEGER.
BigId = BigInteger().with_variant(Integer(), "sqlite")


@lru_cache(maxsize=4096)
def utc_text(value: datetime) -> str:
    """A moment as fixed-width text whose order is the order of time: `2026-11-22T21:15:20.000000Z`.

    A naive value is read as UTC.
    """
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.isoformat(timespec="microseconds") + "Z"


def _as_moment(value: str | datetime | None) -> datetime | None:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC: text of fixed width on SQLite, `timestamptz` on PostgreSQL.

    Lists select such a column as text (`type_coerce(column, String)`), which skips the conversion on SQLite;
    a Pydantic `datetime` field reads both forms.
    """

    impl = String(27)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Pick the column type of the database in use."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(String(27))

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """Write any moment, or the text of one, as UTC."""
        if dialect.name == "postgresql":
            return _as_moment
        return lambda v: v if v is None or isinstance(v, str) else utc_text(v)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Read back an aware UTC moment."""
        if dialect.name == "postgresql":
            return lambda v: None if v is None else v.astimezone(UTC)
        parse = datetime.fromisoformat
        return lambda v: None if v is None else parse(v)


class JsonText(TypeDecorator[str]):
    """A JSON document, written and read as text: `TEXT` on SQLite, `jsonb` on PostgreSQL.

    The sync has the text at hand and nothing but a single-record view reads it, so no list ever parses it.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Pick the column type of the database in use."""
        return dialect.type_descriptor(JSONB() if dialect.name == "postgresql" else Text())

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """Hand the text over as it is."""
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Hand the text over as it is."""
        return None
