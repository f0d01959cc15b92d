"""Synced stores to start from: an account that is asked about many times is copied over HTTP once per test run.

What a test gets is a real store with what a real sync of this very account left in it.
"""

import hashlib
import io
import pickle
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from testio_mcp.database.cache import PersistentCache
from testio_mcp.sync.engine import SyncSummary
from testio_sandbox import World
from tests.postgres import SCHEMA
from tests.sync.conftest import Account

_SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = $1 AND last_value IS NOT NULL"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename <> 'alembic_version'"


@dataclass
class CopiedAccount(Account):
    """An account whose first sync is that of an earlier test with the same one; the processes of a run share them."""

    copies: Path

    async def sync(self, **options: Any) -> SyncSummary:
        """Run the sync, or bring back what it left in the store."""
        if await self.rows("sync_run") or self.sandbox.faults.to_dicts():
            return await super().sync(**options)
        wanted = sorted((name, sorted(value) if name == "only" else value) for name, value in options.items())
        key = repr((self.store.connection is None, self.app.settings.time_zone, _identity(self.world), wanted))
        copy = self.copies / hashlib.sha256(key.encode()).hexdigest()
        summary_file = copy.with_suffix(".json")
        with FileLock(copy.with_suffix(".lock")):
            if not summary_file.exists():
                summary = await super().sync(**options)
                await _save(self.store, copy)
                summary_file.write_text(summary.model_dump_json())
                return summary
        await _restore(self.store, copy)
        return SyncSummary.model_validate_json(summary_file.read_text())


def _identity(world: World) -> tuple[object, ...]:
    """All that the account's answers depend on: how it was planned, and what was changed in it since."""
    plan = world.plan
    states = [(state.payload, state.added, state.features) for state in map(world.product_state, world.product_ids)]
    return (
        *(world.seed, world.quirks, world.tells_reasons, world.clock, world.product_ids, world.reject_reasons),
        *(plan.tests, plan.bugs_per_test, plan.origin, states, world.test_changes, world.bug_changes),
        *(world.added_bugs, world.gone_tests, world.gone_bugs, world.moved_tests, world.run_changes),
        *(world.gone_runs, world.made),
    )


async def _save(store: PersistentCache, copy: Path) -> None:
    """Write the contents of a store: a SQLite file, or the rows of each table and the state of the sequences."""
    if store.connection is not None:
        _duplicate(store.db_path, copy)
        return
    async with store.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        tables = {}
        for (name,) in await driver.fetch(_TABLES, SCHEMA):
            rows = io.BytesIO()
            await driver.copy_from_table(name, schema_name=SCHEMA, output=rows, format="binary")
            tables[name] = rows.getvalue()
        copy.write_bytes(pickle.dumps((tables, dict(await driver.fetch(_SEQUENCES, SCHEMA)))))


def _duplicate(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


async def _restore(store: PersistentCache, copy: Path) -> None:
    if store.connection is not None:
        _duplicate(copy, store.db_path)
        return
    tables, sequences = pickle.loads(copy.read_bytes())
    async with store.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        async with driver.transaction():
            await driver.execute("SET LOCAL session_replication_role = replica")
            for name, rows in tables.items():
                # A new store holds versions of what is derived.
                await driver.execute(f'DELETE FROM "{SCHEMA}"."{name}"')
                await driver.copy_to_table(name, schema_name=SCHEMA, source=io.BytesIO(rows), format="binary")
            for name, value in sequences.items():
                await driver.execute(f"SELECT setval('{SCHEMA}.{name}', {value})")
