"""Every combination of filters: which plan SQLite chooses, and how long the slowest takes."""

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice, product
from pathlib import Path
from typing import Any

from benchmarks.bare import Recorder, connect, hurried
from benchmarks.cases import Case, cases_of, cursor_after, known_in
from benchmarks.measure import quantile
from benchmarks.report import Section, Target, ms, table

_BOUNDED = {
    "test_ids": "all that belongs to some tests",
    "feature_ids": "all that belongs to some features",
    "user_story_ids": "all runs of some user stories",
    "reporters": "all bugs by some people",
    "testers": "all runs by some people",
    "contacts": "all tests by some people",
    "test_environment_id": "all tests on an environment",
}
"""What may be sorted before the page is cut, by the argument that bounds it."""
_LARGE = ("list_tests", "list_bugs", "list_executions")
_WALKS = {"SCAN test", "SCAN bug", "SCAN execution"}
_TEST = re.compile(r"(SEARCH|SCAN) test USING (COVERING )?INDEX")
_REPEATED = re.compile(r"SEARCH bug USING .*\((product_id|status)=")
_ENOUGH, _PATIENCE = 0.3, 0.5
_SLOWEST = 12
_ABOUT = f"""\
`EXPLAIN QUERY PLAN` of every statement of `list_tests` under every combination of product, statuses (none, one, two),
types, dates, order and cursor, of `list_bugs` under every combination of product, statuses, levels, kinds, dates of
reports and of ends, order and cursor, and of the other reads. A plan fails when it walks the table of tests, bugs or
executions without an index although something chooses among its rows, reads the bugs of a product or of a status
again for every test that it has found, or sorts before it cuts the page. Sorts of
{", ".join(_BOUNDED.values())}, of lists of few records, and of what waits in the triage queue are known and bounded.
The times are of the statements on bare sqlite3, in milliseconds; a combination that matches next to nothing has to
look at its whole range of the index."""


async def measure(path: Path, tests: int, every: int) -> Section:
    """Check every so many-th plan of the combinations, and all others, and time them."""
    faults: Counter[str] = Counter()
    examples: dict[str, str] = {}
    timed = {}
    faulty = 0
    with closing(connect(path)) as db, closing(Recorder(path, _PATIENCE)) as recorder:
        for case in (*cases_of(path).values(), *islice(_combinations(path), 0, None, every)):
            statements = await recorder.statements_of(case)
            found = {line for statement in statements for line in _faults(db, case, statement)}
            faults.update(found)
            faulty += bool(found)
            for line in found:
                examples.setdefault(line, case.name)
            timed[case.name] = _median(db, statements)
    slowest = sorted(timed, key=lambda name: timed[name], reverse=True)[:_SLOWEST]
    section = Section("Plans", f"{_ABOUT} Store: {tests:,} tests.")
    section.tables.append(table(("slowest combinations", "p50"), ([name, _shown(timed[name])] for name in slowest)))
    if faults:
        rows = ([line, str(count), examples[line]] for line, count in faults.most_common())
        section.tables.append(table(("fault", "plans", "the first of them"), rows))
    said = f"{len(timed)} plans, {faulty} with faults"
    section.targets.append(Target("lists read an index in order", "every plan", said, not faults))
    return section


def _combinations(path: Path) -> Iterator[Case]:
    yield from _all_of("list_tests", _of_tests(path))
    for dates, places in _dates_of_bugs(path):
        yield from _all_of("list_bugs", (*_of_bugs(path), (dates,), tuple(places)))


def _of_tests(path: Path) -> tuple[tuple[dict[str, Any], ...], ...]:
    known = known_in(path)
    return (
        ({}, {"product_id": known.product_id}),
        ({}, {"statuses": ["archived"]}, {"statuses": ["cancelled", "locked"]}),
        ({}, {"testing_types": ["usability", "custom"]}),
        ({}, {"end_from": "2024-01-01"}, {"end_from": "2025-01-01", "end_to": "2025-12-31"}),
        tuple(_bind_positions("test", "sort_at", known.product_middle)),
    )


def _of_bugs(path: Path) -> tuple[tuple[dict[str, Any], ...], ...]:
    return (
        ({}, {"product_id": known_in(path).product_id}),
        ({}, {"statuses": ["accepted"]}, {"statuses": ["open", "rejected"]}),
        ({}, {"levels": ["critical", "high"]}),
        ({}, {"kinds": ["visual", "usability"]}),
    )


def _dates_of_bugs(path: Path) -> Iterator[tuple[dict[str, Any], Iterator[dict[str, Any]]]]:
    """Dates of reports and of ends, with the orders and the cursors that a list with them can have."""
    moment = "2025-07-01T00:00:00.000000Z"
    reported = {"reported_from": "2025-01-01", "reported_to": "2025-12-31"}
    ended = {"end_from": "2025-01-01", "end_to": "2025-12-31"}
    yield {}, _bind_positions("bug", "reported_at", known_in(path).bug_middle)
    for dates in (reported, {"reported_from": "2024-01-01"}):
        yield dates, _bind_positions("bug", "reported_at", (moment, 0))
    for dates in (ended, {"end_from": "2024-01-01"}, ended | {"reported_from": "2025-01-01"}):
        yield dates, _bind_positions("bug", "sort_at", (moment, 0, 0))


def _bind_positions(table: str, key: str, position: tuple[str | int, ...]) -> Iterator[dict[str, Any]]:
    """Both orders, from their beginning and from a position on."""
    for sort in ("newest", "oldest"):
        yield {"sort": sort}
        yield {"sort": sort, "cursor": cursor_after(table, key, position, sort=sort)}


def _all_of(operation: str, choices: tuple[tuple[dict[str, Any], ...], ...]) -> Iterator[Case]:
    for parts in product(*choices):
        arguments: dict[str, Any] = {"limit": 20}
        for part in parts:
            arguments |= part
        yield Case(f"{operation}, {_said(arguments)}", operation, arguments)


def _said(arguments: dict[str, Any]) -> str:
    words = [
        name if name in ("cursor", "product_id") else f"{name} {value}"
        for name, value in arguments.items()
        if name != "limit" and value != "newest"
    ]
    return " + ".join(words).replace("[", "").replace("]", "").replace("'", "") or "nothing"


def _faults(db: sqlite3.Connection, case: Case, statement: str) -> Iterator[str]:
    """What is wrong with a plan: a walk over a large table, or a sort in the part that cuts the page."""
    chooses = bool(case.arguments.keys() - {"limit", "cursor", "sort"})
    is_large = case.operation in _LARGE and not case.arguments.keys() & _BOUNDED.keys()
    steps = {step: (parent, what) for step, parent, _, what in db.execute(f"EXPLAIN QUERY PLAN {statement}")}
    for parent, what in steps.values():
        above = steps[parent][1] if parent else ""
        part = "to cut the page" if above.startswith("MATERIALIZE") else "to count"
        if what in _WALKS and chooses:
            yield f"{what} {part}"
        if _REPEATED.match(what) and any(up == parent and _TEST.match(step) for up, step in steps.values()):
            yield f"bugs of a product or status for each of many tests {part}"
        if is_large and what.startswith("USE TEMP B-TREE FOR ORDER BY") and above.startswith("MATERIALIZE"):
            yield "sort before the page is cut"


def _median(db: sqlite3.Connection, statements: list[str]) -> float:
    """Seconds, of five times; of fewer where that would take long, and no more than one is patient for."""
    samples: list[float] = []
    while len(samples) < 5 and sum(samples) < _ENOUGH:
        start = time.perf_counter()
        with suppress(sqlite3.OperationalError), hurried(db, _PATIENCE):
            for statement in statements:
                db.execute(statement).fetchall()
        samples.append(min(time.perf_counter() - start, _PATIENCE))
    return quantile(sorted(samples), 0.5)


def _shown(seconds: float) -> str:
    return ms(seconds) if seconds < _PATIENCE else f"over {ms(seconds)}"
