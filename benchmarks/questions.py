"""The operations beside the same statements on bare sqlite3, on stores of every size in the same rounds."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accounts import NOW
from benchmarks.bare import bare, connect, statements_of
from benchmarks.cases import Case, cases_of
from benchmarks.measure import Call, Series, interleaved, ratio
from benchmarks.numbers import numbers_of
from benchmarks.programs import served
from benchmarks.report import Section, Target, medians, ms, spread, table, times
from testio_mcp.app import App

_TRIVIAL = 0.0003
"""Seconds: where the statements alone take less, the operation is not compared with them."""
_LIMITS = {
    "page": ("pages of lists", 0.020),
    "count": ("lists with counts", 0.020),
    "summary": ("summaries", 0.020),
    "search": ("search and triage_queue", 0.050),
    "product metrics": ("a product's metrics over all time and over a quarter", 0.020),
    "portfolio metrics": ("all products' metrics over all time", 0.100),
    "report": ("a product's quality report: a quarter, a year", 0.200),
}
_COUNTED = (
    "product metrics",
    "product metrics, every record",
    "portfolio metrics",
    "report",
    "report, portfolio",
)
_CURVE = """\
The slowest call of each group that counts, p95 in milliseconds, by the number of tests. Each product has a twentieth
of the tests. *Every record* are splits over all time by what only few ask for."""
_ABOUT = f"""\
`operation.run` in the server's process, one caller, with the store open: from the arguments as a client sends them to
the result as a model. Times are milliseconds. *Pages of lists* hold 20 records, whatever the store holds besides;
their growth from the smallest to the largest store has a target. *Lists with counts* (`list_features`,
`list_user_stories`, `list_people`, `list_test_environments`, `list_changes`) tell how much belongs to each of their
records. *Summaries* are the `get_*` operations and `execution_matrix`, which count what
they tell. `query_metrics` and `quality_report` are about the product with the most tests or about
all products; *last 90 days* and the like end with the stores' present, {NOW:%Y-%m-%d}. The comparison with bare
sqlite3 has a target for lists whose statements alone take {_TRIVIAL * 1000:.1f} ms or more."""
_HEAD = ("call", "tests", "p50 / p95 / p99", "p50 by round", "bare sqlite3 p50 / p95 / p99", "ratio of p50", "growth")


@dataclass(frozen=True)
class Found:
    """What was measured, by case, number of tests and whether it was the operation or bare sqlite3."""

    cases: Mapping[str, Case]
    sizes: Sequence[int]
    series: Mapping[str, Series]

    def asked(self, name: str, tests: int) -> Series:
        """The operation's calls."""
        return self.series[f"{name}|{tests}"]

    def alone(self, name: str, tests: int) -> Series:
        """The statements alone."""
        return self.series[f"{name}|{tests}|bare"]

    def cells(self, *groups: str) -> list[tuple[str, int]]:
        """The cases of some groups with the sizes of all stores."""
        return [(name, tests) for name, case in self.cases.items() if case.group in groups for tests in self.sizes]

    def growth(self, name: str) -> tuple[float, float, float]:
        """How many times longer a call takes on the largest store than on the smallest."""
        return ratio(self.asked(name, self.sizes[-1]), self.asked(name, self.sizes[0]))


async def measure(stores: dict[int, Path], rounds: int, repeats: int) -> Section:
    """Every case on every store, and whether they stay within the targets."""
    async with AsyncExitStack() as closers:
        calls: dict[str, Call] = {}
        for tests, path in stores.items():
            app = await closers.enter_async_context(served(path))
            db = closers.enter_context(closing(connect(path)))
            for case in (*cases_of(path).values(), *numbers_of(path).values()):
                calls[f"{case.name}|{tests}"] = _asked(app, case)
                calls[f"{case.name}|{tests}|bare"] = _bare(db, await statements_of(path, case))
        series = await interleaved(calls, rounds, repeats)
    first = next(iter(stores.values()))
    found = Found({**cases_of(first), **numbers_of(first)}, list(stores), series)
    section = Section("At the operation", _ABOUT)
    section.tables.append(table(_HEAD, (_row(found, name, tests) for name in found.cases for tests in stores)))
    missed = list(_missed(found))
    section.tables += ["Over the limit of their group at p95:\n\n" + "\n".join(missed)] if missed else []
    section.tables += [_CURVE, table(("calls", "limit", *(f"{tests:,}" for tests in stores)), _curve(found))]
    section.targets += [*_warm(found), *_dearest(found), *_grown(found)]
    return section


def _asked(app: App, case: Case) -> Call:
    return lambda: case.definition.run(app, case.arguments)


def _bare(db: sqlite3.Connection, statements: Sequence[str]) -> Call:
    async def run() -> object:
        return bare(db, statements)

    return run


def _row(found: Found, name: str, tests: int) -> list[str]:
    asked, alone = found.asked(name, tests), found.alone(name, tests)
    growth = f"{found.growth(name)[0]:.2f}" if tests == found.sizes[-1] else ""
    return [name, f"{tests:,}", spread(asked), medians(asked), spread(alone), times(ratio(asked, alone)), growth]


def _missed(found: Found) -> Iterator[str]:
    for name, tests in found.cells(*_LIMITS):
        p95 = found.asked(name, tests).at(0.95)
        if p95 >= _LIMITS[found.cases[name].group][1]:
            yield f"- {_said(name, tests)}: {ms(p95)} ms"


def _curve(found: Found) -> Iterator[list[str]]:
    """How the groups that count grow with the store."""
    for group in _COUNTED:
        limit = f"{_LIMITS[group][1] * 1000:.0f} ms" if group in _LIMITS else ""
        cases = [name for name, case in found.cases.items() if case.group == group]
        slowest = (max(found.asked(name, tests).at(0.95) for name in cases) for tests in found.sizes)
        yield [group, limit, *map(ms, slowest)]


def _warm(found: Found) -> Iterator[Target]:
    """The slowest call of each group."""
    for group, (words, limit) in _LIMITS.items():
        slowest = max(found.cells(group), key=lambda cell: found.asked(*cell).at(0.95))
        p95 = found.asked(*slowest).at(0.95)
        goal = f"under {limit * 1000:.0f} ms"
        yield Target(f"operation, {words}, warm p95", goal, f"{ms(p95)} ms ({_said(*slowest)})", p95 < limit)


def _dearest(found: Found) -> Iterator[Target]:
    """The list that costs most beside its statements."""

    def cost(cell: tuple[str, int]) -> tuple[float, float, float]:
        return ratio(found.asked(*cell), found.alone(*cell))

    cells = [cell for cell in found.cells("page", "count") if found.alone(*cell).p50 >= _TRIVIAL]
    if cells:
        worst = max(cells, key=cost)
        factor = cost(worst)
        said = f"{times(factor)} ({_said(*worst)})"
        yield Target("operation against bare sqlite3, lists", "at most 3", said, factor[0] <= 3)


def _grown(found: Found) -> Iterator[Target]:
    """The page that grows most with the store."""
    worst = max((name for name, case in found.cases.items() if case.group == "page"), key=found.growth)
    factor = found.growth(worst)
    what = f"pages of lists, p50 at {found.sizes[-1]:,} tests against {found.sizes[0]:,}"
    yield Target(what, "at most 1.5", f"{times(factor)} ({worst})", factor[0] <= 1.5)


def _said(name: str, tests: int) -> str:
    return f"{name}; {tests:,} tests"
