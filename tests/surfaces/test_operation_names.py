"""No text of any configuration names a tool, a prompt or a resource that this configuration lacks."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, get_args

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent

from testio_mcp.errors import TestioError
from testio_mcp.operations.registry import Operation, Toolset, operations
from testio_mcp.settings import ToolSettings
from testio_mcp.surfaces.account import Account
from testio_mcp.surfaces.mcp.recipes import RECIPES
from testio_mcp.surfaces.mcp.server import TestioServer
from testio_mcp.surfaces.mcp.tools import Toolbox
from testio_mcp.surfaces.operation_names import in_commands, in_plain_words, in_routes, with_names
from tests.surfaces.conftest import Copy
from tests.surfaces.programs import tool_call

CONFIGURATIONS: list[dict[str, Any]] = [
    {},
    {"toolsets": "default", "read_only": True},
    {"toolsets": "all"},
    {"toolsets": "all", "read_only": True},
    {"toolsets": "all", "exclude_tools": "get"},
    *({"toolsets": name} for name in get_args(Toolset)),
    *({"tools": name} for name in operations()),
    *({"toolsets": "all", "exclude_tools": name} for name in operations()),
]
WRONG: dict[str, list[object]] = {
    "integer": [10**9, "x", 2**64, -1],
    "string": ["\u0000", "no such word", "last qarter"],
    "array": [["no such word"], [10**9], ["product=1"], ["section=x"], [True]],
    "boolean": ["perhaps"],
}


@pytest.fixture
async def account(synced: Copy) -> AsyncIterator[Account]:
    """An account that answers from the synced store, opened once for all servers of a test."""
    account = Account(db_path=synced.path)
    yield account
    await account.close()


def box(configuration: Mapping[str, Any]) -> Toolbox:
    return Toolbox(ToolSettings(**configuration)) if configuration else Toolbox()


def words_of(value: object) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from words_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from words_of(item)


def assert_all_there(text: str, toolbox: Toolbox, prompts: set[str], resources: set[str]) -> None:
    """Each word that is the name of an operation, a prompt or a resource is one of this configuration."""
    unquoted = re.sub(r"'[^' ]*'", "", text)
    for word in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", unquoted):
        assert word not in operations() or word in toolbox.tools, text
        assert word not in RECIPES or word in prompts, text
    for kind in re.findall(r"\bget with kind (\w+)", unquoted):
        assert kind in toolbox.kinds, text
    assert "get" in toolbox.tools or not re.search(r"\bget (tells|with|\{)", unquoted), text
    for uri in re.findall(r"testio://[a-z]+(?:/\{id\})?", unquoted):
        assert uri in resources, text
    for name in ("search", "readiness"):
        assert (
            not re.search(rf"`{name}`|\b{name} (finds|shows|tells|has|says)\b", unquoted) or name in toolbox.tools
        ), text


async def texts_of(server: TestioServer) -> list[str]:
    """What a client reads before it asks anything."""
    found = [server.instructions or ""]
    for tool in await server.list_tools():
        found += words_of(tool.model_dump(mode="json", exclude={"name"}))
    for prompt in await server.list_prompts():
        found += words_of(prompt.model_dump(mode="json", exclude={"name"}))
        for slot in RECIPES[prompt.name].slots:
            for choice in slot.words or ("",):
                filled = {"product": "Shop"} | ({slot.name: choice} if choice else {})
                arguments = {name: value for name, value in filled.items() if name in _slots(prompt.name)}
                [message] = (await server.get_prompt(prompt.name, arguments)).messages
                assert isinstance(message.content, TextContent)
                found.append(message.content.text)
    for resource in await server.list_resources():
        found += words_of(resource.model_dump(mode="json", exclude={"name", "uri"}))
        found += [str(content.content) for content in await server.read_resource(resource.uri)]
    for template in await server.list_resource_templates():
        found += words_of(template.model_dump(mode="json", exclude={"name"}))
    return found


def _slots(prompt: str) -> set[str]:
    return {slot.name for slot in RECIPES[prompt].slots}


async def names(server: TestioServer) -> tuple[set[str], set[str]]:
    """The prompts and the resources that a server offers."""
    prompts = {prompt.name for prompt in await server.list_prompts()}
    resources = {str(resource.uri) for resource in await server.list_resources()}
    return prompts, resources | {each.uri_template for each in await server.list_resource_templates()}


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=json.dumps)
async def test_what_is_told_beforehand_names_nothing_that_is_not_there(
    configuration: dict[str, Any], account: Account
) -> None:
    toolbox = box(configuration)
    server = TestioServer(account, toolbox)
    there = await names(server)
    for text in await texts_of(server):
        assert_all_there(text, toolbox, *there)


def wrong_calls(operation: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls of an operation's tool that are wrong in one argument each, and right in those that it needs."""
    schema = operation.input_schema
    right = dict(next(iter(operation.examples), {}))
    if operation.safety == "read":
        for name, about in schema["properties"].items():
            for value in [*WRONG[about["type"]], ["no such word"]]:
                yield (
                    tool_call(operation, right | {name: value})
                    if not operation.about
                    else (
                        "get",
                        {"kind": operation.about, "id": value},
                    )
                )
    yield operation.name, {"no_such_argument": 1}
    yield operation.name, {}


@pytest.mark.parametrize(
    "configuration", [each for each in CONFIGURATIONS if "exclude_tools" not in each], ids=json.dumps
)
async def test_errors_name_nothing_that_is_not_there(configuration: dict[str, Any], account: Account) -> None:
    toolbox = box(configuration)
    server = TestioServer(account, toolbox)
    there = await names(server)
    errors = 0
    calls = [call for operation in toolbox.operations.values() for call in wrong_calls(operation)]
    others: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in operations() if name not in toolbox.tools]
    for name, arguments in [*calls, *others, ("get", {"kind": "pigeon", "id": 1}), ("no_such_tool", {})]:
        answer = await server.call_tool(name, arguments)
        assert isinstance(answer, CallToolResult)
        if answer.is_error:
            errors += 1
            [content] = answer.content
            assert isinstance(content, TextContent)
            assert_all_there(content.text, toolbox, *there)
    assert errors >= len(toolbox.operations)
    for uri in ("testio://nothing", "testio://bug/0", "testio://bug/999", "testio://test/999", "nothing"):
        with pytest.raises(MCPError) as refused:
            await server.read_resource(uri)
        assert_all_there(refused.value.message, toolbox, *there)
    with pytest.raises(MCPError) as refused:
        await server.get_prompt("no_such_prompt")
    assert_all_there(refused.value.message, toolbox, *there)


def test_a_name_is_what_the_surface_calls_it() -> None:
    rest = " 'list_tests' is quoted, list_testz is none."
    text = f"list_tests shows the ids; `search` finds words. get_bug has more.{rest}"
    few = box({"tools": "list_bugs,get_bug"})
    assert few.in_tools(text) == (
        f"The list of tests shows the ids; the search of texts finds words. get with kind bug has more.{rest}"
    )
    assert box({}).in_tools(text) == (
        f"list_tests shows the ids; search finds words. get with kind bug has more.{rest}"
    )
    assert in_commands(text) == f"'tests list' shows the ids; 'search' finds words. 'bugs show' has more.{rest}"
    assert in_routes(text) == (
        f"GET /api/tests shows the ids; GET /api/search finds words. GET /api/bugs/{{bug_id}} has more.{rest}"
    )
    error = TestioError("Test 1 is not in the store.", "list_tests shows the ids.")
    assert few.of_error(error) == "Test 1 is not in the store. The list of tests (not offered here) shows the ids."


def test_every_operation_has_a_name_in_plain_words() -> None:
    for name in operations():
        assert with_names(f"`{name}`", lambda _: None) != f"`{name}`"
        assert name not in in_plain_words(name) or name == "search"
