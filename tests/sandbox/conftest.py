"""A small account on a real port, and a client of it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx2
import pytest

from testio_sandbox import Sandbox, World, serve_sandbox

NOW = datetime(2026, 10, 14, 9, 30, tzinfo=UTC)


@pytest.fixture
def world() -> World:
    """Three products (two of them with sections) at a fixed present."""
    return World(products=3, tests_per_product=12, now=NOW)


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[Sandbox]:
    """The account, served."""
    async with serve_sandbox(world) as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with the right token."""
    headers = {"Authorization": f"Token {sandbox.token}"}
    async with httpx2.AsyncClient(base_url=sandbox.url, headers=headers, timeout=5) as caller:
        yield caller
