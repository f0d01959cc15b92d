"""Synced stores to start from: an account that is asked about many times is copied over HTTP once per test process.

What a test gets is a real store with what a real sync of this very account left in it.
"""

import io
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testio_mcp.database.cache import PersistentCache
from testio_mcp.sync.engine import SyncSummary
from testio_sandbox import World
from tests.postgres import SCHEMA
from tests.sync.conftest import Account

_SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = $1 AND last_value IS NOT NULL"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename <> 'alembic_version'"
_copies: dict[Any, "_Copy"] = {}
_folder = tempfile.TemporaryDirectory(prefix="testio-copies-")


@dataclass(frozen=True)
class _Copy:
    """The contents of a store: a SQLite file, or the rows of each table and the state of the sequences."""

    summary: SyncSummary
    file: Path | None
    tables: dict[str, bytes]
    sequences: dict[str, int]


class CopiedAccount(Account):
    """An account whose first sync, while nothing has changed in it, is that of an earlier test with the same one."""

    async def sync(self, **options: Any) -> SyncSummary:
        """Run the sync, or bring back what it left in the store."""
        key = (self.store.connection is None, _identity(self.world), tuple(sorted(options.items(), key=repr)))
        if await self.rows("sync_run") or self.sandbox.faults.shown() or not _is_untouched(self.world):
            return await super().sync(**options)
        if key not in _copies:
            _copies[key] = await _copy_of(self.store, await super().sync(**options))
        else:
            await _restore(self.store, _copies[key])
        return _copies[key].summary


def _identity(world: World) -> tuple[object, ...]:
    plan = world.plan
    return (
        world.seed,
        world.quirks,
        world.tells_reasons,
        world.clock,
        tuple(world.product_ids),
        plan.tests,
        plan.bugs_per_test,
    )


def _is_untouched(world: World) -> bool:
    changes = (
        *(world.test_changes, world.bug_changes, world.gone_tests, world.gone_bugs, world.moved_tests),
        *(world.run_changes, world.gone_runs),
    )
    return not any((*changes, world.added_bugs, world.made))


async def _copy_of(store: PersistentCache, summary: SyncSummary) -> _Copy:
    if store.connection is not None:
        kept = Path(_folder.name) / f"{len(_copies)}.db"
        _duplicate(store.db_path, kept)
        return _Copy(summary, kept, {}, {})
    async with store.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        tables = {}
        for (name,) in await driver.fetch(_TABLES, SCHEMA):
            rows = io.BytesIO()
            await driver.copy_from_table(name, schema_name=SCHEMA, output=rows, format="binary")
            tables[name] = rows.getvalue()
        return _Copy(summary, None, tables, dict(await driver.fetch(_SEQUENCES, SCHEMA)))


def _duplicate(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


async def _restore(store: PersistentCache, copy: _Copy) -> None:
    if copy.file is not None:
        _duplicate(copy.file, store.db_path)
        return
    async with store.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        async with driver.transaction():
            await driver.execute("SET LOCAL session_replication_role = replica")
            for name, rows in copy.tables.items():
                await driver.execute(
                    f'DELETE FROM "{SCHEMA}"."{name}"'
                )  # a new store holds versions of what is derived
                await driver.copy_to_table(name, schema_name=SCHEMA, source=io.BytesIO(rows), format="binary")
            for name, value in copy.sequences.items():
                await driver.execute(f"SELECT setval('{SCHEMA}.{name}', {value})")
