"""Clients that are slow in every stage of a request, on raw sockets: they are bounded, and harm no one else."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.surfaces.conftest import Copy
from tests.surfaces.programs import HttpServer, http_server

pytestmark = pytest.mark.slow

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
MANY = 300


@pytest.fixture(scope="module")
def hasty(synced: Copy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """A server that waits one second for its clients; what they ask for changes nothing."""
    environment = {**synced.environment, "TESTIO_HTTP_PATIENCE_SECONDS": "1"}
    with http_server(environment, tmp_path_factory.mktemp("hasty")) as server:
        yield server


@pytest.fixture
def calm(own_copy: Copy, tmp_path: Path) -> Iterator[HttpServer]:
    """A server that waits for ten minutes."""
    with http_server({**own_copy.environment, "TESTIO_HTTP_PATIENCE_SECONDS": "600"}, tmp_path) as server:
        yield server


@asynccontextmanager
async def streams(server: HttpServer, count: int, sent: str) -> AsyncIterator[list[Stream]]:
    """Connections on which the beginning of a request was sent."""
    opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(count)]
    for _, writer in opened:
        writer.write(sent.format(port=server.port).encode())
        await writer.drain()
    try:
        yield opened
    finally:
        for _, writer in opened:
            writer.close()


def sockets_of(server: HttpServer) -> int:
    """How many sockets the server has open."""
    files = Path(f"/proc/{server.process.pid}/fd").iterdir()
    return sum(_target(file).startswith("socket:") for file in files)


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except FileNotFoundError:
        return "closed meanwhile"


async def until_sockets(server: HttpServer, are_enough: Callable[[int], bool]) -> None:
    """Wait until the server has so many sockets open."""
    async with asyncio.timeout(20):
        while not are_enough(sockets_of(server)):  # noqa: ASYNC110 - another process opens and closes them
            await asyncio.sleep(0.01)


HEAD = "GET /api/products HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
STALLED = [
    pytest.param("", id="silent"),
    pytest.param("GET /api/pro", id="request line"),
    pytest.param(HEAD + "X-Dawdle: ", id="header"),
    pytest.param("POST /api/sync HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 9\r\n\r\n{{", id="body"),
    pytest.param(
        "POST /api/sync HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{{", id="chunk"
    ),
]


@pytest.mark.parametrize("sent", STALLED)
async def test_each_stage_is_bounded(hasty: HttpServer, sent: str) -> None:
    async with streams(hasty, 1, sent) as [(reader, _)]:
        async with asyncio.timeout(20):
            answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ") if sent else answer == b""
    assert b'"code":"too_slow"' in answer or not sent
    assert b"connection: close" in answer.lower() or not sent


async def test_drops_do_not_buy_time(hasty: HttpServer) -> None:
    """A byte now and then: the whole head counts, not the pause between two bytes."""
    async with streams(hasty, 1, "GET /") as [(reader, writer)]:
        answer = asyncio.create_task(reader.read())
        async with asyncio.timeout(20):
            while not answer.done():
                writer.write(b"a")
                await asyncio.wait([answer], timeout=0.05)
        assert (await answer).startswith(b"HTTP/1.1 408 ")


async def test_a_second_request_is_bounded_like_the_first(hasty: HttpServer) -> None:
    async with streams(hasty, 1, HEAD + "\r\n") as [(reader, writer)]:
        assert await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(20):
            writer.write(b"GET /api/pro")
            assert b"HTTP/1.1 408 " in await reader.read()


async def test_an_answer_that_nobody_reads_is_given_up(hasty: HttpServer) -> None:
    request = HEAD.replace("products", "tests?limit=100") + "\r\n"
    before = sockets_of(hasty)
    async with streams(hasty, 1, "") as [(_, writer)]:
        writer.transport.set_write_buffer_limits(high=0)
        async with asyncio.timeout(30):
            with pytest.raises(ConnectionError):
                while True:
                    writer.write(request.format(port=hasty.port).encode() * 50)
                    await writer.drain()
    await until_sockets(hasty, lambda count: count <= before)


async def test_many_stalled_clients_keep_no_one_out(calm: HttpServer) -> None:
    """Nor do they keep the server from ending, or leave anything behind when they go."""
    everywhere = [str(stage.values[0]) for stage in STALLED]
    async with httpx2.AsyncClient(base_url=calm.url, trust_env=False, timeout=20) as web, AsyncExitStack() as stalled:
        assert (await web.get("/api/products")).status_code == 200
        before = sockets_of(calm)
        for going in (True, False):
            for sent in everywhere:
                await stalled.enter_async_context(streams(calm, MANY // len(everywhere), sent))
            await until_sockets(calm, lambda count: count >= before + MANY)
            assert (await web.get("/api/products?limit=2")).status_code == 200
            if going:
                await stalled.aclose()
                await until_sockets(calm, lambda count: count <= before)
        async with asyncio.timeout(8):
            code = await asyncio.get_running_loop().run_in_executor(None, calm.stop, signal.SIGTERM)
    assert code == -signal.SIGTERM
    assert "Traceback" not in calm.log.read_text()


@pytest.mark.parametrize("sent", ["BLAH\r\n\r\n", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", "\x16\x03\x01\r\n\r\n"])
async def test_what_is_no_http_is_refused_in_the_shape_of_all_errors(server: HttpServer, sent: str) -> None:
    async with streams(server, 1, sent) as [(reader, _)]:
        async with asyncio.timeout(20):
            answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"bad_request"' in answer
    assert b"application/json" in answer
