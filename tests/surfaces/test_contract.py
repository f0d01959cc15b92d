"""One operation, every surface: the same question has the same answer over MCP, REST and the command line."""

import json
import re
from collections.abc import Container
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client

from testio_mcp.operations.registry import Operation, operations
from testio_mcp.surfaces.mcp.clean import cleaned
from testio_mcp.surfaces.mcp.plain import requested_columns, says_nothing
from testio_sandbox import World, serve_sandbox
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import HttpServer, http_server, rest, stdio, tool_call, words

QUESTIONS = [
    pytest.param(operation, dict(example), id=f"{operation.name}-{number}")
    for operation in operations().values()
    for number, example in enumerate(operation.examples)
    if operation.safety == "read"
]


def without_nothing(value: Any, requested: Container[str] = ()) -> Any:
    """The form of MCP's structured content, in which nothing is said by silence; a page says that it is empty.

    What was asked for of its records is there also when it is empty.
    """
    if isinstance(value, dict) and "items" in value:
        requested = requested_columns(value)
        items = [
            {key: item for key, item in record.items() if key in requested and item is None} | without_nothing(record)
            for record in value["items"]
        ]
        return without_nothing({key: item for key, item in value.items() if key != "items"}) | {"items": items}
    if isinstance(value, dict):
        kept = {key: without_nothing(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if key == "arguments" or not says_nothing(key, item)}
    return [without_nothing(item) for item in value] if isinstance(value, list) else value


def lasting(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what passes: its moment, the open sessions, and the addresses that REST gives to links."""
    passing = ("generated_at", "mcp_sessions")
    kept: dict[str, Any] = without_urls({name: value for name, value in answer.items() if name not in passing})
    return kept


def without_urls(value: Any) -> Any:
    """An answer without the addresses of its links."""
    if isinstance(value, dict):
        is_link = value.keys() == {"operation", "arguments", "url"}
        return {name: without_urls(item) for name, item in value.items() if not (is_link and name == "url")}
    return [without_urls(item) for item in value] if isinstance(value, list) else value


def test_every_operation_has_an_example_and_says_what_it_is_for() -> None:
    for operation in operations().values():
        assert operation.examples, operation.name
        assert re.fullmatch(r"[A-Z][^\n]*[.]", operation.summary), operation.name
        assert re.fullmatch(r"[a-z]+(_[a-z_]+)?", operation.name)
        assert (operation.method == "GET") == (operation.safety == "read")
        for name, field in operation.arguments.model_fields.items():
            assert field.description, f"{operation.name}.{name}"


@pytest.mark.parametrize(("operation", "example"), QUESTIONS)
async def test_questions_have_one_answer(
    operation: Operation, example: dict[str, Any], synced: Copy, server: HttpServer, web: httpx2.AsyncClient, cli: Cli
) -> None:
    known = synced.known | {f"{name}s": [value] for name, value in synced.known.items()}
    arguments = {name: known.get(name, value) for name, value in example.items()}
    over_rest = (await rest(web, operation, arguments)).json()
    async with Client(f"{server.url}/mcp") as client:
        over_mcp = (await client.call_tool(*tool_call(operation, arguments))).structured_content
    on_the_line = await cli(synced.environment, *words(operation, arguments), "--json")
    assert "error" not in over_rest
    assert lasting(over_mcp or {}) == without_nothing(cleaned(lasting(over_rest)))
    assert lasting(json.loads(on_the_line.out)) == lasting(over_rest)
    operation.result.model_validate(over_rest)


@pytest.mark.slow
async def test_an_action_does_the_same_everywhere(tmp_path: Path, canary: str, cli: Cli) -> None:
    operation = operations()["sync_data"]
    async with serve_sandbox(
        World(seed=2, products=2, tests_per_product=4, bugs_per_test=1), token=canary
    ) as sandbox:

        def environment(name: str) -> dict[str, str]:
            return {
                "TESTIO_DB_PATH": str(tmp_path / name / "store.db"),
                "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
                "TESTIO_CUSTOMER_API_TOKEN": canary,
            }

        steps: list[tuple[float, float | None, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            steps.append((progress, total, message))

        with http_server(environment("rest"), tmp_path) as server:
            async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as web:
                over_rest = (await rest(web, operation, {})).json()
        async with stdio(environment("mcp"), tmp_path) as client:
            answer = await client.call_tool("sync_data", {}, progress_callback=note)
        on_the_line = json.loads((await cli(environment("cli"), "sync", "--json")).out)
    over_mcp = answer.structured_content or {}
    same = ("status", "records_new", "records_changed", "records_unchanged", "requests", "problems")
    assert [over_rest[name] for name in same] == [over_mcp[name] for name in same]
    assert [over_rest[name] for name in same] == [on_the_line[name] for name in same]
    assert [step[0] for step in steps] == sorted({step[0] for step in steps})
    assert any("tests" in (message or "") for _, _, message in steps)
    assert all((tmp_path / name / "store.db").stat().st_mode & 0o077 == 0 for name in ("rest", "mcp", "cli"))
