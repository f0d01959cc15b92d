"""A copy made before the store knew which bugs are marked as fixed."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from testio_mcp.app import App
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.dialect import upsert
from testio_mcp.database.tables import Drift, table_of
from testio_sandbox import Sandbox, World, serve_sandbox
from tests.conftest import SettingsFor
from tests.support.hasty import hasty_client
from tests.sync.conftest import Account

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> str:
    """Where a store with the newest schema and no rows is: a file, or an address."""
    return str(request.getfixturevalue("sqlite_file" if request.param == "sqlite" else "postgres_url"))


@asynccontextmanager
async def _opened(place: str, world: World, sandbox: Sandbox, settings_for: SettingsFor) -> AsyncIterator[Account]:
    url = place if place.startswith("postgresql") else None
    async with AsyncExitStack() as closing, PersistentCache("unused.db" if url else place, database_url=url) as store:
        settings = settings_for(customer_api_base_url=sandbox.url)
        yield Account(world, sandbox, App(settings, store, closing, client=hasty_client))
        await closing.aclose()


async def _take_back(place: str) -> None:
    """Give the store the schema that it had before, as a person does from a checkout."""
    variable = "TESTIO_DATABASE_URL" if place.startswith("postgresql") else "TESTIO_DB_PATH"
    command = [sys.executable, "-m", "alembic", "downgrade", "0005"]
    alembic = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env={**os.environ, variable: place}, capture_output=True, check=False
    )
    assert alembic.returncode == 0, alembic.stderr


async def test_an_older_copy_learns_what_it_holds_already(place: str, settings_for: SettingsFor, canary: str) -> None:
    world = World(seed=7, products=2, tests_per_product=20, bugs_per_test=3)
    marked, quoting, unmarked = (world.add_bug(world.test_ids(21_001)[-1])["id"] for _ in range(3))
    world.update_bug(marked, fixed=True)
    world.update_bug(quoting, title='It sends {"fixed":true}', priority_hint={"fixed": True})
    world.update_bug(unmarked, fixed=False)
    async with serve_sandbox(world, token=canary) as sandbox:
        async with _opened(place, world, sandbox, settings_for) as account:
            await account.sync()
            new = await account.contents()
            fixed = {row["id"] for row in await account.rows("bug", is_fixed=True)}
            assert marked in fixed and len(fixed) > 1 and not fixed & {quoting, unmarked}
            note = {"resource": "bugs", "note": "+fixed", "records": 1, "first_seen_at": NOW, "last_seen_at": NOW}
            await account.store.write(lambda conn: upsert(conn, table_of(Drift), [note]))
        await _take_back(place)

        async with _opened(place, world, sandbox, settings_for) as account:
            assert {row["id"] for row in await account.rows("bug", is_fixed=True)} == fixed
            assert await account.contents() == new
            assert await account.rows("drift", note="+fixed") == [], "the field is known by now"
            assert (await account.sync(full=True)).records_changed == 0
            assert await account.rows("change_log", field="is_fixed") == []
