"""MCP over HTTP for the clients that exist: any Accept header that takes JSON, and a bounded number of sessions."""

import re
import time
from collections import OrderedDict

import orjson
from mcp_types import INTERNAL_ERROR, ErrorData, JSONRPCError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_SESSIONS = 500
SESSION_IDLE_SECONDS = 600.0
"""How long a session lives without a request under way and without an open stream."""
_OF_ANY_REQUEST = (b"host", b"mcp-protocol-version")
_JSON, _STREAM = "application/json", "text/event-stream"
_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")
"""The weight of a media type that a client does not take."""


class McpEndpoint:
    """What an MCP request passes on its way to the SDK.

    A client that does not ask for an event stream gets one JSON object. Sessions of clients that never end them are
    ended when there are too many, the one that has been idle for longest first; clients of the stateless revision
    of the protocol need none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._idle: OrderedDict[str, float] = OrderedDict()
        self._busy: dict[str, int] = {}

    def count_sessions(self) -> int:
        """How many sessions are open."""
        self._forget_expired()
        return len(self._idle.keys() | self._busy.keys())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = MutableHeaders(scope={**scope, "headers": list(scope["headers"])})
        if "content-type" in headers:
            headers["content-type"] = headers["content-type"].lower()
        if wants_json := scope["method"] == "POST" and _takes_json_only(headers.get("accept", "")):
            headers["accept"] = f"{_JSON}, {_STREAM}"
        scope = {**scope, "headers": headers.raw}
        await self._in_session(scope, receive, _JsonAnswer(send) if wants_json else send)

    async def _in_session(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = Headers(scope=scope).get("mcp-session-id")
        if session is None and scope["method"] == "POST" and _has_sessions(scope):
            await self._make_room(scope)
        is_new, status = session is None, 0

        async def watch(message: Message) -> None:
            nonlocal session, status
            if message["type"] == "http.response.start":
                status = message["status"]
                if session is None and (given := Headers(raw=message["headers"]).get("mcp-session-id")):
                    session = given
                    self._begin(session)
            await send(message)

        if session is not None:
            self._begin(session)
        try:
            await self._app(scope, receive, watch)
        finally:
            if session is not None:
                is_over = scope["method"] == "DELETE" or status == 404 or (is_new and status >= 400)
                self._end(session, is_over=is_over)

    def _begin(self, session: str) -> None:
        self._idle.pop(session, None)
        self._busy[session] = self._busy.get(session, 0) + 1

    def _end(self, session: str, *, is_over: bool) -> None:
        if is_over:
            self._busy.pop(session, None)
        if session not in self._busy:  # ended by another request meanwhile
            return
        self._busy[session] -= 1
        if not self._busy[session]:
            del self._busy[session]
            self._idle[session] = time.monotonic()

    async def _make_room(self, scope: Scope) -> None:
        """End the sessions that have been idle for longest until there is room for one more."""
        while self.count_sessions() >= MAX_SESSIONS and self._idle:
            oldest, _ = self._idle.popitem(last=False)
            ending = MutableHeaders(raw=[each for each in scope["headers"] if each[0] in _OF_ANY_REQUEST])
            ending["mcp-session-id"] = oldest
            await self._app({**scope, "method": "DELETE", "headers": ending.raw}, _nothing, _drop)

    def _forget_expired(self) -> None:
        """Forget the sessions that the SDK has ended by now."""
        until = time.monotonic() - SESSION_IDLE_SECONDS
        while self._idle and next(iter(self._idle.values())) < until:
            self._idle.popitem(last=False)


class _JsonAnswer:
    """Sends the answer in an event stream as one JSON object, and anything else as it is."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._events = bytearray()

    async def __call__(self, message: Message) -> None:
        """Take one message of the answer."""
        if message["type"] == "http.response.start":
            if Headers(raw=message["headers"]).get("content-type", "").startswith(_STREAM):
                self._start = message
                return
        elif self._start is not None:
            self._events += message.get("body", b"")
            if message.get("more_body"):
                return
            body = _answer_in(bytes(self._events))
            headers = MutableHeaders(raw=list(self._start["headers"]))
            headers.update({"content-type": _JSON, "content-length": str(len(body))})
            await self._send({**self._start, "headers": headers.raw})
            message, self._start = {"type": "http.response.body", "body": body}, None
        await self._send(message)


def _answer_in(events: bytes) -> bytes:
    """The message among these events that answers the request; the others tell of progress."""
    for line in events.splitlines():
        if line.startswith(b"data:") and (data := line[5:].strip()):
            message = orjson.loads(data)
            if "result" in message or "error" in message:
                return data
    error = ErrorData(code=INTERNAL_ERROR, message="The session ended before the answer. Start another one.")
    return JSONRPCError(jsonrpc="2.0", id=None, error=error).model_dump_json(by_alias=True).encode()


def _takes_json_only(accept: str) -> bool:
    parts = [[word.strip().lower() for word in part.split(";")] for part in accept.split(",")]
    types = {kind for kind, *parameters in parts if not any(_REFUSED.fullmatch(each) for each in parameters)}
    return _STREAM not in types and bool(types & {"", "*/*", "application/*", _JSON})


def _has_sessions(scope: Scope) -> bool:
    """Whether the client speaks a revision of the protocol that has sessions."""
    version = Headers(scope=scope).get("mcp-protocol-version")
    return version is None or version in HANDSHAKE_PROTOCOL_VERSIONS


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _drop(_: Message) -> None:
    """Nobody waits for the answer."""
