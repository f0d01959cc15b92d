"""A sync that is killed at any point, against an API that answers a third of its requests badly."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.tables import metadata
from testio_sandbox import Fault, Faults, World, serve_sandbox
from tests.sync.conftest import contents
from tests.sync.killing import POINTS, RANDOM_KILLS, sync

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BAD_THIRD = (
    Fault("error", status=503, probability=0.1),
    Fault("rate_limit", retry_after="1", probability=0.08),
    Fault("truncate", probability=0.06),
    Fault("reset", probability=0.06),
    Fault("html", probability=0.05),
)


def _kept(conn: Connection) -> dict[str, list[tuple[object, ...]]]:
    """What is copied, and what the sync itself keeps about it: how far it is, what it misses, what changed."""
    found = contents(conn)
    for name in ("checkpoint", "dead_letter", "change_log", "drift"):
        columns = [column for column in metadata.tables[name].c if not column.name.endswith("_at")]
        found[name] = sorted(tuple(row) for row in conn.execute(select(*columns)))
    return found


async def _contents(store: Path) -> dict[str, list[tuple[object, ...]]]:
    async with PersistentCache(store) as cache:
        assert await cache.check() == []
        return await cache.read(_kept)


async def test_killed_again_and_again_it_ends_as_if_undisturbed(
    sqlite_file: Path, tmp_path: Path, canary: str
) -> None:
    undisturbed = tmp_path / "undisturbed.db"
    shutil.copy(sqlite_file, undisturbed)
    world = World(seed=9, products=1, tests_per_product=5, bugs_per_test=2)
    for _ in range(22):  # drafts fill a second page and cost no request of their own
        world.add_test(world.product_ids[0])
    faults = Faults(seed=4)
    async with serve_sandbox(world, token=canary, faults=faults) as sandbox:
        await sync(sandbox.url, canary, undisturbed)
        faults.add(*BAD_THIRD)
        command = (sys.executable, "-m", "tests.sync.killing", sandbox.url, canary, str(sqlite_file))
        killing = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        report = json.loads((await killing.communicate())[0])
        faults.clear()
        await sync(sandbox.url, canary, sqlite_file)

    assert report["points"] > len(POINTS) * 3
    assert report["random"] > RANDOM_KILLS / 2
    expected = await _contents(undisturbed)
    assert {table for table, rows in expected.items() if rows} > {"bug", "test", "execution", "test_metric"}
    assert await _contents(sqlite_file) == expected
