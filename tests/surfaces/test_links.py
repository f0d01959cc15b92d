"""Links in the form of each surface: whoever follows one gets the number beside which it stands."""

import json
import shlex
from typing import Any

import httpx2
import pytest
from mcp.client import Client

from testio_mcp.operations.links import address, command_line, tool_call
from testio_mcp.operations.registry import operations
from testio_mcp.reports.links import Link, link, with_links
from testio_mcp.rules import READINESS
from testio_mcp.surfaces.operation_names import PREFIX
from tests.support.links import (
    ID_IN,
    Follow,
    Json,
    check_comparison,
    check_digest,
    check_report,
    check_rules,
    remembering,
)
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import HttpServer

SPOKEN = "device=Galaxy S24 Ultra,iPhone 15 Pro"


def _links(answer: Any) -> list[Link]:
    found: list[Link] = []
    with_links(answer, found.append)
    return found


def _without_urls(answer: Json) -> Json:
    for each in answer.get("sections", []):
        for part in (*each["figures"], *each["findings"], *each["tables"]):
            if part["link"]:
                part["link"].pop("url")
    return answer


def over_rest(web: httpx2.AsyncClient) -> Follow:
    """Follow links by their addresses."""

    async def follow(link: Link) -> Json:
        answer = await web.get(PREFIX + address(link))
        assert answer.status_code == 200, (answer.text, address(link))
        found: Json = answer.json()
        return found

    return remembering(follow)


def on_the_line(synced: Copy, cli: Cli) -> Follow:
    """Follow links by their commands."""

    async def follow(link: Link) -> Json:
        ended = await cli(synced.environment, *shlex.split(command_line(link))[1:], "--json")
        assert ended.code == 0, (ended.err, command_line(link))
        found: Json = json.loads(ended.out)
        return found

    return remembering(follow)


def over_mcp(client: Client) -> Follow:
    """Follow links by calls of tools; what is null there is not said."""

    async def follow(link: Link) -> Json:
        call = tool_call(link)
        answer = await client.call_tool(call.operation, call.arguments)
        assert not answer.is_error, (answer.content, call)
        found = answer.structured_content or {}
        if link.operation == "query_metrics":
            names: Any = link.arguments["metrics"]
            found["totals"] = dict.fromkeys(names) | found.get("totals", {})
        return {"next_cursor": None} | found

    return remembering(follow)


@pytest.mark.parametrize(
    "scope",
    [
        {"period": "this year"},
        {"period": "this year", "filters": ["severity=critical,high", "bug_status=accepted,open,rejected"]},
        {"period": "last 300 days", "filters": [SPOKEN, "known=false"]},
        {"period": "all time", "time": "report", "filters": ["testing_type=rapid,coverage", "feature=none"]},
    ],
)
async def test_reports_lead_to_their_numbers_in_every_form(
    synced: Copy, server: HttpServer, web: httpx2.AsyncClient, cli: Cli, scope: dict[str, Any]
) -> None:
    request = link("quality_report", product_ids=[synced.product_id], detail="full", **scope)
    answer = (await web.get(PREFIX + address(request))).json()
    assert "sections" in answer, answer
    for section in answer["sections"]:
        for part in (*section["figures"], *section["findings"], *section["tables"]):
            if part["link"]:
                told = {name: value for name, value in part["link"].items() if name != "url"}
                assert part["link"]["url"] == PREFIX + address(Link.model_validate(told))
    report = _without_urls(answer)
    assert await check_report(report, over_rest(web)) > 10
    assert await check_report(report, on_the_line(synced, cli)) > 10
    printed = (await cli(synced.environment, *shlex.split(command_line(request))[1:])).out
    for each in _links(report):
        assert command_line(each).replace("`", "") in printed.replace("`", "")
    short = {
        **report,
        "sections": [
            {**section, "tables": [table for table in section["tables"] if table["title"] in ID_IN]}
            for section in report["sections"]
        ],
    }
    async with Client(f"{server.url}/mcp") as client:
        assert await check_report(short, over_mcp(client)) > 5


async def test_rules_comparisons_and_digests_lead_to_their_numbers_in_every_form(
    synced: Copy, server: HttpServer, web: httpx2.AsyncClient, cli: Cli
) -> None:
    rules = [f"{name}=0/0" if name.startswith("max_") else f"{name}=1/1" for name in READINESS]
    questions = (
        link("readiness", product_id=synced.product_id, rules=rules),
        link("compare_quality", product_ids=[synced.product_id], period="this year", with_period="all time"),
        link("get_digest", period="last 300 days"),
    )
    ways: list[Follow] = [over_rest(web), on_the_line(synced, cli)]
    async with Client(f"{server.url}/mcp") as client:
        for question in questions:
            ended = await cli(synced.environment, *shlex.split(command_line(question))[1:], "--json")
            told: Json = json.loads(ended.out)
            printed = (await cli(synced.environment, *shlex.split(command_line(question))[1:])).out
            assert all(command_line(each) in printed for each in _links(told)), printed
            said: Any = (await client.call_tool(question.operation, question.arguments)).content[0]
            assert all(str(tool_call(each)) in said.text for each in _links(told)), said.text
            for follow in [*ways, over_mcp(client)] if question.operation != "get_digest" else ways:
                if question.operation == "readiness":
                    assert await check_rules(told, follow) == len(READINESS)
                elif question.operation == "compare_quality":
                    await check_comparison(told, follow)
                else:
                    await check_digest(told, follow)


def test_values_are_quoted_for_each_surface() -> None:
    odd = link("query_metrics", metrics=["bug_count"], filters=["device=Galaxy S24, \"Ultra\" & 'co'", "known=false"])
    assert shlex.split(command_line(odd)) == [
        "testio-mcp", "metrics", "bug_count",
        "--filter", "device=Galaxy S24, \"Ultra\" & 'co'", "--filter", "known=false",
    ]  # fmt: skip
    assert address(odd) == (
        "/metrics?metrics=bug_count&filters=device%3DGalaxy+S24,+%22Ultra%22+%26+%27co%27,known%3Dfalse"
    )
    assert address(link("readiness", product_id=7)) == "/products/7/readiness"
    assert command_line(link("readiness", product_id=7)) == "testio-mcp readiness 7"
    flags = link("triage_queue", product_id=7, overdue=False, test_ids=[1, 2])
    assert command_line(flags) == "testio-mcp triage --product 7 --test 1,2 --no-overdue"
    assert address(flags) == "/triage?product_id=7&overdue=false&test_ids=1,2"
    assert str(tool_call(link("get_bug", bug_id=5))) == 'get {"id": 5, "kind": "bug"}'
    assert str(link("get_status")) == "get_status"
    assert operations()["get_bug"].about == "bug"
