"""Pauses that the API asks for, and the circuit that rests an API that is down."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from testio_mcp.api.resilience import RetryPolicy
from testio_mcp.errors import ApiNotFound, ApiUnavailable, ApiUnreachable, RateLimited
from tests.api.conftest import ClientFor
from tests.support.fake_time import FakeTime
from tests.support.scripted import answer, respond, scripted

PRODUCTS = answer({"products": []})
Failure = Callable[..., Any]
# The fake clock says 2026-03-01 12:00:00; a server whose clock runs an hour ahead says so in `Date`.
AHEAD = "Sun, 01 Mar 2026 13:00:00 GMT"

WAITS: dict[str, tuple[dict[str, str], float]] = {
    "none": ({}, 0.5),
    "seconds": ({"retry_after": "7"}, 7.0),
    "seconds with blanks": ({"retry_after": " 7 "}, 7.0),
    "zero": ({"retry_after": "0"}, 0.0),
    "date": ({"retry_after": "Sun, 01 Mar 2026 12:00:09 GMT"}, 9.0),
    "date by a fast clock": ({"retry_after": "Sun, 01 Mar 2026 13:00:09 GMT", "date": AHEAD}, 9.0),
    "date beside a broken Date": ({"retry_after": "Sun, 01 Mar 2026 12:00:09 GMT", "date": "noon"}, 9.0),
    "past date": ({"retry_after": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0.0),
    "past date by a fast clock": ({"retry_after": "Sun, 01 Mar 2026 12:00:09 GMT", "date": AHEAD}, 0.0),
    "negative": ({"retry_after": "-5"}, 0.5),
    "garbage": ({"retry_after": "soon"}, 0.5),
    "not a number": ({"retry_after": "nan"}, 0.5),
    "other digits": ({"retry_after": "\u00b2"}, 0.5),
    "impossible date": ({"retry_after": "Sun, 99 Foo 99999 99:99:99 GMT"}, 0.5),
    "the longest": ({"retry_after": "300"}, 300.0),
}
TOO_LONG = {
    "seconds": ({"retry_after": "301"}, 301.0),
    "date": ({"retry_after": "Sun, 01 Mar 2026 13:00:00 GMT"}, 3600.0),
    "more than a day": ({"retry_after": "9" * 18}, 86_400.0),
    "endless": ({"retry_after": "9" * 500}, 86_400.0),
}


@pytest.mark.parametrize("case", WAITS)
@pytest.mark.parametrize("status", [429, 503])
async def test_a_pause_is_kept(status: int, case: str, api_for: ClientFor, time: FakeTime) -> None:
    headers, wait = WAITS[case]
    async with scripted(respond(status, b"", **headers), PRODUCTS) as server, api_for(server) as api:
        await api.list_products()
    assert len(server.seen) == 2
    assert sum(time.slept) == pytest.approx(wait)


@pytest.mark.parametrize("case", TOO_LONG)
async def test_a_pause_over_the_budget_ends_the_call_at_once(
    case: str, api_for: ClientFor, time: FakeTime, failure: Failure
) -> None:
    headers, wait = TOO_LONG[case]
    async with scripted(respond(429, b"", **headers), PRODUCTS) as server, api_for(server) as api:
        error = await failure(RateLimited, api.list_products())
        assert error.retry_after == pytest.approx(wait)
        assert (len(server.seen), time.slept) == (1, [])
        # Nothing is sent before the pause is over, and then all is well again.
        await failure(RateLimited, api.list_products())
        assert len(server.seen) == 1
        assert api.resting == pytest.approx(wait)
        time.seconds += wait
        await api.list_products()


async def test_pauses_that_add_up_over_the_budget_end_the_call(
    api_for: ClientFor, time: FakeTime, failure: Failure
) -> None:
    async with scripted(respond(429, retry_after="200")) as server, api_for(server) as api:
        error = await failure(RateLimited, api.list_products())
    assert (error.retry_after, len(server.seen), time.slept) == (200.0, 2, [200.0])


async def test_a_429_for_ever_ends_after_five_attempts(api_for: ClientFor, failure: Failure) -> None:
    async with scripted(respond(429, retry_after="2")) as server, api_for(server) as api:
        error = await failure(RateLimited, api.list_products())
    assert (error.retry_after, len(server.seen)) == (2.0, 5)


async def test_a_429_pauses_the_whole_account(api_for: ClientFor, time: FakeTime) -> None:
    sent_at: list[float] = []

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent_at.append(time.seconds)
        await (respond(429, retry_after="30") if len(sent_at) == 1 else PRODUCTS)(reader, writer)

    async with scripted(step) as server, api_for(server, max_requests_in_flight=1) as api:
        await asyncio.gather(*(api.list_products() for _ in range(5)))
    assert sent_at[0] == 0.0
    assert all(moment == 30.0 for moment in sent_at[1:])


async def test_a_pause_from_before_a_restart_is_kept(api_for: ClientFor, time: FakeTime) -> None:
    async with scripted(PRODUCTS) as server, api_for(server) as api:
        api.pause(120.0)
        await api.list_products()
    assert time.slept == [120.0]


async def _open_the_circuit(api: Any, failure: Failure) -> None:
    await failure(ApiUnavailable, api.list_products())
    await failure(ApiUnavailable, api.list_products())


async def test_ten_failures_in_a_row_rest_the_api(api_for: ClientFor, time: FakeTime, failure: Failure) -> None:
    async with scripted(*[respond(503)] * 10, PRODUCTS) as server, api_for(server) as api:
        await _open_the_circuit(api, failure)
        assert (len(server.seen), api.resting) == (10, 60.0)
        await api.list_products()
        assert time.slept[-1] == 60.0
        assert (len(server.seen), api.resting) == (11, 0.0)


async def test_a_change_does_not_wait_until_the_api_has_rested(
    api_for: ClientFor, time: FakeTime, failure: Failure
) -> None:
    async with scripted(*[respond(503)] * 10, PRODUCTS) as server, api_for(server) as api:
        await _open_the_circuit(api, failure)
        slept = len(time.slept)
        error = await failure(ApiUnreachable, api.send("PUT", "bugs/1/accept"))
    assert "10 times in a row" in error.message
    assert (len(server.seen), len(time.slept)) == (10, slept)


async def test_after_the_rest_one_probe_goes_first(api_for: ClientFor, time: FakeTime, failure: Failure) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await release.wait()
        await PRODUCTS(reader, writer)

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (PRODUCTS if release.is_set() else respond(403))(reader, writer)

    async with scripted(*[respond(503)] * 10, slow, late) as server, api_for(server) as api:
        await _open_the_circuit(api, failure)
        calls = [asyncio.create_task(api.list_products()) for _ in range(5)]
        await arrived.wait()
        await failure(ApiUnreachable, api.send("PUT", "bugs/1/accept"))
        assert len(server.seen) == 11
        release.set()
        await asyncio.gather(*calls)
    assert len(server.seen) == 15


async def test_a_failed_probe_rests_the_api_again(api_for: ClientFor, time: FakeTime, failure: Failure) -> None:
    async with scripted(*[respond(503)] * 12, PRODUCTS) as server, api_for(server) as api:
        await _open_the_circuit(api, failure)
        before = time.seconds
        await api.list_products()
    assert len(server.seen) == 13
    assert time.seconds - before == pytest.approx(3 * 60.0)


async def test_an_api_that_stays_down_is_left_alone(api_for: ClientFor, time: FakeTime, failure: Failure) -> None:
    async with scripted(respond(503)) as server, api_for(server, RetryPolicy(longest_rest=100)) as api:
        await _open_the_circuit(api, failure)
        error = await failure(ApiUnreachable, api.list_products())
    assert "10 times in a row" in error.message
    assert len(server.seen) == 11


async def test_after_five_failed_probes_nobody_waits_for_the_next(api_for: ClientFor, time: FakeTime) -> None:
    """However many calls wait; who comes then may try again."""
    is_up = asyncio.Event()

    async def down(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (PRODUCTS if is_up.is_set() else respond(503))(reader, writer)

    async with scripted(down) as server, api_for(server) as api:
        calls = (api.list_products() for _ in range(8))
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} <= {ApiUnreachable, ApiUnavailable}
        assert len(server.seen) <= 10 + 7 + 5
        assert api.resting > 0.0
        is_up.set()
        await api.list_products()
        assert api.resting == 0.0


async def test_a_cancelled_probe_leaves_room_for_the_next(
    api_for: ClientFor, time: FakeTime, failure: Failure
) -> None:
    arrived = asyncio.Event()

    async def never(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    async with scripted(*[respond(503)] * 10, never, PRODUCTS) as server, api_for(server) as api:
        await _open_the_circuit(api, failure)
        time.seconds += 60.0
        probe = asyncio.create_task(api.list_products())
        await arrived.wait()
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        await api.list_products()


async def test_an_answer_between_failures_keeps_the_circuit_closed(api_for: ClientFor, failure: Failure) -> None:
    burst = [*[respond(503)] * 4, respond(404)]
    async with scripted(*burst * 5, PRODUCTS) as server, api_for(server) as api:
        for _ in range(5):
            await failure(ApiNotFound, api.list_products())
        await api.list_products()
    assert len(server.seen) == 26


async def test_one_record_that_answers_500_for_ever_does_not_rest_the_api(
    api_for: ClientFor, failure: Failure
) -> None:
    async with scripted(*[respond(500)] * 25, PRODUCTS) as server, api_for(server) as api:
        for per_page in (25, 10, 5, 2, 1):
            await failure(ApiUnavailable, api.list_tests(1, 1, per_page))
        await api.list_products()
    assert len(server.seen) == 26
