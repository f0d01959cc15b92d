"""What every HTTP request passes before a route sees it: Host, Origin, token, rate, size, patience and a place."""

import asyncio
import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from testio_mcp.settings import Settings
from testio_mcp.surfaces.http.limits import Quota, RateLimit
from testio_mcp.surfaces.http.ports import format_address, is_loopback
from testio_mcp.surfaces.http.problems import problem

MCP_PATH = "/mcp"
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_BYTES_IN_FLIGHT = 64 * 1024 * 1024
"""Of all bodies together, whole or not, beyond the small ones."""
SMALL_BODY_BYTES = 64 * 1024
"""So much of a body always finds room: questions are smaller, and the number of connections bounds their sum."""
REQUESTS_PER_MINUTE = 6000
"""From one address that is not this machine's own, unless the settings say otherwise."""
FAILED_LOGINS_PER_MINUTE = 20
_OPEN_PATHS = frozenset({"/health"})
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
_SOON, _CLOSE = {"Retry-After": "1"}, {"Connection": "close"}
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_KEPT, _NOT_KEPT = "private, no-cache", "no-store"


def own_hosts(host: str, port: int, more: Iterable[str]) -> frozenset[str]:
    """The values of the Host header under which a server on `host` answers, and no others.

    A server bound to every address knows its loopback names; any other name has to be given in `more`.
    """
    names = [host] if host not in ("0.0.0.0", "::", "") else []  # noqa: S104 - compared, not bound
    if not names or is_loopback(host):
        names += _LOOPBACK_NAMES
    own = {format_address(name, port) for name in names} | ({*names} if port in (80, 443) else set())
    return frozenset(name.lower() for name in (*own, *more))


class _Refused(Exception):
    """A request that no route gets to see."""

    def __init__(self, response: JSONResponse) -> None:
        super().__init__()
        self.response = response


class Gate:
    """Checks each request and passes it on with its whole body; marks each answer as private."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], settings: Settings) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = frozenset(f"{scheme}://{host}" for host in hosts for scheme in ("http", "https"))
        self._token = _digest(settings.http_token.get_secret_value()) if settings.http_token else None
        self._rate = RateLimit(settings.http_requests_per_minute or 0)
        self._rate_of_others = self._rate
        if settings.http_requests_per_minute is None:
            self._rate_of_others = RateLimit(REQUESTS_PER_MINUTE)
        self._failed_logins = RateLimit(FAILED_LOGINS_PER_MINUTE)
        self._places = Quota(settings.http_requests_at_once)
        self._bytes = Quota(MAX_BYTES_IN_FLIGHT)
        self._patience = settings.http_patience_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_private(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({**_HEADERS, "Cache-Control": _KEPT if "etag" in headers else _NOT_KEPT})
            await send(message)

        body = _Body(self._bytes)
        takes_place = False
        try:
            self._check_name(Headers(scope=scope))
            if scope["path"] not in _OPEN_PATHS:
                address = scope["client"][0] if scope.get("client") else ""
                self._check_rate(address)
                self._check_token(address, Headers(scope=scope))
            if scope["method"] not in ("GET", "HEAD"):
                receive = await body.read(scope, receive, self._patience)
            if not _waits_by_nature(scope):
                takes_place = self._places.take()
                if not takes_place:
                    message = "The server works on as many requests as it can."
                    raise _Refused(problem(503, "busy", message, "Send it again in a second.", _SOON))
            await self._app(scope, receive, send_private)
        except _Refused as refused:
            await refused.response(scope, receive, send_private)
        finally:
            body.forget()
            if takes_place:
                self._places.give_back()

    def _check_rate(self, address: str) -> None:
        rate = self._rate if is_loopback(address) else self._rate_of_others
        if seconds := rate.wait(address):
            message = "This address sends more requests than it may."
            step = f"Go on in {seconds} s, or raise TESTIO_HTTP_REQUESTS_PER_MINUTE."
            raise _Refused(problem(429, "too_many_requests", message, step, {"Retry-After": str(seconds)}))

    def _check_name(self, headers: Headers) -> None:
        if headers.get("host", "").lower() not in self._hosts:
            message = "The Host header is none of this server's names."
            raise _Refused(problem(421, "wrong_host", message, "Add the name and port with 'serve --allow-host'."))
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self._origins:
            message = "Pages of other origins may not use this server."
            raise _Refused(problem(403, "wrong_origin", message, "Call it from a program, or from its own address."))
        if "transfer-encoding" in headers and "content-length" in headers:
            # What a proxy took for the end of this request may not be where it ends: RFC 9112, 6.1.
            message = "The request has both a Content-Length and a Transfer-Encoding."
            raise _Refused(problem(400, "bad_request", message, "Send one of them.", _CLOSE))

    def _check_token(self, address: str, headers: Headers) -> None:
        if self._token is None:
            return
        if seconds := self._failed_logins.seconds_until_free(address):
            message = "This address sent too many wrong tokens."
            step = f"Go on in {seconds} s with the value of TESTIO_HTTP_TOKEN."
            raise _Refused(problem(429, "too_many_failed_logins", message, step, {"Retry-After": str(seconds)}))
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(_digest(given.strip()), self._token):
            self._failed_logins.wait(address)
            message = "This server asks for its bearer token."
            step = "Send 'Authorization: Bearer ...' with the value of TESTIO_HTTP_TOKEN."
            raise _Refused(problem(401, "unauthorized", message, step, {"WWW-Authenticate": "Bearer"}))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _waits_by_nature(scope: Scope) -> bool:
    """Whether a request takes no place: a look at the health, or the stream on which an MCP client listens."""
    return scope["method"] == "GET" and (scope["path"] in _OPEN_PATHS or scope["path"].rstrip("/") == MCP_PATH)


class _Body:
    """The body of one request, which counts towards what all of them together may hold."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._counted = 0

    async def read(self, scope: Scope, receive: Receive, patience: float) -> Receive:
        """Read it, declared or chunked, and return a `receive` that gives it in one piece."""
        declared = Headers(scope=scope).get("content-length", "")
        body = bytearray()
        try:
            async with asyncio.timeout(patience):
                is_whole = False
                while not is_whole:
                    if len(body) > MAX_BODY_BYTES or (declared.isdigit() and int(declared) > MAX_BODY_BYTES):
                        message = f"The request is larger than {MAX_BODY_BYTES // 2**20} MiB."
                        raise _Refused(problem(413, "too_large", message, "Send less."))
                    self._count(len(body))
                    message_in = await receive()
                    body += message_in.get("body", b"")
                    is_whole = not message_in.get("more_body", False)
            self._count(len(body))
        except TimeoutError:
            message = f"The request did not arrive within {patience:g} seconds."
            # What comes late is the rest of this body, and no further request.
            raise _Refused(problem(408, "too_slow", message, "Send it again.", _CLOSE)) from None
        waiting: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        return replay

    def forget(self) -> None:
        """Make room for others."""
        self._quota.give_back(self._counted)
        self._counted = 0

    def _count(self, length: int) -> None:
        more = max(0, length - SMALL_BODY_BYTES) - self._counted
        if more > 0:
            if not self._quota.take(more):
                message = "The server holds as many bytes of requests as it can."
                raise _Refused(problem(503, "busy", message, "Send it again in a second.", _SOON))
            self._counted += more
