"""The HTTP server: MCP and REST on one port, and the door in front of both."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from mcp.client import Client

from testio_mcp.operations.registry import operations
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import Era, HttpServer, command, http_server, name_of_tool

JSON = {"Content-Type": "application/json"}


def assert_problem(answer: httpx2.Response, status: int, code: str) -> None:
    """Every error has one shape and says what to do."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"].endswith(".")
    assert error["next_step"]
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("era", ["legacy", "auto", "2026-07-28"])
async def test_mcp_answers_both_eras_on_one_address(server: HttpServer, era: Era) -> None:
    async with Client(f"{server.url}/mcp", mode=era) as client:
        tools = (await client.list_tools()).tools
        answer = await client.call_tool("list_tests", {"limit": 2})
    assert [tool.name for tool in tools] == list(dict.fromkeys(name_of_tool(op) for op in operations().values()))
    assert len((answer.structured_content or {})["items"]) == 2


async def test_mcp_is_not_redirected(web: httpx2.AsyncClient) -> None:
    for path in ("/mcp", "/mcp/"):
        answer = await web.post(path, json={}, headers={"Accept": "application/json, text/event-stream"})
        assert answer.status_code == 400
    assert_problem(await web.post("/mcp/more", json={}), 404, "no_such_route")


@pytest.mark.parametrize("path", ["/health", "/api/products", "/docs", "/openapi.json", "/nowhere"])
async def test_every_answer_is_private_and_names_no_server(web: httpx2.AsyncClient, path: str) -> None:
    answer = await web.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == ("private, no-cache" if path == "/api/products" else "no-store")
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST:{port}", 200),
        ("[::1]:{port}", 200),
        ("127.0.0.1", 421),
        ("localhost:1", 421),
        ("localhost:{port}0", 421),
        ("localhost:{port}.evil.example", 421),
        ("evil.example:{port}", 421),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:{port}", 421),
        ("", 421),
    ],
)
@pytest.mark.parametrize("path", ["/health", "/mcp"])
async def test_only_the_servers_own_names_are_answered(
    web: httpx2.AsyncClient, server: HttpServer, host: str, status: int, path: str
) -> None:
    answer = await web.get(path, headers={"Host": host.format(port=server.port)})
    if status == 421:
        assert_problem(answer, 421, "wrong_host")
    else:
        assert answer.status_code == (200 if path == "/health" else 400)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:{port}", 200),
        ("http://localhost:{port}", 200),
        ("http://localhost", 403),
        ("http://localhost:{port}.evil.example", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("file://", 403),
    ],
)
async def test_pages_of_others_are_refused(
    web: httpx2.AsyncClient, server: HttpServer, origin: str, status: int
) -> None:
    answer = await web.get("/api/products", headers={"Origin": origin.format(port=server.port)})
    if status == 403:
        assert_problem(answer, 403, "wrong_origin")
        assert_problem(await web.post("/mcp", headers={"Origin": origin}), 403, "wrong_origin")
    else:
        assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/api/sync", "/mcp", "/nowhere"])
async def test_large_bodies_are_refused_declared_or_chunked(web: httpx2.AsyncClient, path: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 2**20

    assert_problem(await web.post(path, content=b" " * (5 * 2**20), headers=JSON), 413, "too_large")
    assert_problem(await web.post(path, content=chunks(), headers=JSON), 413, "too_large")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"[" * 200_000, JSON),
        (b'{"full": tru', JSON),
        (b"[]", JSON),
        (b"7", JSON),
        (b"\xff", JSON),
        (b'{"full": true}', {"Content-Type": "text/plain"}),
        (b'{"full": "perhaps"}', JSON),
        (b'{"product_ids": {"a": 1}}', JSON),
        (b'{"product_ids": [36893488147419103232]}', JSON),
        (b'{"frob": 1}', JSON),
    ],
)
async def test_bodies_that_are_no_arguments_are_explained(
    web: httpx2.AsyncClient, body: bytes, headers: dict[str, str]
) -> None:
    assert_problem(await web.post("/api/sync", content=body, headers=headers), 422, "bad_input")


async def test_unknown_routes_and_methods_have_the_same_shape(web: httpx2.AsyncClient) -> None:
    assert_problem(await web.get("/api/nothing"), 404, "no_such_route")
    assert_problem(await web.get("/api/products/"), 404, "no_such_route")
    answer = await web.post("/api/products")
    assert_problem(answer, 405, "no_such_route")
    assert answer.headers["allow"] == "GET"


async def test_lists_are_taken_repeated_and_with_commas(web: httpx2.AsyncClient, synced: Copy) -> None:
    queries = ["statuses=running,locked", "statuses=running&statuses=locked", "statuses=[running,locked]"]
    answers = [(await web.get(f"/api/tests?{query}&limit=100")).json() for query in queries]
    assert answers[0]["items"]
    assert answers[0] == answers[1] == answers[2]


async def test_docs_and_openapi_describe_every_operation(web: httpx2.AsyncClient) -> None:
    described = (await web.get("/openapi.json")).json()
    described_operations = {
        about["operationId"]: about for path in described["paths"].values() for about in path.values()
    }
    assert described_operations.keys() == operations().keys()
    by_name = {parameter["name"]: parameter for parameter in described_operations["list_tests"]["parameters"]}
    assert "enum" not in by_name["statuses"]["schema"]["items"], "words that the data alone has are valid"
    assert "running" in by_name["statuses"]["description"]
    assert by_name["sort"]["schema"]["enum"] == ["newest", "oldest"]
    assert described_operations["get_test"]["parameters"][0]["in"] == "path"
    page = await web.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert all(path in page.text for path in described["paths"])
    assert "<script" not in page.text
    assert "src=" not in page.text


@pytest.mark.slow
async def test_without_the_token_nothing_but_health_is_answered(synced: Copy, tmp_path: Path, canary: str) -> None:
    with http_server({**synced.environment, "TESTIO_HTTP_TOKEN": canary}, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as web:
            for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {canary}"}):
                for path in ("/api/products", "/docs", "/openapi.json", "/mcp", "/nowhere"):
                    answer = await web.get(path, headers=given)
                    assert_problem(answer, 401, "unauthorized")
                    assert answer.headers["www-authenticate"] == "Bearer"
            assert (await web.get("/health")).status_code == 200
            right = {"Authorization": f"Bearer {canary}"}
            assert (await web.get("/api/products", headers=right)).status_code == 200
        assert canary not in server.log.read_text()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
async def test_an_open_door_needs_a_token(tmp_path: Path, host: str, cli: Cli) -> None:
    ended = await cli({"TESTIO_DB_PATH": str(tmp_path / "s.db")}, *_serve("--host", host))
    assert ended.code == 2
    assert "TESTIO_HTTP_TOKEN" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "s.db").exists()


def _serve(*options: str) -> list[str]:
    return ["serve", "--transport", "http", "--port", "0", *options]


@pytest.mark.slow
async def test_a_taken_port_is_one_clear_line(synced: Copy, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = await command(synced.environment, "serve", "--transport", "http", "--port", port, cwd=tmp_path)
    assert ended.code == 1
    assert ended.err == f"Port {port} on 127.0.0.1 is in use. Choose another with --port.\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_server_while_clients_dawdle(
    own_copy: Copy, tmp_path: Path, number: signal.Signals
) -> None:
    with http_server(own_copy.environment, tmp_path) as server:
        streams = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(50)]
        for _, writer in streams:
            head = f"POST /api/sync HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 9\r\n\r\n{{"
            writer.write(head.encode())
            await writer.drain()
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as web:
            assert (await web.get("/api/products")).status_code == 200
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(8):
            code = await loop.run_in_executor(None, server.stop, number)
        for _, writer in streams:
            writer.close()
    assert code == (130 if number == signal.SIGINT else -signal.SIGTERM)
    assert "Traceback" not in server.log.read_text()
    assert not own_copy.path.with_name("own.db-wal").exists()


async def test_nothing_listens_beyond_loopback(server: HttpServer) -> None:
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    port = f"{server.port:04X}"
    own = [line.split()[1] for line in listening if line.split()[1].endswith(f":{port}") and line.split()[3] == "0A"]
    assert own == [f"0100007F:{port}"], os.getpid()


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_a_lone_surrogate_over_mcp_is_refused_and_harms_nobody(web: httpx2.AsyncClient, version: str) -> None:
    body = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get","arguments":{"kind":"\\ud800"}}}'
    accept = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": version}
    named = {"Mcp-Method": "tools/call", "Mcp-Name": "get"}
    answer = await web.post("/mcp", content=body, headers={**JSON, **accept, **named})
    assert answer.status_code == 400
    assert "error" in answer.json()
    assert (await web.get("/health")).status_code == 200
