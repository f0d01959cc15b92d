"""The demo: what a newcomer sees first."""

import asyncio
import signal
import subprocess
from pathlib import Path

import pytest

from tests.surfaces.conftest import Cli
from tests.surfaces.programs import PROGRAM, command, whole

pytestmark = pytest.mark.slow


async def test_the_demo_shows_the_whole_way_and_leaves_but_the_store(tmp_path: Path, cli: Cli) -> None:
    elsewhere = {"TMPDIR": str(tmp_path), "TESTIO_DATABASE_URL": "postgresql+asyncpg://nowhere.invalid/x"}
    store = tmp_path / "kept" / "demo.db"
    ended = await command(elsewhere, "demo", "--db", str(store), cwd=tmp_path)
    assert ended.code == 0, ended.err
    for said in (
        "Which tests are running?",
        "list_tests",
        'get {"kind": "test"',
        "mcpServers",
        "TESTIO_CUSTOMER_API_TOKEN",
    ):
        assert said in ended.out
    assert "Traceback" not in ended.err
    assert "went wrong" not in ended.out
    assert list(tmp_path.iterdir()) == [store.parent]
    listed = await cli({"TESTIO_DB_PATH": str(store)}, "products", "list")
    assert len(listed.out.splitlines()) == 7


async def test_an_interrupted_demo_ends_quietly(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        "demo",
        env=whole({"TMPDIR": str(tmp_path)}),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    while b"Copied into" not in await process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        _, err = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert list(tmp_path.iterdir()) == []
