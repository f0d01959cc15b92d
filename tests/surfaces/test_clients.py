"""Clients that others wrote list the tools and call five of them; each gets what the SDK's own client gets."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, get_default_environment
from mcp.types import TextContent

from tests.surfaces.conftest import Copy
from tests.surfaces.programs import PROGRAM, HttpServer, stdio, whole

pytestmark = [pytest.mark.judges, pytest.mark.timeout(600)]

CLIENTS = Path(__file__).parent / "clients"
PACKAGES = {
    "langchain": ["langchain-mcp-adapters==0.3.2"],
    "pydantic_agent": ["pydantic-ai-slim[mcp]==2.68.0"],
    "openai_agent": ["openai-agents==0.24.0"],
    "mcp_proxy": ["mcp-proxy==0.13.0"],
}
TYPESCRIPT = "@modelcontextprotocol/sdk@1.32.2"
REMOTE = "mcp-remote@0.15.1"
Call = tuple[str, dict[str, Any]]


def calls_about(copy: Copy) -> list[Call]:
    return [
        ("list_products", {}),
        ("list_tests", {"product_id": copy.product_id, "limit": 3}),
        ("list_bugs", {"product_id": copy.product_id, "levels": ["high", "critical"], "limit": 3}),
        ("get", {"kind": "bug", "id": copy.bug_id}),
        ("query_metrics", {"metrics": ["bug_count"], "by": ["severity"]}),
    ]


def make_environment(folder: Path, packages: Sequence[str]) -> Path:
    """A Python with these packages. Skips, with the reason, where the registry does not give them."""
    made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "-qq", "--no-input", "--disable-pip-version-check", "install", *packages]
    installed = subprocess.run(pip, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"pip cannot fetch {packages}: {installed.stderr.strip().splitlines()[-1:]}")
    return python


async def run_client(command: Sequence[str | Path], plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *command, json.dumps(plan), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-4000:]
    answer: dict[str, Any] = json.loads(out)
    return answer


@dataclass(frozen=True)
class Answer:
    """An answer of a tool in both of its forms."""

    text: str
    data: dict[str, Any]

    def is_the_same_as(self, other: str) -> bool:
        """Whether a client gave this to its model, as text or as data."""
        if other.startswith("{"):
            return bool(json.loads(other) == self.data)
        return without_marks(other) == without_marks(self.text)


def without_marks(text: str) -> str:
    """A text without the number that fences words of others; each answer has another."""
    return re.sub(r"\[(data|end) [0-9a-f]{8}", r"[\1", text)


async def ask(client: Client, calls: Sequence[Call]) -> tuple[list[str], list[Answer]]:
    """The names of the tools and the answers."""
    listed = await client.list_tools()
    answers = []
    for name, arguments in calls:
        result = await client.call_tool(name, arguments)
        [content] = result.content
        assert isinstance(content, TextContent)
        assert not result.is_error, content.text
        answers.append(Answer(content.text, result.structured_content or {}))
    return sorted(tool.name for tool in listed.tools), answers


def assert_same(answer: dict[str, Any], tools: Sequence[str], expected: Sequence[Answer]) -> None:
    assert answer["tools"] == tools
    assert len(answer["answers"]) == len(expected)
    for found, wanted in zip(answer["answers"], expected, strict=True):
        assert wanted.is_the_same_as(found), (found, wanted)


@pytest.mark.parametrize("client", ["langchain", "pydantic_agent", "openai_agent"])
async def test_a_client_in_python_gets_the_same(synced: Copy, tmp_path: Path, client: str) -> None:
    calls = calls_about(synced)
    async with stdio(synced.environment, tmp_path) as ours:
        tools, expected = await ask(ours, calls)
    python = make_environment(tmp_path / "venv", PACKAGES[client])
    plan = {"command": PROGRAM, "env": whole(synced.environment), "cwd": str(tmp_path), "calls": calls}

    answer = await run_client([python, CLIENTS / f"{client}.py"], plan, tmp_path)

    assert_same(answer, tools, expected)
    # A tool without arguments has nothing to be strict about.
    assert set(answer.get("loose", [])) <= {"get_status"}


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_the_typescript_sdk_gets_the_same(
    synced: Copy, server: HttpServer, tmp_path: Path, transport: str
) -> None:
    fetch_with_npm(tmp_path, TYPESCRIPT)
    shutil.copy(CLIENTS / "typescript.mjs", tmp_path)
    calls = calls_about(synced)
    plan: dict[str, Any] = {
        "calls": calls,
        "command": PROGRAM,
        "env": whole(synced.environment),
        "cwd": str(tmp_path),
    }
    if transport == "http":
        plan["url"] = f"{server.url}/mcp"
    connection = Client(plan["url"]) if transport == "http" else stdio(synced.environment, tmp_path)
    async with connection as ours:
        tools, expected = await ask(ours, calls)

    answer = await run_client(["node", "typescript.mjs"], plan, tmp_path)

    assert_same(answer, tools, expected)


@pytest.mark.parametrize("bridge", ["mcp-proxy", "mcp-remote"])
async def test_a_bridge_to_http_passes_everything_on(
    synced: Copy, server: HttpServer, tmp_path: Path, bridge: str
) -> None:
    url = f"{server.url}/mcp"
    if bridge == "mcp-proxy":
        python = make_environment(tmp_path / "venv", PACKAGES["mcp_proxy"])
        command = [str(python.with_name("mcp-proxy")), "--transport", "streamablehttp", url]
    else:
        fetch_with_npm(tmp_path, REMOTE)
        command = [str(tmp_path / "node_modules" / ".bin" / "mcp-remote"), url, "--allow-http"]
    calls = calls_about(synced)
    async with Client(url) as ours:
        tools, expected = await ask(ours, calls)
    environment = get_default_environment() | {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    target = StdioServerParameters(command=command[0], args=command[1:], env=environment, cwd=tmp_path)

    async with Client(target, mode="legacy") as client:
        found, answers = await ask(client, calls)

    assert_same({"tools": found, "answers": [each.text for each in answers]}, tools, expected)


def fetch_with_npm(folder: Path, package: str) -> None:
    """Install a package beside what runs it. Skips, with the reason, where it cannot be had."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: Node brings it")
    words = ["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", str(folder), package]
    installed = subprocess.run(words, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"npm cannot fetch {package}: {installed.stderr.strip().splitlines()[-1:]}")
