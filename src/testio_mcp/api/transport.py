"""One HTTP exchange with the Customer API: the token, the limits, what the network does to it, what an answer means.

Of a refusal (403, 422) an error repeats the API's own reason: one short line, cleaned, in quotes and marked as the
API's. No other text of the server gets into one: neither a body nor the address that it redirects to.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2
from pydantic import SecretStr

from testio_mcp import __version__
from testio_mcp.api.resilience import RETRIED_STATUSES, Clock, RetryableError, RetryPolicy, retry_after
from testio_mcp.api.strict_json import NotJson, read_json
from testio_mcp.errors import (
    ApiError,
    ApiForbidden,
    ApiNotFound,
    ApiRejected,
    ApiUnavailable,
    ApiUnreachable,
    AuthFailed,
    BadInput,
    BadPayload,
    RateLimited,
    TokenMissing,
)
from testio_mcp.settings import LOOPBACK, Settings
from testio_mcp.texts import quote_line

CHECK_ADDRESS = "Check TESTIO_CUSTOMER_API_BASE_URL."
CHECK_TOKEN = "Check TESTIO_CUSTOMER_API_TOKEN (Test IO: Settings > API tokens)."  # noqa: S105
_UNSAID = frozenset({"", "text/plain", "application/octet-stream"})
"""Media types under which servers and proxies send JSON without saying so."""
LATER = "Try again later; answers from the local store stay available."


@dataclass(frozen=True, slots=True)
class RequestLabel:
    """What was asked of which host, for error texts: `call` is method and path, without parameters."""

    host: str
    call: str

    def __str__(self) -> str:
        return f"{self.call} on {self.host}"


def add_reason(error: ApiError, body: bytes, token: str) -> ApiError:
    """The error with the API's own reason where the body gives one: a short line in quotes, without the token."""
    reason = _reason_in(body)
    said = quote_line(reason.replace(token, "***") if token else reason)
    return type(error)(f'{error.message} The API says: "{said}".', error.next_step) if said else error


def _reason_in(body: bytes) -> str:
    """What a body of JSON gives as the reason: a text, or the texts of an object or list."""
    try:
        value = read_json(body)
    except (NotJson, RecursionError):
        return ""
    if isinstance(value, dict):
        value = next((value[name] for name in _REASONS if value.get(name)), None)
    return "; ".join(_texts(value, depth=3))


def _texts(value: Any, depth: int) -> list[str]:
    """The texts of a reason, those of fields after the name of the field."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if not depth:
        return []
    if isinstance(value, list):
        return [text for each in value[:5] for text in _texts(each, depth - 1)]
    if isinstance(value, dict):
        named = ((name, _texts(each, depth - 1)) for name, each in list(value.items())[:5])
        return [f"{name}: {', '.join(texts)}" for name, texts in named if texts]
    return []


_REASONS = ("error", "errors", "message", "reason", "detail", "error_description")


def check_head(label: RequestLabel, status: int, headers: Mapping[str, str], clock: Clock) -> None:
    """Raise `RetryableError` or an `ApiError` unless the body is to be read as JSON."""
    if status in RETRIED_STATUSES:
        raise _passing(label, status, retry_after(headers, clock.now()))
    if not 200 <= status < 300:
        raise refusal(label, status)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status != 204 and kind not in _UNSAID and not kind.endswith(("/json", "+json")):
        raise not_json(label)


def check_body(label: RequestLabel, headers: Mapping[str, str], body: bytes) -> None:
    """Raise `RetryableError` for a text that is not said to be JSON and does not look like it."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _UNSAID and body.strip() and body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"["):
        raise not_json(label)


def refused_change(label: RequestLabel, status: int, sent: Any, body: bytes) -> ApiRejected:
    """The API refuses what was sent; of its complaint only the names of fields that were sent are repeated."""
    try:
        fields = sorted(_names(sent) & _names(read_json(body)))
    except (NotJson, RecursionError):
        fields = []
    about = f": {', '.join(fields)}" if fields else ""
    return ApiRejected(f"{label} was refused with status {status}{about}.", "Check the arguments.")


def _names(value: Any) -> set[str]:
    """All names of fields in a JSON value."""
    if isinstance(value, dict):
        return {*value, *(name for inner in value.values() for name in _names(inner))}
    return {name for inner in value for name in _names(inner)} if isinstance(value, list) else set()


def not_json(label: RequestLabel) -> RetryableError:
    """A login, error or maintenance page in place of JSON."""
    return RetryableError(
        ApiUnavailable(f"{label} answered with a web page in place of JSON.", f"{LATER} {CHECK_ADDRESS}")
    )


def bad_payload(label: RequestLabel, reason: str) -> BadPayload:
    """An answer that is not what the reference describes."""
    return BadPayload(f"The answer to {label} cannot be read: {reason}.", f"{LATER} {CHECK_ADDRESS}")


def _passing(label: RequestLabel, status: int, pause: float | None) -> RetryableError:
    if status == 429:
        limited = RateLimited(f"{label.host} asks for fewer requests (429).", LATER, retry_after=pause or 0.0)
        return RetryableError(limited, pause=pause, limited=True, outage=False)
    error = ApiUnavailable(f"{label} failed with status {status}.", LATER)
    # A plain 500 is often the fault of one record; 502 to 504 speak for the API as a whole.
    return RetryableError(error, pause=pause, limited=pause is not None, outage=status > 500)


def refusal(label: RequestLabel, status: int) -> ApiError:
    """What an answer means that is no success and that no later attempt would change."""
    if status == 401:
        return AuthFailed(f"{label.host} refuses the API token (401).", CHECK_TOKEN)
    if status == 403:
        return ApiForbidden(f"The API token may not do {label} (403).", "Ask for access, or use another token.")
    if status == 404:
        return ApiNotFound(f"{label}: not found (404).", f"It may be deleted. {CHECK_ADDRESS}")
    if 300 <= status < 400:
        return ApiRejected(f"{label} was redirected, which is never followed ({status}).", CHECK_ADDRESS)
    if status >= 500:
        return ApiUnavailable(f"{label} failed with status {status}.", LATER)
    return ApiRejected(f"{label} was refused with status {status}.", "Check the arguments.")


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


def timeouts(policy: RetryPolicy) -> dict[str, Any]:
    """The limits of one exchange, as part of its request."""
    return {"timeout": httpx2.Timeout(policy.read, connect=policy.connect, pool=None).as_dict()}


@asynccontextmanager
async def send_request(
    connections: httpx2.AsyncHTTPTransport, request: httpx2.Request
) -> AsyncIterator[httpx2.Response]:
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

    def __init__(self, settings: Settings, policy: RetryPolicy, clock: Clock) -> None:
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

    def label_of(self, request: Request) -> RequestLabel:
        """The request by name, for error texts."""
        return RequestLabel(self.host, f"{request.method} {request.path}")

    async def exchange(self, request: Request, seconds: float) -> Any:
        """Send the request once; the JSON value of the answer (None if empty).

        Raises `RetryableError` for what may pass, else an `ApiError`.
        """
        label = self.label_of(request)
        try:
            async with asyncio.timeout(seconds):
                body = await self._send(request, label)
        except TimeoutError:
            limit = f"{self._policy.total:.0f} s"
            error = ApiUnreachable(f"{label} did not finish within {limit}.", LATER)
            raise RetryableError(error, attempts=1) from None
        except httpx2.TransportError as error:
            raise failure(label, error, self._proxy) from None
        except httpx2.DecodingError:
            raise RetryableError(bad_payload(label, "its compression is damaged"), outage=False) from None
        return _read_value(label, body)

    async def _send(self, request: Request, label: RequestLabel) -> bytes:
        if self._connections is None:
            raise RuntimeError("CustomerApi must be opened with `async with`")
        async with send_request(self._connections, self._signed(request)) as response:
            status = response.status_code
            if status in _WITH_REASON or (request.json is not None and status in _REFUSALS):
                body = await self._body(response, label)
                is_change = request.json is not None and status != 403
                error = refused_change(label, status, request.json, body) if is_change else refusal(label, status)
                token = self.require_token().get_secret_value()
                raise add_reason(error, body, token) if status in _WITH_REASON else error
            check_head(label, status, response.headers, self._clock)
            body = await self._body(response, label)
            check_body(label, response.headers, body)
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

    async def _body(self, response: httpx2.Response, label: RequestLabel) -> bytes:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > self._cap:
                raise BadPayload(
                    f"The answer to {label} is larger than {self._settings.max_response_mb} MiB.",
                    "Raise TESTIO_MAX_RESPONSE_MB if that much is to be expected.",
                )
        return bytes(body)

    def require_token(self) -> SecretStr:
        """The token, still wrapped. Raises `TokenMissing`."""
        token = self._settings.customer_api_token
        if token is None:
            raise TokenMissing("No API token is configured.", "Set TESTIO_CUSTOMER_API_TOKEN.")
        return token


def _read_value(label: RequestLabel, body: bytes) -> Any:
    if not body.strip():
        return None
    try:
        return read_json(body)
    except NotJson as error:
        if body.lstrip().startswith(b"<"):
            raise not_json(label) from None
        attempts = None if error.truncated else 2
        raise RetryableError(bad_payload(label, str(error)), attempts=attempts, outage=False) from None


def proxy_of(settings: Settings) -> str | None:
    """Host and port of the proxy that leads to the API, without its user; None without one."""
    if not settings.proxy or httpx2.URL(settings.customer_api_base_url).host in LOOPBACK:
        return None
    return httpx2.URL(settings.proxy).netloc.decode("ascii", "replace")


def failure(label: RequestLabel, error: httpx2.TransportError, proxy: str | None = None) -> RetryableError:
    """What a failed exchange means: what to say, and whether it may pass. `proxy` is the one that was used."""
    causes = list(_causes(error))
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if tls is not None and not isinstance(tls, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return RetryableError(tls_error(label, tls), attempts=1, sent=False, outage=False)
    sent = not isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError))
    if isinstance(error, httpx2.ProxyError):
        return RetryableError(
            ApiUnreachable(f"The proxy refuses to connect to {label.host}.", "Check TESTIO_PROXY."), sent=False
        )
    if proxy is not None and not sent:  # the first connection is that to the proxy
        message = f"The proxy {proxy} cannot be reached: {_reason(error, causes)}."
        return RetryableError(ApiUnreachable(message, "Check TESTIO_PROXY and that the proxy runs."), sent=False)
    return RetryableError(
        ApiUnreachable(f"{label}: {_reason(error, causes)}.", f"Check the network. {CHECK_ADDRESS}"), sent=sent
    )


def tls_error(label: RequestLabel, error: ssl.SSLError) -> ApiUnreachable:
    """A handshake that failed, with what usually helps."""
    what = "its certificate is not trusted" if isinstance(error, ssl.SSLCertVerificationError) else "TLS fails"
    return ApiUnreachable(
        f"No secure connection to {label.host}: {what}.",
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
