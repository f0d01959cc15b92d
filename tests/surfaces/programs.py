"""The program as its users run it: as a command, as an MCP server on stdio, as an HTTP server."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

PROGRAM = (sys.executable, "-m", "testio_mcp")
Era = Literal["legacy", "auto", "2026-07-28"]
Environment = Mapping[str, str]


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str


def whole(environment: Environment) -> dict[str, str]:
    """A process environment without anything of this machine's settings."""
    python = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", **python, **environment}


INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
"""The first message of a client that speaks a revision with sessions."""


async def run_words(environment: Environment, *words: str, cwd: Path) -> tuple[int, bytes, bytes]:
    """Run any program to its end, with exactly this environment: its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *words,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out, err


async def command(environment: Environment, *arguments: str, cwd: Path) -> Finished:
    """Run the program to its end, with stdout and stderr piped."""
    code, out, err = await run_words(whole(environment), *PROGRAM, *arguments, cwd=cwd)
    return Finished(code, out.decode(), err.decode())


@asynccontextmanager
async def stdio(
    environment: Environment, cwd: Path, mode: Era = "auto", *, options: Sequence[str] = ()
) -> AsyncIterator[Client]:
    """An MCP client whose server is a new process."""
    arguments = [*PROGRAM[1:], *options]
    server = StdioServerParameters(command=PROGRAM[0], args=arguments, env=whole(environment), cwd=cwd)
    async with Client(server, mode=mode) as client:
        yield client


@dataclass
class HttpServer:
    """A running HTTP server."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rsplit(":", 1)[1])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return self.process.wait(10)


@contextmanager
def http_server(
    environment: Environment, folder: Path, *options: str, command: Sequence[str] = ()
) -> Iterator[HttpServer]:
    """`serve --transport http` on a free port of loopback, or another program that does the same."""
    log = folder / "http.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command or [*PROGRAM, "serve", "--transport", "http", "--port", "0", *options],
            env=whole(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
    try:
        yield HttpServer(_announced(process, log), process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _announced(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that the server says it listens on."""
    while process.poll() is None:
        if found := re.search(r"REST at (http://\S+)/api", log.read_text()):
            return found[1]
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"the server ended with {process.returncode}: {log.read_text()}")


async def rest(client: httpx2.AsyncClient, operation: Any, arguments: Mapping[str, Any]) -> httpx2.Response:
    """Ask an operation over REST."""
    given = dict(arguments)
    path = re.sub(r"\{(\w+)\}", lambda name: str(given.pop(name[1])), operation.path)
    if operation.method == "POST":
        return await client.post(f"/api{path}", json=given)
    return await client.get(f"/api{path}", params=given)


def tool_call(operation: Any, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The tool and the arguments that ask an operation over MCP: `get` for all that are about one record."""
    if operation.about is None:
        return operation.name, dict(arguments)
    [identifier] = arguments.values()
    return name_of_tool(operation), {"kind": operation.about, "id": identifier}


def name_of_tool(operation: Any) -> str:
    """The tool behind which an operation stands."""
    return "get" if operation.about else str(operation.name)


def words(operation: Any, arguments: Mapping[str, Any]) -> list[str]:
    """The command line that asks an operation."""
    given: list[str] = operation.command.split()
    for name, value in arguments.items():
        if operation.arguments.model_fields[name].is_required():
            given.append(str(value))
        elif isinstance(value, bool):
            if value or operation.arguments.model_fields[name].default is not False:
                given.append(f"--{'' if value else 'no-'}{name.replace('_', '-')}")
        else:
            for item in value if isinstance(value, list) else [value]:
                given += [f"--{name.replace('_', '-')}", str(item)]
    return given


def text_of(result: Any) -> str:
    """The text of a tool's answer."""
    return "".join(part.text for part in result.content)
