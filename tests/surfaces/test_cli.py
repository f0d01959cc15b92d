"""The command line, run as people and scripts run it."""

import asyncio
import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from testio_mcp import __version__
from testio_sandbox import Fault, World, serve_sandbox
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import PROGRAM, command, whole

pytestmark = pytest.mark.slow


async def on_terminal(environment: dict[str, str], *arguments: str, cwd: Path, width: int) -> str:
    """What a person sees on a terminal of that width."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *arguments,
        env=whole({**environment, "COLUMNS": str(width), "TERM": "xterm"}),
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
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
    return seen.decode()


async def test_version_and_help_need_no_settings(tmp_path: Path) -> None:
    broken = {"TESTIO_CUSTOMER_API_BASE_URL": "ftp://nowhere", "TESTIO_DB_PATH": "/proc/nowhere/s.db"}
    version = await command(broken, "--version", cwd=tmp_path)
    assert (version.code, version.out) == (0, f"testio-mcp {__version__}\n")
    shown = await command(broken, "--help", cwd=tmp_path)
    assert shown.code == 0
    for word in ("products", "tests", "sync", "status", "serve", "db", "sandbox", "demo"):
        assert f"\n  {word} " in shown.out
    assert "..." not in shown.out.replace("[ARGS]...", "")


async def test_piped_lists_are_tab_separated_and_talk_goes_to_stderr(synced: Copy, cli: Cli) -> None:
    ended = await cli(synced.environment, "tests", "list", "--limit", "2")
    head, *rows = (line.split("\t") for line in ended.out.splitlines())
    assert head[:3] == ["id", "title", "product_id"]
    assert [len(row) for row in rows] == [len(head)] * 2
    assert "as of" in ended.err
    assert "--cursor" in ended.err


async def test_the_total_alone_is_printed(synced: Copy, cli: Cli) -> None:
    ended = await cli(synced.environment, "tests", "list", "--total-only")
    assert "total: 120" in ended.out.splitlines()
    assert " of 120" not in ended.err


async def test_json_and_csv_hold_the_same_records(synced: Copy, cli: Cli) -> None:
    question = (
        "tests",
        "list",
        "--product",
        str(synced.product_id),
        "--status",
        "running,locked",
        "--status=archived",
    )
    as_json = await cli(synced.environment, *question, "--json")
    as_csv = await cli(synced.environment, *question, "--csv")
    items = json.loads(as_json.out)["items"]
    rows = list(csv.DictReader(io.StringIO(as_csv.out)))
    assert items
    assert [row["id"] for row in rows] == [str(item["id"]) for item in items]
    assert [row["bugs.total"] for row in rows] == [str(item["bugs"]["total"]) for item in items]
    assert {item["product_id"] for item in items} == {synced.product_id}


@pytest.mark.parametrize("width", [60, 80, 120])
async def test_a_table_keeps_to_the_terminals_width(synced: Copy, tmp_path: Path, width: int) -> None:
    seen = await on_terminal(synced.environment, "tests", "list", "--limit", "5", cwd=tmp_path, width=width)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen).splitlines()
    assert "title" in seen
    assert max(len(line) for line in lines) <= width
    assert sum(line[:6].strip().isdigit() for line in lines) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("frob",), "No such command 'frob'"),
        (("tests", "list", "--frob"), "No such option"),
        (("tests", "list", "--limit"), "requires an argument"),
        (("tests", "list", "--limit", "0"), "limit: "),
        (("tests", "list", "--end-from", "soon"), "end_from: "),
        (("tests", "show"), "Missing argument"),
        (("tests", "show", "x"), "test_id: "),
        (("serve", "--transport", "pigeon"), "pigeon"),
        (("tests",), "Usage: testio-mcp tests"),
    ],
)
async def test_misuse_is_explained_and_exits_with_2(
    synced: Copy, cli: Cli, arguments: tuple[str, ...], said: str
) -> None:
    ended = await cli(synced.environment, *arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert said in ended.err
    assert "Traceback" not in ended.err


async def test_the_reader_of_a_pipe_may_leave(synced: Copy, tmp_path: Path) -> None:
    line = f"{' '.join(PROGRAM)} tests list --limit 100 | head -n 1; echo ${{PIPESTATUS[0]}}"
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        line,
        env=whole(synced.environment),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert b"Traceback" not in err
    assert out.splitlines()[-1] == b"0"


async def test_sync_tells_what_it_did_and_repeats_nothing(tmp_path: Path, canary: str, cli: Cli) -> None:
    async with serve_sandbox(
        World(seed=2, products=1, tests_per_product=5, bugs_per_test=1), token=canary
    ) as sandbox:
        environment = {
            "TESTIO_DB_PATH": str(tmp_path / "s.db"),
            "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
            "TESTIO_CUSTOMER_API_TOKEN": canary,
        }
        first = await cli(environment, "sync")
        again = await cli(environment, "sync", "--json")
    assert first.code == again.code == 0
    assert "status: completed" in first.out
    assert "products: 1" in first.err
    assert json.loads(again.out)["records_new"] == 0
    assert canary not in first.out + first.err + again.out + again.err


async def test_records_left_behind_exit_with_3(tmp_path: Path, canary: str, cli: Cli) -> None:
    world = World(seed=2, products=1, tests_per_product=5, bugs_per_test=1)
    async with serve_sandbox(world, token=canary) as sandbox:
        sandbox.faults.add(Fault("retype", field="exploratory_tests.*.id", value="x"))
        environment = {
            "TESTIO_DB_PATH": str(tmp_path / "s.db"),
            "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
            "TESTIO_CUSTOMER_API_TOKEN": canary,
        }
        ended = await cli(environment, "sync", "--json")
    assert ended.code == 3
    summary = json.loads(ended.out)
    assert summary["status"] == "incomplete"
    assert summary["problems"] > 0


async def test_ctrl_c_is_quiet(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        "sandbox",
        "--port",
        "0",
        env=whole({}),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"Ctrl+C" not in await process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode in (0, 130)
    assert err == b""


async def test_the_store_is_looked_after(own_copy: Copy, cli: Cli) -> None:
    environment = own_copy.environment
    upgrade, check, backup, stats = [
        await cli(environment, "db", word) for word in ("upgrade", "check", "backup", "stats")
    ]
    assert [ended.code for ended in (upgrade, check, backup, stats)] == [0, 0, 0, 0]
    assert "revision" in upgrade.err
    assert "sound" in check.err
    copy = Path(backup.out.strip())
    assert copy.is_file()
    assert copy.stat().st_mode & 0o077 == 0
    assert "test\t120" in stats.out.splitlines()
    assert (await cli({"TESTIO_DB_PATH": str(copy)}, "tests", "list")).out


async def test_a_damaged_store_is_found(own_copy: Copy, cli: Cli) -> None:
    content = bytearray(own_copy.path.read_bytes())
    content[20_000:60_000] = bytes(40_000)
    own_copy.path.write_bytes(content)
    ended = await cli(own_copy.environment, "db", "check")
    assert ended.code == 1
    assert "damaged" in ended.err
    assert "Traceback" not in ended.err


PHASES = (
    r"^/products$",
    "features$",
    "/exploratory_tests$",
    "test_environments$",
    "test_templates$",
    "reject_reasons$",
    "^/bugs$",
    "user_story_version_executions$",
    r"/exploratory_tests/\d+$",
    "/results$",
)
BOTH = (signal.SIGINT, signal.SIGTERM)
SIGNALS = [(phase, BOTH[number % 2]) for number, phase in enumerate(PHASES)] + [("features$", signal.SIGINT)]


@pytest.mark.parametrize(("phase", "by"), SIGNALS)
async def test_a_signal_ends_a_sync_and_the_next_one_completes_it(
    tmp_path: Path, canary: str, cli: Cli, phase: str, by: signal.Signals
) -> None:
    """Whatever the sync waits for when the signal comes."""
    world = World(seed=5, products=1, tests_per_product=20, bugs_per_test=1)
    async with serve_sandbox(world, token=canary) as sandbox:
        environment = {
            "TESTIO_DB_PATH": str(tmp_path / "store.db"),
            "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
            "TESTIO_CUSTOMER_API_TOKEN": canary,
        }
        sandbox.faults.add(Fault("stall", phase))
        running = await asyncio.create_subprocess_exec(
            *PROGRAM, "sync", env=whole(environment), cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        while not any(re.search(phase, request.path) for request in sandbox.requests):
            assert running.returncode is None
            await asyncio.sleep(0.01)
        running.send_signal(by)
        out, err = await running.communicate()
        assert (running.returncode, out) == (130, b"")
        assert b"Traceback" not in err
        sandbox.faults.clear()

        assert (await cli(environment, "sync", "--status")).out.count("interrupted") == 1
        assert (await cli(environment, "sync")).code == 0
        truth = world.truth(world.product_ids[0])
        status = json.loads((await cli(environment, "status", "--json")).out)
        assert (status["tests"], status["bugs"], status["open_bugs"]) == (truth.tests, truth.bugs, truth.open_bugs)
        assert (await cli(environment, "db", "check")).code == 0


async def test_ctrl_c_again_and_again_ends_a_sync_at_once(tmp_path: Path, canary: str, cli: Cli) -> None:
    async with serve_sandbox(World(seed=3, products=1, tests_per_product=3), token=canary) as sandbox:
        environment = {
            "TESTIO_DB_PATH": str(tmp_path / "store.db"),
            "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
            "TESTIO_CUSTOMER_API_TOKEN": canary,
        }
        sandbox.faults.add(Fault("stall", "features"))
        for times in (2, 3, 3, 3, 4):
            sandbox.requests.clear()
            running = await asyncio.create_subprocess_exec(
                *PROGRAM, "sync", env=whole(environment), cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE
            )
            while not any(request.path.endswith("features") for request in sandbox.requests):
                assert running.returncode is None
                await asyncio.sleep(0.01)
            for _ in range(times):
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(running.pid, signal.SIGINT)
                await asyncio.sleep(0.002)
            async with asyncio.timeout(30):  # far below the minutes that the stalled request would be waited for
                out, _ = await running.communicate()
            # A signal may also meet the very last instructions, which then end by it.
            assert running.returncode in (130, -signal.SIGINT)
            assert out == b""
        sandbox.faults.clear()
        assert (await cli(environment, "sync")).code == 0
