"""Every combination of filters: which plan SQLite chooses, and how long the slowest takes."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, cases_of, statements_of
from benchmarks.measure import quantile
from benchmarks.report import Section, Target, ms, table

_ABOUT = """\
`EXPLAIN QUERY PLAN` of every statement of `list_tests` under every combination of product, statuses (none, one, two),
types, dates, order and cursor, and of the other reads. A plan fails when it walks the table of tests or bugs without
an index, or sorts before it cuts the page. The times are of the statements on bare sqlite3, in milliseconds; a
combination that matches next to nothing has to look at its whole range of the index."""


async def measure(path: Path, tests: int) -> Section:
    """Check all plans and time them."""
    with closing(sqlite3.connect(path)) as db:
        bad, timed = [], {}
        for case in (*cases_of(path).values(), *_combinations(path)):
            statements = await statements_of(path, case)
            bad += [f"{case.name}: {line}" for statement in statements for line in _faults(db, statement)]
            timed[case.name] = _median(db, statements)
    slowest = sorted(timed, key=lambda name: timed[name], reverse=True)[:5]
    section = Section("Plans", f"{_ABOUT} Store: {tests:,} tests.")
    section.tables.append(table(("slowest combinations", "p50"), ([name, ms(timed[name])] for name in slowest)))
    section.tables += ["\n".join(f"- {line}" for line in bad)] if bad else []
    found = f"{len(timed)} plans, {len(bad)} faults"
    section.targets.append(Target("lists read an index in order", "every plan", found, not bad))
    return section


def _combinations(path: Path) -> Iterator[Case]:
    known = cases_of(path)
    one_product = known["list_tests, product"].arguments
    middle = known["list_tests, product, middle"].arguments
    filters: tuple[tuple[dict[str, Any], ...], ...] = (
        ({}, {"product_id": one_product["product_id"]}),
        ({}, {"statuses": ["archived"]}, {"statuses": ["cancelled", "locked"]}),
        ({}, {"testing_types": ["usability", "custom"]}),
        ({}, {"end_from": "2024-01-01"}, {"end_from": "2025-01-01", "end_to": "2025-12-31"}),
        ({}, {"sort": "oldest"}),
        ({}, {"cursor": middle["cursor"]}),
    )
    for parts in product(*filters):
        arguments: dict[str, Any] = {"limit": 20}
        for part in parts:
            arguments |= part
        yield Case(f"list_tests, {_said(arguments)}", "list_tests", arguments)


def _said(arguments: dict[str, Any]) -> str:
    words = [
        name if name in ("cursor", "product_id") else f"{name} {value}"
        for name, value in arguments.items()
        if name != "limit"
    ]
    return " + ".join(words).replace("[", "").replace("]", "").replace("'", "") or "nothing"


def _faults(db: sqlite3.Connection, statement: str) -> Iterator[str]:
    """What is wrong with a plan: a walk over a large table, or a sort in the part that cuts the page."""
    parents: dict[int, str] = {}
    for step, parent, _, what in db.execute(f"EXPLAIN QUERY PLAN {statement}"):
        parents[step] = what
        if what in ("SCAN test", "SCAN bug"):
            yield what
        if what.startswith("USE TEMP B-TREE FOR ORDER BY") and parents.get(parent, "").startswith("MATERIALIZE"):
            yield f"{what} below {parents[parent]}"


def _median(db: sqlite3.Connection, statements: list[str]) -> float:
    samples = []
    for _ in range(5):
        start = time.perf_counter()
        for statement in statements:
            db.execute(statement).fetchall()
        samples.append(time.perf_counter() - start)
    return quantile(sorted(samples), 0.5)
