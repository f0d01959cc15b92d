"""Ways to run a sync from the command line, and what they show."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testio_sandbox import Fault, Sandbox, World, serve_sandbox
from tests.surfaces.conftest import Cli
from tests.surfaces.programs import PROGRAM, whole

PRODUCTS = 30


@pytest.fixture
async def sandbox(canary: str) -> AsyncIterator[Sandbox]:
    """An account of more products than a terminal has lines."""
    async with serve_sandbox(World(seed=3, products=PRODUCTS, tests_per_product=2), token=canary) as sandbox:
        yield sandbox


@pytest.fixture
def environment(sandbox: Sandbox, tmp_path: Path, canary: str) -> dict[str, str]:
    """How a program is told to sync that account into a new store."""
    return {
        "TESTIO_DB_PATH": str(tmp_path / "store.db"),
        "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
        "TESTIO_CUSTOMER_API_TOKEN": canary,
    }


async def _seen(environment: dict[str, str], *arguments: str, cwd: Path, lines: int, width: int) -> str:
    """What a program writes to stderr when that is a terminal."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *arguments,
        env=whole({**environment, "COLUMNS": str(width), "LINES": str(lines), "TERM": "xterm"}),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    seen = bytearray()
    try:
        while part := await asyncio.get_running_loop().run_in_executor(None, os.read, ours, 65536):
            seen += part
    except OSError:
        pass  # Linux reports the other side's end as an error.
    finally:
        os.close(ours)
        await process.wait()
    assert process.returncode == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 200])
async def test_every_step_gets_its_bar_on_a_terminal_with_few_lines(
    sandbox: Sandbox, environment: dict[str, str], tmp_path: Path, width: int
) -> None:
    first, name = sandbox.world.product_ids[0], "A long name " * 18 + "\x1b[2J"
    sandbox.faults.add(Fault("retype", r"^/products$", field="products.*.name", value=name, record_id=first))
    seen = await _seen(environment, "sync", "--only", "tests,bugs", cwd=tmp_path, lines=12, width=width)
    seen = seen.partition("Alert")[0].replace("\r", "\n")
    assert max(map(len, seen.splitlines())) <= width
    assert "A long name" in seen
    assert "bugs of tests" in seen
    assert "\x1b" not in seen


@pytest.mark.slow
async def test_products_that_are_done_leave_the_bars_as_lines(environment: dict[str, str], tmp_path: Path) -> None:
    seen = await _seen(environment, "sync", "--only", "tests,bugs", cwd=tmp_path, lines=12, width=100)
    left = [line for line in seen.replace("\r", "\n").splitlines() if re.fullmatch(r".* tests: 2 *", line)]
    assert PRODUCTS >= len(set(left)) >= PRODUCTS - 12


async def test_piped_each_step_is_one_line_when_it_ends(environment: dict[str, str], cli: Cli) -> None:
    ended = await cli(environment, "sync", "--only", "features,tests,bugs,executions", "--json")
    steps = [line for line in ended.err.splitlines() if not line.startswith("Alert")]
    assert len(set(steps)) == len(steps)
    place = {re.sub(r": \d+$", "", line): number for number, line in enumerate(steps)}
    products = [what for what in place if what.endswith(" tests") and what != "bugs of tests"]
    assert len(products) == PRODUCTS
    assert max(place[what] for what in products) < place["bugs of tests"]
    assert json.loads(ended.out)["status"] == "completed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--watch --status", "--watch and --status exclude each other."),
        ("--watch --dry-run", "--watch and --dry-run exclude each other."),
        ("--status --full", "--status and --full exclude each other."),
        ("--status --dry-run", "--status and --dry-run exclude each other."),
        ("--status --products 1", "--status and --product-ids exclude each other."),
        ("--json --csv", "--json and --csv exclude each other."),
        ("--since 2999-01-01", "since: 2999-01-01 has not come yet."),
        ("--since 2999-01-01 --dry-run", "since: 2999-01-01 has not come yet."),
        ("--only products", "only: "),
    ],
)
async def test_what_makes_no_sense_is_one_clear_line(
    sandbox: Sandbox, environment: dict[str, str], cli: Cli, arguments: str, said: str
) -> None:
    ended = await cli(environment, "sync", *arguments.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(said)
    assert len(ended.err.splitlines()) == 1
    assert sandbox.requests == []


@pytest.mark.slow
async def test_watch_syncs_shows_each_run_and_ends_with_a_signal(
    environment: dict[str, str], tmp_path: Path, cli: Cli
) -> None:
    watching = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *("sync", "--watch", "--only", "tests", "--json"),
        env=whole(environment),
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert watching.stdout is not None
    shown = b""
    while not shown.endswith(b"\n}\n"):
        shown += await watching.stdout.readline()
    assert json.loads(shown)["status"] == "completed"
    watching.send_signal(signal.SIGINT)
    rest, _ = await watching.communicate()
    assert (watching.returncode, rest) == (130, b"")
    assert json.loads((await cli(environment, "sync", "--status", "--json")).out)["last_run"]["status"] == "completed"


@pytest.mark.parametrize(
    ("given", "arguments", "code"),
    [({"TESTIO_CUSTOMER_API_TOKEN": "wrong"}, [], 1), ({"TESTIO_CUSTOMER_API_TOKEN": ""}, [], 1), ({}, ["1"], 1)],
)
async def test_watch_does_not_repeat_what_cannot_succeed(
    environment: dict[str, str], cli: Cli, given: dict[str, str], arguments: list[str], code: int
) -> None:
    ended = await cli({**environment, **given}, "sync", "--watch", *(f"--products={word}" for word in arguments))
    assert (ended.code, ended.out) == (code, "")
