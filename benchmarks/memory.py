"""The memory of a first sync, for accounts of two sizes, and reads from another process beside it."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import memory_of
from benchmarks.measure import Series
from benchmarks.programs import environment
from benchmarks.report import Section, Target, medians, spread, table
from benchmarks.syncing import sandbox
from testio_mcp.app import App, open_app
from testio_mcp.operations.registry import operations
from testio_mcp.settings import load_settings

_GROWTH_MB = 50
_ABOUT = """\
`testio-mcp sync --only features,tests,bugs` into a new store, as a process of its own; its largest resident memory as
the system tells it. Meanwhile another process asks the same store for a page of tests again and again, on the two
cores that the sync and the simulated API share; *quiet* is the same after the sync has ended."""


async def measure(folder: Path, sizes: Sequence[int]) -> Section:
    """Copy an account of each size, the largest last."""
    section = Section("Memory of a sync, and reads beside it", _ABOUT)
    rows = []
    peaks = []
    for tests in sizes:
        async with sandbox(products=1, tests=tests, bugs=1) as url:
            store = folder / f"memory-{tests}.db"
            seconds, peak, beside, quiet = await _copy(url, store)
        peaks.append(peak)
        figures = (spread(beside), medians(beside), spread(quiet))
        rows.append([f"{tests:,}", f"{seconds:.0f} s", f"{peak:.0f} MB", *figures])
    head = ("tests", "wall", "largest memory", "read beside, p50 / p95 / p99", "p50 by round", "quiet")
    section.tables.append(table(head, rows))
    growth = peaks[-1] - peaks[0]
    what = f"memory of a sync of {sizes[-1]:,} tests over one of {sizes[0]:,}"
    section.targets.append(Target(what, f"under {_GROWTH_MB} MB", f"{growth:.0f} MB", growth < _GROWTH_MB))
    return section


async def _copy(url: str, store: Path) -> tuple[float, float, Series, Series]:
    """Sync in a process of its own: its time in seconds, its memory in MB, reads meanwhile and afterwards."""
    given = {
        "TESTIO_CUSTOMER_API_BASE_URL": url,
        "TESTIO_CUSTOMER_API_TOKEN": "sandbox-token",
        "TESTIO_DB_PATH": str(store),
    }
    settings = load_settings(db_path=store, database_url=None)
    async with open_app(settings) as app:
        loop = asyncio.get_running_loop()
        start = loop.time()
        child = await loop.run_in_executor(None, _start, environment() | given)
        ended = loop.run_in_executor(None, os.waitpid, child, 0)
        beside = Series()
        peak = 0.0
        while not ended.done():
            # What `wait4` tells counts the process that started it as well.
            peak = memory_of(child, "VmHWM") or peak
            beside.rounds.append(await _reads(app, calls=5))
        _, status = await ended
        assert os.waitstatus_to_exitcode(status) == 0
        seconds = loop.time() - start
        quiet = Series([await _reads(app) for _ in range(8)])
    return seconds, peak, beside, quiet


async def _reads(app: App, calls: int = 20) -> list[float]:
    """The durations of some calls, in seconds, with a rest between them."""
    loop = asyncio.get_running_loop()
    found = []
    for _ in range(calls):
        start = loop.time()
        await operations()["list_tests"].run(app, {"limit": 20})
        found.append(loop.time() - start)
        await asyncio.sleep(0.01)
    return found


def _start(variables: dict[str, str]) -> int:
    """Start a silent sync; the number of its process."""
    silent = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_WRONLY, 0) for descriptor in (1, 2)]
    command = [sys.executable, "-m", "testio_mcp", "sync", "--only", "features,tests,bugs"]
    return os.posix_spawn(sys.executable, command, variables, file_actions=silent)
