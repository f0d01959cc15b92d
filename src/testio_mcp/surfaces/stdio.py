"""The MCP server of an assistant that started this process: JSON-RPC on stdin and stdout."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn, Self, TypeAlias

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.stdio import stdio_server
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage
from mcp_types import PARSE_ERROR, ErrorData, JSONRPCError
from pydantic import ValidationError

from testio_mcp.surfaces.account import Account
from testio_mcp.surfaces.logs import log_to_stderr
from testio_mcp.surfaces.mcp import TestioServer
from testio_mcp.surfaces.tools import configured

Line: TypeAlias = SessionMessage | Exception
_HINT = "testio-mcp waits for an MCP client on stdin. 'testio-mcp --help' lists the commands; Ctrl-C ends this."


class StdioServer(TestioServer):
    """The server on stdio: SIGINT and SIGTERM end the running calls, close the store and leave at once.

    So does a client that no longer reads what it asked for.
    """

    async def run_stdio_async(self) -> None:
        """Serve until stdin ends, or stdout does."""
        server = self._lowlevel_server
        try:
            async with stdio_server() as (lines, replies):
                await server.run(_Answering(lines, replies), replies, server.create_initialization_options())
        except* BrokenPipeError:
            pass

    @asynccontextmanager
    async def _lifespan(self, server: MCPServer[None]) -> AsyncIterator[None]:
        received: list[int] = []
        try:
            with anyio.CancelScope() as scope:

                def leave(number: int) -> None:
                    received.append(number)
                    scope.cancel()

                for number in (signal.SIGINT, signal.SIGTERM):
                    with suppress(NotImplementedError):
                        asyncio.get_running_loop().add_signal_handler(number, leave, number)
                async with super()._lifespan(server):
                    yield
        except anyio.get_cancelled_exc_class():
            # Stdout cannot be written any more: nobody is there to tell.
            _leave(0)
        if received:
            _leave(128 + received[0])


def _leave(code: int) -> NoReturn:
    """End the process: the thread that reads stdin wakes up for nothing but input, an ordinary exit waits for it."""
    sys.stderr.flush()
    os._exit(code)


class _Answering:
    """The lines of a client, without requests that nobody can read: these are answered here and now.

    The SDK drops what is not JSON to it, such as a lone surrogate in a text, and its sender would wait for ever.
    """

    def __init__(self, lines: ReadStream[Line], replies: WriteStream[SessionMessage]) -> None:
        self._lines = lines
        self._replies = replies

    @property
    def last_context(self) -> Any:
        """Where the last line came from, as the SDK's dispatcher asks for it."""
        return getattr(self._lines, "last_context", None)

    async def receive(self) -> Line:
        """The next line that is a message, or that is none and wants no answer."""
        while True:
            line = await self._lines.receive()
            refusal = _refusal(line) if isinstance(line, ValidationError) else None
            if refusal is None:
                return line
            await self._replies.send(SessionMessage(refusal))

    async def aclose(self) -> None:
        """Read no more."""
        await self._lines.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Line:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _refusal(error: ValidationError) -> JSONRPCError | None:
    """The answer to a request that cannot be read; None where no request can be made out."""
    try:
        message = json.loads(error.errors(include_url=False)[0]["input"])
        number = message["id"]
        json.dumps(number, ensure_ascii=False).encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if isinstance(number, bool) or not isinstance(number, int | str) or "method" not in message:
        return None
    problem = ErrorData(
        code=PARSE_ERROR, message="The message is not JSON in UTF-8. Send text without lone surrogates."
    )
    return JSONRPCError(jsonrpc="2.0", id=number, error=problem)


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
