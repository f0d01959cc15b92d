"""More clients than a server can hold, on real sockets: idle connections, large bodies, sessions, wrong tokens."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client

from tests.surfaces.conftest import Copy
from tests.surfaces.programs import INITIALIZE, PROGRAM, HttpServer, http_server

LIMITED = ["sh", "-c", 'ulimit -n "$1"; shift; exec "$@"', "sh"]
SERVE = [*PROGRAM, "serve", "--transport", "http", "--port", "0"]
MIB = 1024 * 1024
STREAMABLE = {"Accept": "application/json, text/event-stream"}


@contextmanager
def limited_server(copy: Copy, folder: Path, descriptors: int, **settings: str) -> Iterator[HttpServer]:
    """A server that may have so many descriptors, and no more."""
    command = [*LIMITED, str(descriptors), *SERVE]
    with http_server({**copy.environment, **settings}, folder, command=command) as server:
        yield server


@asynccontextmanager
async def silent_connections(server: HttpServer, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(count)]
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()


def count_closed(readers: Sequence[asyncio.StreamReader]) -> int:
    return sum(reader.at_eof() or reader.exception() is not None for reader in readers)


@pytest.fixture
def room_for_sockets() -> Iterator[None]:
    """The test itself may open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.parametrize(("descriptors", "connections"), [(1024, 1084), (256, 316), (256, 2500), (64, 300)])
async def test_idle_connections_up_to_the_limit_of_descriptors_keep_no_one_out(
    own_copy: Copy, tmp_path: Path, room_for_sockets: None, descriptors: int, connections: int
) -> None:
    with limited_server(own_copy, tmp_path, descriptors, TESTIO_HTTP_PATIENCE_SECONDS="600") as server:
        async with (
            silent_connections(server, connections) as readers,
            httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as web,
        ):
            answers = [(await web.get(path)).status_code for path in ("/health", "/api/products", "/health")]
            async with Client(f"{server.url}/mcp") as client:
                listed = await client.list_tools()
            closed = count_closed(readers)
            held = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
        log = server.log.read_text()
        assert server.process.poll() is None

    assert answers == [200, 200, 200]
    assert listed.tools
    assert held < descriptors
    assert closed >= connections - descriptors
    assert "Traceback" not in log
    assert len(log) < 2_000, log[:2_000]
    assert "idle connection(s): the server holds at most" in log


@pytest.mark.slow
async def test_the_limit_of_descriptors_is_raised_as_far_as_allowed(own_copy: Copy, tmp_path: Path) -> None:
    command = ["sh", "-c", 'ulimit -S -n 200; exec "$@"', "sh", *SERVE]
    with http_server(own_copy.environment, tmp_path, command=command) as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()

    soft = next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files"))
    assert int(soft) > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("descriptors", "connections"), [(1024, 800), (256, 120)])
async def test_fewer_idle_connections_than_the_limit_are_held(
    own_copy: Copy, tmp_path: Path, room_for_sockets: None, descriptors: int, connections: int
) -> None:
    with limited_server(own_copy, tmp_path, descriptors, TESTIO_HTTP_PATIENCE_SECONDS="600") as server:
        async with (
            silent_connections(server, connections) as readers,
            httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as web,
        ):
            assert (await web.get("/api/products")).status_code == 200
            closed = count_closed(readers)
        log = server.log.read_text()

    assert closed == 0
    assert "idle connection(s)" not in log


LISTEN = "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAccept: text/event-stream\r\nMcp-Session-Id: {}\r\n\r\n"


@pytest.mark.slow
async def test_where_no_connection_is_idle_a_new_one_is_closed_at_once(own_copy: Copy, tmp_path: Path) -> None:
    """Those that listen stay: they are answered as long as they are open."""
    async with AsyncExitStack() as open_ones:
        server = open_ones.enter_context(limited_server(own_copy, tmp_path, 64, TESTIO_HTTP_PATIENCE_SECONDS="600"))
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as web:
            sessions = [
                (await web.post("/mcp", json=INITIALIZE, headers=STREAMABLE)).headers["mcp-session-id"]
                for _ in range(32)
            ]
        listening = []
        async with asyncio.timeout(20):
            for session in sessions:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                open_ones.callback(writer.close)
                writer.write(LISTEN.format(server.port, session).encode())
                assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
                listening.append(reader)
            refused = await open_ones.enter_async_context(silent_connections(server, 40))
            ends = await asyncio.gather(*(reader.read() for reader in refused), return_exceptions=True)
        log = server.log.read_text()
        assert not any(reader.at_eof() for reader in listening)

    assert all(end == b"" or isinstance(end, ConnectionError) for end in ends)
    assert "Traceback" not in log
    assert log.count("the server holds at most 32 at once") == 1


@pytest.mark.slow
async def test_descriptors_that_something_else_took_close_idle_connections_alone(
    own_copy: Copy, tmp_path: Path, room_for_sockets: None
) -> None:
    """The limit is lowered under a running server, as if files had taken the rest."""
    with http_server({**own_copy.environment, "TESTIO_HTTP_PATIENCE_SECONDS": "600"}, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as web:
            assert (await web.get("/api/products")).status_code == 200
        async with silent_connections(server, 100) as readers:
            async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as web:
                assert (await web.get("/health")).status_code == 200
            files = {int(file.name) for file in Path(f"/proc/{server.process.pid}/fd").iterdir()}
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (max(files) + 1, max(files) + 1))
            async with silent_connections(server, 200):
                for _ in range(3):
                    async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as web:
                        assert (await web.get("/health")).status_code == 200
            assert any(reader.at_eof() or reader.exception() is not None for reader in readers)
        log = server.log.read_text()

    assert "Traceback" not in log
    assert log.count("idle connection(s): the server holds at most") == 1


@pytest.mark.slow
async def test_the_bodies_of_all_requests_together_are_bounded(own_copy: Copy, tmp_path: Path) -> None:
    with http_server({**own_copy.environment, "TESTIO_HTTP_PATIENCE_SECONDS": "600"}, tmp_path) as server:
        before = memory_of(server)
        writers = []
        for _ in range(250):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {4 * MIB}\r\n\r\n"
            writer.write(head.encode() + b" " * (4 * MIB - 1))
            writers.append(writer)
        await asyncio.gather(*(drain(writer) for writer in writers))
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as web:
            listed = await web.get("/api/products")
            small = await web.post("/mcp", json=INITIALIZE, headers=STREAMABLE)
            large = await web.post("/mcp", content=b" " * (2 * MIB), headers={"Content-Type": "application/json"})
        held = memory_of(server) - before
        for writer in writers:
            writer.close()

    assert (listed.status_code, small.status_code) == (200, 200)
    assert large.status_code == 503, large.text
    assert large.json()["error"]["code"] == "busy"
    assert held < 200 * MIB


async def drain(writer: asyncio.StreamWriter) -> None:
    """Hand over what the server takes: all of it, or until it closes the connection or reads no further."""
    try:
        async with asyncio.timeout(20):
            await writer.drain()
    except (ConnectionError, TimeoutError):
        pass


def memory_of(server: HttpServer) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


@pytest.mark.slow
async def test_sessions_that_nobody_ends_are_bounded_and_counted(own_copy: Copy, tmp_path: Path) -> None:
    with http_server(own_copy.environment, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as web:
            sessions = []
            for _ in range(520):
                answer = await web.post("/mcp", json=INITIALIZE, headers=STREAMABLE)
                assert answer.status_code == 200, answer.text
                sessions.append(answer.headers["mcp-session-id"])
            status = (await web.get("/api/status")).json()
            pinged = (sessions[0], sessions[19], sessions[20], sessions[-1])
            statuses = [await ping(web, session) for session in pinged]
            ended = await web.delete("/mcp", headers={"mcp-session-id": sessions[-1]})
            after = (await web.get("/api/status")).json()

    assert status["mcp_sessions"] == 500
    assert statuses == [404, 404, 200, 200]
    assert ended.status_code == 200
    assert after["mcp_sessions"] == 499


async def ping(web: httpx2.AsyncClient, session: str) -> int:
    headers = {**STREAMABLE, "mcp-session-id": session, "mcp-protocol-version": "2025-06-18"}
    answer = await web.post("/mcp", json={"jsonrpc": "2.0", "id": 2, "method": "ping"}, headers=headers)
    return answer.status_code


@pytest.mark.slow
async def test_a_client_of_the_newest_revision_leaves_no_session(own_copy: Copy, tmp_path: Path) -> None:
    with http_server(own_copy.environment, tmp_path) as server:
        async with Client(f"{server.url}/mcp", mode="2026-07-28") as client:
            await client.list_tools()
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as web:
            status = (await web.get("/api/status")).json()

    assert status["mcp_sessions"] == 0


@pytest.mark.slow
async def test_wrong_tokens_are_slowed(own_copy: Copy, tmp_path: Path, canary: str) -> None:
    with http_server({**own_copy.environment, "TESTIO_HTTP_TOKEN": canary}, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as web:
            tried = [
                await web.get("/api/products", headers={"Authorization": f"Bearer {number}"}) for number in range(60)
            ]
            health = await web.get("/health")

    statuses = [answer.status_code for answer in tried]
    assert statuses[0] == 401
    assert statuses.count(429) >= 30
    assert int(tried[-1].headers["Retry-After"]) >= 1
    assert tried[-1].json()["error"]["code"] == "too_many_failed_logins"
    assert health.status_code == 200


@pytest.mark.slow
async def test_one_local_client_is_not_limited_but_by_the_settings(own_copy: Copy, tmp_path: Path) -> None:
    with http_server(own_copy.environment, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web:
            statuses = {(await web.get("/api/nothing")).status_code for _ in range(6_100)}
    folder = tmp_path / "limited"
    folder.mkdir()
    with http_server({**own_copy.environment, "TESTIO_HTTP_REQUESTS_PER_MINUTE": "5"}, folder) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as web:
            limited = [(await web.get("/api/nothing")).status_code for _ in range(7)]

    assert statuses == {404}
    assert limited[:5] == [404] * 5
    assert limited[6] == 429


@pytest.mark.parametrize("length", ["0", "5", "99"])
async def test_a_length_beside_chunks_is_refused_and_the_connection_closed(server: HttpServer, length: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /api/sync HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {length}\r\n"
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\n\r\n".encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"connection: close" in answer.lower()


CALL: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "list_products", "arguments": {}},
}
ACCEPTS = [
    None,
    "*/*",
    "application/json",
    "APPLICATION/JSON; q=0.9",
    "application/*, text/html",
    "text/html, */*;q=0.1",
    "application/json, text/event-stream;q=0",
    "Text/Event-Stream; Q=0.0, */*",
]


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_who_does_not_ask_for_a_stream_gets_json(server: HttpServer, accept: str | None, path: str) -> None:
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as web:
        del web.headers["accept"]
        headers = {"Content-Type": "Application/JSON; Charset=UTF-8"} | ({"Accept": accept} if accept else {})
        first = await web.post(path, content=json.dumps(INITIALIZE), headers=headers)
        more = {**headers, "mcp-session-id": first.headers["mcp-session-id"], "mcp-protocol-version": "2025-06-18"}
        called = await web.post(path, content=json.dumps(CALL), headers=more)
        missing = await web.post(path, content=json.dumps({**CALL, "method": "no/such"}), headers=more)

    assert [each.status_code for each in (first, called)] == [200, 200]
    assert {each.headers["content-type"] for each in (first, called)} == {"application/json"}
    assert first.json()["result"]["serverInfo"]["name"] == "testio-mcp"
    assert called.json()["result"]["structuredContent"]["items"]
    assert missing.json()["error"]["code"] == -32601


@pytest.mark.parametrize("accept", ["text/html", "image/png", "application/json;q=0, text/html"])
async def test_who_takes_no_json_is_refused(server: HttpServer, accept: str) -> None:
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as web:
        answer = await web.post("/mcp", json=INITIALIZE, headers={"Accept": accept})

    assert answer.status_code == 406


@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list", "resources/templates/list"])
async def test_an_unknown_cursor_of_a_list_is_an_error(server: HttpServer, method: str) -> None:
    message = {"jsonrpc": "2.0", "id": 3, "method": method, "params": {"cursor": "no such"}}
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as web:
        first = await web.post("/mcp", json=INITIALIZE, headers=STREAMABLE)
        headers = {
            "Accept": "application/json",
            "mcp-session-id": first.headers["mcp-session-id"],
            "mcp-protocol-version": "2025-06-18",
        }
        answer = await web.post("/mcp", json=message, headers=headers)
        call = {**CALL, "params": {"name": "list_bugs", "arguments": {"cursor": "no such"}}}
        called = await web.post("/mcp", json=call, headers=headers)

    assert answer.json()["error"]["code"] == -32602
    assert called.json()["result"]["isError"] is True
