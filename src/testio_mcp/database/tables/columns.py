"""The columns and conventions that all tables share."""

from datetime import datetime
from typing import Any

from sqlalchemy import MetaData, Table, text
from sqlmodel import Field, SQLModel

from testio_mcp.database.types import BigId, JsonText, UtcDateTime

metadata: MetaData = SQLModel.metadata
metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def key(**options: Any) -> Any:
    """A primary key that holds an id of the account, or counts up when `default=None` is given."""
    automatic = "default" in options
    return Field(primary_key=True, sa_type=BigId, sa_column_kwargs={"autoincrement": automatic}, **options)


def ref(target: str | None, **options: Any) -> Any:
    """A 64-bit reference to another table's `id`."""
    return Field(sa_type=BigId, foreign_key=f"{target}.id" if target else None, **options)


def part_of(target: str) -> Any:
    """The key of what belongs to one record, or its first half: `position` is the other one."""
    return Field(primary_key=True, sa_type=BigId, foreign_key=f"{target}.id")


def when(**options: Any) -> Any:
    """A moment in UTC."""
    return Field(sa_type=UtcDateTime, **options)


def json_text(**options: Any) -> Any:
    """A JSON document as text."""
    return Field(sa_type=JsonText, **options)


GONE = text("gone_at IS NOT NULL")
"""Records that are gone: few, so that counts leave them out without reading the others."""


class Mirrored(SQLModel):
    """What every copied record carries."""

    content_hash: str = Field(default="", max_length=32)
    synced_at: datetime = when()
    gone_at: datetime | None = when(default=None)


DEVICE_TEXTS = (("name",), ("category",), ("operating_system", "operating_system_version"), ("browsers",))
"""The columns of devices that are indexed, so that their few distinct texts are found without reading every line."""


class DeviceColumns(SQLModel):
    """What describes a device."""

    category: str | None = None
    vendor: str | None = None
    name: str | None = None
    operating_system: str | None = None
    operating_system_version: str | None = None
    browsers: str | None = None


def table_of(model: type[SQLModel]) -> Table:
    """The Core table of a model: lists and bulk writes use it, entities are for single records."""
    return metadata.tables[str(model.__tablename__)]
