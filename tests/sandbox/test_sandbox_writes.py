"""Everything that can be changed, over HTTP: what is refused, and what shows afterwards."""

import json
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testio_sandbox import World, serve_sandbox
from testio_sandbox.catalog import REJECT_REASONS
from testio_sandbox.server import ROUTES

from .conftest import NOW

ENVIRONMENT = {"title": "Staging", "url": "https://staging.example/"}


async def call(client: httpx2.AsyncClient, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    """The JSON of a request."""
    response = await client.request(method, path, json=body)
    assert response.status_code == status, response.text
    return response.json()


async def test_products_are_created_changed_and_deleted(client: httpx2.AsyncClient) -> None:
    body = {"title": "New", "product_type": "website", "industry": "retail"}
    created = (await call(client, "POST", "products", {"product": body}, 201))["product"]
    assert (created["name"], created["type"]) == ("New", "website")
    path = f"products/{created['id']}"
    changed = await call(client, "PUT", path, {"product": {"description": "Better", "name": "Ignored"}})
    assert (changed["product"]["description"], changed["product"]["name"]) == ("Better", "New")
    assert (await call(client, "GET", path + "/exploratory_tests"))["exploratory_tests"] == []
    assert (await call(client, "DELETE", path))["product"]["id"] == created["id"]
    await call(client, "GET", path, status=404)
    again = (await call(client, "POST", "products", {"product": body}, 201))["product"]
    assert again["id"] > created["id"]
    for wrong in ({"title": ""}, {"product_type": "toaster"}, {"industry": None}):
        await call(client, "POST", "products", {"product": body | wrong}, 422)
    await call(client, "POST", "products", body, 400)


async def test_features_are_created_and_copied(client: httpx2.AsyncClient, world: World) -> None:
    section = world.product(21001)["sections"][0]["id"]
    feature = {"title": "Gift cards", "description": "Buy one", "user_stories": ["As a giver I can buy a card"]}
    body = {"product_id": 21001, "section_ids": [section], "feature": feature}
    created = (await call(client, "POST", "features", body, 201))["feature"]
    assert created["user_stories"][0]["path"] == feature["user_stories"][0]
    listed = (await call(client, "GET", f"products/21001/sections/{section}/features"))["features"]
    assert created["id"] in [feature["id"] for feature in listed]
    await call(client, "POST", "features", {**body, "section_ids": [5]}, 422)
    await call(client, "POST", "features", {**body, "feature": {"title": "x"}}, 422)
    await call(client, "POST", "features", {**body, "product_id": 5}, 404)
    before = (await call(client, "GET", "products/21002/features"))["features"]
    copied = await call(client, "PUT", "products/21001/features/copy", {"destination_product_id": 21002})
    assert len(copied["features"]) == len(before) + len(world.features(21001))
    assert len({feature["id"] for feature in copied["features"]}) == len(copied["features"])


async def test_user_stories_are_created_changed_and_deleted(client: httpx2.AsyncClient, world: World) -> None:
    feature_id = world.features(21002)[0]["id"]
    path = "products/21002/user_stories"
    body = {"user_story": {"feature_id": feature_id, "path": "As a user I can wait"}}
    story = (await call(client, "POST", path, body, 201))["user_story"]
    one = f"{path}/{story['id']}"
    changed = await call(client, "PUT", one, {"user_story": {"path": "As a user I need not wait"}})
    assert changed["user_story"]["path"] == "As a user I need not wait"
    assert (await call(client, "GET", f"user_stories/{story['id']}"))["path"] == "As a user I need not wait"
    await call(client, "DELETE", one)
    await call(client, "GET", f"user_stories/{story['id']}", status=404)
    await call(client, "DELETE", one, status=404)
    await call(client, "POST", path, {"user_story": {"feature_id": 1, "path": "x"}}, 422)
    await call(client, "POST", path, {"user_story": {"feature_id": feature_id}}, 422)
    await call(client, "POST", "products/21001/user_stories", body, 422)


def new_test(world: World, **fields: Any) -> dict[str, Any]:
    """A body that creates a test of the second product."""
    features = [{"id": world.features(21002)[0]["id"]}]
    test = {"test_title": "Fresh", "features": features, "test_environment": ENVIRONMENT, **fields}
    return {"exploratory_test": {name: value for name, value in test.items() if value is not None}}


async def test_a_test_from_draft_to_archive(client: httpx2.AsyncClient, world: World) -> None:
    path = "products/21002/exploratory_tests"
    fields = {"testing_type": "focused", "bug_severities": {"low": False}, "duration": "3"}
    created = (await call(client, "POST", path, new_test(world, **fields), 201))["exploratory_test"]
    assert (created["status"], created["test_title"], created["enable_low"]) == ("initialized", "Fresh", False)
    assert (await call(client, "GET", path))["exploratory_tests"][0]["id"] == created["id"]
    one = f"exploratory_tests/{created['id']}"
    change = {"exploratory_test": {"goal": "Find bugs", "start_at": "2026-10-20T08:00:00Z"}}
    changed = (await call(client, "PUT", one, change))["exploratory_test"]
    assert changed["goal"] == changed["goal_text"] == "Find bugs"
    assert changed["start_at"].startswith(("2026-10-20T08:00:00", "2026-10-20T10:00:00"))
    assert (await call(client, "POST", one + "/launch"))["exploratory_test"]["status"] == "customer_finalized"
    await call(client, "POST", one + "/launch", status=422)
    seen = []
    for _ in range(200):
        world.advance(days=0.1, new_tests=0)
        seen.append((await call(client, "GET", one))["exploratory_test"]["status"])
    assert list(dict.fromkeys(seen)) == ["waiting", "running", "locked", "archived"]
    assert (await call(client, "GET", f"bugs?filter_test_cycle_ids={created['id']}"))["bugs"]
    await call(client, "PUT", one, change, 422)


async def test_a_test_that_cannot_be_created(client: httpx2.AsyncClient, world: World) -> None:
    path = "products/21002/exploratory_tests"
    template = next(iter(world.product_state(21002).templates))
    for wrong in (
        {"features": None},
        {"test_template": {"id": template}},
        {"features": None, "test_template": {"id": 5}},
        {"test_environment": None},
        {"test_environment": None, "test_environment_id": 5},
        {"testing_type": "psychic"},
        {"report_language": "tlh"},
        {"bug_severities": {"low": True}},
        {"section_id": 5},
        {"features": [{"id": 5}]},
        {"duration": "long"},
        {"start_at": "soon"},
    ):
        await call(client, "POST", path, new_test(world, **wrong), 422)
    await call(client, "POST", path, {"test": {}}, 400)
    await call(client, "POST", "products/5/exploratory_tests", new_test(world), 404)
    assert world.truth(21002).tests == 12, "nothing was created on the way"
    body = new_test(world, features=None, test_template={"id": template}, auto_launch=True)
    assert (await call(client, "POST", path, body, 201))["exploratory_test"]["status"] == "customer_finalized"


async def test_a_duplicate_and_a_template(client: httpx2.AsyncClient, world: World) -> None:
    original = world.test_ids(21001)[-1]
    copy = (await call(client, "POST", f"exploratory_tests/{original}/duplicate"))["exploratory_test"]
    source = world.test(original)
    assert copy["id"] > max(world.test_ids(21003)) and copy["status"] == "initialized"
    assert (copy["goal"], copy["instructions"]) == (source["goal"], source["instructions"])
    made = await call(
        client, "POST", f"exploratory_tests/{original}/templates", {"test_template": {"title": "Mine"}}, 201
    )
    listed = (await call(client, "GET", "test_templates?product_id=21001"))["test_templates"]
    assert made["test_template"] in listed
    await call(client, "POST", f"exploratory_tests/{original}/templates", {"test_template": {}}, 422)


async def test_bugs_are_accepted_and_rejected_once(client: httpx2.AsyncClient, world: World) -> None:
    first, second = (bug.id for bug in world.open_bugs(21001)[:2])
    assert (await call(client, "PUT", f"bugs/{first}/accept"))["bug"]["status"] == "accepted"
    assert (await call(client, "GET", f"bugs/{first}"))["bug"]["status"] == "accepted"
    await call(client, "PUT", f"bugs/{first}/accept", status=422)
    reason = REJECT_REASONS[2]
    wrongs: tuple[dict[str, str], ...] = ({}, {"reason": reason["key"]}, {"reason": "bored", "comment": "x"})
    for wrong in wrongs:
        await call(client, "PUT", f"bugs/{second}/reject", wrong, 422)
    await call(client, "PUT", f"bugs/{second}/reject", {"reason": reason["key"], "comment": "Not now."})
    rejected = (await call(client, "GET", f"bugs/{second}"))["bug"]
    assert rejected["status"] == "rejected"
    assert rejected["comments"][-1]["body"] == f"{reason['default_comment']} Not now."
    world.advance(days=30)
    assert world.bug_status(world.bug_facts(first)) == "accepted"
    await call(client, "PUT", "bugs/1/accept", status=404)


async def test_a_rejection_may_come_in_the_query(client: httpx2.AsyncClient, world: World) -> None:
    bug_id = world.open_bugs(21001)[0].id
    await call(client, "PUT", f"bugs/{bug_id}/reject?reason=intended&comment=ok")
    assert world.bug(bug_id)["status"] == "rejected"


async def test_some_answers_carry_four_fields_only(client: httpx2.AsyncClient, world: World) -> None:
    bugs = [bug["id"] for test_id in world.test_ids(21001) for bug in world.bugs_of(test_id)][:12]
    sizes = {len((await call(client, "PUT", f"bugs/{bug_id}/mark_as_known"))["bug"]) > 4 for bug_id in bugs}
    assert sizes == {True, False}


async def test_bugs_are_marked_and_found(client: httpx2.AsyncClient, world: World) -> None:
    bug = world.add_bug(world.test_ids(21001)[-2], external_idx="JIRA-77")
    for mark, field, value in (("known", "known", True), ("fixed", "fixed", True)):
        await call(client, "PUT", f"bugs/{bug['id']}/mark_as_{mark}")
        assert world.bug(bug["id"])[field] == value
    await call(client, "PUT", f"bugs/{bug['id']}/mark_as_exported")
    exported = (await call(client, "GET", "bugs?export_status=exported"))["bugs"]
    assert bug["id"] in [found["id"] for found in exported]
    for path in ("bugs", "bugs/search"):
        found = (await call(client, "POST", path, {"bug": {"external_idx": "JIRA-77"}}))["bugs"]
        assert [match["id"] for match in found] == [bug["id"]]
    await call(client, "POST", "bugs", {"bug": {}}, 422)


async def test_a_confirmation_is_asked_for(client: httpx2.AsyncClient, world: World) -> None:
    bug = world.add_bug(world.test_ids(21001)[-2])
    wanted = {"bug_report_confirmation_requirement_attributes": {"logs_enabled": True}}
    body = {"product_id": 21001, "bug_id": bug["id"], **wanted}
    path = "bug_report_confirmations"
    assert (await call(client, "POST", path, body, 201))["bug_report_confirmation"]["bug_id"] == bug["id"]
    await call(client, "POST", path, {**body, "product_id": 21002}, 422)
    await call(client, "POST", path, {**body, "bug_id": 1}, 404)
    await call(client, "POST", path, {"product_id": 21001, "bug_id": bug["id"]}, 422)


async def test_environments_take_exactly_one_way_in(client: httpx2.AsyncClient) -> None:
    path = "products/21001/test_environments"
    created = (await call(client, "POST", path, {"test_environment": ENVIRONMENT}, 201))["test_environment"]
    one = f"{path}/{created['id']}"
    changed = await call(client, "PUT", one, {"test_environment": {"title": "Other"}})
    assert changed["test_environment"] == {**created, "title": "Other"}
    await call(client, "DELETE", one)
    await call(client, "GET", one, status=404)
    information = {"data_type": "custom", "page_url": "https://x.example"}
    for wrong in (
        {"title": "No way in"},
        {**ENVIRONMENT, "binary_app_id": 3},
        {"title": "File", "file_base_64": "QUJD"},
        {**ENVIRONMENT, "environment_test_information": {"data_type": "secret"}},
        {**ENVIRONMENT, "environment_test_information": {**information, "description": "x" * 256}},
    ):
        await call(client, "POST", path, {"test_environment": wrong}, 422)


async def test_test_cases_and_their_test(client: httpx2.AsyncClient, world: World) -> None:
    feature_id = world.features(21001)[0]["id"]
    case = {"title": "Pay", "feature_id": feature_id, "test_case_steps": [{"description": "Press pay"}]}
    made = (await call(client, "POST", "products/21001/test_cases", {"test_cases": [case]}, 201))["test_cases"]
    assert made[0]["steps"][0]["description"] == "Press pay" and "test_case_steps" not in made[0]
    wrongs: tuple[dict[str, Any], ...] = ({"title": ""}, {"feature_id": 1}, {"test_case_steps": [{}]})
    for wrong in wrongs:
        await call(client, "POST", "products/21001/test_cases", {"test_cases": [case | wrong]}, 422)
    await call(client, "POST", "products/21001/test_cases", {}, 400)
    body = {"test_cases": [{"id": made[0]["id"]}], "test_environment": ENVIRONMENT}
    test = (await call(client, "POST", "products/21001/test_case_test", body, 201))["test_case_test"]
    assert (await call(client, "GET", f"exploratory_tests/{test['id']}"))["exploratory_test"]["testing_type"] is None
    one = f"products/21001/test_case_tests/{test['id']}"
    assert (await call(client, "GET", one))["test_case_test"] == test
    assert [r["status"] for r in (await call(client, "GET", one + "/results"))["results"]] == ["pending"]
    world.advance(days=3)
    assert [r["status"] for r in (await call(client, "GET", one + "/results"))["results"]] != ["pending"]
    await call(client, "POST", "products/21001/test_case_test", {**body, "test_cases": [{"id": 1}]}, 404)


async def test_planned_test_case_tests_tell_their_steps(client: httpx2.AsyncClient, world: World) -> None:
    planned = [world.test(test_id) for product_id in world.product_ids for test_id in world.test_ids(product_id)]
    other = next(test for test in planned if test["testing_type"])
    one = f"products/{other['product']['id']}/test_case_tests/{other['id']}/results"
    await call(client, "GET", one, status=404)
    ended = [test for test in planned if not test["testing_type"] and test["status"] in ("archived", "locked")]
    assert ended
    for test in ended:
        one = f"products/{test['product']['id']}/test_case_tests/{test['id']}"
        cases = {case["id"]: case for case in (await call(client, "GET", one))["test_case_test"]["test_cases"]}
        results = (await call(client, "GET", one + "/results"))["results"]
        assert {result["test_case"]["id"] for result in results} == cases.keys()
        for result in results:
            steps = [step["description"] for step in result["steps"]]
            assert steps == [step["description"] for step in cases[result["test_case"]["id"]]["steps"]]
            decided = [step["status"] for step in result["steps"] if step["status"] not in ("passed", "pending")]
            assert decided == ([] if result["status"] == "passed" else [result["status"]])


async def test_connections(client: httpx2.AsyncClient) -> None:
    body = {"name": "Hook", "url": "https://hook.example/", "product_ids": [21001]}
    created = (await call(client, "POST", "connections", body, 201))["connection"]
    one = f"connections/{created['id']}"
    assert (await call(client, "PUT", one, {"name": "New"}))["connection"] == {**created, "name": "New"}
    assert (await call(client, "GET", one))["connection"]["name"] == "New"
    await call(client, "DELETE", one)
    await call(client, "GET", one, status=404)
    await call(client, "POST", "connections", {"name": "Hook"}, 422)


async def test_binary_apps(client: httpx2.AsyncClient) -> None:
    app = await client.post("binary_apps", files={"file": ("shop.apk", b"bytes")})
    assert app.status_code == 201
    assert (app.json()["binary_app"]["filename"], app.json()["binary_app"]["file_size"]) == ("shop.apk", 5)
    assert (await client.post("binary_apps", files={"file": ("shop.exe", b"x")})).status_code == 422
    assert (await client.post("binary_apps")).status_code == 400
    target = await call(client, "GET", "binary_apps/upload_url")
    body = {"filename": "shop.ipa", "file_size": 10, "content_type": "application/octet-stream"}
    done = await call(client, "PUT", f"binary_apps/{target['id']}", body)
    assert done["binary_app"]["filename"] == "shop.ipa"
    await call(client, "PUT", f"binary_apps/{target['id']}", {**body, "file_size": 2**31}, 422)
    await call(client, "PUT", "binary_apps/1", body, 404)


@pytest.mark.parametrize("content", [b"{", b"[1]", b'"text"', b"\xff"])
async def test_a_body_that_is_no_object(client: httpx2.AsyncClient, content: bytes) -> None:
    response = await client.post("products", content=content)
    assert response.status_code == 400 and "error" in response.json()


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 10**20) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "title"]), inner, max_size=2),
    max_leaves=4,
)
ROOTS = (
    "product",
    "feature",
    "user_story",
    "exploratory_test",
    "test_template",
    "bug",
    "test_environment",
    "test_cases",
)
NAMES = (
    "product_id",
    "bug_id",
    "title",
    "description",
    "features",
    "duration",
    "section_id",
    "url",
    "test_environment",
)


@given(data=st.data())
@settings(max_examples=4)
async def test_no_body_breaks_a_route(data: st.DataObject) -> None:
    world = World(products=2, tests_per_product=5, now=NOW)
    inside = st.dictionaries(st.sampled_from(NAMES), ODD, max_size=5)
    bodies = st.dictionaries(st.sampled_from(ROOTS + NAMES), inside | ODD, max_size=4)
    ids = {"pid": 21001, "tid": world.test_ids(21001)[0], "bid": 1_000_100, "sid": 310_002}
    async with serve_sandbox(world) as sandbox:
        headers = {"Authorization": f"Token {sandbox.token}", "Content-Type": "application/json"}
        async with httpx2.AsyncClient(base_url=sandbox.url, headers=headers) as client:
            for method, path, _ in ROUTES:
                if method == "GET" or "DELETE" in method:
                    continue
                target = path.replace(":int", "").replace("{", "\0{")
                for name, value in {**ids, "usid": 840_001, "eid": 44_001, "cid": 1, "aid": 1}.items():
                    target = target.replace(f"\0{{{name}}}", str(value))
                body = data.draw(bodies)
                response = await client.request(method, target.lstrip("/"), content=json.dumps(body))
                assert response.status_code < 500, (method, path, body)
