"""Real clients of real servers: stdio, MCP over HTTP and REST, with one caller and with many."""

import asyncio
import gc
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp.client import Client

from benchmarks.cases import Case, cases_of
from benchmarks.measure import Series, ratio
from benchmarks.programs import BARE, HTTP, PRODUCT, RestCaller, http_server, served, stdio_client
from benchmarks.report import Section, Target, medians, ms, spread, table, times
from testio_mcp.app import App

Ask = Callable[[int, Case], Awaitable[object]]
_MIX = (
    "list_products",
    "list_tests, no filter",
    "list_tests, middle",
    "list_tests, product",
    "list_tests, two statuses",
)
_HEAD = ("way", "tests", "callers", "p50 / p95 / p99", "p50 by round", "calls per second", "p50 against bare SDK")
_ABOUT = """\
A mix of `list_products` and `list_tests` (no filter, middle, product, two statuses), pages of 20, in milliseconds per
call as the caller sees it. *operation* is `operation.run` in the same process. The servers are processes of their
own; stdio is one MCP client with so many calls under way, MCP over HTTP so many MCP clients, REST so many open
connections of a plain HTTP client. *bare SDK* is a server with nothing but the MCP SDK and a ready reply of the same
size, asked by the same clients: what it takes is the client's and the protocol's own cost."""
_PACED = """\
Below, every caller asks the next question as soon as it has its answer, so with 8 and 32 callers the processor is
never idle and a call takes callers divided by calls per second, whatever the product does. With *pace* each caller
asks once a second."""


@dataclass(frozen=True)
class Load:
    """How servers are asked: numbers of callers, seconds between the calls of a paced one, rounds, calls in each."""

    callers: tuple[int, ...]
    pace: float
    rounds: int
    calls: int

    @property
    def cells(self) -> list[str]:
        """The names of what is measured at each door: one caller is never paced."""
        return [*map(str, self.callers), *(f"{callers}, pace" for callers in self.callers[1:])]


@dataclass
class Door:
    """One way to a server: how to ask, and for which store."""

    name: str
    tests: int
    ask: Ask
    cases: Sequence[Case]
    floor: str = ""
    found: dict[str, Series] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


async def measure(stores: dict[int, Path], folder: Path, load: Load) -> Section:
    """Ask through every door, with every number of callers, in shuffled rounds."""
    async with AsyncExitStack() as opened:
        doors = [
            door
            for tests, path in stores.items()
            for door in await _doors(opened, tests, path, folder, max(load.callers))
        ]
        doors += await _bare_doors(opened, doors, folder, next(iter(stores.values())), max(load.callers))
        plan = [(door, callers, 0.0) for door in doors for callers in load.callers]
        largest = max(stores)
        plan += [
            (door, callers, load.pace) for door in doors for callers in load.callers[1:] if door.tests in (0, largest)
        ]
        for door, callers, _ in plan:
            await _round(door, callers, 0.0, callers, random.Random(0))
        # As the servers do: what lives as long as the process is not traced again in the middle of a call.
        gc.collect()
        gc.freeze()
        dice = random.Random(1)
        for _ in range(load.rounds):
            dice.shuffle(plan)
            for door, callers, pace in plan:
                await _one_cell(door, callers, pace, load.calls, dice)
    return _section(doors, load)


async def _one_cell(door: Door, callers: int, pace: float, calls: int, dice: random.Random) -> None:
    cell = f"{callers}" + (", pace" if pace else "")
    start = time.perf_counter()
    samples = await _round(door, callers, pace, callers * 2 if pace else max(calls, callers * 4), dice)
    door.seconds[cell] = door.seconds.get(cell, 0.0) + time.perf_counter() - start
    door.calls[cell] = door.calls.get(cell, 0) + len(samples)
    door.found.setdefault(cell, Series()).rounds.append(samples)


async def _round(door: Door, callers: int, pace: float, calls: int, dice: random.Random) -> list[float]:
    """So many calls by so many callers; how long each took."""
    samples: list[float] = []
    waiting = [dice.choice(door.cases) for _ in range(calls)]

    async def caller(number: int) -> None:
        await asyncio.sleep(pace * number / callers)
        while waiting:
            start = time.perf_counter()
            await door.ask(number, waiting.pop())
            took = time.perf_counter() - start
            samples.append(took)
            if pace:
                await asyncio.sleep(pace - took)

    async with asyncio.TaskGroup() as tasks:
        for number in range(callers):
            tasks.create_task(caller(number))
    return samples


async def _doors(opened: AsyncExitStack, tests: int, path: Path, folder: Path, callers: int) -> list[Door]:
    cases = [cases_of(path)[name] for name in _MIX]
    app = await opened.enter_async_context(served(path))
    stdio = await opened.enter_async_context(stdio_client(PRODUCT, path, folder))
    url = (await opened.enter_async_context(http_server(HTTP, path, folder))).url
    return [
        Door("operation", tests, _run_on(app), cases),
        Door("stdio", tests, _call([stdio]), cases, "bare SDK, stdio"),
        Door("MCP over HTTP", tests, _call(await _clients(opened, url, callers)), cases, "bare SDK, HTTP"),
        Door("REST", tests, _get(opened, url, callers), cases),
    ]


async def _bare_doors(
    opened: AsyncExitStack, doors: Sequence[Door], folder: Path, path: Path, callers: int
) -> list[Door]:
    """The bare server with the reply that the product gives to one of the cases."""
    door = next(door for door in doors if door.name == "stdio")
    case = cases_of(path)["list_tests, no filter"]
    reply: Any = await door.ask(0, case)
    file = folder / "reply.json"
    file.write_text(json.dumps({"text": reply.content[0].text, "structured": reply.structured_content}))
    stdio = await opened.enter_async_context(stdio_client((*BARE, str(file)), None, folder))
    url = (await opened.enter_async_context(http_server((*BARE, str(file), "--http"), None, folder))).url
    return [
        Door("bare SDK, stdio", 0, _call([stdio]), [case]),
        Door("bare SDK, HTTP", 0, _call(await _clients(opened, url, callers)), [case]),
    ]


async def _clients(opened: AsyncExitStack, url: str, callers: int) -> list[Client]:
    return [await opened.enter_async_context(Client(f"{url}/mcp")) for _ in range(callers)]


def _run_on(app: App) -> Ask:
    return lambda _, case: case.definition.run(app, case.arguments)


def _call(clients: Sequence[Client]) -> Ask:
    async def ask(number: int, case: Case) -> object:
        answer = await clients[number % len(clients)].call_tool(case.operation, case.arguments)
        assert not answer.is_error, answer
        return answer

    return ask


def _get(opened: AsyncExitStack, url: str, callers: int) -> Ask:
    connections = [RestCaller(url) for _ in range(callers)]
    for caller in connections:
        opened.callback(caller.close)
    return lambda number, case: connections[number].get(case.path, case.query)


def _section(doors: Sequence[Door], load: Load) -> Section:
    section = Section("Over stdio and HTTP", f"{_ABOUT}\n\n{_PACED}")
    section.tables.append(table(_HEAD, (row for door in doors for row in _rows(door, doors, load.cells))))
    names = dict.fromkeys(door.name for door in doors if door.tests)
    section.targets += [_target(name, cell, doors) for name in names for cell in load.cells]
    return section


def _rows(door: Door, doors: Sequence[Door], cells: Sequence[str]) -> Iterator[list[str]]:
    floor = next((other.found for other in doors if other.name == door.floor), {})
    for cell in cells:
        if series := door.found.get(cell):
            rate = f"{door.calls[cell] / door.seconds[cell]:.0f}"
            above = times(ratio(series, floor[cell])) if cell in floor else ""
            tests = f"{door.tests:,}" if door.tests else ""
            yield [door.name, tests, cell, spread(series), medians(series), rate, above]


def _target(name: str, cell: str, doors: Sequence[Door]) -> Target:
    """The slowest store decides."""
    worst = max(door.found[cell].at(0.95) for door in doors if door.name == name and cell in door.found)
    return Target(f"{name}, warm p95, callers: {cell}", "under 20 ms", f"{ms(worst)} ms", worst < 0.020)
