"""Arguments as real clients send them: absent in many forms, with keys of their own, with words in any case."""

import json
import random
from typing import Any, get_origin

import httpx2
import pytest
from mcp.client import Client

from testio_mcp.operations.registry import Operation, operations
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import HttpServer, rest, text_of, tool_call, words

ABSENT: tuple[Any, ...] = (
    *(None, "", "  ", "None", "null", "undefined"),
    *([], {}),
)
IN_LISTS: tuple[Any, ...] = ([None], [""], ["undefined", None])
QUESTIONS = [operation for operation in operations().values() if operation.safety == "read"]
TAKES_ZERO = {"due_within_days"}
WORDS = [
    ("list_bugs", {"levels": ["high", "low"]}, {"levels": ["High", " LOW "]}),
    ("list_bugs", {"levels": ["none"]}, {"levels": ["None"]}),
    ("list_bugs", {"statuses": ["auto_accepted"]}, {"statuses": "Auto-Accepted"}),
    ("list_bugs", {"statuses": ["open"]}, {"statuses": ["Forwarded"]}),
    ("list_bugs", {"kinds": ["usability"]}, {"kinds": ["Suggestion"]}),
    ("list_bugs", {"sort": "oldest"}, {"sort": "OLDEST"}),
    ("list_bugs", {"scope": "ran"}, {"scope": "Ran"}),
    ("list_bugs", {"fields": ["title"]}, {"fields": ["Title"]}),
    ("list_tests", {"testing_types": ["custom"]}, {"testing_types": "External"}),
    ("list_tests", {"statuses": ["cancelled"]}, {"statuses": ["Canceled"]}),
    ("list_executions", {"statuses": ["passed"]}, {"statuses": "PASS"}),
    ("list_people", {"role": "tester"}, {"role": "Testers"}),
    ("execution_matrix", {"by": "operating_system"}, {"by": "Operating System"}),
    ("search", {"query": "login", "kinds": ["user_story", "bug"]}, {"query": "login", "kinds": ["Stories", "Bugs"]}),
    ("query_metrics", {"metrics": ["bug_count"], "by": ["severity"]}, {"metrics": ["Bug Count"], "by": "Severity"}),
    (
        "query_metrics",
        {"metrics": ["bug_count"], "filters": ["severity=high,low", "bug_status=open"]},
        {"metrics": ["bug_count"], "filters": ["Severity=High, LOW", "bug status=Forwarded"]},
    ),
]


def comparable(answer: Any) -> Any:
    """An answer without the moment at which it was made, and without the sessions that are open at it."""
    return {name: value for name, value in answer.items() if name not in ("generated_at", "mcp_sessions")}


def example_of(operation: Operation, copy: Copy) -> dict[str, Any]:
    """An example of an operation with ids that the store has."""
    known = copy.known | {f"{name}s": [value] for name, value in copy.known.items()}
    return {name: known.get(name, value) for name, value in operation.examples[0].items()}


def forms_of(name: str, annotation: Any) -> tuple[Any, ...]:
    """The forms of absence that an argument has: 0 only where it is no valid value."""
    in_lists = IN_LISTS if get_origin(annotation) is list else ()
    return (
        (*ABSENT, *in_lists) if annotation in (bool, bool | None) or name in TAKES_ZERO else (*ABSENT, *in_lists, 0)
    )


@pytest.mark.parametrize("operation", QUESTIONS, ids=lambda operation: operation.name)
async def test_every_form_of_absence_is_absence(operation: Operation, synced: Copy, server: HttpServer) -> None:
    """Every default argument of every tool, one by one in each form, and all of them at once."""
    example = example_of(operation, synced)
    fields = operation.arguments.model_fields
    optional = {name: field for name, field in fields.items() if name not in example and not field.is_required()}
    async with Client(f"{server.url}/mcp") as client:

        async def ask(**more: Any) -> Any:
            tool, arguments = tool_call(operation, example)
            answer = await client.call_tool(tool, {**arguments, **more})
            assert not answer.is_error, (more, text_of(answer))
            return comparable(answer.structured_content)

        expected = await ask()
        for name, field in optional.items():
            for form in forms_of(name, field.annotation):
                assert await ask(**{name: form}) == expected, (name, form)
        seeded = random.Random(7)
        for _ in range(3):
            absent = {name: seeded.choice(forms_of(name, field.annotation)) for name, field in optional.items()}
            assert await ask(**absent) == expected, absent


@pytest.mark.parametrize("operation", QUESTIONS, ids=lambda operation: operation.name)
async def test_empty_values_are_absent_over_rest_too(
    operation: Operation, synced: Copy, web: httpx2.AsyncClient
) -> None:
    example = example_of(operation, synced)
    optional = [name for name, field in operation.arguments.model_fields.items() if not field.is_required()]
    expected = comparable((await rest(web, operation, example)).json())
    for form in ("", " ", "\t"):
        answer = await rest(web, operation, example | {name: form for name in optional if name not in example})
        assert answer.status_code == 200, answer.text
        assert comparable(answer.json()) == expected


async def test_an_empty_period_is_the_usual_one(synced: Copy, server: HttpServer, cli: Cli) -> None:
    async with Client(f"{server.url}/mcp") as client:
        for tool in ("quality_report", "get_digest"):
            usual = (await client.call_tool(tool, {})).structured_content
            forms: tuple[Any, ...] = ("", " ", None, "null", [], 0)
            for period in forms:
                answer = (await client.call_tool(tool, {"period": period})).structured_content
                assert usual and answer and answer["period"] == usual["period"]
                assert answer["period"].get("first")
    shown = [await cli(synced.environment, "digest", *options, "--json") for options in ([], ["--period", ""])]
    periods = [json.loads(each.out)["period"] for each in shown]
    assert periods[0] == periods[1]


@pytest.mark.parametrize(("tool", "exact", "written"), WORDS, ids=lambda value: str(value)[:40])
async def test_words_match_whatever_their_case(
    tool: str, exact: dict[str, Any], written: dict[str, Any], synced: Copy, server: HttpServer, cli: Cli
) -> None:
    more = {"product_id": synced.product_id} if tool == "execution_matrix" else {}
    async with Client(f"{server.url}/mcp") as client:
        expected = await client.call_tool(tool, exact | more)
        answer = await client.call_tool(tool, written | more)
    assert not expected.is_error
    assert not answer.is_error, text_of(answer)
    without_echo = [comparable(each.structured_content) | {"filters": None} for each in (answer, expected)]
    assert without_echo[0] == without_echo[1]
    operation = operations()[tool]
    on_the_line = [
        json.loads((await cli(synced.environment, *words(operation, given | more), "--json")).out)
        for given in (exact, written)
    ]
    assert comparable(on_the_line[0]) | {"filters": None} == comparable(on_the_line[1]) | {"filters": None}


async def test_the_kind_of_a_record_matches_whatever_its_case(synced: Copy, server: HttpServer) -> None:
    async with Client(f"{server.url}/mcp") as client:
        for kind in ("bug", "Bug", "BUGS"):
            answer = await client.call_tool("get", {"kind": kind, "id": synced.bug_id})
            assert not answer.is_error, text_of(answer)
        story = await client.call_tool("get", {"kind": "User Story", "id": synced.user_story_id, "toolCallId": "x"})
        missing = await client.call_tool("get", {"kind": "bug", "id": None, "bugs": [synced.bug_id]})
    assert story.structured_content and story.structured_content["ignored"].startswith("toolCallId: ")
    assert missing.is_error
    assert "id: it is required" in text_of(missing)
    assert "bugs: there is no such argument" in text_of(missing)


async def test_keys_of_clients_are_ignored_over_mcp_and_named_once(
    synced: Copy, server: HttpServer, web: httpx2.AsyncClient, cli: Cli
) -> None:
    noise = {"toolCallId": "call_1", "random_string": "", "_meta": {"progressToken": 1}, "sessionId": None}
    async with Client(f"{server.url}/mcp") as client:
        for operation in QUESTIONS:
            tool, arguments = tool_call(operation, example_of(operation, synced))
            expected = await client.call_tool(tool, arguments)
            answer = await client.call_tool(tool, arguments | noise | {"colour": "red"})
            assert not answer.is_error, text_of(answer)
            found = comparable(answer.structured_content)
            ignored = found.pop("ignored")
            assert ignored.startswith(
                "_meta, colour, random_string, sessionId, toolCallId: there is no such argument."
            )
            assert "Valid arguments are:" in ignored
            assert text_of(answer).count("toolCallId") == 1
            assert found == comparable(expected.structured_content), tool
        quiet = await client.call_tool("list_products", noise)
    assert quiet.structured_content and "Valid arguments" not in quiet.structured_content["ignored"]
    refused = await web.get("/api/products", params={"toolCallId": "call_1"})
    assert refused.status_code == 422
    assert "toolCallId: there is no such argument." in refused.text
    assert (await cli(synced.environment, "products", "list", "--tool-call-id", "1")).code == 2


async def test_a_key_written_another_way_is_the_argument(synced: Copy, server: HttpServer) -> None:
    async with Client(f"{server.url}/mcp") as client:
        exact = {"product_id": synced.product_id, "statuses": ["open"], "levels": ["high"], "limit": 2}
        expected = await client.call_tool("list_bugs", exact)
        answer = await client.call_tool(
            "list_bugs", {"productId": synced.product_id, "status": "Open", "Severity": "High", "page_size": "2"}
        )
    assert answer.structured_content == expected.structured_content
    assert expected.structured_content and expected.structured_content["items"]


async def test_an_action_does_no_more_than_was_meant(synced: Copy, server: HttpServer) -> None:
    """A key that may have narrowed an action is refused; what clients add is not."""
    async with Client(f"{server.url}/mcp") as client:
        refused = await client.call_tool("clear_problems", {"ids": [1], "toolCallId": "x"})
        named = await client.call_tool("clear_problems", {"problemIds": [999_999], "toolCallId": "x"})
    assert refused.is_error
    assert "ids: there is no such argument. Valid arguments are: problem_ids." in text_of(refused)
    assert text_of(named) == "No problem has one of these ids. list_problems shows the ids."


@pytest.mark.parametrize("ids", [[None], ["undefined"], "null", [""], {}])
async def test_ids_of_an_action_are_never_all_by_a_slip(server: HttpServer, ids: object) -> None:
    async with Client(f"{server.url}/mcp") as client:
        refused = await client.call_tool("clear_problems", {"problem_ids": ids})
    assert refused.is_error
    assert text_of(refused).startswith("problem_ids: ")
