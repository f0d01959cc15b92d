"""One HTTP exchange with the Customer API: the token, the limits, and what the network can do to it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2
from pydantic import SecretStr

from testio_mcp import __version__
from testio_mcp.api.answers import (
    CHECK_ADDRESS,
    CHECK_TOKEN,
    LATER,
    Asked,
    add_reason,
    bad_payload,
    check_body,
    check_head,
    refusal,
    refused_change,
)
from testio_mcp.api.clock import Clock
from testio_mcp.api.retry import Again, Policy
from testio_mcp.errors import ApiRejected, ApiUnreachable, AuthFailed, BadInput, BadPayload, TokenMissing
from testio_mcp.settings import LOOPBACK, Settings

HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"testio-mcp/{__version__}",
}
_REFUSALS = (400, 409)
_WITH_REASON = (403, 422)
Params = tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask: method, path below the base address, query parameters, JSON body."""

    method: str
    path: str
    params: Params = ()
    json: Any = None


def open_connections(settings: Settings) -> httpx2.AsyncHTTPTransport:
    """Connections to the configured API: nothing of the environment is believed, no redirect is followed.

    Raises `BadInput` for a proxy or CA file that cannot be used.
    """
    base = httpx2.URL(settings.customer_api_base_url)
    limits = settings.max_requests_in_flight
    tls = tls_context(settings)
    try:
        return httpx2.AsyncHTTPTransport(
            verify=tls,
            # On loopback the token may travel in the clear, and must therefore not pass a proxy.
            proxy=None if base.host in LOOPBACK else settings.proxy,
            trust_env=False,
            limits=httpx2.Limits(max_connections=limits, max_keepalive_connections=limits),
        )
    except (ValueError, ImportError, httpx2.InvalidURL):
        raise BadInput("TESTIO_PROXY: not the address of a proxy.", "Write it as http://host:port.") from None


def timeouts(policy: Policy) -> dict[str, Any]:
    """The limits of one exchange, as part of its request."""
    return {"timeout": httpx2.Timeout(policy.read, connect=policy.connect, pool=None).as_dict()}


@asynccontextmanager
async def sent(connections: httpx2.AsyncHTTPTransport, request: httpx2.Request) -> AsyncIterator[httpx2.Response]:
    """The response to a request, its body yet to be read."""
    response = await connections.handle_async_request(request)
    try:
        yield response
    finally:
        await response.aclose()


def tls_context(settings: Settings, url: str | None = None) -> ssl.SSLContext:
    """Whom to trust at an address, by default that of the API.

    Raises `BadInput` for a CA file that cannot be read.
    """
    if httpx2.URL(url or settings.customer_api_base_url).scheme != "https":
        # Trusts nobody, and saves loading the certificates of the system.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.ca_file is None:
        return httpx2.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file))
    except OSError:
        raise BadInput(
            "TESTIO_CA_FILE: not a readable PEM file of certificates.", "Correct the path or the file."
        ) from None


class Transport:
    """The connections of one account. Open it with `async with`."""

    def __init__(self, settings: Settings, policy: Policy, clock: Clock) -> None:
        self._settings = settings
        self._policy = policy
        self._clock = clock
        self._base = httpx2.URL(settings.customer_api_base_url)
        self._root = f"{str(self._base).rstrip('/')}/"
        self._cap = settings.max_response_mb * 2**20
        self._extensions = timeouts(policy)
        self._connections: httpx2.AsyncHTTPTransport | None = None
        self.host = self._base.netloc.decode("ascii", "replace")
        self._proxy = proxy_of(settings)

    async def __aenter__(self) -> Self:
        self._connections = open_connections(self._settings)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.aclose()

    def asked(self, request: Request) -> Asked:
        """The request by name, for error texts."""
        return Asked(self.host, f"{request.method} {request.path}")

    async def exchange(self, request: Request, seconds: float) -> bytes:
        """Send the request once and read the whole body, decoded.

        Raises `Again` for what may pass, else an `ApiError`.
        """
        asked = self.asked(request)
        try:
            async with asyncio.timeout(seconds):
                return await self._send(request, asked)
        except TimeoutError:
            limit = f"{self._policy.total:.0f} s"
            error = ApiUnreachable(f"{asked} did not finish within {limit}.", LATER)
            raise Again(error, attempts=1) from None
        except httpx2.TransportError as error:
            raise failure(asked, error, self._proxy) from None
        except httpx2.DecodingError:
            raise Again(bad_payload(asked, "its compression is damaged"), outage=False) from None

    async def _send(self, request: Request, asked: Asked) -> bytes:
        if self._connections is None:
            raise RuntimeError("CustomerApi must be opened with `async with`")
        async with sent(self._connections, self._signed(request)) as response:
            status = response.status_code
            if status in _WITH_REASON or (request.json is not None and status in _REFUSALS):
                body = await self._body(response, asked)
                is_change = request.json is not None and status != 403
                error = refused_change(asked, status, request.json, body) if is_change else refusal(asked, status)
                token = self.require_token().get_secret_value()
                raise add_reason(error, body, token) if status in _WITH_REASON else error
            check_head(asked, status, response.headers, self._clock)
            body = await self._body(response, asked)
            check_body(asked, response.headers, body)
            return body

    def _signed(self, request: Request) -> httpx2.Request:
        """The request with the token. Raises `ApiRejected` for another host, `AuthFailed` for an impossible token."""
        header = f"Token {self.require_token().get_secret_value().strip()}"
        if not (header.isascii() and header.isprintable()):
            raise AuthFailed("The API token holds characters that no header can carry.", CHECK_TOKEN)
        headers = {**HEADERS, "Authorization": header}
        address = self._address(request)
        signed = httpx2.Request(
            request.method, address, headers=headers, json=request.json, extensions=self._extensions
        )
        url, base = signed.url, self._base
        if (url.scheme, url.host, url.port) != (base.scheme, base.host, base.port):
            raise ApiRejected("A request left the configured host; it was not sent.", CHECK_ADDRESS)
        return signed

    def _address(self, request: Request) -> str:
        """The whole address: merging its parts is dearer than writing them one after the other."""
        query = f"?{httpx2.QueryParams(request.params)}" if request.params else ""
        return f"{self._root}{request.path}{query}"

    async def _body(self, response: httpx2.Response, asked: Asked) -> bytes:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > self._cap:
                raise BadPayload(
                    f"The answer to {asked} is larger than {self._settings.max_response_mb} MiB.",
                    "Raise TESTIO_MAX_RESPONSE_MB if that much is to be expected.",
                )
        return bytes(body)

    def require_token(self) -> SecretStr:
        """The token, still wrapped. Raises `TokenMissing`."""
        token = self._settings.customer_api_token
        if token is None:
            raise TokenMissing("No API token is configured.", "Set TESTIO_CUSTOMER_API_TOKEN.")
        return token


def proxy_of(settings: Settings) -> str | None:
    """Host and port of the proxy that leads to the API, without its user; None without one."""
    if not settings.proxy or httpx2.URL(settings.customer_api_base_url).host in LOOPBACK:
        return None
    return httpx2.URL(settings.proxy).netloc.decode("ascii", "replace")


def failure(asked: Asked, error: httpx2.TransportError, proxy: str | None = None) -> Again:
    """What a failed exchange means: what to say, and whether it may pass. `proxy` is the one that was used."""
    causes = list(_causes(error))
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if tls is not None and not isinstance(tls, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return Again(tls_error(asked, tls), attempts=1, sent=False, outage=False)
    sent = not isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError))
    if isinstance(error, httpx2.ProxyError):
        return Again(
            ApiUnreachable(f"The proxy refuses to connect to {asked.host}.", "Check TESTIO_PROXY."), sent=False
        )
    if proxy is not None and not sent:  # the first connection is that to the proxy
        message = f"The proxy {proxy} cannot be reached: {_reason(error, causes)}."
        return Again(ApiUnreachable(message, "Check TESTIO_PROXY and that the proxy runs."), sent=False)
    return Again(
        ApiUnreachable(f"{asked}: {_reason(error, causes)}.", f"Check the network. {CHECK_ADDRESS}"), sent=sent
    )


def tls_error(asked: Asked, error: ssl.SSLError) -> ApiUnreachable:
    """A handshake that failed, with what usually helps."""
    what = "its certificate is not trusted" if isinstance(error, ssl.SSLCertVerificationError) else "TLS fails"
    return ApiUnreachable(
        f"No secure connection to {asked.host}: {what}.",
        "Behind a TLS-inspecting proxy, set TESTIO_CA_FILE to its CA bundle; else check "
        "TESTIO_CUSTOMER_API_BASE_URL and the clock of this machine.",
    )


def _reason(error: httpx2.TransportError, causes: list[BaseException]) -> str:
    if isinstance(error, httpx2.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, httpx2.TimeoutException):
        return "no answer in time"
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return "the host name is unknown"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection is refused"
    return "no connection" if isinstance(error, httpx2.ConnectError) else "the connection broke"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything that led to it, groups included."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from _causes(part)
        error = error.__cause__ or error.__context__
