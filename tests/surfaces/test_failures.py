"""What goes wrong in the world: one clear message with the next step, the same on every surface."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from testio_mcp.database import mounts
from testio_mcp.operations.registry import operations
from testio_mcp.surfaces.operation_names import in_commands, in_routes
from testio_sandbox import World, serve_sandbox
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import command, http_server, rest, stdio, text_of, tool_call, words

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """A call that fails, what is said, and how."""

    operation: str
    arguments: dict[str, Any]
    said: str
    status: int
    exit_code: int


CALLS = [
    Case("get_test", {"test_id": 99}, "Test 99 is not in the store. list_tests shows the ids", 404, 1),
    Case("get_test", {"test_id": "x"}, "test_id: ", 422, 2),
    Case("get_test", {"test_id": 2**64}, "test_id: ", 422, 2),
    Case("list_tests", {"statuses": ["frob"]}, "running, locked", 422, 2),
    Case("list_tests", {"limit": 1000}, "1 to 100", 422, 2),
    Case("list_tests", {"end_from": "31.12.2025"}, "is not a date such as 2026-11-22", 422, 2),
    Case("list_tests", {"cursor": "bm9uc2Vuc2U"}, "cursor: is not one that this list gave.", 422, 2),
    Case("list_tests", {"product_id": 1}, "Product 1 is not in the store. list_products shows the ids.", 404, 1),
    Case("sync_data", {}, "TESTIO_CUSTOMER_API_TOKEN", 503, 1),
]


async def everywhere(environment: dict[str, str], cases: list[Case], folder: Path, cli: Cli) -> None:
    """Make each call on each surface and compare what is said."""
    known = operations()
    async with AsyncExitStack() as running:
        server = running.enter_context(http_server(environment, folder))
        web = await running.enter_async_context(httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60))
        client = await running.enter_async_context(stdio(environment, folder))
        for case in cases:
            operation = known[case.operation]
            over_rest = await rest(web, operation, case.arguments)
            over_mcp = await client.call_tool(*tool_call(operation, case.arguments))
            on_the_line = await cli(environment, *words(operation, case.arguments))
            error = over_rest.json()["error"]
            text = text_of(over_mcp)
            assert over_rest.status_code == case.status
            assert over_mcp.is_error
            assert case.said in text
            assert "\n" not in text
            said_over_rest = f"{error['message']} {error['next_step']}"
            # A query string and a command line hold text where a tool's arguments hold a number.
            assert on_the_line.err.replace('"', "") == in_commands(text).replace('"', "") + "\n"
            assert said_over_rest.replace('"', "") == in_routes(text).replace('"', "")
            assert (on_the_line.code, on_the_line.out) == (case.exit_code, "")
            assert "Traceback" not in on_the_line.err
    assert "Traceback" not in server.log.read_text()


async def test_mistakes_of_the_caller(synced: Copy, tmp_path: Path, cli: Cli) -> None:
    await everywhere(synced.environment, CALLS, tmp_path, cli)


async def test_a_wrong_token(own_copy: Copy, tmp_path: Path, canary: str, cli: Cli) -> None:
    async with serve_sandbox(World(seed=1, products=1, tests_per_product=1), token="another") as sandbox:
        environment = own_copy.environment | {
            "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
            "TESTIO_CUSTOMER_API_TOKEN": canary,
        }
        await everywhere(environment, [Case("sync_data", {}, "token", 502, 1)], tmp_path, cli)


async def test_an_unreachable_api(synced: Copy, tmp_path: Path, canary: str, closed_port: int, cli: Cli) -> None:
    """Each surface has a store of its own: only one sync may run on a store at a time."""
    folders = {name: tmp_path / name for name in ("web", "mcp", "cli")}
    operation = operations()["sync_data"]

    def environment(name: str) -> dict[str, str]:
        folders[name].mkdir()
        return {
            "TESTIO_DB_PATH": str(folders[name] / "store.db"),
            "TESTIO_CUSTOMER_API_BASE_URL": f"http://127.0.0.1:{closed_port}/customer/v2/",
            "TESTIO_CUSTOMER_API_TOKEN": canary,
        }

    with http_server(environment("web"), tmp_path) as server:
        async with (
            httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web,
            stdio(environment("mcp"), tmp_path) as client,
        ):
            over_rest, over_mcp, on_the_line = await asyncio.gather(
                rest(web, operation, {}),
                client.call_tool("sync_data"),
                cli(environment("cli"), "sync"),
            )
    assert over_rest.status_code == 503
    assert over_rest.json()["error"]["code"] == "api_unreachable"
    assert over_mcp.is_error
    assert on_the_line.code == 1
    for said in (over_rest.text, text_of(over_mcp), on_the_line.err):
        assert f"127.0.0.1:{closed_port}" in said
        assert canary not in said
        assert "Traceback" not in said


@pytest.fixture
async def closed_port() -> AsyncIterator[int]:
    """A port on which nothing answers."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


async def test_a_store_that_cannot_be_made(tmp_path: Path, cli: Cli) -> None:
    """The stdio server starts all the same and lists its tools; the HTTP server says why it does not."""
    (tmp_path / "file").write_text("in the way")
    environment = {"TESTIO_DB_PATH": str(tmp_path / "file" / "store.db")}
    async with stdio(environment, tmp_path) as client:
        assert (await client.list_tools()).tools
        over_mcp = await client.call_tool("list_products")
    assert over_mcp.is_error
    assert "TESTIO_DB_PATH" in text_of(over_mcp)
    for arguments in (("products", "list"), ("serve", "--transport", "http", "--port", "0"), ("db", "check")):
        ended = await cli(environment, *arguments)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err == in_commands(text_of(over_mcp)) + "\n"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
async def test_a_store_on_a_network_file_system(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    table = tmp_path / "mounts"
    table.write_text(f"overlay / overlay rw 0 0\nhost:/share {tmp_path}/far\\040away {kind} rw 0 0\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)
    (tmp_path / "far away").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far away")
    for place in ("far away/deep/store.db", "link/store.db"):
        environment = {"TESTIO_DB_PATH": str(tmp_path / place)}
        for arguments in (("status",), ("sync",), ("serve", "--transport", "http", "--port", "0"), ("db", "check")):
            ended = await cli(environment, *arguments)
            assert (ended.code, ended.out) == (1, "")
            assert f"network file system that holds it ({kind})" in ended.err
            assert "TESTIO_DB_PATH" in ended.err
            assert "TESTIO_DATABASE_URL" in ended.err
        examined = json.loads((await cli(environment, "doctor", "--json")).out)
        found = {check["check"]: check for check in examined["checks"]}
        assert found["file system"]["state"] == "fail"
        assert kind in found["file system"]["found"]
    assert list((tmp_path / "far away").iterdir()) == []
    near = await cli({"TESTIO_DB_PATH": str(tmp_path / "far" / "store.db")}, "status")
    assert near.code == 0


async def test_settings_that_cannot_be(tmp_path: Path, cli: Cli) -> None:
    environment = {
        "TESTIO_DB_PATH": str(tmp_path / "store.db"),
        "TESTIO_CUSTOMER_API_BASE_URL": "http://user:canary-password@api.example/",
    }
    async with stdio(environment, tmp_path) as client:
        assert (await client.list_tools()).tools
        over_mcp = await client.call_tool("get_status")
    assert over_mcp.is_error
    for arguments in (("status",), ("serve", "--transport", "http", "--port", "0")):
        ended = await cli(environment, *arguments)
        assert ended.code == 2
        assert ended.err == text_of(over_mcp) + "\n"
    assert "TESTIO_CUSTOMER_API_BASE_URL: must start with https://" in text_of(over_mcp)
    assert "canary-password" not in text_of(over_mcp)


async def test_a_store_from_the_future(own_copy: Copy, tmp_path: Path, cli: Cli) -> None:
    import aiosqlite

    async with aiosqlite.connect(own_copy.path) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
        await connection.commit()
    async with stdio(own_copy.environment, tmp_path) as client:
        over_mcp = await client.call_tool("list_products")
    ended = await cli(own_copy.environment, "products", "list")
    assert over_mcp.is_error
    assert ended.code == 1
    assert ended.err == in_commands(text_of(over_mcp)) + "\n"


async def test_defects_are_masked_and_logged(own_copy: Copy, tmp_path: Path) -> None:
    """A store without a table is nothing the program expects: it stands for any defect."""
    import aiosqlite

    async with aiosqlite.connect(own_copy.path) as connection:
        await connection.execute("DROP TABLE dead_letter")
        await connection.commit()
    with http_server(own_copy.environment, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as web:
            over_rest = await web.get("/api/status")
        async with stdio(own_copy.environment, tmp_path) as client:
            over_mcp = await client.call_tool("get_status")
        logged = server.log.read_text()
    ended = await command(own_copy.environment, "status", cwd=tmp_path)
    reference = over_rest.json()["error"]["message"].partition("reference ")[2].rstrip(").")
    assert over_rest.status_code == 500
    assert reference in logged
    assert "Traceback" in logged
    assert text_of(over_mcp).startswith("Something went wrong inside testio-mcp (reference ")
    assert ended.code == 1
    for said in (over_rest.text, text_of(over_mcp), ended.err):
        assert "dead_letter" not in said
        assert "Traceback" not in said
