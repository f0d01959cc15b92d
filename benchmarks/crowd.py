"""The memory of an HTTP server that many clients ask everything."""

import random
from asyncio import TaskGroup
from contextlib import AsyncExitStack
from pathlib import Path

from mcp.client import Client

from benchmarks.cases import Case, cases_of
from benchmarks.machine import memory_of
from benchmarks.programs import HTTP, RestCaller, Server, http_server
from benchmarks.report import Section, Target, table

_LIMIT_MB = 150
_ABOUT = """\
One `testio-mcp serve --transport http` on the largest store, and clients that each ask every list, search and summary
of the first table once, all at the same time, in an order of their own: half of them over REST, the other half over
MCP (there without the lists that are no tools by default). The figures are what the system tells of the server's
process: memory that is resident, and the most that was."""


async def measure(path: Path, tests: int, folder: Path, clients: int) -> Section:
    """Ask everything through so many clients, and look at the server's memory before and after."""
    cases = list(cases_of(path).values())
    found: list[tuple[str, float, float]] = []
    async with AsyncExitStack() as opened:
        server = await opened.enter_async_context(http_server(HTTP, path, folder))
        rest = RestCaller(server.url)
        opened.callback(rest.close)
        await _rest(rest, cases[:1])
        found.append(_told("after one call", server))
        callers = [RestCaller(server.url) for _ in range(clients // 2)]
        tools = [await opened.enter_async_context(Client(f"{server.url}/mcp")) for _ in range(clients // 2)]
        async with TaskGroup() as tasks:
            for number, caller in enumerate(callers):
                opened.callback(caller.close)
                tasks.create_task(_rest(caller, _shuffled(cases, number)))
            for number, client in enumerate(tools):
                tasks.create_task(_mcp(client, _shuffled(cases, clients + number)))
        found.append(_told(f"after {len(cases)} calls by {clients} clients", server))
    section = Section("Memory of a server", f"{_ABOUT} Store: {tests:,} tests.")
    rows = ([when, f"{now:.0f} MB", f"{most:.0f} MB"] for when, now, most in found)
    section.tables.append(table(("server", "resident", "at most"), rows))
    now = found[-1][1]
    what = f"memory of the HTTP server after the whole mix, {clients} clients, {tests:,} tests"
    section.targets.append(Target(what, f"under {_LIMIT_MB} MB", f"{now:.0f} MB", 0 < now < _LIMIT_MB))
    return section


def _told(when: str, server: Server) -> tuple[str, float, float]:
    return when, memory_of(server.process, "VmRSS"), memory_of(server.process, "VmHWM")


def _shuffled(cases: list[Case], seed: int) -> list[Case]:
    return random.Random(seed).sample(cases, len(cases))


async def _rest(caller: RestCaller, cases: list[Case]) -> None:
    for case in cases:
        await caller.get(case.path, case.query)


async def _mcp(client: Client, cases: list[Case]) -> None:
    for case in cases:
        if case.tool is not None:
            answer = await client.call_tool(*case.tool)
            assert not answer.is_error, answer
