"""A copy that is too old, as people and programs meet it: over MCP, over REST and on the command line."""

import asyncio
import json
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from testio_sandbox import Fault, Sandbox, World, serve_sandbox
from tests.surfaces.conftest import Cli
from tests.surfaces.programs import command, http_server, stdio, text_of

pytestmark = pytest.mark.slow


@pytest.fixture
async def sandbox(canary: str) -> AsyncIterator[Sandbox]:
    """A small account."""
    world = World(seed=3, products=2, tests_per_product=10, bugs_per_test=1)
    async with serve_sandbox(world, token=canary) as serving:
        yield serving


@pytest.fixture
async def environment(sandbox: Sandbox, tmp_path: Path, canary: str) -> dict[str, str]:
    """How a program is told to answer from a copy of it that is three hours old."""
    told = {
        "TESTIO_DB_PATH": str(tmp_path / "store.db"),
        "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
        "TESTIO_CUSTOMER_API_TOKEN": canary,
        "TESTIO_REFRESH_BUDGET_SECONDS": "60",
    }
    synced = await command(told, "sync", "--json", cwd=tmp_path)
    assert synced.code == 0, synced.err
    older(told, timedelta(hours=3))
    sandbox.requests.clear()
    return told


def older(environment: dict[str, str], age: timedelta) -> None:
    """Make the whole copy as old as if nothing had been read since."""
    moment = (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    with closing(sqlite3.connect(environment["TESTIO_DB_PATH"])) as store, store:
        store.execute("UPDATE checkpoint SET completed_at = ?", (moment,))
        store.execute("UPDATE sync_run SET started_at = ?, finished_at = ?", (moment, moment))


def runs(environment: dict[str, str]) -> list[str]:
    """How the runs of the sync stand, the first one first."""
    with closing(sqlite3.connect(environment["TESTIO_DB_PATH"])) as store:
        return [status for (status,) in store.execute("SELECT status FROM sync_run ORDER BY id")]


async def asked(sandbox: Sandbox, path: str) -> None:
    """Wait until the API was asked for a path."""
    async with asyncio.timeout(30):
        while not any(request.path == path for request in sandbox.requests):  # noqa: ASYNC110 - a plain list
            await asyncio.sleep(0.01)


async def test_each_surface_refreshes_first(
    sandbox: Sandbox, environment: dict[str, str], tmp_path: Path, cli: Cli
) -> None:
    product = sandbox.world.product_ids[0]
    titles = ["seen over MCP", "seen over REST", "seen on the command line"]
    found = []
    sandbox.world.add_test(product, title=titles[0])
    async with stdio(environment, tmp_path) as client:
        found.append(text_of(await client.call_tool("list_tests", {"product_id": product})))
    older(environment, timedelta(hours=3))
    sandbox.world.add_test(product, title=titles[1])
    with http_server(environment, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web:
            found.append((await web.get("/api/tests", params={"product_id": product})).text)
    older(environment, timedelta(hours=3))
    sandbox.world.add_test(product, title=titles[2])
    shown = await cli(environment, "tests", "list", "--product-id", str(product))
    found.append(shown.out)

    assert [title in text for title, text in zip(titles, found, strict=True)] == [True, True, True]
    assert all("not_refreshed" not in text for text in found)
    assert "Not refreshed" not in shown.err


async def test_piped_changes_are_summed_up_beside_the_data(
    sandbox: Sandbox, environment: dict[str, str], tmp_path: Path
) -> None:
    bugs = [bug.id for product in sandbox.world.product_ids for bug in sandbox.world.open_bugs(product)]
    for bug in bugs:
        sandbox.world.update_bug(bug, status="rejected")

    shown = await command(environment, "changes", "--entities", "bug", cwd=tmp_path)

    line = f"{len(bugs)} bugs are now rejected"
    assert len(bugs) > 1
    assert line in shown.err.splitlines()
    assert line not in shown.out
    assert len(shown.out.splitlines()) == 1 + len(bugs)


async def test_two_servers_and_many_questions_cause_one_refresh(
    sandbox: Sandbox, environment: dict[str, str], tmp_path: Path
) -> None:
    sandbox.faults.add(Fault("latency", "^/bugs$", ms=300))
    before = datetime.now(UTC)
    with http_server(environment, tmp_path) as server:
        async with (
            stdio(environment, tmp_path) as client,
            httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web,
        ):
            over_rest = [web.get("/api/tests"), web.get("/api/bugs"), web.get("/api/digest")] * 3
            over_mcp = [client.call_tool("list_tests"), client.call_tool("list_bugs")]
            answers, results = await asyncio.gather(asyncio.gather(*over_rest), asyncio.gather(*over_mcp))

    assert all(answer.status_code == 200 for answer in answers)
    for told in [*(answer.json() for answer in answers), *(result.structured_content for result in results)]:
        assert "not_refreshed" not in told
        assert datetime.fromisoformat(told["as_of"]) >= before
    assert [request.path for request in sandbox.requests].count("/products") == 1
    assert runs(environment) == ["completed", "completed"]


async def test_each_surface_says_why_it_could_not(
    sandbox: Sandbox, environment: dict[str, str], tmp_path: Path, cli: Cli
) -> None:
    sandbox.faults.add(Fault("error", status=401))
    said = "Not refreshed: tests, bugs (3 h old). "
    with http_server(environment, tmp_path) as server:
        async with (
            stdio(environment, tmp_path) as client,
            httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web,
        ):
            over_rest = await web.get("/api/bugs")
            over_mcp = await client.call_tool("list_bugs")
            detail = await web.get(f"/api/bugs/{over_rest.json()['items'][0]['id']}")
    listed = await cli(environment, "bugs", "list")
    as_json = await cli(environment, "bugs", "list", "--json")

    note = over_rest.json()["not_refreshed"]
    assert note.startswith(said)
    assert "refuses the API token (401)" in note
    assert detail.json()["not_refreshed"] == note
    assert over_mcp.structured_content["not_refreshed"] == note
    # Outside of what testers have written.
    assert note in text_of(over_mcp).partition("[end ")[2]
    assert note in listed.err
    assert "refresh" not in listed.out
    assert listed.code == as_json.code == 0
    assert json.loads(as_json.out)["not_refreshed"] == note
    assert [request.path for request in sandbox.requests] == ["/products"], "a refused token is shown once"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_server_that_ends_lets_its_refresh_be_resumed(
    sandbox: Sandbox, environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    sandbox.faults.add(Fault("stall", "^/bugs$", times=1))
    with http_server(environment | {"TESTIO_REFRESH_BUDGET_SECONDS": "0"}, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web:
            page = (await web.get("/api/bugs")).json()
            await asked(sandbox, "/bugs")
        assert await asyncio.to_thread(server.stop, number) in (-signal.SIGTERM, 130)
    assert page["items"]
    assert page["not_refreshed"].endswith("ask again in a moment.")
    assert runs(environment) == ["completed", "interrupted"]
    assert "Traceback" not in server.log.read_text()

    assert (await command(environment, "sync", cwd=tmp_path)).code == 0

    assert runs(environment) == ["completed", "interrupted", "completed"]


async def test_a_command_waits_no_longer_than_its_budget(
    sandbox: Sandbox, environment: dict[str, str], tmp_path: Path
) -> None:
    sandbox.faults.add(Fault("stall", "^/bugs$"))
    environment = environment | {"TESTIO_REFRESH_BUDGET_SECONDS": "0.2"}

    shown = await command(environment, "bugs", "list", cwd=tmp_path)

    assert shown.code == 0
    assert shown.out
    assert "(3 h old). 'sync' copies all of it, however long it takes." in shown.err
    assert "Traceback" not in shown.err
    # On a busy machine the time is up before the refresh has begun.
    assert runs(environment) in (["completed"], ["completed", "interrupted"])


async def test_a_command_begins_no_first_copy(sandbox: Sandbox, tmp_path: Path, canary: str) -> None:
    environment = {
        "TESTIO_DB_PATH": str(tmp_path / "empty.db"),
        "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
        "TESTIO_CUSTOMER_API_TOKEN": canary,
    }

    shown = await command(environment, "products", "list", cwd=tmp_path)

    assert "not synced yet: run 'testio-mcp sync'" in shown.err
    assert sandbox.requests == []
