"""A simulated account on real HTTP and an app whose store is a real database."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from testio_mcp.app import App, silent
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.search import KINDS, index_table
from testio_mcp.database.tables import metadata
from testio_mcp.operations.lists.products import list_products
from testio_mcp.sync.engine import SyncOptions, SyncSummary, run_sync
from testio_mcp.sync.run import Entity
from testio_sandbox import Fault, Sandbox, World, serve_sandbox
from tests.conftest import SettingsFor
from tests.postgres import SCHEMA
from tests.support.hasty import hasty_client

CORE: frozenset[Entity] = frozenset({"features", "tests", "bugs"})
EVERYTHING: frozenset[Entity] = frozenset()
VOLATILE = {"synced_at", "gone_at", "completed_at", "changed_at", "run_id"}
BOOKKEEPING = {
    "sync_run",
    "change_log",
    "dead_letter",
    "checkpoint",
    "sync_lease",
    "drift",
    "api_pause",
    "reader",
}


@dataclass
class Account:
    """The account, its copy, and what a person does with both."""

    world: World
    sandbox: Sandbox
    app: App

    @property
    def store(self) -> PersistentCache:
        return self.app.store

    async def sync(self, **options: Any) -> SyncSummary:
        """Run the sync of products, features, tests and bugs, or of what `options` say."""
        return await run_sync(self.app, SyncOptions(**{"only": CORE, **options}), silent)

    def break_with(self, kind: Any, path: str = "", **options: Any) -> None:
        """Switch a fault on."""
        self.sandbox.faults.add(Fault(kind, path, **options))

    async def rows(self, table: str, **equal: object) -> list[dict[str, Any]]:
        """The rows of a table where the columns have these values, by primary key."""
        columns = metadata.tables[table]
        equals = (columns.c[name] == value for name, value in equal.items())
        statement = select(columns).where(*equals).order_by(*columns.primary_key)
        return await self.store.read(lambda conn: [dict(row) for row in conn.execute(statement).mappings()])

    async def contents(self) -> dict[str, list[tuple[object, ...]]]:
        """Everything that is copied, without the moments at which it was."""
        return await self.store.read(contents)

    def truth(self) -> dict[int, tuple[int, int, int]]:
        """What the account really holds: tests, bugs and open bugs by product."""
        truths = (self.world.truth(product_id) for product_id in self.world.product_ids)
        return {truth.product_id: (truth.tests, truth.bugs, truth.open_bugs) for truth in truths}

    async def counts(self) -> dict[int, tuple[int, int, int]]:
        """What the copy says of the same."""
        page = await self.store.read(lambda conn: list_products(conn, limit=200))
        return {item.id: (item.tests, item.bugs, item.open_bugs) for item in page.items}


def contents(conn: Connection) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table that holds copied records, and of the indexes of their words, in a fixed order."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for table in metadata.sorted_tables:
        if table.name not in BOOKKEEPING:
            columns = [column for column in table.c if column.name not in VOLATILE]
            rows = [tuple(row) for row in conn.execute(select(*columns).order_by(*table.primary_key))]
            found[table.name] = rows
    for kind in KINDS:
        index = index_table(conn.dialect.name, kind)
        indexed = select(index.c.id, index.c.title, index.c.body, index.c.comments).order_by(index.c.id)
        found[index.name] = [tuple(row) for row in conn.execute(indexed)]
    return found


@pytest.fixture
def world() -> World:
    """An account of two products, each with two pages of tests."""
    return World(seed=7, products=2, tests_per_product=30, bugs_per_test=1.5)


@pytest.fixture
async def account(
    world: World, store: PersistentCache, settings_for: SettingsFor, canary: str
) -> AsyncIterator[Account]:
    """A sandbox that serves `world`, and an app on an empty store, on each database in turn."""
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        settings = settings_for(customer_api_base_url=sandbox.url)
        app = App(settings, store, closing, client=hasty_client)
        yield Account(world, sandbox, app)
        await closing.aclose()


FirstCopy = Callable[[Account], Awaitable[Account]]


@pytest.fixture
async def first_copy(
    request: pytest.FixtureRequest, store: PersistentCache, tmp_path: Path
) -> AsyncIterator[FirstCopy]:
    """What makes a first copy of the account as it is now, on the same kind of database."""
    async with AsyncExitStack() as closing:

        async def copy(account: Account) -> Account:
            number = len(list(tmp_path.glob("first-*")))
            path = tmp_path / f"first-{number}.db"
            if store.connection is not None:
                opened = PersistentCache(path)
            else:
                path.touch()
                server = request.getfixturevalue("postgres_server")
                url = await closing.enter_async_context(server.migrated_database())
                opened = PersistentCache(tmp_path / "unused.db", database_url=url, schema=SCHEMA)
            await closing.enter_async_context(opened)
            app = App(account.app.settings, opened, closing, client=hasty_client)
            fresh = Account(account.world, account.sandbox, app)
            assert (await fresh.sync(only=EVERYTHING)).status == "completed"
            return fresh

        yield copy
