"""A synced account, on each database in turn."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from testio_mcp.app import App
from testio_mcp.database.cache import PersistentCache
from testio_mcp.operations.registry import operations
from testio_sandbox import World, serve_sandbox
from tests.conftest import BEGAN_AT, SettingsFor
from tests.support.copies import CopiedAccount
from tests.support.hasty import hasty_client
from tests.sync.conftest import Account

NOW = BEGAN_AT
"""The present of the accounts, so that the same one can be copied once for many tests."""


@pytest.fixture
def world() -> World:
    """A small account."""
    return World(seed=2, products=2, tests_per_product=14, bugs_per_test=2, now=NOW)


@pytest.fixture
async def account(
    world: World, store: PersistentCache, settings_for: SettingsFor, canary: str, run_folder: Path
) -> AsyncIterator[Account]:
    """A sandbox that serves `world`, and an app on an empty store, on each database in turn."""
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        settings = settings_for(customer_api_base_url=sandbox.url)
        yield CopiedAccount(world, sandbox, App(settings, store, closing, client=hasty_client), run_folder)
        await closing.aclose()


async def ask(account: Account, name: str, **arguments: Any) -> Any:
    """Run an operation as a surface does."""
    return await operations()[name].run(account.app, arguments)
