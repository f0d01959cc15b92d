"""Everything that can be read, over HTTP."""

from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testio_sandbox import World, serve_sandbox
from testio_sandbox.plan import STORY

from .conftest import NOW

TESTS = "products/21001/exploratory_tests"


async def get(client: httpx2.AsyncClient, path: str, status: Any = 200, **params: Any) -> Any:
    """The JSON of a GET."""
    response = await client.get(path, params=params)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


async def test_products(client: httpx2.AsyncClient, world: World) -> None:
    products = (await get(client, "products"))["products"]
    assert [product["id"] for product in products] == [21001, 21002, 21003]
    assert products == list(world.iter_products())
    wanted = await get(client, "products", **{"filter[product_ids][]": [21003, 99]})
    assert wanted["products"] == products[2:]
    assert (await get(client, "products/21002"))["product"] == products[1]
    assert await get(client, "products/99", 404) == {"error": "Not found"}
    assert [len(product["sections"]) for product in products] == [2, 0, 3]
    assert all(
        product["sections_with_default"][0] == {"id": product["default_section_id"], "name": "default-section"}
        for product in products
    )


async def test_features_by_product_and_by_section(client: httpx2.AsyncClient, world: World) -> None:
    whole = (await get(client, "products/21001/features"))["features"]
    assert all(isinstance(story, str) for feature in whole for story in feature["user_stories"])
    objects = (await get(client, "products/21001/features", **{"includes[]": "user_stories"}))["features"]
    assert [[s["path"] for s in f["user_stories"]] for f in objects] == [f["user_stories"] for f in whole]
    by_section = [
        [f["id"] for f in (await get(client, f"products/21001/sections/{section['id']}/features"))["features"]]
        for section in world.product(21001)["sections"]
    ]
    assert {fid for ids in by_section for fid in ids} == {feature["id"] for feature in whole}
    assert sum(map(len, by_section)) > len(whole), "some feature is in two sections"
    default = world.product(21002)["default_section_id"]
    assert (await get(client, f"products/21002/sections/{default}/features"))["features"]
    await get(client, "products/21001/sections/5/features", 404)


async def test_user_stories_want_a_section_where_there_are_sections(client: httpx2.AsyncClient, world: World) -> None:
    await get(client, "products/21001/user_stories", 422)
    await get(client, "products/21001/user_stories", 404, section_id=5)
    section = world.product(21001)["sections"][0]["id"]
    stories = (await get(client, "products/21001/user_stories", section_id=section))["user_stories"]
    assert stories and (await get(client, "products/21002/user_stories"))["user_stories"]
    assert await get(client, f"user_stories/{stories[0]['id']}") == stories[0]
    await get(client, "user_stories/1", 404)


async def test_tests_are_paged_newest_first_without_metrics(client: httpx2.AsyncClient, world: World) -> None:
    first = (await get(client, TESTS, page=1, per_page=5))["exploratory_tests"]
    rest = [(await get(client, TESTS, page=p, per_page=5))["exploratory_tests"] for p in (2, 3, 4)]
    assert [test["id"] for page in (first, *rest) for test in page] == world.test_ids(21001)
    assert rest[2] == []
    assert len((await get(client, TESTS, page=1))["exploratory_tests"]) == 12
    assert not any("analytics" in test for test in first)
    for wrong in ({"page": 0}, {"page": "x"}, {"page": 1, "per_page": -1}):
        await get(client, TESTS, 400, **wrong)


async def test_without_page_the_last_150_come() -> None:
    world = World(products=1, tests_per_product=200, now=NOW)
    async with serve_sandbox(world) as sandbox:
        headers = {"Authorization": f"Token {sandbox.token}"}
        async with httpx2.AsyncClient(base_url=sandbox.url, headers=headers) as client:
            listed = (await get(client, TESTS))["exploratory_tests"]
            assert [test["id"] for test in listed] == world.test_ids(21001)[:150]
            assert len((await get(client, TESTS, page=1))["exploratory_tests"]) == 25


async def test_one_test_has_metrics_that_agree_with_its_bugs(client: httpx2.AsyncClient, world: World) -> None:
    for test_id in world.test_ids(21001):
        test = (await get(client, f"exploratory_tests/{test_id}", **{"includes[]": "user_stories"}))[
            "exploratory_test"
        ]
        bugs = (await get(client, "bugs", filter_test_cycle_ids=test_id))["bugs"]
        ids = {bug["id"] for bug in bugs}
        assert len(bugs) <= test["analytics"]["total_bugs"] <= len(bugs) + 1
        for feature in test["features"]:
            assert set(feature["bug_ids"]) <= ids
            assert feature["bugs_found"] == len(feature["bug_ids"])
            if feature["bug_ids"]:
                assert feature["execution_status"] == "failed"
            if feature["user_stories"]:
                story_bugs = [b for story in feature["user_stories"] for b in story["bug_ids"]]
                assert sorted(story_bugs) == sorted(feature["bug_ids"])
    await get(client, "exploratory_tests/1", 404)


async def test_bugs_of_many_tests_come_in_one_answer(client: httpx2.AsyncClient, world: World) -> None:
    ids = world.test_ids(21001)
    expected = [bug["id"] for test_id in ids for bug in world.bugs_of(test_id)]
    joined = ",".join(map(str, ids))
    for params in ({"filter_test_cycle_ids": joined}, {"filter_product_ids": "21001"}):
        assert [bug["id"] for bug in (await get(client, "bugs", **params))["bugs"]] == expected
    everything = (await get(client, "bugs"))["bugs"]
    assert len(everything) == sum(world.truth(product_id).bugs for product_id in world.product_ids)
    assert (await get(client, "bugs", filter_test_cycle_ids="1"))["bugs"] == []
    await get(client, "bugs", 400, filter_test_cycle_ids="x")


async def test_bugs_by_section_and_export_status(client: httpx2.AsyncClient, world: World) -> None:
    section = world.product(21001)["sections"][1]["id"]
    some = (await get(client, "bugs", filter_product_ids="21001", filter_section_ids=section))["bugs"]
    assert 0 < len(some) < world.truth(21001).bugs
    statuses = [
        [bug["id"] for bug in (await get(client, "bugs", filter_product_ids="21001", export_status=word))["bugs"]]
        for word in ("exported", "not_exported", "export_requested")
    ]
    assert statuses[0] and statuses[1]
    assert sum(map(len, statuses)) == world.truth(21001).bugs
    await get(client, "bugs", 422, export_status="perhaps")


async def test_a_long_list_of_bugs_is_valid_json_in_pieces() -> None:
    world = World(products=1, tests_per_product=150, bugs_per_test=3, now=NOW)
    async with serve_sandbox(world) as sandbox:
        headers = {"Authorization": f"Token {sandbox.token}"}
        async with httpx2.AsyncClient(base_url=sandbox.url, headers=headers) as client:
            assert len((await get(client, "bugs"))["bugs"]) == world.truth(21001).bugs > 200


async def test_one_bug_and_the_reasons(client: httpx2.AsyncClient, world: World) -> None:
    bug = world.bugs_of(world.test_ids(21002)[-2])[0]
    assert (await get(client, f"bugs/{bug['id']}"))["bug"] == bug
    await get(client, "bugs/1", 404)
    reasons = (await get(client, "bugs/reject_reasons"))["reject_reasons"]
    assert all(set(reason) == {"key", "name", "default_comment"} for reason in reasons)


async def test_executions_are_counted_and_paged(client: httpx2.AsyncClient, world: World) -> None:
    path = "user_story_version_executions"
    first = await get(client, path, page=1, per_page=7)
    total = first["meta"]["record_count"]
    assert total == 36 * 12 and len(first[path]) == 7
    ids = [run["id"] for page in range(1, 100) for run in (await get(client, path, page=page, per_page=50))[path]]
    assert len(ids) == len(set(ids)) == total and ids == sorted(ids)
    newest = await get(client, path, page=1, per_page=5, order="desc")
    assert [run["id"] for run in newest[path]] == ids[::-1][:5]
    await get(client, path, 422, order="sideways")
    story = (await get(client, path, **{"user_story_ids[]": STORY}))[path]
    assert story and {run["user_story"]["id"] for run in story} == {STORY}
    newest_first = await get(client, path, **{"user_story_ids[]": STORY, "order": "desc", "page": 1, "per_page": 3})
    whole = await get(client, path, page=1, per_page=500, **{"user_story_ids[]": STORY})
    assert newest_first[path] == whole[path][::-1][:3]
    version = story[0]["user_story_version_id"]
    runs = await get(client, path, **{"user_story_version_ids[]": version})
    assert {run["user_story_version_id"] for run in runs[path]} == {version}
    assert runs["meta"]["record_count"] == len(runs[path])
    assert {run["test_cycle"]["id"] for run in runs[path]} == {story[0]["test_cycle"]["id"]}


async def test_environments_and_templates(client: httpx2.AsyncClient) -> None:
    environments = (await get(client, "products/21001/test_environments"))["test_environments"]
    one = await get(client, f"products/21001/test_environments/{environments[0]['id']}")
    assert one["test_environment"] == environments[0]
    await get(client, "products/21001/test_environments/1", 404)
    templates = await get(client, "test_templates", product_id=21001)
    assert len(templates["test_templates"]) == templates["section"]["test_templates"]["total"] == 2
    assert (await get(client, "test_templates", product_id=21001, section_id=1))["test_templates"] == []
    await get(client, "test_templates", 400)


@given(page=st.integers(1, 40), size=st.integers(1, 40), gone=st.sets(st.integers(0, 29), max_size=6))
def test_any_page_is_the_slice_of_the_whole(page: int, size: int, gone: set[int]) -> None:
    world = World(products=2, tests_per_product=30, now=NOW)
    for _ in range(3):
        world.add_test(21002)
    ids = world.test_ids(21002)
    for place in gone:
        world.delete_test(ids[place])
    left = [test_id for place, test_id in enumerate(ids) if place not in gone]
    listed = [test["id"] for test in world.tests_page(21002, (page - 1) * size, size)]
    assert listed == left[(page - 1) * size : page * size]


async def test_a_page_deep_in_a_large_account() -> None:
    world = World(products=6, tests_per_product=66_667, bugs_per_test=3, now=NOW)
    async with serve_sandbox(world) as sandbox:
        headers = {"Authorization": f"Token {sandbox.token}"}
        async with httpx2.AsyncClient(base_url=sandbox.url, headers=headers) as caller:
            page = (await get(caller, "products/21004/exploratory_tests", page=2_000))["exploratory_tests"]
            assert len(page) == 25
            bugs = (await get(caller, "bugs", filter_test_cycle_ids=",".join(str(t["id"]) for t in page)))["bugs"]
            assert {bug["test"]["id"] for bug in bugs} <= {test["id"] for test in page}
            runs = await get(caller, "user_story_version_executions", page=90_000, per_page=25)
            assert len(runs["user_story_version_executions"]) == 25
            assert runs["meta"]["record_count"] == 400_002 * 12


@pytest.mark.parametrize("path", ["products/21001/exploratory_tests", "bugs"])
async def test_reading_changes_nothing(client: httpx2.AsyncClient, path: str) -> None:
    first = await client.get(path)
    await client.get("exploratory_tests/130001", params={"includes[]": "user_stories"})
    assert (await client.get(path)).content == first.content


async def test_text_that_is_no_valid_unicode_arrives_escaped(client: httpx2.AsyncClient, world: World) -> None:
    bug = world.bugs_of(world.test_ids(21001)[-2])[0]
    world.update_bug(bug["id"], title="lone \ud800, NUL \x00, separator \u2028")
    response = await client.get(f"bugs/{bug['id']}")
    assert rb"\ud800" in response.content
    assert response.json()["bug"]["title"] == "lone \ud800, NUL \x00, separator \u2028"
