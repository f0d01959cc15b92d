"""REST as its clients use it: pages that link on, answers that are kept, limits that are said."""

import asyncio
import gzip
from pathlib import Path

import httpx2
import pytest

from testio_sandbox import Fault, World, serve_sandbox
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import HttpServer, http_server
from tests.surfaces.test_http import JSON, assert_problem


async def test_pages_link_on_and_keep_the_question(web: httpx2.AsyncClient, synced: Copy) -> None:
    address: str | None = f"/api/tests?product_id={synced.product_id}&statuses=locked,archived&sort=oldest&limit=7"
    seen: list[int] = []
    while address:
        answer = await web.get(address)
        page = answer.json()
        seen += [item["id"] for item in page["items"]]
        assert {item["product_id"] for item in page["items"]} == {synced.product_id}
        assert ("next" in answer.links) == (page["next_cursor"] is not None)
        address = answer.links.get("next", {}).get("url")
        assert address is None or "sort=oldest&limit=7&cursor=" in address
    whole = await web.get(f"/api/tests?product_id={synced.product_id}&statuses=locked,archived&sort=oldest&limit=100")
    assert seen == [item["id"] for item in whole.json()["items"]]
    assert len(seen) > 7


@pytest.mark.parametrize("path", ["/api/tests?limit=5", "/api/products", "/api/tests/{test_id}", "/api/status"])
async def test_an_answer_that_the_client_has_is_not_sent_again(
    web: httpx2.AsyncClient, synced: Copy, path: str
) -> None:
    path = path.format(test_id=synced.test_id)
    first = await web.get(path)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
        again = await web.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == "private, no-cache"
    for unknown in ('"other"', "", "nonsense", tag.replace('"', "")):
        assert (await web.get(path, headers={"If-None-Match": unknown})).json() == first.json()


async def test_every_question_has_a_tag_of_its_own(web: httpx2.AsyncClient, synced: Copy) -> None:
    paths = [
        "/api/tests",
        "/api/tests?limit=5",
        "/api/tests?limit=6",
        "/api/products",
        f"/api/tests/{synced.test_id}",
    ]
    tags = {(await web.get(path)).headers["etag"] for path in paths}
    assert len(tags) == len(paths)


async def test_what_is_wrong_or_remembers_its_reader_is_never_kept(web: httpx2.AsyncClient) -> None:
    for path in ("/api/changes", "/api/tests?limit=0", "/api/tests/99", "/health", "/openapi.json"):
        answer = await web.get(path, headers={"If-None-Match": "*"})
        assert answer.status_code != 304
        assert "etag" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.slow
async def test_a_sync_and_a_forgotten_problem_make_new_versions(tmp_path: Path, canary: str, cli: Cli) -> None:
    async with serve_sandbox(
        World(seed=2, products=1, tests_per_product=4, bugs_per_test=1), token=canary
    ) as sandbox:
        environment = {
            "TESTIO_DB_PATH": str(tmp_path / "s.db"),
            "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
            "TESTIO_CUSTOMER_API_TOKEN": canary,
            "TESTIO_REFRESH_AFTER_MINUTES": "0",
        }
        with http_server(environment, tmp_path) as server:
            async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as web:
                assert "etag" not in (await web.get("/api/tests")).headers
                sandbox.faults.add(Fault("retype", field="exploratory_tests.*.id", value="x"))
                tags = []
                for action in ("/api/sync", "/api/sync", "/api/problems/clear"):
                    assert (await web.post(action)).status_code == 200
                    tags.append((await web.get("/api/tests")).headers["etag"])
                    known = {"If-None-Match": ", ".join(tags[:-1])}
                    assert (await web.get("/api/tests", headers=known)).status_code == 200
                assert len(set(tags)) == 3
                await cli(environment, "sync")
                assert (await web.get("/api/tests", headers={"If-None-Match": tags[-1]})).status_code == 200


@pytest.mark.slow
async def test_a_client_that_has_the_newest_answer_still_keeps_the_copy_fresh(own_copy: Copy, tmp_path: Path) -> None:
    world = World(seed=5, products=2, tests_per_product=60, bugs_per_test=2)
    async with serve_sandbox(world) as sandbox:
        environment = own_copy.environment | {
            "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
            "TESTIO_CUSTOMER_API_TOKEN": sandbox.token,
            "TESTIO_REFRESH_BUDGET_SECONDS": "60",
        }
        with http_server({**environment, "TESTIO_REFRESH_AFTER_MINUTES": "0"}, tmp_path) as server:
            async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as web:
                old = await web.get("/api/products")
                assert old.status_code == 200, old.text
        assert not sandbox.requests
        import aiosqlite

        async with aiosqlite.connect(own_copy.path) as connection:
            await connection.execute("UPDATE checkpoint SET completed_at = '2020-01-01T00:00:00.000000Z'")
            await connection.execute("UPDATE sync_run SET started_at = '2020-01-01T00:00:00.000000Z'")
            await connection.commit()
        with http_server({**environment, "TESTIO_REFRESH_AFTER_MINUTES": "60"}, tmp_path) as server:
            async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web:
                new = await web.get("/api/products", headers={"If-None-Match": old.headers["etag"]})
        assert new.status_code == 200
        assert new.json()["as_of"] > old.json()["as_of"]
        assert sandbox.requests


async def test_long_answers_travel_compressed_if_the_client_can(web: httpx2.AsyncClient) -> None:
    plain = await web.get("/api/tests?limit=50", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    async with web.stream("GET", "/api/tests?limit=50", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in answer.headers["vary"].lower()
    assert gzip.decompress(raw) == plain.content
    assert len(raw) * 3 < len(plain.content)
    short = await web.get("/api/tests?limit=1", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in short.headers


async def test_answers_to_assistants_are_not_compressed(web: httpx2.AsyncClient) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accepts = {"Accept": "application/json, text/event-stream", "Accept-Encoding": "gzip"}
    answer = await web.post("/mcp", json=asked, headers=accepts)
    assert "content-encoding" not in answer.headers


async def test_head_is_get_without_the_body(web: httpx2.AsyncClient) -> None:
    whole, head = await web.get("/api/products"), await web.head("/api/products")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == whole.headers["etag"]
    assert (await web.head("/api/nothing")).status_code == 404
    assert (await web.head("/api/sync")).status_code == 405


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/tests?frob=1", "frob: there is no such argument."),
        ("/api/tests?limit=1&limit=2", "limit: "),
        ("/api/tests?sort=newest&sort=newest", "sort: "),
        ("/api/tests?end_to=0", "end_to: "),
        ("/api/tests?end_from=20260101", "end_from: "),
        ("/api/tests/{test_id}?test_id=1", "test_id: it is given twice."),
        ("/api/tests?fields=frob", "fields: there is no field 'frob'."),
    ],
)
async def test_arguments_that_do_not_fit_are_named(
    web: httpx2.AsyncClient, synced: Copy, path: str, said: str
) -> None:
    answer = await web.get(path.format(test_id=synced.test_id))
    assert_problem(answer, 422, "bad_input")
    assert answer.json()["error"]["message"].startswith(said)


async def test_an_action_takes_its_arguments_in_the_body_alone(web: httpx2.AsyncClient) -> None:
    answer = await web.post("/api/sync?full=true", content=b"{}", headers=JSON)
    assert_problem(answer, 422, "bad_input")
    assert answer.json()["error"]["message"] == "full: there is no such parameter."


@pytest.mark.slow
async def test_an_address_may_ask_so_much_a_minute(synced: Copy, tmp_path: Path) -> None:
    with http_server({**synced.environment, "TESTIO_HTTP_REQUESTS_PER_MINUTE": "3"}, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as web:
            answers = [await web.get("/api/products") for _ in range(5)]
            assert [answer.status_code for answer in answers][:3] == [200, 200, 200]
            assert_problem(answers[4], 429, "too_many_requests")
            assert 1 <= int(answers[4].headers["retry-after"]) <= 20
            assert_problem(await web.post("/mcp", json={}), 429, "too_many_requests")
            assert (await web.get("/health")).status_code == 200
        other = httpx2.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, transport=other) as web:
            assert (await web.get("/api/products")).status_code == 200


@pytest.mark.slow
async def test_the_server_takes_so_many_requests_at_once(own_copy: Copy, tmp_path: Path, canary: str) -> None:
    async with serve_sandbox(World(seed=1, products=1, tests_per_product=1), token=canary) as sandbox:
        sandbox.faults.add(Fault("stall", "products"))
        environment = own_copy.environment | {
            "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
            "TESTIO_CUSTOMER_API_TOKEN": canary,
            "TESTIO_HTTP_REQUESTS_AT_ONCE": "1",
            "TESTIO_REFRESH_AFTER_MINUTES": "0",
        }
        with http_server(environment, tmp_path) as server:
            async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web:
                for _ in range(3):  # a place is given back
                    assert (await web.get("/api/products")).status_code == 200
                stalled = asyncio.create_task(web.post("/api/sync"))
                while not sandbox.requests:  # noqa: ASYNC110 - the server's request is awaited, not a moment
                    await asyncio.sleep(0.01)
                answer = await web.get("/api/products")
                assert_problem(answer, 503, "busy")
                assert answer.headers["retry-after"] == "1"
                assert (await web.get("/health")).status_code == 200
                stalled.cancel()
                await asyncio.wait([stalled])


async def test_openapi_describes_each_argument_and_each_answer(server: HttpServer, web: httpx2.AsyncClient) -> None:
    document = (await web.get("/openapi.json")).json()
    for path, routes in document["paths"].items():
        for method, route in routes.items():
            assert {"401", "408", "413", "421", "422", "429", "503"} <= route["responses"].keys(), path
            assert ("304" in route["responses"]) == (method == "get" and route["operationId"] != "list_changes")
            for parameter in route.get("parameters", []):
                assert parameter["description"], f"{path} {parameter['name']}"
    listed = {parameter["name"]: parameter for parameter in document["paths"]["/api/tests"]["get"]["parameters"]}
    assert "title" in listed["fields"]["schema"]["items"]["enum"]
    assert "once with commas" in listed["statuses"]["description"]
    assert listed["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
