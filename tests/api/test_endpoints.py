"""Which request each method sends, and in which wrappings it understands the answer."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.records import Page
from testio_mcp.errors import BadPayload
from tests.api.conftest import ClientFor
from tests.api.samples import BUG, ENVIRONMENT, EXECUTION, FEATURE, PRODUCT, REASON, SECRET, STORY, TEMPLATE, TEST
from tests.support.scripted import answer, respond, scripted

Failure = Callable[..., Any]
Call = Callable[[CustomerApi], Awaitable[Any]]
STORIES = ("includes[]", "user_stories")

LISTS: dict[str, tuple[Call, str, list[tuple[str, str]], str, dict[str, Any]]] = {
    "products": (lambda api: api.list_products(), "products", [], "products", PRODUCT),
    "features": (lambda api: api.list_features(1), "products/1/features", [STORIES], "features", FEATURE),
    "stories": (
        lambda api: api.list_user_stories(1, 11),
        "products/1/user_stories",
        [("section_id", "11")],
        "user_stories",
        STORY,
    ),
    "stories without section": (
        lambda api: api.list_user_stories(1, None),
        "products/1/user_stories",
        [],
        "user_stories",
        STORY,
    ),
    "tests": (
        lambda api: api.list_tests(1, 2),
        "products/1/exploratory_tests",
        [("page", "2"), ("per_page", "25"), STORIES],
        "exploratory_tests",
        TEST,
    ),
    "bugs": (lambda api: api.list_bugs([41, 42]), "bugs", [("filter_test_cycle_ids", "41,42")], "bugs", BUG),
    "reasons": (lambda api: api.reject_reasons(), "bugs/reject_reasons", [], "reject_reasons", REASON),
    "environments": (
        lambda api: api.list_test_environments(1),
        "products/1/test_environments",
        [],
        "test_environments",
        ENVIRONMENT,
    ),
    "templates": (
        lambda api: api.list_test_templates(1, 11),
        "test_templates",
        [("product_id", "1"), ("section_id", "11")],
        "test_templates",
        TEMPLATE,
    ),
    "executions": (
        lambda api: api.list_executions(3, 50),
        "user_story_version_executions",
        [("page", "3"), ("per_page", "50"), ("order", "desc")],
        "user_story_version_executions",
        EXECUTION,
    ),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("wrapped", [True, False])
async def test_lists(name: str, wrapped: bool, api_for: ClientFor) -> None:
    call, path, query, plural, sample = LISTS[name]
    records = [sample, {"no": "id"}]
    step = answer({plural: records, "meta": {"record_count": 812}} if wrapped else records)
    async with scripted(step) as server, api_for(server) as api:
        page: Page[Any] = await call(api)
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.query) == ("GET", f"/customer/v2/{path}", query)
    assert (len(page.records), len(page.problems), page.count) == (1, 1, 2)
    assert page.record_count == (812 if wrapped else None)
    assert SECRET not in repr(page) + str(page.records[0].raw)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("body", [{}, {"error": "gone"}, {"products": None}, 7, "x", None])
async def test_an_answer_without_a_list_is_not_an_empty_list(
    name: str, body: Any, api_for: ClientFor, failure: Failure
) -> None:
    async with scripted(answer(body)) as server, api_for(server) as api:
        await failure(BadPayload, LISTS[name][0](api))


async def test_an_empty_answer_is_not_an_empty_list(api_for: ClientFor, failure: Failure) -> None:
    async with scripted(respond(204)) as server, api_for(server) as api:
        await failure(BadPayload, api.list_products())


async def test_bugs_of_no_tests_are_none_and_nothing_is_asked(api_for: ClientFor) -> None:
    async with scripted(answer({"bugs": [BUG]})) as server, api_for(server) as api:
        assert await api.list_bugs([]) == Page([], [], 0)
    assert server.seen == []


@pytest.mark.parametrize("wrapped", [True, False])
async def test_single_records(wrapped: bool, api_for: ClientFor) -> None:
    steps = (answer({"exploratory_test": TEST} if wrapped else TEST), answer({"bug": BUG} if wrapped else BUG))
    async with scripted(*steps) as server, api_for(server) as api:
        assert (await api.get_test(41)).analytics == TEST["analytics"]
        assert (await api.get_bug(81)).title == BUG["title"]
    assert [(seen.path, seen.query) for seen in server.seen] == [
        ("/customer/v2/exploratory_tests/41", [STORIES]),
        ("/customer/v2/bugs/81", []),
    ]


@pytest.mark.parametrize("body", [None, [], {}, {"bug": None}, {"bug": {"id": True}}, [BUG]])
async def test_a_single_record_that_cannot_be_read(body: Any, api_for: ClientFor, failure: Failure) -> None:
    async with scripted(answer(body)) as server, api_for(server) as api:
        await failure(BadPayload, api.get_bug(81))


@pytest.mark.parametrize("body", [{"bugs": [BUG]}, [BUG], {"bug": BUG}])
async def test_a_search_for_bugs(body: Any, api_for: ClientFor) -> None:
    async with scripted(answer(body)) as server, api_for(server) as api:
        assert [bug.id for bug in (await api.search_bugs("QA-7")).records] == [81]
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/customer/v2/bugs")
    assert seen.body == b'{"bug":{"external_idx":"QA-7"}}'


async def test_a_search_moves_to_the_other_address(api_for: ClientFor) -> None:
    async with scripted(respond(404), answer({"bugs": [BUG]})) as server, api_for(server) as api:
        assert (await api.search_bugs("QA-7")).count == 1
    assert [seen.path for seen in server.seen] == ["/customer/v2/bugs", "/customer/v2/bugs/search"]


async def test_executions_under_their_short_name(api_for: ClientFor) -> None:
    async with scripted(answer({"executions": [EXECUTION]})) as server, api_for(server) as api:
        assert [run.id for run in (await api.list_executions(1)).records] == [151]


async def test_a_change_returns_the_answer(api_for: ClientFor) -> None:
    async with scripted(answer({"bug": {"id": 81}}), respond(204)) as server, api_for(server) as api:
        assert await api.send("PUT", "bugs/81/reject", {"reason": "other"}) == {"bug": {"id": 81}}
        assert await api.send("DELETE", "connections/3") is None
    assert [seen.method for seen in server.seen] == ["PUT", "DELETE"]


@pytest.mark.parametrize("ending", ["", "/"])
async def test_the_base_address_with_and_without_a_slash(ending: str, api_for: ClientFor) -> None:
    async with scripted(answer({"products": []})) as server:
        async with api_for(server, customer_api_base_url=server.url + ending) as api:
            await api.list_products()
        assert server.seen[0].path == "/customer/v2/products"


async def test_outside_its_context_the_client_says_so(api_for: ClientFor) -> None:
    async with scripted(answer({"products": []})) as server:
        with pytest.raises(RuntimeError, match="async with"):
            await api_for(server).list_products()
