"""A synced account, on each database in turn."""

from typing import Any

import pytest

from testio_mcp.operations.registry import operations
from testio_mcp.sandbox import World
from tests.sync.conftest import Account
from tests.sync.conftest import account as account

__all__ = ["account"]


@pytest.fixture
def world() -> World:
    """A small account."""
    return World(seed=2, products=2, tests_per_product=14, bugs_per_test=2)


async def ask(account: Account, name: str, **arguments: Any) -> Any:
    """Run an operation as a surface does."""
    return await operations()[name].run(account.app, arguments)
