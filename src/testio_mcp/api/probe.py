"""The way to the API, hop by hop: where it ends, and what the other side's clock says. No token leaves."""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx2

from testio_mcp.api.resilience import Clock, RetryPolicy, http_date
from testio_mcp.api.transport import (
    CHECK_ADDRESS,
    HEADERS,
    LATER,
    RequestLabel,
    failure,
    open_connections,
    proxy_of,
    send_request,
    timeouts,
    tls_context,
    tls_error,
)
from testio_mcp.errors import ApiUnavailable, ApiUnreachable, TestioError
from testio_mcp.settings import LOOPBACK, Settings
from testio_mcp.timeouts import run_with_timeout

PROBE_POLICY = RetryPolicy(attempts=1, connect=5.0, read=10.0, total=15.0, longest_pause=0.0)
"""One attempt, and not for long: a person waits."""
_NETWORK = "Check the network; where only a proxy leads out, set TESTIO_PROXY."


@dataclass(frozen=True, slots=True)
class Probe:
    """How far a request without a token got.

    `passed` are the hops that work, `failed` is the one that does not, with its `error`. `skew` is how far the
    local clock is ahead of the server's, in seconds, to about a second; None without an answer.
    """

    host: str
    passed: tuple[str, ...] = ()
    failed: str | None = None
    error: TestioError | None = None
    skew: float | None = None


class _HopFailed(Exception):
    """The hop at which the way ends, and why."""

    def __init__(self, hop: str, error: TestioError) -> None:
        super().__init__(hop)
        self.hop = hop
        self.error = error


async def probe(settings: Settings, clock: Clock | None = None) -> Probe:
    """Walk to the API: name resolution, TCP connect, TLS, HTTP. Fails with a result, never with an error."""
    base = httpx2.URL(settings.customer_api_base_url)
    host = base.netloc.decode("ascii", "replace")
    label = RequestLabel(host, "GET products")
    passed: list[str] = []
    skew = None
    try:
        proxy = _proxy(settings, base)
        await _connect(proxy or base, passed, "proxy " if proxy else "")
        if base.scheme == "https" and proxy is None:
            await _handshake(settings, base, label)
            passed.append("TLS")
        skew = await _ask(settings, label, clock or Clock())
        passed.append("HTTP")
    except _HopFailed as failed:
        return Probe(host, tuple(passed), failed.hop, failed.error)
    return Probe(host, tuple(passed), skew=skew)


def _proxy(settings: Settings, base: httpx2.URL) -> httpx2.URL | None:
    if not settings.proxy or base.host in LOOPBACK:
        return None
    try:
        url = httpx2.URL(settings.proxy)
    except httpx2.InvalidURL:
        url = None
    if url is None or not url.host:
        error = ApiUnreachable("TESTIO_PROXY is not the address of a proxy.", "Write it as http://host:port.")
        raise _HopFailed("proxy", error)
    return url


async def _connect(url: httpx2.URL, passed: list[str], whose: str) -> None:
    port = url.port or (443 if url.scheme == "https" else 80)
    setting = "TESTIO_PROXY" if whose else "TESTIO_CUSTOMER_API_BASE_URL"
    hop = f"{whose}name resolution"
    try:
        await run_with_timeout(
            PROBE_POLICY.connect, lambda: socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        )
        passed.append(hop)
        hop = f"{whose}TCP connect"
        async with asyncio.timeout(PROBE_POLICY.connect):
            _, writer = await asyncio.open_connection(url.host, port)
        writer.transport.abort()
        passed.append(hop)
    except TimeoutError:
        raise _HopFailed(hop, ApiUnreachable(f"{url.host}:{port} did not answer in time.", _NETWORK)) from None
    except (socket.gaierror, UnicodeError):
        raise _HopFailed(
            hop, ApiUnreachable(f"The name {url.host} is unknown.", f"Check {setting} and DNS.")
        ) from None
    except OSError as error:
        what = "refuses the connection" if isinstance(error, ConnectionRefusedError) else "cannot be reached"
        raise _HopFailed(hop, ApiUnreachable(f"{url.host}:{port} {what}.", f"Check {setting}. {_NETWORK}")) from None


async def _handshake(settings: Settings, base: httpx2.URL, label: RequestLabel) -> None:
    try:
        async with asyncio.timeout(PROBE_POLICY.connect):
            tls = tls_context(settings)
            _, writer = await asyncio.open_connection(base.host, base.port or 443, ssl=tls)
        writer.transport.abort()
    except TestioError as error:
        raise _HopFailed("TLS", error) from None
    except ssl.SSLError as cause:
        raise _HopFailed("TLS", tls_error(label, cause)) from None
    except OSError:  # a time-out is one of them
        raise _HopFailed("TLS", ApiUnreachable(f"{label.host} ends the handshake.", _NETWORK)) from None


async def _ask(settings: Settings, label: RequestLabel, clock: Clock) -> float | None:
    """Send the request without a token: to be refused is an answer, and carries a date."""
    try:
        address = f"{settings.customer_api_base_url.rstrip('/')}/products"
        request = httpx2.Request("GET", address, headers=HEADERS, extensions=timeouts(PROBE_POLICY))
        async with asyncio.timeout(PROBE_POLICY.total), open_connections(settings) as connections:
            before = clock.now()
            async with send_request(connections, request) as response:
                after = clock.now()
                _refuse_strange(label, response)
                return _skew(response.headers.get("date", ""), before, after)
    except TestioError as error:
        raise _HopFailed("HTTP", error) from None
    except TimeoutError:
        raise _HopFailed("HTTP", ApiUnreachable(f"{label} did not finish in time.", LATER)) from None
    except httpx2.TransportError as cause:
        raise _HopFailed("HTTP", failure(label, cause, proxy_of(settings)).error) from None


def _refuse_strange(label: RequestLabel, response: httpx2.Response) -> None:
    """Raise `ApiUnavailable` unless this looks like the API."""
    status = response.status_code
    is_page = response.headers.get("content-type", "").startswith("text/html")
    if status in (401, 403, 429) or (200 <= status < 300 and not is_page):
        return
    if status >= 500:
        raise ApiUnavailable(f"{label} failed with status {status}.", LATER)
    what = f"redirects ({status})" if 300 <= status < 400 else f"answers with status {status}"
    what = "answers with a web page in place of JSON" if is_page and status < 300 else what
    raise ApiUnavailable(f"{label} {what}: this is not the API.", f"{CHECK_ADDRESS} A proxy may answer in its place.")


def _skew(date: str, before: datetime, after: datetime) -> float | None:
    sent = http_date(date)
    if sent is None:
        return None
    # The header names whole seconds, so that on average half of one has passed.
    middle = before + (after - before) / 2
    return (middle - sent - timedelta(seconds=0.5)).total_seconds()
