"""The operations beside the same statements on bare sqlite3, on stores of every size in the same rounds."""

import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

from benchmarks.cases import bare, cases_of, statements_of
from benchmarks.measure import Call, Series, interleaved, ratio
from benchmarks.programs import served
from benchmarks.report import Section, Target, medians, ms, spread, table, times
from testio_mcp.app import App

_ABOUT = """\
`operation.run` in the server's process, one caller, with the store open: from the arguments as a client sends them to
the result as a model. Times are milliseconds."""
_HEAD = ("call", "tests", "p50 / p95 / p99", "p50 by round", "bare sqlite3 p50 / p95 / p99", "ratio of p50")


async def measure(stores: dict[int, Path], rounds: int, repeats: int) -> Section:
    """Every case on every store, and whether they stay within the targets."""
    async with AsyncExitStack() as closers:
        calls: dict[str, Call] = {}
        for tests, path in stores.items():
            app = await closers.enter_async_context(served(path))
            db = closers.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
            for case in cases_of(path).values():
                calls[f"{case.name}|{tests}"] = _asked(app, path, case.name)
                calls[f"{case.name}|{tests}|bare"] = _bare(db, await statements_of(path, case))
        found = await interleaved(calls, rounds, repeats)
    names = list(cases_of(next(iter(stores.values()))))
    section = Section("At the operation", _ABOUT)
    section.tables.append(table(_HEAD, (_row(found, name, tests) for name in names for tests in stores)))
    section.targets += _targets(found, names, list(stores))
    return section


def _asked(app: App, path: Path, name: str) -> Call:
    case = cases_of(path)[name]
    return lambda: case.definition.run(app, case.arguments)


def _bare(db: sqlite3.Connection, statements: list[str]) -> Call:
    async def run() -> object:
        return bare(db, statements)

    return run


def _row(found: dict[str, Series], name: str, tests: int) -> list[str]:
    asked, alone = found[f"{name}|{tests}"], found[f"{name}|{tests}|bare"]
    return [name, f"{tests:,}", spread(asked), medians(asked), spread(alone), times(ratio(asked, alone))]


def _targets(found: dict[str, Series], names: Sequence[str], sizes: Sequence[int]) -> list[Target]:
    """The worst of all lists in all stores against each target; `get_test` is shown and has no target."""
    lists = [name for name in names if name.startswith("list_")]
    cells = [f"{name}|{tests}" for name in lists for tests in sizes]
    slowest = max(cells, key=lambda cell: found[cell].at(0.95))
    dearest = max(cells, key=lambda cell: ratio(found[cell], found[f"{cell}|bare"])[0])
    small, large = sizes[0], sizes[-1]
    growth = {name: ratio(found[f"{name}|{large}"], found[f"{name}|{small}"]) for name in lists}
    grown = max(growth, key=lambda name: growth[name][0])
    p95, cost = found[slowest].at(0.95), ratio(found[dearest], found[f"{dearest}|bare"])
    return [
        Target("operation, warm p95", "under 20 ms", f"{ms(p95)} ms ({_said(slowest)})", p95 < 0.020),
        Target("operation against bare sqlite3", "at most 3", f"{times(cost)} ({_said(dearest)})", cost[0] <= 3),
        Target(
            f"p50 at {large:,} tests against {small:,}",
            "at most 1.5",
            f"{times(growth[grown])} ({grown})",
            growth[grown][0] <= 1.5,
        ),
    ]


def _said(cell: str) -> str:
    name, tests = cell.split("|")
    return f"{name}; {int(tests):,} tests"
