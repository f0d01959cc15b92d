"""How much a store holds."""

from sqlalchemy import Connection, func, select

from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.migrate import HEAD
from testio_mcp.database.tables import metadata


def count_rows(conn: Connection) -> dict[str, int]:
    """Rows of every table, by name."""
    return {
        table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
        for table in sorted(metadata.tables.values(), key=lambda table: table.name)
    }


async def store_stats(store: PersistentCache) -> dict[str, object]:
    """Place, schema revision, rows per table, and for a SQLite file its size in bytes with the write-ahead log."""
    rows = await store.read(count_rows)
    answer: dict[str, object] = {"store": store.place, "revision": HEAD}
    if store.connection is not None:
        files = (store.db_path, store.db_path.with_name(store.db_path.name + "-wal"))
        answer["bytes"] = sum(file.stat().st_size for file in files if file.exists())
    return answer | {"tables": [{"table": name, "rows": count} for name, count in rows.items()]}
