"""Alembic's entry: on a connection handed in by the program, or on the store that the settings name."""

import asyncio
from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateSchema
from sqlmodel import AutoString, SQLModel

from testio_mcp.database import tables  # noqa: F401 - fills the metadata
from testio_mcp.database.engine import (
    BUSY_TIMEOUT_MS,
    create_async_engine_for_postgresql,
    create_async_engine_for_sqlite,
    prepare_file,
)
from testio_mcp.database.types import BigId, JsonText, UtcDateTime
from testio_mcp.settings import load_settings

target_metadata = SQLModel.metadata


def render_item(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write our own column types by name."""
    if kind != "type":
        return False
    if item is BigId:
        return "BigId"
    if isinstance(item, AutoString):
        return f"sa.String({item.length or ''})"
    return f"{type(item).__name__}()" if isinstance(item, UtcDateTime | JsonText) else False


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out the full text indexes and, on SQLite, the tables inside them: no model describes them."""
    return kind != "table" or name in target_metadata.tables or not (name or "").startswith("search_")


def configure(**options: Any) -> None:
    """The options shared by all modes."""
    # SQLite's DDL is transactional once the driver stops opening transactions by itself.
    context.configure(
        target_metadata=target_metadata,
        transactional_ddl=True,
        render_item=render_item,
        include_name=include_name,
        **options,
    )


def migrate(connection: Connection) -> None:
    """Run the migrations inside the connection's transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": str(BUSY_TIMEOUT_MS)})
        schema = connection.execute(text("SHOW search_path")).scalar_one()
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": schema})
        connection.execute(CreateSchema(schema.strip('"'), if_not_exists=True))
    configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


def engine_from_settings() -> AsyncEngine:
    """The store that `TESTIO_DATABASE_URL` or `TESTIO_DB_PATH` names."""
    settings = load_settings()
    if settings.database_url:
        return create_async_engine_for_postgresql(settings.database_url.get_secret_value(), settings.database_schema)
    prepare_file(settings.db_path)
    return create_async_engine_for_sqlite(settings.db_path)


async def run_on_settings() -> None:
    """What the `alembic` command does."""
    engine = engine_from_settings()
    try:
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    settings = load_settings()
    url = settings.database_url.get_secret_value() if settings.database_url else "sqlite://"
    configure(dialect_name=make_url(url).get_backend_name(), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif handed_in := context.config.attributes.get("connection"):
    migrate(handed_in)
else:
    asyncio.run(run_on_settings())
