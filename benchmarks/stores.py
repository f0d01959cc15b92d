"""The stores that are measured: simulated accounts of three sizes, built once and kept in `.bench/`.

Copying the largest account would take half an hour, so it is the middle one multiplied.
"""

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from benchmarks import machine
from benchmarks.accounts import BUGS_PER_TEST, PRODUCTS_EACH, copy_account
from benchmarks.machine import talk
from benchmarks.multiplied import multiply
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.migrate import HEAD, MIGRATIONS
from testio_mcp.database.search import merge_search_index

_EDITION = 4
_MIDDLE = 40_000


async def store_with(tests: int) -> Path:
    """The file of the store with so many tests; builds it when there is none of the present schema."""
    path = machine.CACHE / f"tests-{tests}-{_key()}.db"
    if not path.exists():
        for old in machine.CACHE.glob(f"tests-{tests}-*"):
            old.unlink()
        partial = path.with_suffix(".partial")
        machine.CACHE.mkdir(exist_ok=True)
        talk(f"building the store of {tests} tests")
        if tests > _MIDDLE:
            multiply(await store_with(_MIDDLE), partial, tests // _MIDDLE)
        else:
            await copy_account(tests, partial)
        await _settle(partial)
        partial.replace(path)
    return path


def _key() -> str:
    scripts = sorted((MIGRATIONS / "versions").glob("*.py"))
    text = f"{HEAD} {_EDITION} {PRODUCTS_EACH} {BUGS_PER_TEST}" + "".join(script.read_text() for script in scripts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


async def _settle(path: Path) -> None:
    """Do what a sync ends with, and leave one file behind that nothing waits to be written to."""
    async with PersistentCache(path) as store:
        while await store.write(merge_search_index):
            pass
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("rb+") as file:
        os.fsync(file.fileno())
