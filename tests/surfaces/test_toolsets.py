"""Which tools a server has: chosen when it starts, by options and environment, and never more than asked for."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from mcp.client import Client

from testio_mcp.errors import BadInput
from testio_mcp.operations.registry import operations
from testio_mcp.settings import ToolSettings
from testio_mcp.surfaces.mcp.tools import Toolbox
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import command, http_server, stdio, text_of

USUAL = [name for name, operation in operations().items() if operation.by_default and not operation.about]
KINDS = [operation.about for operation in operations().values() if operation.about]


def box(**settings: object) -> Toolbox:
    return Toolbox(ToolSettings(**settings))


def in_order(names: set[str]) -> list[str]:
    return [name for name in operations() if name in names]


def test_without_configuration_the_usual_tools_and_get_are_there() -> None:
    tools = list(Toolbox().tools)
    assert [name for name in tools if name != "get"] == USUAL
    assert list(Toolbox().tools) == list(box().tools) == list(box(toolsets="default").tools)
    assert Toolbox().tools["get"].input_schema["properties"]["kind"]["enum"] == KINDS


def test_all_reaches_every_operation() -> None:
    everything = box(toolsets="all")
    assert list(everything.operations) == list(operations())
    for name, operation in operations().items():
        arguments = {"kind": operation.about, "id": 1} if operation.about else {}
        assert everything.resolve_call("get" if operation.about else name, arguments)[0] is operation


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"toolsets": "sync"}, {name for name, op in operations().items() if op.toolset == "sync"}),
        (
            {"toolsets": " sync , catalog,"},
            {n for n, op in operations().items() if op.toolset in ("sync", "catalog")},
        ),
        ({"tools": "list_tests"}, {"list_tests"}),
        ({"tools": "list_tests,get_test"}, {"list_tests", "get_test"}),
        ({"tools": "get"}, {name for name, op in operations().items() if op.about}),
        ({"toolsets": "sync", "tools": "list_tests", "exclude_tools": "sync_data,get_status"}, None),
        ({"toolsets": "all", "read_only": True}, {n for n, op in operations().items() if op.safety == "read"}),
        ({"tools": "sync_data,get_status", "read_only": True}, {"get_status"}),
        ({"exclude_tools": "get", "toolsets": "all"}, {name for name, op in operations().items() if not op.about}),
    ],
)
def test_settings_choose(settings: dict[str, object], kept: set[str] | None) -> None:
    if kept is None:
        kept = {name for name, op in operations().items() if op.toolset == "sync"}
        kept = kept - {"sync_data", "get_status"} | {"list_tests"}
    assert list(box(**settings).operations) == in_order(kept)


def test_get_takes_the_kinds_that_are_chosen_and_no_others() -> None:
    few = box(tools="get_test,list_products")
    assert few.tools["get"].input_schema["properties"]["kind"] == {
        "enum": ["test"],
        "type": "string",
    }
    assert list(few.tools) == ["list_products", "get"]
    with pytest.raises(BadInput, match=r"^kind: \"product\" is not one of its words\. kind takes any of: test\.$"):
        few.resolve_call("get", {"kind": "product", "id": 1})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"toolsets": "catalog,frob"},
            "TESTIO_TOOLSETS: there is no 'frob'. It takes any of: 'all', 'default', 'catalog',",
        ),
        ({"tools": "list_bugz"}, "TESTIO_TOOLS: there is no 'list_bugz'. It takes any of: 'list_products',"),
        ({"exclude_tools": "x"}, "TESTIO_EXCLUDE_TOOLS: there is no 'x'. It takes any of: 'list_products',"),
        ({"tools": "sync_data", "read_only": True}, "The settings leave no tool."),
    ],
)
def test_unknown_names_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        _ = box(**settings).operations
    assert str(refused.value).startswith(said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({"TESTIO_TOOLSETS": "nothing"}, ()),
        ({"testio_toolsets": "nothing"}, ()),
        ({}, ("--toolsets", "nothing")),
        ({}, ("--toolsets=nothing",)),
        ({}, ("serve", "--toolsets", "nothing")),
        ({}, ("serve", "--transport", "http", "--port", "0", "--toolsets", "nothing")),
        ({"TESTIO_TOOLS": "list_tests"}, ("serve", "--toolsets", "nothing")),
    ],
)
async def test_a_wrong_name_ends_the_start_in_one_line(
    tmp_path: Path, variables: Mapping[str, str], options: tuple[str, ...]
) -> None:
    environment = {"TESTIO_DB_PATH": str(tmp_path / "s.db"), **variables}
    ended = await command(environment, *options, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(
        "TESTIO_TOOLSETS: there is no 'nothing'. It takes any of: 'all', 'default', 'catalog'"
    )
    assert len(ended.err.splitlines()) == 1


@pytest.mark.slow
async def test_options_environment_and_file_choose_alike(synced: Copy, tmp_path: Path) -> None:
    wanted = ["list_tests", "get_status"]
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / ".env").write_text("TESTIO_TOOLS=sync_data,list_tests,get_status\nTESTIO_READ_ONLY=1\n")
    by_option = ("--tools", "list_tests,get_status,sync_data", "--read-only")
    by_variable = {"TESTIO_TOOLS": "get_status,list_tests", "TESTIO_READ_ONLY": "true"}
    for variables, options, folder in (
        ({}, by_option, tmp_path),
        (by_variable, (), tmp_path),
        ({}, ("--env-file", ".env"), tmp_path / "here"),
        ({"TESTIO_ENV_FILE": ".env"}, (), tmp_path / "here"),
        ({"TESTIO_TOOLS": "sync_data"}, ("--tools", "list_tests,get_status"), tmp_path),
    ):
        async with stdio({**synced.environment, **variables}, folder, options=options) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == wanted
            refused = await client.call_tool("sync_data")
        assert refused.is_error
        is_read_only = options != ("--tools", "list_tests,get_status")
        why = "This server is read-only." if is_read_only else "The configuration of this server leaves it out."
        assert f"There is no tool 'sync_data'. {why} The tools are: " in text_of(refused)
    with http_server(synced.environment, tmp_path, *by_option) as server:
        async with Client(f"{server.url}/mcp") as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == wanted


async def test_rest_and_the_command_line_have_everything(synced: Copy, tmp_path: Path, cli: Cli) -> None:
    environment = {**synced.environment, "TESTIO_TOOLS": "get_status"}
    assert json.loads((await cli(environment, "products", "list", "--json")).out)["total"] == 2
