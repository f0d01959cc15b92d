"""Making faults happen: a layer between the server and the simulated API."""

import asyncio
import json
import re
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .catalog import Payload
from .faults import Fault, Faults
from .payload_faults import PAYLOAD_FAULTS
from .world import World

T = TypeVar("T")

BASE = "/customer/v2"
_CHUNK = 1 << 16
_PRODUCT = re.compile(r"/products/(\d+)/")
_PAGE = b"<!DOCTYPE html><html><head><title>Maintenance</title></head><body><h1>Back soon</h1></body></html>"


@dataclass(frozen=True)
class Recorded:
    """A request that arrived: `path` is below the base URL, repeated parameters are joined with commas."""

    method: str
    path: str
    query: dict[str, str]


@dataclass
class Reply:
    """A response held back in order to spoil it."""

    status: int = 200
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of(cls, status: int, body: bytes, content_type: bytes = b"application/json") -> "Reply":
        """A response of the fault's own."""
        return cls(status, {b"content-type": content_type}, body)


@dataclass
class Wire:
    """One request on its way, with what is needed to answer, delay or cut it."""

    world: World
    closing: asyncio.Event
    scope: Scope
    receive: Receive
    send: Send

    async def pause(self, seconds: float) -> bool:
        """Wait; false when the server closes meanwhile."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds)
        return not self.closing.is_set()

    async def gone(self) -> None:
        """Wait until the client has hung up or the server closes."""
        closing = asyncio.ensure_future(self.closing.wait())
        hung_up = asyncio.ensure_future(self._hung_up())
        _, pending = await asyncio.wait({closing, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()

    async def _hung_up(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def start(self, reply: Reply, length: int | None) -> None:
        """Send status and headers; without a length the body is chunked."""
        headers = {name: value for name, value in reply.headers.items() if name != b"content-length"}
        if length is not None:
            headers[b"content-length"] = str(length).encode()
        await self.send({"type": "http.response.start", "status": reply.status, "headers": list(headers.items())})

    async def chunk(self, body: bytes, *, more: bool) -> None:
        """Send a part of the body."""
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def whole(self, reply: Reply) -> None:
        """Send a response as it should be."""
        await self.start(reply, len(reply.body))
        await self.chunk(reply.body, more=False)

    async def cut(self, reply: Reply, *, reset: bool) -> None:
        """Send half a response, then close the connection or reset it."""
        await self.start(reply, len(reply.body))
        await self.chunk(reply.body[: len(reply.body) // 2], more=True)
        transport: asyncio.Transport | None = self.scope.get("state", {}).get("transport")
        if transport is None:
            return
        if reset:
            # No lingering makes the kernel send RST instead of FIN.
            connection: socket.socket = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        await self.gone()


class FaultLayer:
    """Records each request to the API and lets the rules in force spoil its answer."""

    def __init__(
        self, app: ASGIApp, *, world: World, faults: Faults, closing: asyncio.Event, requests: list[Recorded]
    ) -> None:
        self._app, self._world, self._faults = app, world, faults
        self._closing, self._requests = closing, requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].startswith(BASE):
            await self._app(scope, receive, send)
            return
        request = _recorded(scope)
        self._requests.append(request)
        hits = self._faults.hitting(request.method, request.path, request.query)
        if hits:
            await self._spoil(Wire(self._world, self._closing, scope, receive, send), hits)
        else:
            await self._app(scope, receive, send)

    async def _spoil(self, wire: Wire, hits: list[Fault]) -> None:
        for rule in hits:
            before = _BEFORE.get(rule.kind)
            if before and not await before(wire, rule):
                return
        if instead := _first(_INSTEAD, hits):
            await instead[0](wire, instead[1])
            return
        largest = min((rule.size for rule in hits if rule.kind == "capped"), default=None)
        reply = await self._held(wire, staging=any(rule.kind == "staging" for rule in hits), largest=largest)
        for rule in hits:
            if change := PAYLOAD_FAULTS.get(rule.kind):
                _rewrite(reply, rule, change)
        if delivery := _first(_DELIVERY, hits):
            await delivery[0](wire, delivery[1], reply)
        else:
            await wire.whole(reply)

    async def _held(self, wire: Wire, *, staging: bool, largest: int | None) -> Reply:
        """What the API itself answers, all in one piece."""
        reply = Reply()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                reply.status, reply.headers = message["status"], dict(message["headers"])
            else:
                reply.body += message.get("body", b"")

        state = {**wire.scope.get("state", {}), "staging": staging, "largest": largest}
        await self._app({**wire.scope, "state": state}, wire.receive, keep)
        return reply


def _first(table: Mapping[str, T], hits: list[Fault]) -> tuple[T, Fault] | None:
    return next(((table[rule.kind], rule) for rule in hits if rule.kind in table), None)


def _recorded(scope: Scope) -> Recorded:
    query: dict[str, str] = {}
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        query[name] = f"{query[name]},{value}" if name in query else value
    return Recorded(scope["method"], scope["path"][len(BASE) :], query)


def _rewrite(reply: Reply, rule: Fault, change: Callable[[Any, Fault], tuple[int | None, Any]]) -> None:
    try:
        payload = json.loads(reply.body)
    except ValueError:
        return
    status, changed = change(payload, rule)
    reply.body = encode_odd(changed)
    reply.status = status or reply.status


def encode(payload: Any) -> bytes:
    """JSON as the API writes it."""
    try:
        return orjson.dumps(payload)
    except TypeError:  # text that is no valid Unicode, a number of more than 64 bits
        return encode_odd(payload)


def encode_odd(payload: Any) -> bytes:
    """JSON of anything, as a faulty server writes it; escaped throughout when the text is no valid Unicode."""
    try:
        return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(payload, separators=(",", ":")).encode()


# --- before the answer: true to go on


async def _latency(wire: Wire, rule: Fault) -> bool:
    await wire.pause(rule.ms / 1000)
    return True


async def _stall(wire: Wire, rule: Fault) -> bool:
    del rule
    await wire.gone()
    if wire.closing.is_set():
        await wire.whole(_error(503, "closing"))
    return False


async def _shift(wire: Wire, rule: Fault) -> bool:
    found = _PRODUCT.search(wire.scope["path"])
    if found and (product_id := int(found[1])) in wire.world.product_ids:
        for number in list(wire.world.numbers_of(product_id, 0, rule.delete)):
            wire.world.delete_test(wire.world.facts(number).id)
        for _ in range(rule.insert):
            wire.world.add_test(product_id)
    return True


# --- instead of the answer


def _error(status: int, text: str) -> Reply:
    payload: Payload = {"error": text}
    return Reply.of(status, encode(payload))


async def _rate_limit(wire: Wire, rule: Fault) -> None:
    reply = _error(429, "Too many requests")
    if rule.retry_after is not None:
        reply.headers[b"retry-after"] = str(rule.retry_after).encode()
    await wire.whole(reply)


async def _status(wire: Wire, rule: Fault) -> None:
    await wire.whole(_error(rule.status, f"Simulated error {rule.status}"))


async def _redirect(wire: Wire, rule: Fault) -> None:
    await wire.whole(Reply(302, {b"location": rule.location.encode()}))


async def _html(wire: Wire, rule: Fault) -> None:
    del rule
    await wire.whole(Reply.of(200, _PAGE, b"text/html; charset=utf-8"))


async def _malformed(wire: Wire, rule: Fault) -> None:
    await wire.whole(Reply.of(200, rule.body.encode("utf-8", "surrogatepass")))


async def _huge(wire: Wire, rule: Fault) -> None:
    await wire.start(Reply.of(200, b""), None)
    await _stream(wire, _filler(rule.size))


async def _gzip_bomb(wire: Wire, rule: Fault) -> None:
    reply = Reply.of(200, b"")
    reply.headers[b"content-encoding"] = b"gzip"
    await wire.start(reply, None)
    await _stream(wire, _zipped(_filler(rule.size)))


async def _stream(wire: Wire, parts: AsyncIterator[bytes]) -> None:
    async for part in parts:
        if wire.closing.is_set():
            break
        await wire.chunk(part, more=True)
    await wire.chunk(b"", more=False)


async def _filler(size: int) -> AsyncIterator[bytes]:
    """A JSON document of `size` bytes."""
    head, tail = b'{"products":[{"id":1,"name":"', b'"}]}'
    yield head
    left = size - len(head) - len(tail)
    while left > 0:
        yield b"x" * min(left, _CHUNK)
        left -= _CHUNK
        await asyncio.sleep(0)
    yield tail


async def _zipped(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(level=1, wbits=31)
    async for part in parts:
        if packed := packer.compress(part):
            yield packed
    yield packer.flush()


# --- how the answer is delivered


async def _truncate(wire: Wire, rule: Fault, reply: Reply) -> None:
    del rule
    reply.body = reply.body[: len(reply.body) // 2]
    await wire.whole(reply)


async def _short(wire: Wire, rule: Fault, reply: Reply) -> None:
    del rule
    await wire.cut(reply, reset=False)


async def _reset(wire: Wire, rule: Fault, reply: Reply) -> None:
    del rule
    await wire.cut(reply, reset=True)


async def _drip(wire: Wire, rule: Fault, reply: Reply) -> None:
    await wire.start(reply, None)
    for place in range(len(reply.body)):
        await wire.chunk(reply.body[place : place + 1], more=True)
        if not await wire.pause(rule.ms / 1000):
            break
    await wire.chunk(b"", more=False)


_BEFORE: dict[str, Callable[[Wire, Fault], Awaitable[bool]]] = {
    "latency": _latency,
    "stall": _stall,
    "shift": _shift,
}
_INSTEAD: dict[str, Callable[[Wire, Fault], Awaitable[None]]] = {
    "rate_limit": _rate_limit,
    "error": _status,
    "redirect": _redirect,
    "html": _html,
    "malformed": _malformed,
    "huge": _huge,
    "gzip_bomb": _gzip_bomb,
}
_DELIVERY: dict[str, Callable[[Wire, Fault, Reply], Awaitable[None]]] = {
    "truncate": _truncate,
    "short": _short,
    "reset": _reset,
    "drip": _drip,
}
