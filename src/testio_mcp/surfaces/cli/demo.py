"""`testio-mcp demo`: the product's whole way, from a simulated account to the answers an assistant gets."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from testio_mcp.errors import BadInput
from testio_mcp.surfaces.account import importing, registry
from testio_mcp.surfaces.cli.terminal import progress, show_record

if TYPE_CHECKING:
    from testio_sandbox import World

_LONGEST = 160
_ROWS = 4


def make_world(seed: int = 1, products: int = 6, tests: int = 30, bugs: float = 4) -> "World":
    """Make a simulated account with `tests` a product and `bugs` a test.

    Raises `BadInput` when the demo extra is not installed.
    """
    from testio_sandbox import MissingWordListsError, World

    try:
        return World(seed=seed, products=products, tests_per_product=tests, bugs_per_test=bugs)
    except MissingWordListsError as missing:
        raise BadInput(
            "The simulated account needs the demo extra.", "Install it with: pip install 'testio-mcp[demo]'"
        ) from missing


async def show_demo(db: Path | None) -> None:
    """Serve a simulated account, sync it, ask about it over MCP, and say how to go on.

    `db` keeps the store; without it everything is gone afterwards.
    """
    with importing():
        from testio_sandbox import serve_sandbox
    console = Console(width=None if sys.stdout.isatty() else 120)
    with ExitStack() as kept:
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="testio-demo-")))
        path = (db or folder / "demo.db").resolve()
        async with serve_sandbox(make_world(seed=1)) as sandbox:
            _step(console, 1, f"A simulated Test IO account, served on {sandbox.url}")
            _step(console, 2, f"Copied into {path}")
            await _sync(console, sandbox.url, sandbox.token, path)
            _step(console, 3, "Asked over MCP, the way an assistant asks (a new process, JSON-RPC on stdio)")
            await _ask(console, _environment(sandbox.url, sandbox.token, path), folder)
    _say_how_to_go_on(console, db)


def _step(console: Console, number: int, what: str) -> None:
    console.print(Text(f"\n{number}. {what}", style="bold cyan"), soft_wrap=True)


async def _sync(console: Console, url: str, token: str, path: Path) -> None:
    with importing():
        from testio_mcp.app import open_app
        from testio_mcp.settings import load_settings
    settings = load_settings(
        customer_api_base_url=url,
        customer_api_token=token,
        db_path=path,
        database_url=None,
        proxy=None,
        skip_migrations=False,
    )
    async with open_app(settings) as app, progress() as report:
        summary = (await registry()["sync_data"].run(app, {}, report)).model_dump()
    seconds = (summary["finished_at"] - summary["started_at"]).total_seconds()
    console.print(f"   {summary['records_new']} records in {seconds:.1f} s, {summary['requests']} requests.")


def _environment(url: str, token: str, path: Path) -> dict[str, str]:
    """The server's environment: the demo's own settings, and none of the user's files."""
    python = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
    return python | {
        "TESTIO_CUSTOMER_API_BASE_URL": url,
        "TESTIO_CUSTOMER_API_TOKEN": token,
        "TESTIO_DB_PATH": str(path),
        "TESTIO_ENV_FILE": os.devnull,
    }


async def _ask(console: Console, environment: dict[str, str], folder: Path) -> None:
    with importing():
        from mcp.client import Client
        from mcp.client.stdio import StdioServerParameters
    server = StdioServerParameters(command=sys.executable, args=["-m", "testio_mcp"], env=environment, cwd=folder)
    async with Client(server) as client:

        async def ask(question: str, tool: str, **arguments: object) -> dict[str, Any]:
            result = await client.call_tool(tool, arguments)
            answer = dict(result.structured_content or {})
            console.print(Text.assemble("\n   ", (question, "bold"), (f"  {tool} {json.dumps(arguments)}", "dim")))
            show_record(console, _brief(answer), indent=3)
            return answer

        await ask("What do we test?", "list_products")
        running = await ask("Which tests are running?", "list_tests", statuses=["running"], limit=_ROWS)
        recent = running["items"] or (await ask("Which tests were there?", "list_tests", limit=_ROWS))["items"]
        if recent:
            await ask("How is the first of them going?", "get", kind="test", id=recent[0]["id"])
        await ask("How fresh is all this?", "get_status")


def _brief(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer short enough for a demo: the beginning of long texts, a few rows of inner lists."""
    brief: dict[str, Any] = {}
    for name, value in answer.items():
        if isinstance(value, str) and len(value) > _LONGEST:
            brief[name] = value[:_LONGEST].rsplit(" ", 1)[0] + " …"
        elif isinstance(value, list) and name != "items" and len(value) > _ROWS:
            brief[f"{name} (first {_ROWS} of {len(value)})"] = value[:_ROWS]
        else:
            brief[name] = value
    return brief


def _say_how_to_go_on(console: Console, db: Path | None) -> None:
    server = {
        "command": sys.executable,
        "args": ["-P", "-m", "testio_mcp"],
        "env": {"TESTIO_CUSTOMER_API_TOKEN": "your token (Test IO: Settings > API tokens)"},
    }
    _step(console, 4, "Your own account, in Claude Desktop, Cursor or any other MCP client: paste")
    console.print(json.dumps({"mcpServers": {"testio": server}}, indent=2), markup=False, soft_wrap=True)
    console.print(
        "   then ask it to sync, or run 'testio-mcp sync' with TESTIO_CUSTOMER_API_TOKEN set.", soft_wrap=True
    )
    if db is not None:
        console.print(f"   The demo's store is kept: TESTIO_DB_PATH={db} testio-mcp tests list", soft_wrap=True)
