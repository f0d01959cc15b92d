"""Whoever asked for a sync cancels it, leaves, or asks while another one runs."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from testio_sandbox import Fault, Sandbox, World, serve_sandbox
from tests.surfaces.conftest import Cli
from tests.surfaces.programs import PROGRAM, http_server, whole
from tests.surfaces.test_stdio import INITIALIZE, call

pytestmark = pytest.mark.slow


@pytest.fixture
async def sandbox(canary: str) -> AsyncIterator[Sandbox]:
    """An account whose features never come."""
    async with serve_sandbox(World(seed=3, products=1, tests_per_product=3), token=canary) as sandbox:
        sandbox.faults.add(Fault("stall", "features"))
        yield sandbox


@pytest.fixture
def environment(sandbox: Sandbox, tmp_path: Path, canary: str) -> dict[str, str]:
    """How a program is told to sync that account into a new store."""
    return {
        "TESTIO_DB_PATH": str(tmp_path / "store.db"),
        "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
        "TESTIO_CUSTOMER_API_TOKEN": canary,
    }


async def _stalled(sandbox: Sandbox) -> None:
    """Wait until a sync waits for the features."""
    for _ in range(3_000):
        if any(request.path.endswith("features") for request in sandbox.requests):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("no sync came that far")


@asynccontextmanager
async def _server(environment: dict[str, str], cwd: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        env=whole(environment),
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def _send(process: asyncio.subprocess.Process, *messages: dict[str, Any]) -> None:
    assert process.stdin is not None
    for message in messages:
        process.stdin.write(json.dumps(message).encode() + b"\n")
    await process.stdin.drain()


async def _answer(process: asyncio.subprocess.Process, number: int) -> dict[str, Any]:
    assert process.stdout is not None
    while True:
        message: dict[str, Any] = json.loads(await process.stdout.readline())
        if message.get("id") == number:
            return message


async def _until_free(server: asyncio.subprocess.Process) -> dict[str, Any]:
    """Ask for a sync until the one before has let go."""
    for number in range(3, 200):
        await _send(server, call(number, "sync_data", full=True))
        result: dict[str, Any] = (await _answer(server, number))["result"]
        if "already running" not in json.dumps(result):
            break
    return result


async def test_a_cancelled_tool_call_ends_its_sync(
    sandbox: Sandbox, environment: dict[str, str], tmp_path: Path, cli: Cli
) -> None:
    async with _server(environment, tmp_path) as server:
        await _send(server, INITIALIZE)
        await _answer(server, 1)
        await _send(server, {"jsonrpc": "2.0", "method": "notifications/initialized"}, call(2, "sync_data"))
        await _stalled(sandbox)
        while_it_runs = await cli(environment, "sync")
        await _send(server, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}})
        sandbox.faults.clear()
        again = await _until_free(server)
    assert (while_it_runs.code, while_it_runs.out) == (0, "")
    assert "already running since" in while_it_runs.err
    assert again["structuredContent"]["status"] == "completed"
    status = json.loads((await cli(environment, "status", "--json")).out)
    assert (status["last_run"]["id"], status["last_run"]["status"]) == (2, "completed")


async def test_a_client_that_leaves_ends_its_sync(
    sandbox: Sandbox, environment: dict[str, str], tmp_path: Path
) -> None:
    with http_server(environment, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web:
            leaving = asyncio.create_task(web.post("/api/sync", json={}))
            await _stalled(sandbox)
            meanwhile = await web.post("/api/sync", json={})
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            sandbox.faults.clear()
            for _ in range(200):
                if (again := await web.post("/api/sync", json={})).status_code != 409:
                    break
            status = (await web.get("/api/status")).json()
    assert meanwhile.status_code == 409
    assert "already running since" in meanwhile.json()["error"]["message"]
    assert again.json()["status"] == "completed"
    assert status["last_run"]["id"] == 2
