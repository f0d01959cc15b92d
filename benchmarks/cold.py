"""First calls: of a new process, on a new connection, and with the store's pages out of the system's cache."""

import random
import time
from contextlib import closing
from pathlib import Path

from benchmarks.bare import bare, connect, statements_of
from benchmarks.cases import cases_of
from benchmarks.machine import evict
from benchmarks.measure import Series
from benchmarks.programs import PRODUCT, served, stdio_client
from benchmarks.report import Section, spread, table

_CASE = "list_tests, middle"
_ABOUT = f"""\
The call is `{_CASE}`, in milliseconds. *New process* is the first call after `initialize` of a server that was just
started on stdio: it imports the database libraries and opens the store. *New connection* opens the store in a running
process and makes its first read. *Cold* means that the kernel was asked to forget the store's pages
(`posix_fadvise(DONTNEED)` on its file, after an `fsync`); what the disk under the machine holds in caches of its own
stays there."""


async def measure(stores: dict[int, Path], folder: Path, rounds: int) -> Section:
    """Start, open and ask, again and again, in a shuffled order."""
    can_evict = all(evict(path) for path in stores.values())
    plan = [(tests, is_cold) for tests in stores for is_cold in ((False, True) if can_evict else (False,))]
    found: dict[tuple[int, bool, str], Series] = {}
    dice = random.Random(1)
    for _ in range(rounds):
        dice.shuffle(plan)
        for tests, is_cold in plan:
            for name, took in (await _samples(stores[tests], folder, is_cold)).items():
                found.setdefault((tests, is_cold, name), Series()).rounds.append([took])
    section = Section("First calls", _ABOUT if can_evict else f"{_ABOUT} This system has no such call.")
    rows = [
        [name, f"{tests:,}", "cold" if is_cold else "warm", spread(series), str(len(series.rounds))]
        for (tests, is_cold, name), series in sorted(found.items(), key=lambda item: (item[0][2], item[0][:2]))
    ]
    section.tables.append(table(("first call", "tests", "pages", "p50 / p95 / p99", "calls"), rows))
    return section


async def _samples(path: Path, folder: Path, is_cold: bool) -> dict[str, float]:
    """Seconds of one first call of each kind."""
    case = cases_of(path)[_CASE]
    statements = await statements_of(path, case)
    samples = {}
    async with stdio_client(PRODUCT, path, folder) as client:
        if is_cold:
            evict(path)
        start = time.perf_counter()
        await client.call_tool(case.operation, case.arguments)
        samples["new process, stdio"] = time.perf_counter() - start
    if is_cold:
        evict(path)
    start = time.perf_counter()
    async with served(path) as app:
        await case.definition.run(app, case.arguments)
        samples["new connection, operation"] = time.perf_counter() - start
    if is_cold:
        evict(path)
    start = time.perf_counter()
    with closing(connect(path)) as db:
        bare(db, statements)
        samples["new connection, bare sqlite3"] = time.perf_counter() - start
    return samples
