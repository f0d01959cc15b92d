"""Run as a program: open and read the store at a path as an ordinary user, and print what happened.

    python -m tests.database.as_nobody STORE

Root may write everywhere, so a program that runs as root first becomes somebody else.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from sqlalchemy import Connection, select, table, text

from testio_mcp.database.cache import PersistentCache
from testio_mcp.errors import StoreError

_NOBODY = 65534


async def read_all(path: Path) -> None:
    """Open a store and read every row of it."""
    async with PersistentCache(path) as store:
        await store.read(_read_tables)


def _read_tables(connection: Connection) -> None:
    for name in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all():
        connection.execute(select(text("*")).select_from(table(name))).all()


def main(path: Path) -> str:
    """What opening `path` says to an ordinary user."""
    with tempfile.TemporaryDirectory() as directory:
        # Imports everything: another user may not be able to read this installation.
        asyncio.run(read_all(Path(directory) / "store.db"))
    if os.geteuid() == 0:
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    try:
        asyncio.run(read_all(path))
    except StoreError as error:
        return f"{type(error).__name__}: {error}"
    return "opened"


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1])))
