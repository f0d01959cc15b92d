"""What the network and the server can do to one call, on real sockets."""

import asyncio
import gzip
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.resilience import RetryPolicy
from testio_mcp.api.transport import timeouts
from testio_mcp.errors import (
    ApiForbidden,
    ApiNotFound,
    ApiRejected,
    ApiUnavailable,
    ApiUnreachable,
    AuthFailed,
    BadPayload,
    TokenMissing,
)
from tests.api.conftest import STRANGER, ClientFor
from tests.conftest import SettingsFor
from tests.support.fake_time import FakeTime
from tests.support.scripted import Step, answer, drip, json_text, raw, reset, respond, scripted, stall

PRODUCTS = answer({"products": [{"id": 1, "name": "Shop"}]})
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
Failure = Callable[..., "asyncio.Future[ApiUnavailable]"]

PASSING = {
    **{str(status): respond(status, STRANGER.encode()) for status in (408, 425, 500, 502, 503, 504)},
    "reset before the head": reset(),
    "reset in the body": reset(HEAD + b'{"products": ['),
    "short body": raw(HEAD + b'{"products": [', close=True),
    "short body that reads as a whole list": raw(HEAD + b'{"products": []}', close=True),
    "last chunk missing": raw(CHUNKED + b'10\r\n{"products": []}\r\n', close=True),
    "closed without an answer": raw(b"", close=True),
    "not HTTP": raw(b"SSH-2.0-OpenSSH\r\n\r\n", close=True),
    "an HTML page": respond(200, f"<html>{STRANGER}</html>".encode(), content_type="text/html"),
    "JSON said to be HTML": respond(200, b'{"products": []}', content_type="text/html"),
    "an HTML page said to be JSON": json_text(f"<html>{STRANGER}</html>".encode()),
    "truncated JSON": json_text(b'{"products": [{"id": 1, "na'),
    "damaged gzip": respond(200, b"no gzip", content_type="application/json", content_encoding="gzip"),
}
FINAL = {
    "301": (respond(301, location=f"https://elsewhere.test/{STRANGER.replace(' ', '-')}"), ApiRejected),
    "304": (respond(304), ApiRejected),
    "400": (answer({"error": STRANGER}, 400), ApiRejected),
    "401": (answer({"error": STRANGER}, 401), AuthFailed),
    "403": (answer({"error": STRANGER}, 403), ApiForbidden),
    "404": (answer({"error": STRANGER}, 404), ApiNotFound),
    "409": (answer({"error": STRANGER}, 409), ApiRejected),
    "422": (answer({"error": STRANGER}, 422), ApiRejected),
    "501": (respond(501), ApiUnavailable),
}


@pytest.mark.parametrize("fault", PASSING)
async def test_a_passing_fault_is_retried(fault: str, api_for: ClientFor, time: FakeTime) -> None:
    async with scripted(PASSING[fault], PASSING[fault], PRODUCTS) as server, api_for(server) as api:
        page = await api.list_products()
    assert [product.name for product in page.records] == ["Shop"]
    assert (len(server.seen), api.requests) == (3, 3)
    assert time.slept == [0.5, 1.0]


@pytest.mark.parametrize("fault", PASSING)
async def test_after_five_attempts_it_gives_up(
    fault: str, api_for: ClientFor, time: FakeTime, failure: Failure
) -> None:
    kinds = {"truncated JSON": BadPayload, "damaged gzip": BadPayload}
    dead = ("reset before", "reset in", "short body", "last chunk", "closed", "not HTTP")
    kind = ApiUnreachable if fault.startswith(dead) else kinds.get(fault, ApiUnavailable)
    async with scripted(PASSING[fault]) as server, api_for(server) as api:
        await failure(kind, api.list_products())
    assert len(server.seen) == 5
    assert time.slept == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("fault", FINAL)
async def test_a_final_answer_is_not_asked_for_again(
    fault: str, api_for: ClientFor, time: FakeTime, failure: Failure
) -> None:
    step, kind = FINAL[fault]
    async with scripted(step) as server, api_for(server) as api:
        error = await failure(kind, api.list_products())
    assert f"127.0.0.1:{server.port}" in error.message
    assert (len(server.seen), time.slept) == (1, [])


SAID = [
    ({"error": "Product 7 is not yours"}, "Product 7 is not yours"),
    ({"errors": ["Reason is missing", "Bug is closed"]}, "Reason is missing; Bug is closed"),
    ({"errors": {"reason": ["is missing"], "bug": "is closed"}}, "reason: is missing; bug: is closed"),
    ({"message": 'Say "please"\nand more'}, "Say 'please'"),
    ({"detail": "a\u202eb\x1b[31mc\u0000 \u200bd"}, "ab[31mc\ufffd d"),
    ({"error": "x" * 500}, "x" * 159 + "…"),
    ({"error": {"a": {"b": {"c": {"d": "deep"}}}}}, None),
    ({"other": "words"}, None),
    ([], None),
]


@pytest.mark.parametrize("status", [403, 422])
@pytest.mark.parametrize(("body", "said"), SAID)
async def test_the_apis_reason_is_repeated_in_quotes(
    status: int, body: object, said: str | None, api_for: ClientFor, failure: Failure
) -> None:
    kind = ApiForbidden if status == 403 else ApiRejected
    async with scripted(answer(body, status)) as server, api_for(server) as api:
        error = await failure(kind, api.list_products())
    _, _, reason = error.message.partition(" The API says: ")
    assert reason == (f'"{said}".' if said else "")


async def test_a_reason_that_repeats_the_token_does_not(api_for: ClientFor, failure: Failure, canary: str) -> None:
    async with scripted(answer({"error": f"No access for {canary}"}, 403)) as server, api_for(server) as api:
        error = await failure(ApiForbidden, api.list_products())
    assert 'The API says: "No access for ***".' in error.message


@pytest.mark.parametrize(
    "kind", ["text/plain", "text/plain; charset=utf-8", "application/octet-stream", "Text/Plain"]
)
async def test_json_under_another_name_is_read(kind: str, api_for: ClientFor) -> None:
    body = b'\n {"products": [{"id": 1, "name": "Shop"}]}'
    async with scripted(respond(200, body, content_type=kind)) as server, api_for(server) as api:
        page = await api.list_products()
    assert [product.name for product in page.records] == ["Shop"]


async def test_text_that_is_no_json_is_none(api_for: ClientFor, failure: Failure) -> None:
    page = respond(200, b"Down for maintenance", content_type="text/plain")
    async with scripted(page) as server, api_for(server) as api:
        error = await failure(ApiUnavailable, api.list_products())
    assert "in place of JSON" in error.message


async def test_a_dead_proxy_is_named_as_the_proxy(settings_for: SettingsFor) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        free_port = bound.getsockname()[1]
    settings = settings_for(
        customer_api_base_url="https://api.invalid/v2/", proxy=f"http://me:secret@127.0.0.1:{free_port}"
    )
    async with CustomerApi(settings, policy=RetryPolicy(attempts=1)) as api:
        with pytest.raises(ApiUnreachable) as caught:
            await api.list_products()
    assert f"The proxy 127.0.0.1:{free_port} cannot be reached: the connection is refused." in str(caught.value)
    assert "TESTIO_PROXY" in caught.value.next_step
    assert "secret" not in str(caught.value)


async def test_a_refused_token_names_its_setting(api_for: ClientFor, failure: Failure) -> None:
    async with scripted(respond(401)) as server, api_for(server) as api:
        assert "TESTIO_CUSTOMER_API_TOKEN" in (await failure(AuthFailed, api.list_products())).next_step


async def test_without_a_token_nothing_is_sent(api_for: ClientFor, failure: Failure) -> None:
    async with scripted(PRODUCTS) as server, api_for(server, customer_api_token=None) as api:
        error = await failure(TokenMissing, api.list_products())
    assert "TESTIO_CUSTOMER_API_TOKEN" in error.next_step
    assert (server.seen, api.requests) == ([], 0)


@pytest.mark.parametrize("ending", ["\nX-Evil: 1", "é", "\x00"])
async def test_an_impossible_token_is_not_sent_and_not_shown(
    ending: str, api_for: ClientFor, failure: Failure, canary: str
) -> None:
    async with scripted(PRODUCTS) as server, api_for(server, customer_api_token=canary + ending) as api:
        await failure(AuthFailed, api.list_products())
    assert server.seen == []


async def test_a_refused_connection_names_the_address(api_for: ClientFor, failure: Failure) -> None:
    async with scripted(PRODUCTS) as server:
        pass
    async with api_for(server) as api:
        error = await failure(ApiUnreachable, api.list_products())
    assert "refused" in error.message
    assert "TESTIO_CUSTOMER_API_BASE_URL" in error.next_step
    assert api.requests == 5


async def test_a_server_that_accepts_no_connection_is_given_up(
    settings_for: SettingsFor, time: FakeTime, failure: Failure
) -> None:
    """Its queue is full: a connection is neither made nor refused."""
    with socket.socket() as server, ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        async with CustomerApi(
            settings_for(customer_api_base_url=url), time.clock, RetryPolicy(2, connect=0.2)
        ) as api:
            error = await failure(ApiUnreachable, api.list_products())
            assert api.requests == 2
    assert "in time" in error.message


@pytest.mark.parametrize("step", [stall(), stall(HEAD + b"{")], ids=["no head", "no body"])
async def test_a_silent_server_is_asked_again(step: Step, api_for: ClientFor) -> None:
    async with scripted(step, PRODUCTS) as server, api_for(server, RetryPolicy(read=0.3)) as api:
        assert (await api.list_products()).count == 1
    assert len(server.seen) >= 2


async def test_a_dripping_answer_ends_at_the_deadline(api_for: ClientFor, failure: Failure) -> None:
    async with scripted(drip(HEAD)) as server, api_for(server, RetryPolicy(total=0.5)) as api:
        error = await failure(ApiUnreachable, api.list_products())
    assert "did not finish" in error.message
    assert api.requests == 1


def test_patience_is_what_was_decided() -> None:
    """In seconds; each limit by itself is tried out above and in the tests of pauses and rests."""
    policy = RetryPolicy()
    assert timeouts(policy)["timeout"] == httpx2.Timeout(30, connect=5, pool=None).as_dict()
    assert (policy.attempts, policy.total, policy.longest_pause) == (5, 60, 300)


async def test_attempts_and_backoff_share_one_deadline(api_for: ClientFor, time: FakeTime, failure: Failure) -> None:
    async with scripted(respond(503)) as server, api_for(server, RetryPolicy(total=3.0)) as api:
        await failure(ApiUnavailable, api.list_products())
    assert len(server.seen) == 3
    assert sum(time.slept) < 3.0


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_an_answer_over_the_cap_is_refused(encoding: str, api_for: ClientFor, failure: Failure) -> None:
    body = b'{"products": [' + b" " * 2**20 + b"]}"
    body = gzip.compress(body) if encoding == "gzip" else body
    step = respond(200, body, content_type="application/json", content_encoding=encoding)
    async with scripted(step) as server, api_for(server, max_response_mb=1) as api:
        error = await failure(BadPayload, api.list_products())
    assert "TESTIO_MAX_RESPONSE_MB" in error.next_step
    assert len(server.seen) == 1


def test_a_gzip_bomb_does_not_fill_the_memory() -> None:
    child = [sys.executable, "-m", "tests.support.bomb"]
    root = Path(__file__).parents[2]
    grown = subprocess.run(child, cwd=root, capture_output=True, text=True, check=True).stdout
    assert int(grown) < 100 * 2**20


@pytest.mark.parametrize(
    "body",
    [
        b'{"products": [{"id": 1, "x": NaN}]}',
        b'{"products": [{"id": 1, "x": -Infinity}]}',
        b'{"products": [{"id": 1, "x": 1e400}]}',
        b'{"products": [{"id": ' + b"9" * 5000 + b"}]}",
        b"[" * 200_000 + b"]" * 200_000,
        b'{"products": [}',
    ],
    ids=["NaN", "Infinity", "1e400", "5000 digits", "depth 200000", "malformed"],
)
async def test_unusable_json_is_asked_for_once_more(body: bytes, api_for: ClientFor, failure: Failure) -> None:
    async with scripted(json_text(body)) as server, api_for(server) as api:
        await failure(BadPayload, api.list_products())
    assert len(server.seen) == 2
    async with scripted(json_text(body), PRODUCTS) as server, api_for(server) as api:
        assert (await api.list_products()).count == 1


async def test_an_answer_without_its_list_is_a_bad_payload(api_for: ClientFor, failure: Failure) -> None:
    async with scripted(json_text(b'{"products": {"error": "gone"}}')) as server, api_for(server) as api:
        await failure(BadPayload, api.list_products())
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "body",
    [b'\xef\xbb\xbf{"products": [{"id": 1}]}', b'{"products": [], "products": [{"id": 1}]}', b' [{"id": "1"}]\n'],
    ids=["BOM", "duplicate keys", "bare array"],
)
async def test_odd_json_is_read(body: bytes, api_for: ClientFor) -> None:
    async with scripted(json_text(body)) as server, api_for(server) as api:
        assert [product.id for product in (await api.list_products()).records] == [1]


async def test_an_answer_without_content_type_is_read(api_for: ClientFor) -> None:
    async with scripted(respond(200, b'{"products": []}')) as server, api_for(server) as api:
        assert (await api.list_products()).count == 0


async def test_at_most_so_many_requests_are_in_flight(api_for: ClientFor) -> None:
    full, most, present = asyncio.Event(), 0, 0

    async def step(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, present
        present += 1
        most = max(most, present)
        if present == 10:
            full.set()
        await full.wait()
        await asyncio.sleep(0)
        present -= 1
        await PRODUCTS(_reader, writer)

    async with scripted(step) as server, api_for(server) as api:
        await asyncio.gather(*(api.list_products() for _ in range(40)))
    assert (most, len(server.seen)) == (10, 40)


async def test_a_change_is_sent_once(api_for: ClientFor, failure: Failure, time: FakeTime) -> None:
    async with scripted(respond(503)) as server, api_for(server) as api:
        await failure(ApiUnavailable, api.send("PUT", "bugs/1/accept"))
    assert (len(server.seen), time.slept) == (1, [])


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_a_change_that_is_refused_is_sent_once(status: int, api_for: ClientFor, failure: Failure) -> None:
    """The error names the fields of ours that it is about, and repeats nothing else of the answer."""
    refusal = answer({"errors": {"reason": [STRANGER], STRANGER: ["reason"]}, "comment": None}, status)
    async with scripted(refusal) as server, api_for(server) as api:
        error = await failure(ApiRejected, api.send("PUT", "bugs/1/reject", {"reason": "other", "comment": "Why"}))
    fields, _, reason = error.message.partition(" The API says: ")
    assert fields.endswith(f"was refused with status {status}: comment, reason.")
    assert bool(reason) == (status == 422)
    assert len(server.seen) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": null}', b'{"reason": ', b"[" * 900 + b"]" * 900])
async def test_a_refusal_without_fields_is_one_all_the_same(
    body: bytes, api_for: ClientFor, failure: Failure
) -> None:
    async with scripted(respond(422, body)) as server, api_for(server) as api:
        error = await failure(ApiRejected, api.send("PUT", "bugs/1/reject", {"reason": "other"}))
    assert error.message.endswith("was refused with status 422.")
    assert len(server.seen) == 1


async def test_a_change_cut_off_is_not_sent_again(api_for: ClientFor, failure: Failure) -> None:
    async with scripted(reset()) as server, api_for(server) as api:
        await failure(ApiUnreachable, api.send("PUT", "bugs/1/reject", {"reason": "other"}))
    assert [seen.body for seen in server.seen] == [b'{"reason":"other"}']


async def test_a_change_that_never_left_is_tried_again(api_for: ClientFor, failure: Failure) -> None:
    async with scripted(PRODUCTS) as server:
        pass
    async with api_for(server) as api:
        await failure(ApiUnreachable, api.send("PUT", "bugs/1/accept"))
    assert api.requests == 5
