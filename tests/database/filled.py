"""A store with rows on many pages, and ways to damage it."""

import asyncio
from pathlib import Path

from sqlalchemy import Connection, func, select

from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.tables import Person, table_of

_person = table_of(Person)
PEOPLE = 400


def _rows(first: int, count: int) -> list[dict[str, object]]:
    return [{"id": number, "name": f"person {number:05} {'x' * 40}"} for number in range(first, first + count)]


def fill(path: Path, first: int = 1, count: int = PEOPLE, *, backup: bool = False) -> Path | None:
    """Open the store, add people, make a backup of it if asked to, and close it."""

    async def work() -> Path | None:
        async with PersistentCache(path) as store:
            await store.write(lambda conn: conn.execute(_person.insert(), _rows(first, count)))
            return await store.backup() if backup else None

    return asyncio.run(work())


def count_people(path: Path) -> int:
    """Open the store as the program does, and count."""

    def work(conn: Connection) -> int:
        return conn.execute(select(func.count(_person.c.id))).scalar_one()

    async def read() -> int:
        async with PersistentCache(path) as store:
            return await store.read(work)

    return asyncio.run(read())
