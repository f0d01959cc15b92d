"""Faults that can be switched on while the simulated API runs: which requests they meet, and what they do to them."""

import asyncio
import json
import re
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from dataclasses import field as dataclass_field
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import parse_qsl
from zlib import crc32

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .catalog import Payload
from .seeded_random import Dice
from .world import World

Kind = Literal[
    "latency",
    "stall",
    "rate_limit",
    "error",
    "redirect",
    "html",
    "malformed",
    "huge",
    "gzip_bomb",
    "staging",
    "capped",
    "shift",
    "poison",
    "gone",
    "rename",
    "drop",
    "null",
    "retype",
    "plant",
    "truncate",
    "short",
    "reset",
    "drip",
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass
class Fault:
    """One rule: what goes wrong (`kind`) with which requests.

    A request is met when `path` (a regular expression) is found in its path below the base URL, `method` is its
    method, and every parameter in `query` has that value; empty means any. The first `skip` of them pass, then
    `times` are hit (`None`: all), each with `probability`.

    kind        what happens                                            takes
    latency     waits before the answer                                 ms
    stall       never answers; the connection stays open
    rate_limit  429                                                     retry_after (header text; None: absent)
    error       a status with a JSON error                              status
    redirect    302 to another address                                  location
    html        200 with an HTML page
    malformed   200 with `body` as JSON text                            body
    huge        200 with a JSON body of `size` bytes                    size
    gzip_bomb   a small gzip body that inflates to `size` bytes         size
    staging     page and per_page are ignored: always the whole list
    capped      no page holds more than `size` records, whatever per_page says
    shift       before the answer, tests of the product in the path     insert, delete (how many of the newest)
                are inserted or deleted
    poison      an error for every answer that holds the record         record_id, status
    gone        the record is missing from lists and 404 by itself      record_id
    rename      a field has another name                                field, value (the new name)
    drop        a field is missing                                      field
    null        a field is null                                         field
    retype      a field holds `value`                                   field, value
    plant       every text ends with one of `value`                     value (a list of texts)
    truncate    the JSON stops in the middle of a complete response
    short       fewer bytes than announced, then the connection closes
    reset       the connection is reset in the middle of the body
    drip        the body drips, a byte at a time                        ms (per byte)

    `field` is a dotted path from the root of the payload, `*` for every item of a list, such as
    `exploratory_tests.*.product.name`; `record_id` limits rename, drop, null and retype to one record.
    """

    kind: Kind
    path: str = ""
    method: str = ""
    query: Mapping[str, str] = dataclass_field(default_factory=dict)
    times: int | None = None
    skip: int = 0
    probability: float = 1.0
    status: int = 500
    retry_after: str | None = None
    ms: float = 50.0
    record_id: int | None = None
    field: str = ""
    value: Any = None
    location: str = "https://elsewhere.example/"
    size: int = 200_000_000
    body: str = '{"products": [{"id": 1,'
    insert: int = 0
    delete: int = 0
    seen: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        """Refuse what would silently do nothing."""
        if self.kind not in KINDS:
            raise ValueError(f"Unknown kind {self.kind!r}; known are {', '.join(KINDS)}.")
        if self.kind in ("poison", "gone") and self.record_id is None:
            raise ValueError(f"{self.kind} needs record_id.")
        if self.kind in ("rename", "drop", "null", "retype") and not self.field:
            raise ValueError(f"{self.kind} needs field.")
        self._path = re.compile(self.path)

    def meets(self, method: str, path: str, query: Mapping[str, str]) -> bool:
        """Whether the rule is about this request, however often it still hits."""
        if self.method and self.method.upper() != method:
            return False
        return bool(self._path.search(path)) and all(query.get(name) == str(v) for name, v in self.query.items())

    def spend(self, seed: int) -> bool:
        """Count a request that the rule meets; true when it is to be hit."""
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        dice = Dice(seed, "fault", self.kind, self.path, self.seen)
        if self.probability < 1 and dice.fraction() >= self.probability:
            return False
        self.hits += 1
        return True


_FIELDS = {spec.name for spec in fields(Fault)}


class Faults:
    """The rules in force, in the order in which they were added; `seed` decides improbable ones."""

    def __init__(self, *rules: Fault, seed: int = 1) -> None:
        self._rules, self._seed = list(rules), seed

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._rules))

    def __len__(self) -> int:
        return len(self._rules)

    def add(self, *rules: Fault) -> None:
        """Put rules in force."""
        self._rules.extend(rules)

    def clear(self) -> None:
        """Lift every rule."""
        self._rules.clear()

    def hitting(self, method: str, path: str, query: Mapping[str, str]) -> list[Fault]:
        """The rules that hit this request, which is counted as one of theirs."""
        return [rule for rule in self._rules if rule.meets(method, path, query) and rule.spend(self._seed)]

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rules as plain data, with how often each has hit."""
        return [asdict(rule) for rule in self._rules]


def parse_fault(body: Mapping[str, Any]) -> Fault:
    """A rule from plain data; raises `ValueError` for one that makes no sense."""
    if unknown := set(body) - _FIELDS:
        raise ValueError(f"Unknown fields: {', '.join(sorted(unknown))}.")
    try:
        return Fault(**body)
    except (TypeError, re.error) as wrong:
        raise ValueError(str(wrong)) from wrong


# Fields that hold one of the API's own words.
_WORDS = frozenset(
    {"status", "review_status", "execution_status", "severity", "testing_type", "type", "key", "language",
     "report_language"}
)  # fmt: skip
Changed = tuple[int | None, Any]


def _records(payload: Any) -> Iterator[Any]:
    """The records of an answer: the items of its lists, the object under its root, or the object itself."""
    if not isinstance(payload, dict):
        return
    yield payload
    for value in payload.values():
        yield from value if isinstance(value, list) else [value]


def _is(record: Any, record_id: int | None) -> bool:
    return isinstance(record, dict) and record.get("id") == record_id


def _poison(payload: Any, rule: Fault) -> Changed:
    if any(_is(record, rule.record_id) for record in _records(payload)):
        return rule.status, {"error": "Internal Server Error"}
    return None, payload


def _gone(payload: Any, rule: Fault) -> Changed:
    if not isinstance(payload, dict):
        return None, payload
    if any(_is(record, rule.record_id) for record in (payload, *payload.values())):
        return 404, {"error": "Not found"}
    kept = {
        name: [item for item in value if not _is(item, rule.record_id)] if isinstance(value, list) else value
        for name, value in payload.items()
    }
    return None, kept


def _find_holders(node: Any, steps: list[str], record_id: int | None) -> Iterator[dict[str, Any]]:
    """The objects that hold a field, of one record only: that is an item of the first list on the way."""
    if not steps:
        if isinstance(node, dict):
            yield node
    elif steps[0] == "*":
        for item in node if isinstance(node, list) else ():
            if record_id is None or _is(item, record_id) or "id" not in item:
                yield from _find_holders(item, steps[1:], None)
    elif isinstance(node, dict) and steps[0] in node:
        yield from _find_holders(node[steps[0]], steps[1:], record_id)


def _rename(holder: dict[str, Any], name: str, rule: Fault) -> None:
    holder[str(rule.value)] = holder.pop(name)


def _drop(holder: dict[str, Any], name: str, rule: Fault) -> None:
    del rule, holder[name]


def _null(holder: dict[str, Any], name: str, rule: Fault) -> None:
    del rule
    holder[name] = None


def _retype(holder: dict[str, Any], name: str, rule: Fault) -> None:
    holder[name] = rule.value


def _on_field(change: Callable[[dict[str, Any], str, Fault], None]) -> Callable[[Any, Fault], Changed]:
    def changed(payload: Any, rule: Fault) -> Changed:
        *steps, name = rule.field.split(".")
        for holder in _find_holders(payload, steps, rule.record_id):
            if name in holder:
                change(holder, name, rule)
        return None, payload

    return changed


def _plant(payload: Any, rule: Fault) -> Changed:
    return None, _planted(payload, rule.value, "")


def _planted(node: Any, texts: list[str], name: str) -> Any:
    """A copy whose texts end with one of `texts`; equal texts end alike, so that names stay names."""
    if isinstance(node, dict):
        return {key: _planted(value, texts, key) for key, value in node.items()}
    if isinstance(node, list):
        return [_planted(item, texts, name) for item in node]
    if not isinstance(node, str) or name in _WORDS or name.endswith("_at"):
        return node
    return f"{node} {texts[crc32(node.encode()) % len(texts)]}"


PAYLOAD_FAULTS: dict[str, Callable[[Any, Fault], Changed]] = {
    "poison": _poison,
    "gone": _gone,
    "rename": _on_field(_rename),
    "drop": _on_field(_drop),
    "null": _on_field(_null),
    "retype": _on_field(_retype),
    "plant": _plant,
}


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
    headers: dict[bytes, bytes] = dataclass_field(default_factory=dict)
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
        reply = await self._read_whole_reply(
            wire, staging=any(rule.kind == "staging" for rule in hits), largest=largest
        )
        for rule in hits:
            if change := PAYLOAD_FAULTS.get(rule.kind):
                _rewrite(reply, rule, change)
        if delivery := _first(_DELIVERY, hits):
            await delivery[0](wire, delivery[1], reply)
        else:
            await wire.whole(reply)

    async def _read_whole_reply(self, wire: Wire, *, staging: bool, largest: int | None) -> Reply:
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
