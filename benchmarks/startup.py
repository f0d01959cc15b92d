"""From the start of a process to its answer to `initialize` on stdio, beside a bare server of the SDK."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import Series, ratio
from benchmarks.programs import BARE, PRODUCT, environment
from benchmarks.report import Section, Target, medians, spread, table, times

_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "benchmark", "version": "1"},
    },
}
_ABOUT = """\
A new process, `initialize` on its stdin, the answer on its stdout, in milliseconds. The bare server is the official
SDK's `MCPServer` with a name and nothing else. The two take turns; compiled modules (`.pyc`) exist."""


def measure(db: Path, folder: Path, rounds: int) -> Section:
    """Start both servers so many times."""
    programs = {"testio-mcp": PRODUCT, "bare SDK server": BARE}
    found = {name: Series() for name in programs}
    names = list(programs)
    for arguments in programs.values() if rounds > 1 else ():
        _started(arguments, db, folder)
    dice = random.Random(1)
    for _ in range(rounds):
        dice.shuffle(names)
        for name in names:
            found[name].rounds.append([_started(programs[name], db, folder)])
    section = Section("Start", _ABOUT)
    rows = ([name, spread(series), medians(series), str(rounds)] for name, series in found.items())
    section.tables.append(table(("program", "p50 / p95 / p99", "least to most", "starts"), rows))
    mine, bare = found["testio-mcp"], found["bare SDK server"]
    factor = ratio(mine, bare)
    section.targets.append(
        Target(
            "start to answered `initialize` against a bare SDK server", "at most 1.5", times(factor), factor[0] <= 1.5
        )
    )
    return section


def _started(arguments: tuple[str, ...], db: Path, folder: Path) -> float:
    """Seconds until a new process has answered."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(db),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(_INITIALIZE).encode() + b"\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    took = time.perf_counter() - start
    assert "result" in answer, answer
    process.stdin.close()
    process.stdout.close()
    process.wait(30)
    return took
