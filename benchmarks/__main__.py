"""`make bench`: measure everything and write docs/architecture/PERFORMANCE.md.

`--quick` goes through the same steps on small stores, to see that they work; its figures mean nothing and go to
`.bench/quick.md`, as do those of some parts alone (`--only`), unless `--output` names another file.
"""

import argparse
import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.machine import talk
from benchmarks.parts import FULL, PARTS, QUICK, Bench, Effort
from benchmarks.report import Section, page
from benchmarks.stores import store_with


async def measure(effort: Effort, parts: Sequence[str]) -> list[Section]:
    """Measure the named parts, and say on stderr which one is under way."""
    stores = {tests: await store_with(tests) for tests in effort.sizes}
    sections = []
    for part in parts:
        talk(part)
        with tempfile.TemporaryDirectory(dir=machine.CACHE) as folder:
            sections.append(await PARTS[part](Bench(effort, stores, Path(folder))))
    return sections


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small stores, few calls: a smoke run")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="measure some parts alone")
    parser.add_argument("--output", type=Path, help="where the page is written")
    given = parser.parse_args()
    for variable in [name for name in os.environ if name.startswith("TESTIO_")]:
        del os.environ[variable]
    logging.basicConfig(level=logging.ERROR)
    about = machine.described()
    start = time.perf_counter()
    sections = asyncio.run(measure(QUICK if given.quick else FULL, given.only or list(PARTS)))
    is_partial = given.quick or given.only
    output: Path = given.output or (machine.CACHE / "quick.md" if is_partial else machine.REPORT)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(about, sections, time.perf_counter() - start, quick=given.quick), encoding="utf-8")
    talk(f"written: {output}")


if __name__ == "__main__":
    main()
