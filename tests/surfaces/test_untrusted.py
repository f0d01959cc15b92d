"""Texts that try to steer a model, in every text of the account: whatever leaves the server is harmless."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolResult,
    PromptReference,
    ResourceTemplateReference,
    TextResourceContents,
    Tool,
    ToolAnnotations,
)

from testio_mcp.app import open_app, silent
from testio_mcp.operations.registry import operations
from testio_mcp.scrub import repair_text
from testio_mcp.settings import Settings
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_sandbox import Fault, Faults, Sandbox, World, serve_sandbox
from tests.surfaces.payloads import MARK, PAYLOADS, faults_of
from tests.surfaces.programs import HttpServer, http_server, stdio, text_of

pytestmark = pytest.mark.slow

_FENCE = re.compile(r"\[data ([0-9a-f]{8}): [^\n]*\n(.*)\n\[end \1\]", re.DOTALL)


@dataclass
class Steered:
    """A client of a server whose account is full of such texts, and ids of its records."""

    client: Client
    ids: dict[str, list[int]]


def hostile(canary: str) -> AbstractAsyncContextManager[Sandbox]:
    """An account with one record that cannot be read; the payloads are yet to be planted."""
    world = World(seed=4, products=2, tests_per_product=8, bugs_per_test=4)
    broken = Fault(
        "drop",
        r"products/\d+/exploratory_tests$",
        field="exploratory_tests.*.id",
        record_id=world.test_ids(world.product_ids[0])[2],
    )
    return serve_sandbox(world, token=canary, faults=Faults(broken))


def environment(path: Path, sandbox: Sandbox) -> dict[str, str]:
    return {
        "TESTIO_DB_PATH": str(path),
        "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
        "TESTIO_CUSTOMER_API_TOKEN": sandbox.token,
        "TESTIO_EXPORT_DIR": str(path.with_name("exports")),
    }


async def _synced(path: Path, canary: str) -> None:
    """Copy the account before and after somebody planted the texts, so that there are changes, too."""
    async with hostile(canary) as sandbox:
        settings = Settings(customer_api_base_url=sandbox.url, customer_api_token=sandbox.token, db_path=path)
        async with open_app(settings) as app:
            await run_sync(app, SyncOptions(), silent)
            sandbox.world.advance(days=2)
            sandbox.faults.add(Fault("plant", value=PAYLOADS))
            await run_sync(app, SyncOptions(full=True), silent)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, canary: str) -> Iterator[HttpServer]:
    """A server with every tool on a copy of that account."""
    folder = tmp_path_factory.mktemp("planted")
    asyncio.run(_synced(folder / "store.db", canary))
    own = {"TESTIO_DB_PATH": str(folder / "store.db"), "TESTIO_EXPORT_DIR": str(folder / "exports")}
    with http_server({**own, "TESTIO_TOOLSETS": "all"}, folder) as server:
        yield server


@asynccontextmanager
async def steered(server: HttpServer) -> AsyncIterator[Steered]:
    async with Client(f"{server.url}/mcp") as client:
        ids = {}
        for kind, lists in LISTS.items():
            answer = (await client.call_tool(lists, {"fields": "id"})).structured_content or {}
            ids[kind] = [item["id"] for item in answer["items"]]
            assert ids[kind], kind
        yield Steered(client, ids)


LISTS = {
    "product": "list_products",
    "test": "list_tests",
    "bug": "list_bugs",
    "feature": "list_features",
    "user_story": "list_user_stories",
    "person": "list_people",
}


def strings(value: Any) -> Iterator[str]:
    """Every text of a JSON value, names of fields included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def assert_clean(text: str) -> None:
    assert faults_of(text) == [], text[:300]


def assert_harmless(answer: CallToolResult) -> bool:
    """Check both forms of an answer; says whether a stranger's text was in it."""
    text = text_of(answer)
    assert_clean(text)
    for each in strings(answer.structured_content):
        assert_clean(each)
    if answer.is_error:
        assert MARK not in text
    assert MARK not in _FENCE.sub("", text)
    return MARK in text


async def pages(it: Steered, tool: str, arguments: dict[str, Any]) -> AsyncIterator[CallToolResult]:
    """All pages of a list, or the one answer of anything else."""
    for _ in range(20):
        answer = await it.client.call_tool(tool, arguments)
        yield answer
        cursor = (answer.structured_content or {}).get("next_cursor")
        if cursor is None or answer.is_error:
            return
        arguments = {**arguments, "cursor": cursor}


def hints(tool: Tool) -> ToolAnnotations:
    assert tool.annotations is not None
    return tool.annotations


def questions(it: Steered, tool: Tool) -> Iterator[dict[str, Any]]:
    """Arguments for every tool, from its schema; a required argument that nobody knows a value for is a mistake."""
    known: dict[str, Any] = {f"{kind}_id": ids[0] for kind, ids in it.ids.items()}
    known |= {"query": MARK, "metrics": "bug_count", "name": "report.json", "configuration_id": 12}
    if tool.name == "get":
        kinds = tool.input_schema["properties"]["kind"]["enum"]
        assert kinds == list(it.ids) or set(kinds) == set(it.ids)
        yield from ({"kind": kind, "id": number} for kind in kinds for number in it.ids[kind][:12])
        return
    required = {name: known[name] for name in tool.input_schema.get("required", ())}
    yield required
    if "product_ids" in tool.input_schema["properties"]:
        yield required | {"product_ids": it.ids["product"][:2]}
    for example in operations()[tool.name].examples:
        ids = known | {f"{name}s": [value] for name, value in known.items()}
        yield {name: ids.get(name, value) for name, value in example.items()} | required


async def test_every_question_is_answered_harmlessly(planted: HttpServer) -> None:
    answered, carried = set(), set()
    async with steered(planted) as it:
        tools = [tool for tool in (await it.client.list_tools()).tools if hints(tool).read_only_hint]
        for tool in tools:
            for arguments in questions(it, tool):
                async for answer in pages(it, tool.name, arguments):
                    carried |= {tool.name} if assert_harmless(answer) else set()
                    answered |= {tool.name} if not answer.is_error else set()
    assert answered == {tool.name for tool in tools}
    assert carried == {tool.name for tool in tools if hints(tool).open_world_hint}


async def test_actions_and_their_progress_are_harmless(tmp_path: Path, canary: str) -> None:
    told: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    async with hostile(canary) as sandbox:
        sandbox.faults.add(Fault("plant", value=PAYLOADS))
        async with stdio(environment(tmp_path / "s.db", sandbox), tmp_path, options=["--toolsets=all"]) as client:
            actions = [t.name for t in (await client.list_tools()).tools if not hints(t).read_only_hint]
            needed = {"save_report": {"name": "report.json"}}
            for name in sorted(actions, key=lambda name: name != "sync_data"):
                answer = await client.call_tool(name, needed.get(name, {}), progress_callback=note)
                assert not answer.is_error
                assert_harmless(answer)
            assert_harmless(await client.call_tool("sync_data", {"dry_run": True}))
    assert any(MARK in message for message in told)
    for message in told:
        assert_clean(message)


async def test_what_describes_the_server_holds_no_text_of_the_account(planted: HttpServer) -> None:
    async with steered(planted) as it:
        client = it.client
        described = [
            await client.list_tools(),
            await client.list_prompts(),
            await client.list_resources(),
            await client.list_resource_templates(),
        ]
        for listed in described:
            assert MARK not in listed.model_dump_json()
        assert MARK not in (client.instructions or "")


async def test_resources_prompts_and_completion_are_harmless(planted: HttpServer) -> None:
    async with steered(planted) as it:
        client = it.client
        for template in (await client.list_resource_templates()).resource_templates:
            for number in it.ids[template.name][:12]:
                uri = template.uri_template.replace("{id}", str(number))
                [content] = (await client.read_resource(uri)).contents
                assert isinstance(content, TextResourceContents)
                assert_clean(content.text)
                assert MARK not in _FENCE.sub("", content.text)
            ref = ResourceTemplateReference(uri=template.uri_template)
            assert (await client.complete(ref, {"name": "id", "value": ""})).completion.values
        names = await client.complete(PromptReference(name="weekly_digest"), {"name": "product", "value": ""})
        assert any(MARK in name for name in names.completion.values)
        for prompt in (await client.list_prompts()).prompts:
            for text in [*names.completion.values, *PAYLOADS[:10]]:
                result = await client.get_prompt(prompt.name, {"product": text})
                for each in strings(result.model_dump(mode="json")):
                    assert_clean(each)


async def test_errors_hold_no_text_of_the_account(planted: HttpServer) -> None:
    async with steered(planted) as it:
        for tool in (await it.client.list_tools()).tools:
            for name, about in tool.input_schema["properties"].items():
                wrong: Any = {"integer": "x", "boolean": "perhaps", "array": [{"a": 1}]}.get(about["type"], 7)
                known = next(questions(it, tool))
                assert_harmless(await it.client.call_tool(tool.name, {**known, name: wrong}))
        for kind in it.ids:
            answer = await it.client.call_tool("get", {"kind": kind, "id": 999_999_999})
            assert answer.is_error
            assert_harmless(answer)
        with pytest.raises(MCPError) as refused:
            await it.client.read_resource("testio://test/999999999")
        assert MARK not in json.dumps(refused.value.data) + refused.value.message


async def test_each_payload_is_in_the_store(planted: HttpServer) -> None:
    """The corpus does its work: each of its texts stands in the copy as it was sent."""
    async with aiosqlite.connect(planted.log.with_name("store.db")) as store:
        found = await store.execute_fetchall("SELECT title, steps, actual_result, expected_result, location FROM bug")
    stored = "\n".join(str(value) for row in found for value in row)
    assert [payload for payload in PAYLOADS if repair_text(payload) not in stored] == []
