"""The MCP server as an assistant runs it: a process, JSON-RPC on stdin and stdout."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from testio_mcp import __version__
from testio_mcp.surfaces.mcp.tools import Toolbox
from tests.surfaces.conftest import Copy
from tests.surfaces.noisy_server import NOISE
from tests.surfaces.programs import PROGRAM, Era, stdio, whole

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
SNAPSHOTS = Path(__file__).parent / "snapshots"


def call(number: int, tool: str, **arguments: object) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    }


async def talk(
    environment: Mapping[str, str], cwd: Path, *messages: object, program: Sequence[str] = PROGRAM
) -> tuple[list[Any], int | None]:
    """Send raw lines, close stdin, and return every line of stdout, parsed, with the exit code."""
    with (cwd / "stderr").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *program, env=whole(environment), cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    assert process.stdin is not None and process.stdout is not None
    answers = []
    for message in messages:
        is_request = isinstance(message, dict) and "id" in message
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        process.stdin.write(line + b"\n")
        await process.stdin.drain()
        while is_request:
            answers.append(json.loads(await process.stdout.readline()))
            is_request = answers[-1].get("id") != message["id"]  # type: ignore[index]
    process.stdin.close()
    rest = await process.stdout.read()
    answers += [json.loads(line) for line in rest.splitlines()]
    return answers, await process.wait()


@pytest.mark.parametrize("era", ["legacy", "auto", "2026-07-28"])
async def test_both_eras_are_served(synced: Copy, tmp_path: Path, era: Era) -> None:
    async with stdio(synced.environment, tmp_path, era) as client:
        tools = (await client.list_tools()).tools
        answer = await client.call_tool("list_products")
    assert [tool.name for tool in tools] == list(Toolbox().tools)
    assert answer.structured_content is not None
    assert answer.structured_content["total"] == 2
    assert not answer.is_error


async def test_the_server_says_who_it_is(tmp_path: Path) -> None:
    async with stdio({"TESTIO_DB_PATH": str(tmp_path / "s.db")}, tmp_path, "legacy") as client:
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("testio-mcp", __version__)
        assert len(client.session.instructions or "") < 800


async def listed(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    """`tools/list` as a client gets it; needs neither token nor store."""
    async with stdio({"TESTIO_DB_PATH": "/proc/nowhere/store.db"}, tmp_path, options=options) as client:
        tools = (await client.list_tools()).tools
    return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]


async def test_the_contract_of_every_tool_stands_in_the_repository(tmp_path: Path) -> None:
    """A change of a tool is a change of its file, to be seen in review: delete the file to write it anew."""
    found = {tool["name"]: tool for tool in await listed(tmp_path, "--toolsets", "all")}
    written = {name for name in found if not (SNAPSHOTS / f"{name}.json").exists()}
    for name in written:
        (SNAPSHOTS / f"{name}.json").write_text(json.dumps(found[name], indent=2) + "\n")
    assert {path.stem: json.loads(path.read_text()) for path in SNAPSHOTS.glob("*.json")} == found
    assert written == set(), "written just now: read and commit them"


async def test_the_usual_tools_leave_room_for_the_conversation(tmp_path: Path) -> None:
    tools = await listed(tmp_path)
    sizes = {tool["name"]: len(json.dumps(tool, separators=(",", ":")).encode()) for tool in tools}
    size = len(json.dumps(tools, separators=(",", ":")).encode())
    print(f"{len(tools)} tools, {size} bytes: {sizes}")  # noqa: T201 - what the budget is spent on
    assert len(tools) <= 16
    assert size <= 18_000


async def test_stdout_holds_json_rpc_and_nothing_else(synced: Copy, tmp_path: Path) -> None:
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    messages = [
        INITIALIZE,
        initialized,
        b"this is no JSON",
        b"\xff\xfe\x00",
        call(2, "list_tests", limit=2),
        call(3, "list_tests", statuses="frob"),
        call(4, "no_such_tool"),
        call(5, "sync_data"),
        call(6, "get", kind="test", id=synced.test_id),
    ]
    answers, code = await talk(synced.environment, tmp_path, *messages)
    assert code == 0
    assert all(answer["jsonrpc"] == "2.0" for answer in answers)
    results = {answer["id"]: answer["result"] for answer in answers if "result" in answer}
    assert [results[number].get("isError", False) for number in (2, 3, 4, 5, 6)] == [False, True, True, True, False]


@pytest.mark.slow
async def test_dependencies_that_talk_are_not_heard_on_stdout(synced: Copy, tmp_path: Path) -> None:
    environment = {**synced.environment, "PYTHONPATH": str(Path(__file__).parents[2])}
    program = (sys.executable, "-m", "tests.surfaces.noisy_server")
    messages = (INITIALIZE, call(2, "make_noise"), call(3, "get_status"))
    answers, code = await talk(environment, tmp_path, *messages, program=program)
    assert code == 0
    assert [answer["id"] for answer in answers] == [1, 2, 3]
    assert answers[1]["result"]["structuredContent"] == {"done": True}
    heard = (tmp_path / "stderr").read_text()
    assert sum(line.endswith(NOISE) for line in heard.splitlines()) >= 8


UNREADABLE: dict[int | str, bytes] = {
    7: rb'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get","arguments":{"kind":"\ud800"}}}',
    "a": rb'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"\udfff\ud800"}}',
    8: rb'{"jsonrpc":"2.0","id":8,"method":"tools/list","params":{"cursor":NaN}}',
    9: b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":' + b"[" * 900 + b"]" * 900 + b"}}",
}
NO_REQUESTS = (
    b"this is no JSON", b"\xff\xfe\x00", b"", b"[]", b"7", b"null", b'"id"', b"{", b"[" * 100_000,
    rb'{"jsonrpc":"2.0","id":"\ud800","method":"ping"}', rb'{"jsonrpc":"2.0","id":true,"method":"\ud800"}',
    rb'{"jsonrpc":"2.0","method":"notifications/x","params":{"a":"\ud800"}}', rb'{"id":1,"result":"\ud800"}',
)  # fmt: skip


async def asked_between(environment: Mapping[str, str], cwd: Path, lines: Sequence[bytes]) -> list[Any]:
    """The answers to these lines and to the questions 100, 101, ... that are asked one after each."""
    answers, code = await talk(
        *(environment, cwd, INITIALIZE),
        *(message for number, line in enumerate(lines, 100) for message in (line, call(number, "get_status"))),
    )
    assert code == 0
    assert "Traceback" not in (cwd / "stderr").read_text()
    assert all("result" in answer for answer in answers if isinstance(answer["id"], int) and answer["id"] >= 100)
    return answers


@pytest.mark.slow
async def test_a_request_that_nobody_can_read_is_refused(synced: Copy, tmp_path: Path) -> None:
    answers = await asked_between(synced.environment, tmp_path, list(UNREADABLE.values()))
    numbers = [answer["id"] for answer in answers]
    assert sorted(map(str, numbers)) == sorted(map(str, (1, *UNREADABLE, *range(100, 100 + len(UNREADABLE)))))
    assert all("error" in answer for answer in answers if answer["id"] in UNREADABLE)


@pytest.mark.slow
async def test_a_line_without_a_request_is_refused_without_an_id(synced: Copy, tmp_path: Path) -> None:
    answers = await asked_between(synced.environment, tmp_path, NO_REQUESTS)
    refused = [answer["error"]["code"] for answer in answers if answer["id"] is None]
    assert [answer["id"] for answer in answers if answer["id"] is not None] == [
        1,
        *range(100, 100 + len(NO_REQUESTS)),
    ]
    silent = sum(line == b"" or b'"result"' in line for line in NO_REQUESTS)
    assert len(refused) == len(NO_REQUESTS) - silent
    assert {*refused} == {-32700, -32600}


@pytest.mark.slow
@pytest.mark.parametrize("is_stdin_closed", [True, False])
def test_a_client_that_hangs_up_leaves_no_trace(own_copy: Copy, tmp_path: Path, is_stdin_closed: bool) -> None:
    with subprocess.Popen(
        PROGRAM,
        env=whole(own_copy.environment),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for message in (INITIALIZE, call(2, "list_products")):
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            process.stdout.readline()
        process.stdout.close()
        process.stdin.write(json.dumps(call(3, "list_tests")).encode() + b"\n")
        process.stdin.flush()
        if is_stdin_closed:
            process.stdin.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    assert not own_copy.path.with_name("own.db-wal").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_server_while_stdin_stays_open(
    own_copy: Copy, tmp_path: Path, number: signal.Signals
) -> None:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        env=whole(own_copy.environment),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    for message in (INITIALIZE, call(2, "list_products")):
        process.stdin.write(json.dumps(message).encode() + b"\n")
        await process.stdin.drain()
        await process.stdout.readline()
    process.send_signal(number)
    async with asyncio.timeout(5):
        assert await process.wait() == 128 + number
    assert await process.stderr.read() == b""
    assert not own_copy.path.with_name("own.db-wal").exists()


LIST: dict[str, Any] = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
NO_MESSAGES: dict[str, tuple[bytes, int]] = {
    "UTF-16 with a mark": (json.dumps(LIST).encode("utf-16"), -32700),
    "UTF-16, little end first": (json.dumps(LIST).encode("utf-16-le"), -32700),
    "UTF-16, big end first": (json.dumps(LIST).encode("utf-16-be"), -32700),
    "NUL": (b"\0" * 7, -32700),
    "NUL after a message": (json.dumps(LIST).encode() + b"\0", -32700),
    "no UTF-8": (b"\xff\xfe\x80\x81", -32700),
    "text in Latin-1": ("M\u00fcller".encode("latin-1"), -32700),
    "a header of another protocol": (b"Content-Length: 58", -32700),
    "half a message": (b'{"jsonrpc": "2.0", "id": 2,', -32700),
    "nested without end": (b"[" * 100_000, -32700),
    "a mark before no message": (b"\xef\xbb\xbfhello", -32700),
    "a batch": (json.dumps([LIST, LIST]).encode(), -32600),
    "an empty batch": (b"[]", -32600),
    "a number": (b"5", -32600),
    "null": (b"null", -32600),
    "a text": (b'"tools/list"', -32600),
    "an empty object": (b"{}", -32600),
    "no version": (b'{"method": "tools/list"}', -32600),
}


async def test_a_line_that_is_no_message_is_answered_with_an_error(tmp_path: Path) -> None:
    asked = [message for n, (line, _) in enumerate(NO_MESSAGES.values(), 2) for message in (line, {**LIST, "id": n})]
    answers, ended = await talk({"TESTIO_DB_PATH": str(tmp_path / "s.db")}, tmp_path, INITIALIZE, *asked)
    refused = dict(zip(NO_MESSAGES, answers[1::2], strict=True))
    assert {name: answer["error"]["code"] for name, answer in refused.items()} == {
        name: code for name, (_, code) in NO_MESSAGES.items()
    }
    assert all("id" in answer and answer["id"] is None for answer in refused.values())
    listed = answers[2::2]
    assert [answer["id"] for answer in listed] == list(range(2, 2 + len(NO_MESSAGES)))
    assert all(answer["result"]["tools"] for answer in listed), "the next message is served"
    assert ended == 0


async def test_a_request_that_is_none_is_refused_by_its_id(tmp_path: Path) -> None:
    wrong = json.dumps({"jsonrpc": "2.0", "id": 9, "method": 5}).encode()
    versions = json.dumps({"jsonrpc": "1.0", "id": "nine", "method": "tools/list"}).encode()
    answers, _ = await talk({"TESTIO_DB_PATH": str(tmp_path / "s.db")}, tmp_path, INITIALIZE, wrong, versions, LIST)
    assert {answer["id"]: answer["error"]["code"] for answer in answers if "error" in answer} == {
        9: -32600,
        "nine": -32600,
    }


@pytest.mark.slow
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf"])
async def test_a_byte_order_mark_is_left_out(tmp_path: Path, mark: bytes) -> None:
    """Before the first message, as programs on Windows write it, and before any other."""
    first, second = (mark + json.dumps(message).encode() for message in (INITIALIZE, LIST))
    environment = {"TESTIO_DB_PATH": str(tmp_path / "s.db")}
    answers, _ = await talk(environment, tmp_path, first, second, {**LIST, "id": 3})
    assert {answer["id"] for answer in answers if "result" in answer} == {1, 2, 3}


async def test_empty_lines_and_answers_to_nothing_are_passed_over(tmp_path: Path) -> None:
    environment = {"TESTIO_DB_PATH": str(tmp_path / "s.db")}
    lost = (b'{"jsonrpc": "2.0", "id": {}, "result": {}}', b'{"id": 4, "error": 5}')
    answers, _ = await talk(environment, tmp_path, INITIALIZE, b"", b"  \r", b"\xef\xbb\xbf", *lost, LIST)
    assert [answer["id"] for answer in answers] == [1, 2]
