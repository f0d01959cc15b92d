"""Where a token could be seen from outside: the list of processes, what a crash leaves, and a traceback in a log."""

import asyncio
import os
import resource
import signal
import sys
from pathlib import Path

import pytest

from tests.surfaces.conftest import Copy
from tests.surfaces.programs import PROGRAM, command, http_server

pytestmark = pytest.mark.slow

_CRASH = """
import sys
from testio_mcp.surfaces import account
def fail(*_, **__):
    token = __import__("os").environ["TESTIO_CUSTOMER_API_TOKEN"]
    raise RuntimeError(f"Token {token} is refused")
account.open_app = fail
import testio_mcp.app
testio_mcp.app.open_app = fail
from testio_mcp.__main__ import main
sys.argv[1:] = sys.argv[1:] or ["tests", "list"]
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_neither_the_list_of_processes_nor_a_crash_shows_the_token(
    own_copy: Copy, tmp_path: Path, canary: str
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        environment = {**own_copy.environment, "TESTIO_CUSTOMER_API_TOKEN": canary}
        with http_server(environment, tmp_path) as server:
            seen = Path(f"/proc/{server.process.pid}")
            words = (seen / "cmdline").read_bytes().decode().split("\0")
            limits = (seen / "limits").read_text().splitlines()
            assert server.stop(signal.SIGABRT) == -signal.SIGABRT
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    assert "serve" in words
    assert canary not in " ".join(words)
    assert [line.split()[4] for line in limits if line.startswith("Max core file size")] == ["0"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("core")] == []


@pytest.mark.parametrize("level", ["DEBUG", "WARNING"])
async def test_a_traceback_in_a_log_shows_neither_the_token_nor_locals(
    own_copy: Copy, tmp_path: Path, canary: str, level: str
) -> None:
    program = tmp_path / "crash.py"
    program.write_text(_CRASH)
    given = {**own_copy.environment, "TESTIO_CUSTOMER_API_TOKEN": canary, "TESTIO_LOG_LEVEL": level}
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM[0], str(program), "tests", "list"),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **given},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = (each.decode() for each in await process.communicate())
    assert process.returncode == 1
    assert "RuntimeError" in err
    assert ("Token *** is refused" in err) == (level == "DEBUG")
    assert canary not in out + err
    assert (await command(given, "tests", "list", cwd=tmp_path)).code == 0
