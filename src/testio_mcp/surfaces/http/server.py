"""The HTTP server: REST at /api, MCP at /mcp, one account, one door."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from testio_mcp import __version__
from testio_mcp.app import App
from testio_mcp.errors import BadInput
from testio_mcp.settings import Settings
from testio_mcp.surfaces.account import Account, importing, read_settings
from testio_mcp.surfaces.alerting import tell
from testio_mcp.surfaces.cli.terminal import talk
from testio_mcp.surfaces.http.connections import Listener, OpenConnections, make_connection_class
from testio_mcp.surfaces.http.middleware import MAX_BODY_BYTES, MCP_PATH, Gate, own_hosts
from testio_mcp.surfaces.http.ports import format_address, is_loopback, port_taken
from testio_mcp.surfaces.mcp.http import MAX_SESSIONS, SESSION_IDLE_SECONDS, McpEndpoint
from testio_mcp.surfaces.mcp.server import TestioServer
from testio_mcp.surfaces.mcp.tools import configured
from testio_mcp.surfaces.report_files import XLSX
from testio_mcp.sync.engine import SyncOptions
from testio_mcp.sync.freshness import watch

_GRACE_SECONDS = 3
_ZIPPED_FROM_BYTES, _ZIP_LEVEL = 1024, 5


async def serve_http(
    host: str,
    port: int,
    allow_hosts: Sequence[str],
    *,
    mcp_server: type[TestioServer] = TestioServer,
    **options: object,
) -> None:
    """Serve until a signal comes. Raises a `TestioError` when that cannot be done as asked.

    `options` choose the tools and win over the environment.
    """
    settings = await read_settings()
    toolbox = configured(options)
    _refuse_open_doors(host, settings)
    connections = OpenConnections()
    listener = _listen(host, port, connections)
    port = listener.getsockname()[1]
    account = Account()
    try:
        served = await account.app()
        _sync_by_itself(served)
        door = Gate(
            _routes(account, served, mcp_server(account, toolbox)), own_hosts(host, port, allow_hosts), settings
        )
        server = uvicorn.Server(_config(door, settings, connections))
        url = f"http://{format_address(host, port)}"
        talk(f"testio-mcp {__version__}: MCP at {url}/mcp, REST at {url}/api, docs at {url}/docs. Ctrl-C ends it.")
        await server.serve(sockets=[listener])
    finally:
        await account.close()
        listener.close()


def _sync_by_itself(app: App) -> None:
    if minutes := app.settings.sync_every_minutes:
        app.single_flight("watch", lambda: watch(app, 60 * minutes, SyncOptions(), lambda: tell(app)))


def _refuse_open_doors(host: str, settings: Settings) -> None:
    if not is_loopback(host) and settings.http_token is None:
        message = f"Anyone who reaches {host} could read this account's data: the server does not start."
        raise BadInput(message, "Set TESTIO_HTTP_TOKEN to a long random word, or listen on 127.0.0.1.")


def _listen(host: str, port: int, connections: OpenConnections) -> Listener:
    with port_taken(host, port):
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # With the protocol named, asyncio switches Nagle's algorithm off: each answer is 40 ms earlier.
        listener = Listener(family, kind, protocol, connections)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
    return listener


def _routes(account: Account, served: App, mcp_server: TestioServer) -> ASGIApp:
    """REST and MCP side by side; the MCP route keeps its full path, so that nothing is redirected."""
    with importing():
        from testio_mcp.surfaces.http.rest import rest_app
    # The gate checks Host and Origin of every route, and exactly; the SDK's own check would be a second list.
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    mcp_app = mcp_server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        transport_security=security,
        max_request_body_size=MAX_BODY_BYTES,
        max_sessions=MAX_SESSIONS,
        session_idle_timeout=SESSION_IDLE_SECONDS,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with mcp_server.session_manager.run():
            yield

    app = rest_app(account, lifespan)
    app.router.routes.extend(mcp_app.routes)
    endpoint = McpEndpoint(app)
    served.count_sessions = endpoint.count_sessions
    # No answer holds a secret that its length could give away.
    zipped_already = (*DEFAULT_EXCLUDED_CONTENT_TYPES, XLSX)
    zipped = GZipMiddleware(app, _ZIPPED_FROM_BYTES, _ZIP_LEVEL, exclude_content_types=zipped_already)

    async def routes(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        if scope["path"] in (MCP_PATH, f"{MCP_PATH}/"):
            await endpoint({**scope, "path": MCP_PATH, "raw_path": MCP_PATH.encode()}, receive, send)
            return
        # HEAD is GET whose body the connection leaves out.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        await zipped({**scope, "method": method}, receive, send)

    return routes


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's log says more than that a request was ended with the server."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _config(app: ASGIApp, settings: Settings, connections: OpenConnections) -> uvicorn.Config:
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    return uvicorn.Config(
        app,
        http=make_connection_class(settings.http_patience_seconds, connections),
        lifespan="on",
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
