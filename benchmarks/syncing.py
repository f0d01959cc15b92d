"""A sync of a simulated account whose API answers after 50 ms, and at once."""

import asyncio
import json
import re
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.programs import environment
from benchmarks.report import Section, Target, table
from testio_mcp.app import open_app, silent
from testio_mcp.settings import load_settings
from testio_mcp.sync.engine import SyncOptions, SyncSummary, run_sync

_IN_FLIGHT = 10
_LATENCY = 0.05
_ABOUT = """\
`run_sync` into a new store, from `testio-mcp sandbox` in a process of its own; then once more with nothing changed.
*Ideal* is requests times latency divided by the ten requests that may be under way at once. The simulated API makes
its records when asked, on the same two cores."""


async def measure(folder: Path, products: int, tests: int) -> Section:
    """Sync twice, with and without latency."""
    rows = []
    ratios = []
    async with sandbox(products, tests, bugs=5) as url:
        for latency in (_LATENCY, 0.0):
            _delay(url, latency)
            settings = load_settings(
                customer_api_base_url=url,
                customer_api_token="sandbox-token",
                db_path=folder / f"sync-{latency}.db",
                database_url=None,
            )
            async with open_app(settings) as app:
                for kind in ("first", "unchanged"):
                    start = time.perf_counter()
                    summary = await run_sync(app, SyncOptions(), silent)
                    wall = time.perf_counter() - start
                    ideal = summary.requests * latency / _IN_FLIGHT
                    rows.append(_row(kind, latency, summary, wall, ideal))
                    ratios += [wall / ideal] if latency and kind == "first" else []
    about = f"{_ABOUT} The account has {products} products with {tests} tests each and 5 bugs per test on average."
    section = Section("Sync", about)
    head = ("run", "latency", "requests", "records", "wall", "records per second", "ideal", "wall / ideal")
    section.tables.append(table(head, rows))
    goal = "at most 1.5"
    section.targets.append(
        Target("first sync at 50 ms latency against ideal", goal, f"{ratios[0]:.2f}", ratios[0] <= 1.5)
    )
    return section


def _row(kind: str, latency: float, summary: SyncSummary, wall: float, ideal: float) -> list[str]:
    records = summary.records_new + summary.records_changed + summary.records_unchanged
    against = [f"{ideal:.2f} s", f"{wall / ideal:.2f}"] if ideal else ["", ""]
    found = [f"{latency * 1000:.0f} ms", str(summary.requests), f"{records:,}", f"{wall:.2f} s"]
    return [kind, *found, f"{records / wall:,.0f}", *against]


@asynccontextmanager
async def sandbox(products: int, tests: int, bugs: int) -> AsyncIterator[str]:
    """The address of a simulated account in a process of its own."""
    options = ["--port", "0", "--products", str(products), "--tests", str(tests), "--bugs", str(bugs)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "testio_mcp", "sandbox", *options, env=environment(), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        line = (await process.stderr.readline()).decode()
        found = re.search(r"http://\S+", line)
        assert found, line
        yield found[0]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _delay(url: str, seconds: float) -> None:
    """Let the simulated API answer so much later."""
    address = url.split("/customer")[0] + "/_sandbox/faults"
    urllib.request.urlopen(urllib.request.Request(address, method="DELETE")).close()
    if seconds:
        body = json.dumps({"kind": "latency", "ms": seconds * 1000}).encode()
        urllib.request.urlopen(urllib.request.Request(address, body, {"content-type": "application/json"})).close()
