"""An HTTP server on loopback that does byte by byte what a test says, well-behaved or not."""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The path without the query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        """The query, decoded."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)


Step = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Scripted:
    """A running server: it plays one step per request, and the last one for ever."""

    steps: list[Step]
    url: str = ""
    port: int = 0
    seen: list[Seen] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                seen = await _read_request(reader)
                step = self.steps[min(len(self.seen), len(self.steps) - 1)]
                self.seen.append(seen)
                await step(reader, writer)
        writer.close()


@contextlib.asynccontextmanager
async def scripted(*steps: Step, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """Run a server that plays these steps."""
    script = Scripted(list(steps))
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script.serve(reader, writer)
        except asyncio.CancelledError:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    script.port = server.sockets[0].getsockname()[1]
    script.url = f"{'https' if tls else 'http'}://127.0.0.1:{script.port}/customer/v2"
    try:
        yield script
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def respond(status: int = 200, body: bytes = b"", **headers: str) -> Step:
    """A complete answer; `retry_after="3"` gives the header `Retry-After: 3`."""
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def answer(value: Any, status: int = 200) -> Step:
    """A complete JSON answer."""
    return respond(status, json.dumps(value).encode(), content_type="application/json; charset=utf-8")


def json_text(body: bytes) -> Step:
    """Any bytes, said to be JSON."""
    return respond(200, body, content_type="application/json")


def raw(data: bytes, *, close: bool = False) -> Step:
    """These bytes, and then the end of the connection if asked for."""

    async def step(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if close:
            writer.close()

    return step


def reset(data: bytes = b"") -> Step:
    """These bytes, and then a TCP reset."""

    async def step(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        handle: socket.socket = writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return step


def stall(data: bytes = b"") -> Step:
    """These bytes, and then nothing until the client goes."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await reader.read()
        writer.close()

    return step


def drip(head: bytes) -> Step:
    """A head, and then a byte now and then for as long as the client listens."""

    async def step(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.005)

    return step


async def _read_request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _version = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body)
