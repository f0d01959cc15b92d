"""Each kind of fault, as a client meets it."""

import asyncio
import gzip
import json
import re

import httpx2
import pytest

from testio_sandbox import Fault, Sandbox
from testio_sandbox.fault_injection import KINDS

TESTS = "products/21001/exploratory_tests"


async def test_rate_limit(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("rate_limit", retry_after="7", times=1), Fault("rate_limit", skip=1, times=1))
    first, second, third = [await client.get("products") for _ in range(3)]
    assert (first.status_code, first.headers["retry-after"]) == (429, "7")
    assert second.status_code == 429 and "retry-after" not in second.headers
    assert third.status_code == 200


async def test_an_error_on_one_page_only(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("error", path=r"exploratory_tests$", query={"page": "2"}))
    pages = [await client.get(TESTS, params={"page": page, "per_page": 5}) for page in (1, 2, 3)]
    assert [page.status_code for page in pages] == [200, 500, 200]


async def test_a_burst_of_503_that_ends(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("error", status=503, times=2, method="get"))
    assert [(await client.get("products")).status_code for _ in range(3)] == [503, 503, 200]
    assert [fault.hits for fault in sandbox.faults] == [2]


async def test_probability_is_seeded(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("error", probability=0.5))
    first = [(await client.get("products")).status_code for _ in range(30)]
    sandbox.faults.clear()
    sandbox.faults.add(Fault("error", probability=0.5))
    assert [(await client.get("products")).status_code for _ in range(30)] == first
    assert set(first) == {200, 500}


async def test_a_poisoned_record_spoils_every_page_that_holds_it(
    sandbox: Sandbox, client: httpx2.AsyncClient
) -> None:
    ids = sandbox.world.test_ids(21001)
    sandbox.faults.add(Fault("poison", path="exploratory_tests", record_id=ids[3]))
    by_two = [(await client.get(TESTS, params={"page": p, "per_page": 2})).status_code for p in (1, 2, 3)]
    assert by_two == [200, 500, 200]
    assert (await client.get(TESTS)).status_code == 500
    single = [(await client.get(f"exploratory_tests/{ids[place]}")).status_code for place in (2, 3, 4)]
    assert single == [200, 500, 200]
    sandbox.faults.add(Fault("poison", path="user_stories/", record_id=840_001))
    unwrapped = [(await client.get(f"user_stories/{story_id}")).status_code for story_id in (840_001, 840_002)]
    assert unwrapped == [500, 200]


async def test_a_record_that_is_gone(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    ids = sandbox.world.test_ids(21001)
    sandbox.faults.add(Fault("gone", record_id=ids[0]))
    listed = [test["id"] for test in (await client.get(TESTS)).json()["exploratory_tests"]]
    assert listed == ids[1:]
    assert (await client.get(f"exploratory_tests/{ids[0]}")).status_code == 404


async def test_fields_of_another_name_or_type(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    first, second = sandbox.world.product_ids[:2]
    sandbox.faults.add(
        Fault("rename", field="products.*.name", value="label", record_id=first),
        Fault("drop", field="products.*.description"),
        Fault("null", field="products.*.sections_with_default.*.name"),
        Fault("retype", field="products.*.type", value=True, record_id=second),
    )
    products = (await client.get("products")).json()["products"]
    assert ["label" in product for product in products] == [True, False, False]
    assert not any("description" in product for product in products)
    assert {section["name"] for product in products for section in product["sections_with_default"]} == {None}
    assert [product["type"] is True for product in products] == [False, True, False]
    assert sandbox.world.product(first)["name"], "the account itself is untouched"


async def test_truncated_and_malformed_json(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("truncate", times=1), Fault("malformed", skip=1, times=1, body='{"a": NaN'))
    for _ in range(2):
        response = await client.get("products")
        assert response.status_code == 200
        with pytest.raises(ValueError):
            response.json()


@pytest.mark.parametrize(("kind", "error"), [("short", httpx2.RemoteProtocolError), ("reset", httpx2.ReadError)])
async def test_a_connection_that_breaks(
    sandbox: Sandbox, client: httpx2.AsyncClient, kind: str, error: type[Exception]
) -> None:
    sandbox.faults.add(Fault(kind, times=1))  # type: ignore[arg-type]
    with pytest.raises(error):
        await client.get("products")
    assert (await client.get("products")).status_code == 200


async def test_html_and_redirect(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("html", times=1), Fault("redirect", skip=1, location="http://other.example/x"))
    page, moved = await client.get("products"), await client.get("products")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert (moved.status_code, moved.headers["location"]) == (302, "http://other.example/x")


async def test_huge_bodies(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("huge", size=300_000, times=1), Fault("gzip_bomb", size=3_000_000, skip=1))
    plain = await client.get("products")
    assert len(plain.content) == 300_000 and plain.json()["products"]
    async with client.stream("GET", "products") as packed:
        raw = b"".join([part async for part in packed.aiter_raw()])
    assert len(raw) < 100_000 and len(gzip.decompress(raw)) == 3_000_000


async def test_staging_ignores_paging(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("staging"))
    pages = [(await client.get(TESTS, params={"page": p, "per_page": 5})).json() for p in (1, 2)]
    assert pages[0] == pages[1] and len(pages[0]["exploratory_tests"]) == 12


async def test_pages_that_shift(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    before = sandbox.world.test_ids(21001)
    sandbox.faults.add(
        Fault("shift", path="exploratory_tests", insert=2, skip=1, times=1),
        Fault("shift", path="exploratory_tests", delete=3, skip=2, times=1),
    )
    pages = [(await client.get(TESTS, params={"page": p, "per_page": 4})).json() for p in (1, 2, 3)]
    ids = [[test["id"] for test in page["exploratory_tests"]] for page in pages]
    # Two new ones push two known tests onto page 2; then three deletions let one slip off page 3.
    assert ids == [before[:4], before[2:6], before[9:]]


async def test_waiting_for_an_answer(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("latency", ms=60_000, times=1), Fault("stall", skip=1, times=1))
    for _ in range(2):
        with pytest.raises(httpx2.ReadTimeout):
            await client.get("products", timeout=0.1)
    assert (await client.get("products")).status_code == 200


async def test_latency_delays_and_then_answers(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("latency", ms=30))
    slow = asyncio.create_task(client.get("products"))
    await asyncio.sleep(0.005)
    assert not slow.done()
    assert (await slow).status_code == 200


async def test_a_body_that_drips(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("drip", path="reject_reasons", ms=0.01))
    async with client.stream("GET", "bugs/reject_reasons") as response:
        parts = [part async for part in response.aiter_raw()]
    assert len(parts) > 50 and json.loads(b"".join(parts))["reject_reasons"]


async def test_rules_can_be_set_over_http(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    switch = sandbox.url.replace("/customer/v2/", "/_sandbox/faults")
    added = await client.post(switch, json={"kind": "error", "status": 502, "path": "^/products$", "times": 1})
    assert added.status_code == 201
    assert [(await client.get("products")).status_code for _ in range(2)] == [502, 200]
    assert [(rule["kind"], rule["hits"]) for rule in (await client.get(switch)).json()["faults"]] == [("error", 1)]
    assert (await client.delete(switch)).json() == {"faults": []}
    assert len(sandbox.faults) == 0
    for wrong in (
        {"kind": "nonsense"},
        {"kind": "error", "colour": 1},
        {"kind": "poison"},
        {"kind": "error", "path": "("},
    ):
        assert (await client.post(switch, json=wrong)).status_code == 422


def test_every_kind_is_explained_and_tested() -> None:
    described = set(re.findall(r"^    (\w+)  +\S", Fault.__doc__ or "", re.MULTILINE)) - {"kind"}
    assert described == set(KINDS)
    assert {"rename", "drop", "null", "retype"} < set(KINDS)


async def test_small_pages_hold_no_more_than_they_may(sandbox: Sandbox, client: httpx2.AsyncClient) -> None:
    sandbox.faults.add(Fault("capped", size=2))
    query = {"page": "2", "per_page": "500"}
    answer = (await client.get("user_story_version_executions", params=query)).json()
    whole = (await client.get("user_story_version_executions", params={"page": "1"})).json()
    assert len(answer["user_story_version_executions"]) == len(whole["user_story_version_executions"]) == 2
