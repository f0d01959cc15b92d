"""The simulated API on a real port: inside a running loop for tests and demos, or on its own."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import create_app
from .faults import Faults
from .faulty import BASE, Recorded
from .world import World

_GRACE_SECONDS = 5


@dataclass(frozen=True)
class Sandbox:
    """A running simulation; `url` is the base URL for a client and ends in a slash."""

    url: str
    token: str
    world: World
    faults: Faults
    requests: list[Recorded] = field(repr=False)


class _Connection(H11Protocol):
    """A connection whose transport the faults can reach, so that they can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class _Server(uvicorn.Server):
    """A server that ends when it is told to and leaves signals to the program around it."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when requests are answered, or that they never will be."""
        try:
            await super().startup(sockets)
        finally:
            self.listening.set()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    async def main_loop(self) -> None:
        """Keep the Date header right until the end."""
        while not self._closing.is_set():
            await self.on_tick(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is under way; uvicorn's own way waits a tenth of a second even when nothing is."""
        del sockets
        for server in self.servers:
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn keeps plain sets
                    await asyncio.sleep(0.002)
        for task in list(state.tasks):
            task.cancel()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's delay (40 ms per answer) only when the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _config(app: Starlette) -> uvicorn.Config:
    options: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "ws": "none"}
    return uvicorn.Config(app, http=_Connection, **options)


@asynccontextmanager
async def serve_sandbox(
    world: World,
    *,
    token: str = "sandbox-token",  # noqa: S107
    host: str = "127.0.0.1",
    port: int = 0,
    faults: Faults | None = None,
) -> AsyncIterator[Sandbox]:
    """Serve `world` in the running loop for as long as the block lasts; port 0 takes a free one.

    Raises `OSError` when the port is taken.
    """
    rules = Faults() if faults is None else faults
    app = create_app(world, token, rules)
    closing: asyncio.Event = app.state.closing
    with _listening(host, port) as listener:
        server = _Server(_config(app), closing)
        running = asyncio.ensure_future(server.serve(sockets=[listener]))
        try:
            await server.listening.wait()
            shown = f"[{host}]" if ":" in host else host
            url = f"http://{shown}:{listener.getsockname()[1]}{BASE}/"
            yield Sandbox(url, token, world, rules, app.state.requests)
        finally:
            closing.set()
            await running


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    listener = _bound(host, port)
    try:
        yield listener
    finally:
        listener.close()


def run_sandbox(
    world: World,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str = "sandbox-token",  # noqa: S107
) -> None:
    """Serve `world` until interrupted; what a client needs to use it goes to stderr."""
    asyncio.run(_run(world, host, port, token))


async def _run(world: World, host: str, port: int, token: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no signal handlers in the loop; there Ctrl+C raises KeyboardInterrupt.
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with serve_sandbox(world, token=token, host=host, port=port) as sandbox:
        lines = (
            f"Simulated Test IO account at {sandbox.url}",
            f"  export TESTIO_CUSTOMER_API_BASE_URL={sandbox.url}",
            f"  export TESTIO_CUSTOMER_API_TOKEN={token}",
            "Ctrl+C ends it.",
        )
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
        await stop.wait()
