"""The MCP server of an assistant that started this process: JSON-RPC on stdin and stdout."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from mcp.server.mcpserver import MCPServer

from testio_mcp.surfaces.account import Account
from testio_mcp.surfaces.logs import log_to_stderr
from testio_mcp.surfaces.mcp import TestioServer
from testio_mcp.surfaces.tools import configured

_HINT = "testio-mcp waits for an MCP client on stdin. 'testio-mcp --help' lists the commands; Ctrl-C ends this."


class StdioServer(TestioServer):
    """The server on stdio: SIGINT and SIGTERM end the running calls, close the store and leave at once."""

    @asynccontextmanager
    async def _lifespan(self, server: MCPServer[None]) -> AsyncIterator[None]:
        received: list[int] = []
        with anyio.CancelScope() as scope:

            def leave(number: int) -> None:
                received.append(number)
                scope.cancel()

            for number in (signal.SIGINT, signal.SIGTERM):
                with suppress(NotImplementedError):
                    asyncio.get_running_loop().add_signal_handler(number, leave, number)
            async with super()._lifespan(server):
                yield
        if received:
            # The thread that reads stdin wakes up for nothing but input, and an ordinary exit would wait for it.
            sys.stderr.flush()
            os._exit(128 + received[0])


def serve_stdio(**options: object) -> int:
    """Serve until stdin ends; returns the exit code. `options` choose the tools and win over the environment.

    Raises `BadInput` when a toolset or a tool is named that does not exist.
    """
    log_to_stderr()
    toolbox = configured(options)
    if sys.stdin.isatty():
        sys.stderr.write(f"{_HINT}\n")
    anyio.run(StdioServer(Account(), toolbox).run_stdio_async)
    return 0
