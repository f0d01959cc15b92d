"""Schema revisions: where a store stands, and how it gets to the newest one.

Alembic costs half a second to import, so the usual answer, "already there", comes from one SELECT against
`REVISIONS`. A migration is one transaction: killed at any statement, the store has its old schema.
"""

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from testio_mcp import crash_points
from testio_mcp.errors import StoreError, StoreForeign, StoreTooNew

# Every revision this build knows, oldest first; a test compares it with the migration scripts.
REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
    "0014",
    "0015",
)
HEAD = REVISIONS[-1]
MIGRATIONS = Path(__file__).parent / "migrations"


def refuse_newer(revision: str | None, place: str) -> None:
    """Raise `StoreTooNew` for a revision that this build does not know."""
    if revision is not None and revision not in REVISIONS:
        raise StoreTooNew(
            f"The store {place} has schema revision {revision}, and this build knows revisions up to {HEAD}.",
            "Upgrade testio-mcp, or set TESTIO_DB_PATH to another file.",
        )


def refuse_foreign(tables: Iterable[str], place: str) -> None:
    """Raise `StoreForeign` for a database without a revision that holds tables: another program's."""
    if any(name != "alembic_version" for name in tables):
        raise StoreForeign(
            f"The database {place} holds tables of another program.",
            "Set TESTIO_DB_PATH to another file, or TESTIO_DATABASE_SCHEMA to another schema.",
        )


def refuse_encoding(connection: Connection, place: str) -> None:
    """Raise `StoreError` for a PostgreSQL database that cannot hold every text, whatever its locale."""
    if connection.dialect.name != "postgresql":
        return
    encoding = connection.execute(text("SELECT current_setting('server_encoding')")).scalar_one()
    if encoding != "UTF8":
        raise StoreError(
            f"The database {place} has the encoding {encoding}; a store needs UTF8.",
            "Create another one: CREATE DATABASE testio ENCODING 'UTF8' TEMPLATE template0; "
            "and name it in TESTIO_DATABASE_URL.",
        )


def current_revision(connection: Connection, place: str) -> str | None:
    """The store's revision, or None for a store without a schema. Raises `StoreForeign`, `StoreError`."""
    refuse_encoding(connection, place)
    tables = inspect(connection).get_table_names()
    found = None
    if "alembic_version" in tables:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is None:
        refuse_foreign(tables, place)
    return found


async def upgrade(engine: AsyncEngine, revision: str = "head") -> None:
    """Run the migrations up to `revision` in one transaction that holds the write lock from its start."""
    import_module("alembic.command")  # takes half a second, for which nobody should wait at the lock
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade, revision)


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    if crash_points.is_active():
        event.listen(connection, "after_cursor_execute", lambda *_: crash_points.crash_point("migration.statement"))
    command.upgrade(config, revision)
