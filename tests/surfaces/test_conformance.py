"""Programs that others wrote judge the server: the protocol's conformance suite and the inspector (`make judges`)."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.surfaces.conftest import Copy
from tests.surfaces.programs import HttpServer, http_server

pytestmark = [pytest.mark.judges, pytest.mark.timeout(600)]

EXPECTED = Path(__file__).parent / "judges"
SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
REVISIONS = ("2025-11-25", "2026-07-28")
PROGRAM = str(Path(sys.executable).with_name("testio-mcp"))
TOOL_FAILED = 5
# What a server with data of its own has to pass, of what both revisions ask.
OURS = {
    "completion-complete",
    "tools-list",
    "resources-list",
    "prompts-list",
    "dns-rebinding-protection",
    "server-sse-multiple-streams",
}
OURS_OF = {
    "2025-11-25": OURS | {"server-initialize", "ping", "server-session-lifecycle"},
    "2026-07-28": OURS | {"caching", "sep-2164-resource-not-found", "http-header-validation"},
}
FIXTURES = {"tools-call-image", "tools-call-with-progress", "resources-read-binary", "prompts-get-with-args"}
FIXTURES_OF = {
    "2025-11-25": FIXTURES | {"tools-call-sampling", "tools-call-elicitation", "elicitation-sep1330-enums"},
    "2026-07-28": FIXTURES | {"server-stateless", "input-required-result-tampered-state"},
}


def npx(package: str, *words: str) -> list[str]:
    """A program of the registry, on a Node that it runs on."""
    return ["npx", "-y", "-p", "node@22", "-p", package, "--", *words]


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TESTIO_")} | more


@pytest.fixture(scope="session")
def judges() -> None:
    """Both programs are there; without them the tests say what is missing."""
    if shutil.which("npx") is None:
        pytest.skip("npx is not installed: Node brings it")
    for package, words in (
        (SUITE, ("conformance", "--version")),
        (INSPECTOR, ("mcp-inspector", "--cli", "--version")),
    ):
        fetched = subprocess.run(npx(package, *words), capture_output=True, text=True, env=environment())
        if fetched.returncode:
            pytest.skip(f"npx cannot fetch {package}: {fetched.stderr.strip().splitlines()[-1:]}")


async def run(command: Sequence[str], cwd: Path, **more: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def judged(url: str, revision: str, server: str, folder: Path) -> set[str]:
    """Run what a revision of the protocol requires; returns the scenarios that passed."""
    expected = EXPECTED / f"{server}-{revision}.yml"
    words = ("conformance", "server", "--url", url, "--requirements", revision, "--expected-failures", str(expected))
    code, out, err = await run(npx(SUITE, *words), folder)
    assert code == 0, out[-4000:] + err[-2000:]
    return set(re.findall(r"^✓ ([a-z0-9-]+):", out, re.MULTILINE))


@pytest.mark.parametrize("revision", REVISIONS)
async def test_the_product_conforms(judges: None, server: HttpServer, tmp_path: Path, revision: str) -> None:
    assert OURS_OF[revision] <= await judged(f"{server.url}/mcp", revision, "product", tmp_path)
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def fixtures(synced: Copy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """The server with what the suite calls by name."""
    command = [sys.executable, "-m", "tests.surfaces.fixture_server"]
    more = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with http_server({**synced.environment, **more}, tmp_path_factory.mktemp("fixtures"), command=command) as running:
        yield running


@pytest.mark.parametrize("revision", REVISIONS)
async def test_what_the_suite_calls_by_name_conforms(
    judges: None, fixtures: HttpServer, tmp_path: Path, revision: str
) -> None:
    assert FIXTURES_OF[revision] <= await judged(f"{fixtures.url}/mcp", revision, "fixtures", tmp_path)
    assert "Traceback" not in fixtures.log.read_text()


async def inspected(target: Sequence[str], folder: Path, *options: str, **more: str) -> tuple[int, Any]:
    variables = [word for name, value in more.items() for word in ("-e", f"{name}={value}")]
    words = (
        "mcp-inspector",
        "--cli",
        "--format",
        "json",
        "--connect-timeout",
        "60000",
        *variables,
        *options,
        "--",
        *target,
    )
    code, out, err = await run(npx(INSPECTOR, *words), folder)
    return code, json.loads(out) if out else err


@pytest.mark.parametrize(("transport", "era"), [("stdio", "modern"), ("http", "legacy")])
async def test_the_inspector_is_content(
    judges: None, synced: Copy, server: HttpServer, tmp_path: Path, transport: str, era: str
) -> None:
    over_http: tuple[list[str], tuple[str, ...], dict[str, str]] = (
        [f"{server.url}/mcp"],
        ("--transport", "http", "--protocol-era", era),
        {},
    )
    over_pipe = ([PROGRAM, "--toolsets=all"], ("--protocol-era", era), {"TESTIO_DB_PATH": str(synced.path)})
    target, options, variables = over_http if transport == "http" else over_pipe

    async def asked(*words: str) -> tuple[int, Any]:
        return await inspected(target, tmp_path, *options, *words, **variables)

    calling = ("--method", "tools/call", "--tool-name")
    listed = await asked("--method", "tools/list", "--strict")
    tests = {"limit": 2, "statuses": "archived,locked"}
    called = await asked(*calling, "list_tests", "--tool-args-json", json.dumps(tests))
    failed = await asked(*calling, "get", "--tool-args-json", json.dumps({"kind": "test", "id": 1}))
    assert listed[0] == 0, listed
    assert "list_tests" in [tool["name"] for tool in listed[1]["result"]["tools"]]
    assert called[0] == 0, called
    assert len(called[1]["result"]["structuredContent"]["items"]) == 2
    assert failed[0] == TOOL_FAILED, failed
