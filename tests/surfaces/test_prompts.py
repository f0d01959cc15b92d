"""Prompts: plain words that name the tools of this server, with arguments that these tools take."""

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, GetPromptResult, PromptReference

from testio_mcp.operations.registry import operations
from testio_mcp.settings import ToolSettings
from testio_mcp.surfaces.mcp.prompts import prompt, prompts
from testio_mcp.surfaces.mcp.recipes import RECIPES
from testio_mcp.surfaces.mcp.tools import Toolbox
from tests.surfaces.conftest import Copy
from tests.surfaces.programs import Era, HttpServer, http_server, stdio

TODAY = date(2026, 8, 19)
FULL = {
    "analyze_product_quality": {"product": "21001", "period": "2026-Q2", "focus": "Review"},
    "prepare_meeting": {"product": "Web \"Shop\"", "period": "this month", "audience": "engineering"},
    "triage_session": {"product": "7", "limit": "50"},
    "weekly_digest": {"product": "7", "period": "last 14 days"},
}  # fmt: skip


def words(result: GetPromptResult) -> str:
    [message] = result.messages
    assert message.content.type == "text"
    return message.content.text


def calls(text: str) -> Iterator[tuple[str, dict[str, object]]]:
    """The calls that a prompt asks for."""
    for tool, rest in re.findall(r"^\d+\. ([a-z_]+) (\{.*)$", text, re.MULTILINE):
        yield tool, json.JSONDecoder().raw_decode(rest)[0]


def box(**settings: str) -> Toolbox:
    return Toolbox(ToolSettings(**settings))


def assert_can_be_called(toolbox: Toolbox, tool: str, arguments: dict[str, object]) -> None:
    assert tool in toolbox.tools
    numbers = {name: 1 if str(value).startswith("<") else value for name, value in arguments.items()}
    operation, given, _ = toolbox.resolve_call(tool, numbers if tool == "get" else arguments)
    ids = json.loads(json.dumps(given).replace('"<product id>"', "1").replace("<product id>", "1"))
    filled = {name: "words" if str(value).startswith("<") else value for name, value in ids.items()}
    operation.arguments.model_validate(filled)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("is_full", [True, False])
@pytest.mark.parametrize("left_out", [None, *operations()])
def test_prompts_name_only_calls_that_can_be_made(name: str, is_full: bool, left_out: str | None) -> None:
    toolbox = Toolbox() if left_out is None else box(toolsets="default", exclude_tools=left_out)
    if name not in [known.name for known in prompts(toolbox)]:
        assert RECIPES[name].steps[0].tool == left_out
        return
    text = words(prompt(toolbox, name, FULL[name] if is_full else {"product": "Shop"}, TODAY))
    found = list(calls(text))
    assert found
    for tool, arguments in found:
        assert_can_be_called(toolbox, tool, arguments)
    mentioned = set(re.findall(r"\b[a-z]+_[a-z_]+\b", re.sub(r"\{.*?\}", "", text)))
    assert mentioned & operations().keys() <= toolbox.tools.keys()
    assert "$" not in text


def test_every_step_is_said_somewhere() -> None:
    """Steps whose tool does not exist would be left out without a word."""
    known = {*operations(), "get"}
    assert [step.tool for recipe in RECIPES.values() for step in recipe.steps if step.tool not in known] == []
    for recipe in RECIPES.values():
        assert {word for step in recipe.steps for word in step.words} <= {w for s in recipe.slots for w in s.words}


def test_a_prompt_reads_well() -> None:
    text = words(prompt(Toolbox(), "analyze_product_quality", {"product": "Shop", "focus": "severity"}, TODAY))
    lines = text.splitlines()
    assert lines[0] == (
        'Analyze the quality of a product of "Shop", 2026-05-22 to 2026-08-19 (both days included); severity.'
    )
    assert lines[3] == '1. list_products {}: find the id of "Shop"; it stands as <product id> below.'
    asked = '{"product_ids": ["<product id>"], "period": "2026-05-22 to 2026-08-19"}'
    assert lines[4].startswith(f"2. quality_report {asked}: findings")
    assert "Dwell on critical and high bugs" in text


@pytest.mark.parametrize(
    ("period", "said", "known"),
    [
        ("seit 1.7.2026", "since 2026-07-01", {"end_from": "2026-07-01"}),
        ("until 2026-03", "until 2026-03-31", {"end_to": "2026-03-31"}),
        ("gesamt", "all time", {}),
    ],
)
def test_an_open_end_is_no_argument(period: str, said: str, known: dict[str, str]) -> None:
    text = words(prompt(Toolbox(), "analyze_product_quality", {"product": "7", "period": period}, TODAY))
    assert text.splitlines()[0].startswith(f"Analyze the quality of a product of product 7, {said}")
    found = list(calls(text))
    assert {"product_id": 7, **known}.items() <= dict(found)["list_bugs"].items()
    assert dict(found)["quality_report"] == {"product_ids": [7], "period": said}
    for tool, arguments in found:
        assert_can_be_called(Toolbox(), tool, arguments)
        assert "end_from" not in arguments or "end_from" in known


@pytest.mark.parametrize(
    "name", [recipe.name for recipe in RECIPES.values() if "period" in {s.name for s in recipe.slots}]
)
@pytest.mark.parametrize("period", ["all time", "since 2026-07-01", "until 2026-07-01"])
def test_every_recipe_takes_an_open_period(name: str, period: str) -> None:
    for tool, arguments in calls(words(prompt(Toolbox(), name, {"product": "7", "period": period}, TODAY))):
        assert_can_be_called(Toolbox(), tool, arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("no_such", {}, "There is no prompt 'no_such'. The prompts are: analyze_product_quality, prepare_meeting, "),
        ("analyze_product_quality", {}, "product: it is required. product takes: Name or id of the product."),
        ("analyze_product_quality", {"product": " \u200b"}, "product: it is required."),
        (
            "weekly_digest",
            {"prodct": "1"},
            "prodct: there is no such argument. Valid arguments are: product, period.",
        ),
        ("weekly_digest", {"period": "soon"}, "'soon' is not a period. Try 'last 30 days', 'this quarter',"),
        ("triage_session", {"limit": "many"}, "limit: 'many' is not a number from 1 to 50."),
        ("prepare_meeting", {"audience": "cats"}, "audience: 'cats' is not one of its words. It takes: customer, "),
        ("prepare_meeting", {"product": "x" * 201}, "product: it is longer than 200 characters."),
    ],
)
@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_mistakes_are_errors_of_the_protocol(
    server: HttpServer, name: str, arguments: dict[str, str], said: str, era: Era
) -> None:
    async with Client(f"{server.url}/mcp", mode=era) as client:
        with pytest.raises(MCPError) as refused:
            await client.get_prompt(name, arguments)
    assert refused.value.code == INVALID_PARAMS
    assert refused.value.message.startswith(said)
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("era", ["legacy", "auto", "2026-07-28"])
async def test_prompts_over_both_transports(synced: Copy, server: HttpServer, tmp_path: Path, era: Era) -> None:
    async with Client(f"{server.url}/mcp", mode=era) as over_http, stdio(synced.environment, tmp_path, era) as piped:
        listed = (await over_http.list_prompts()).prompts
        assert (await piped.list_prompts()).prompts == listed
        assert [known.name for known in listed] == list(RECIPES)
        for known in listed:
            assert known.description and all(argument.description for argument in known.arguments or [])
            there, here = [await client.get_prompt(known.name, FULL[known.name]) for client in (over_http, piped)]
            assert words(there) == words(here)


@pytest.mark.slow
async def test_today_is_the_day_of_the_time_zone(synced: Copy, tmp_path: Path) -> None:
    """These two zones are 25 hours apart: it is never the same day in both."""
    found = {}
    for zone in ("Pacific/Niue", "Pacific/Kiritimati"):
        async with stdio({**synced.environment, "TESTIO_TIME_ZONE": zone}, tmp_path, "auto") as client:
            text = words(await client.get_prompt("weekly_digest", {"period": "today"}))
        [said] = re.findall(r"(\S+) to \S+ \(both days included\)", text)
        found[zone] = date.fromisoformat(said)
    assert found["Pacific/Niue"] < found["Pacific/Kiritimati"]


@pytest.mark.slow
async def test_prompts_follow_the_tools(synced: Copy, tmp_path: Path) -> None:
    with http_server({**synced.environment, "TESTIO_TOOLS": "list_changes,quality_report"}, tmp_path) as server:
        async with Client(f"{server.url}/mcp") as client:
            names = [known.name for known in (await client.list_prompts()).prompts]
            text = words(await client.get_prompt("weekly_digest", {}))
    assert names == ["analyze_product_quality", "prepare_meeting", "weekly_digest"]
    assert [tool for tool, _ in calls(text)] == ["list_changes", "quality_report"]


async def test_arguments_are_completed(synced: Copy, server: HttpServer) -> None:
    ref = PromptReference(name="analyze_product_quality")
    async with Client(f"{server.url}/mcp") as client:
        products = (await client.call_tool("list_products")).structured_content or {}

        async def offered(name: str, typed: str, ref: PromptReference = ref) -> list[str]:
            return (await client.complete(ref, {"name": name, "value": typed})).completion.values

        names = [item["name"] for item in products["items"]]
        ids = sorted((item["id"] for item in products["items"]), reverse=True)
        assert await offered("product", "") == names
        assert await offered("product", names[1][:3].upper()) == [n for n in names if n.startswith(names[1][:3])]
        assert await offered("product", str(ids[0])[:2]) == [str(number) for number in ids]
        assert await offered("focus", "RE") == ["review"]
        assert await offered("period", "this") == ["this week", "this month", "this quarter", "this year"]
        assert await offered("limit", "1", PromptReference(name="triage_session")) == ["10"]
        assert await offered("nothing", "") == []
        assert await offered("product", "", PromptReference(name="no_such")) == []
