"""The MCP server of an assistant that started this process: JSON-RPC on stdin and stdout."""

import asyncio
import json
import os
import re
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
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from testio_mcp.errors import OutputFailed
from testio_mcp.surfaces.account import Account
from testio_mcp.surfaces.cli.standard_output import StandardOutput, claim_standard_output, guard_standard_output
from testio_mcp.surfaces.logs import log_to_stderr
from testio_mcp.surfaces.mcp.server import TestioServer
from testio_mcp.surfaces.mcp.tools import configured

Line: TypeAlias = SessionMessage | Exception
_MARK = "\ufeff"
_UNSENDABLE = re.compile("[\ud800-\udfff]")
_LONGEST_ID = 1_000
_NOT_JSON = "The line is not JSON in UTF-8. Send one message a line, without lone surrogates."
_NO_BATCH = "The line is a batch, which the protocol no longer has. Send one message a line."
_NO_REQUEST = "The line is JSON and no JSON-RPC message. A request has jsonrpc, id, method and params."
_HINT = "testio-mcp waits for an MCP client on stdin. 'testio-mcp --help' lists the commands; Ctrl-C ends this."


class StdioServer(TestioServer):
    """The server on stdio: SIGINT and SIGTERM end the running calls, close the store and leave at once.

    So does a client that no longer reads what it asked for, and standard output that is full or closed.
    """

    _output: StandardOutput | None = None

    async def run_stdio_async(self) -> None:
        """Serve until stdin ends, or stdout does."""
        server = self._lowlevel_server
        self._output = claim_standard_output()
        wire = anyio.wrap_file(self._output.as_text()) if self._output else None
        try:
            async with stdio_server(stdout=wire) as (lines, replies):
                await server.run(_Answering(lines, replies), replies, server.create_initialization_options())
        except* BrokenPipeError:
            pass
        except* OutputFailed:
            self._leave_unread()

    def _leave_unread(self) -> NoReturn:
        """End where nobody reads the answers; say why unless the client hung up."""
        failure = self._output.failure if self._output else None
        if failure is None:
            _leave(0)
        with suppress(OSError):
            sys.stderr.write(f"{failure.message} {failure.next_step}\n")
        _leave(failure.exit_code)

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
            # Stdout cannot be written any more.
            self._leave_unread()
        if received:
            _leave(128 + received[0])


def _leave(code: int) -> NoReturn:
    """End the process: the thread that reads stdin wakes up for nothing but input, an ordinary exit waits for it."""
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


class _Answering:
    """The lines of a client, without those that nobody can read: these are answered here and now.

    The SDK drops what is no message to it, such as UTF-16, a batch or a lone surrogate in a text, and its sender
    would wait for ever. A byte order mark, which programs on Windows write, is left out.
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
            if not isinstance(line, ValidationError):
                return line
            if (message := _read_again(line)) is not None:
                return SessionMessage(message)
            if (refusal := _refusal(line)) is None:
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


def _read_again(error: ValidationError) -> JSONRPCMessage | None:
    """The message of a line that begins with a byte order mark; None for any other line."""
    line = error.errors(include_url=False)[0]["input"]
    if not isinstance(line, str) or not line.startswith(_MARK):
        return None
    try:
        return jsonrpc_message_adapter.validate_json(line.lstrip(_MARK), by_name=False)
    except ValidationError:
        return None


def _refusal(error: ValidationError) -> JSONRPCError | None:
    """The answer to a line that is no message; None for an empty line, and for an answer that cannot be read."""
    details = error.errors(include_url=False)
    line = details[0]["input"]
    if isinstance(line, str) and not line.strip(f"{_MARK} \t\r\n"):
        return None
    if isinstance(line, str) and details[0]["loc"] == ():
        message = _parsed(line.lstrip(_MARK))
        return None if _is_answer(message) else _error(PARSE_ERROR, _NOT_JSON, _number_of(message))
    # A field that is missing is named with the whole message, one that is wrong with its own value alone.
    whole = next((each["input"] for each in details if each["type"] == "missing"), line)
    if _is_answer(whole):
        return None
    is_batch = isinstance(whole, list)
    return _error(INVALID_REQUEST, _NO_BATCH if is_batch else _NO_REQUEST, _number_of(whole))


def _is_answer(message: object) -> bool:
    """Whether a message answers one of ours: nobody waits for an answer to that."""
    return isinstance(message, dict) and "method" not in message and bool({"result", "error"} & message.keys())


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _number_of(message: object) -> int | str | None:
    """The id of a request, so that its sender knows which one was refused; None where none can be sent."""
    number = message.get("id") if isinstance(message, dict) and "method" in message else None
    if isinstance(number, bool) or not isinstance(number, int | str) or len(str(number)) > _LONGEST_ID:
        return None
    return None if isinstance(number, str) and _UNSENDABLE.search(number) else number


def _error(code: int, message: str, number: int | str | None) -> JSONRPCError:
    return JSONRPCError(jsonrpc="2.0", id=number, error=ErrorData(code=code, message=message))


def serve_stdio(**options: object) -> int:
    """Serve until stdin ends; returns the exit code. `options` choose the tools and win over the environment.

    Raises `BadInput` when a toolset or a tool is named that does not exist.
    """
    guard_standard_output()  # before anything is opened
    log_to_stderr()
    toolbox = configured(options)
    if sys.stdin.isatty():
        sys.stderr.write(f"{_HINT}\n")
    anyio.run(StdioServer(Account(), toolbox).run_stdio_async)
    return 0
