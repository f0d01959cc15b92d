"""Names that only a reference gives: kept whatever gives them, found by search, and never taken for records.

The account has the shapes of recorded payloads: products without sections, user stories as plain texts, a test's
copies of features without the feature's id, and bugs whose feature, section and environment stand nowhere else.
"""

import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from copy import deepcopy
from typing import Any

import pytest
from sqlalchemy import update

from testio_mcp.app import App, silent
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.tables import Feature, Section, TestEnvironment, UserStory, table_of
from testio_mcp.operations.registry import operations
from testio_mcp.sync.derived import first_differences, rebuild
from testio_mcp.sync.engine import SyncOptions, run_sync
from tests.conftest import SettingsFor
from tests.support.hasty import hasty_client
from tests.support.scripted import answer, scripted

PRODUCT, TEST, FEATURE = 10, 37, 61
SHOP = {
    "id": PRODUCT,
    "name": "Garden shop",
    "sections": [{"id": 13, "name": "Seedlings"}, {"id": 14, "name": "Tools"}, {"id": 15, "name": "Compost"}],
}
TERRACE = {"id": 9, "title": "Terrace staging", "url": "https://terrace.example", "access": "", "proxy": False}
BARREL = {"id": FEATURE, "title": "Rain barrel", "howtofind": "Behind the shed"}


def _bug(bug_id: int, **fields: Any) -> dict[str, Any]:
    author = {"name": "Ada"}
    common = {"id": bug_id, "title": f"It leaks, case {bug_id}", "severity": "high", "status": "accepted"}
    return {**common, "author": author, "test": {"id": TEST, "title": "Spring"}, **fields}


def _account() -> dict[str, list[dict[str, Any]]]:
    """The lists of the account, by the last part of their address."""
    test = {
        "id": TEST,
        "test_title": "Spring",
        "status": "running",
        "testing_type": "coverage",
        "test_environment": TERRACE,
        "app_sections": ["Legacy"],
        "features": [{"id": 700, "title": "Watering plan", "user_stories": ["Set a timer for the sprinkler"]}],
        "section": {"id": 14, "name": "Tools"},
        "product": SHOP,
    }
    execution = {
        "id": 900,
        "status": "passed",
        "executed_by": {"name": "Ken"},
        "test_cycle": {"id": TEST, "title": "Spring"},
        "user_story": {"id": 77, "path": "Roll up the hose", "feature_id": FEATURE},
    }
    return {
        "products": [{"id": PRODUCT, "name": "Garden shop", "type": "website"}],
        "features": [
            {"id": 1, "title": "Seed catalogue", "section_ids": [16], "user_stories": ["Pick a packet of marigolds"]},
            {"id": 2, "title": "Pots", "sections": [{"id": 18, "name": "Terracotta"}]},
        ],
        "exploratory_tests": [test],
        "bugs": [
            _bug(20, feature=BARREL, test_feature=BARREL, section={"id": 14}, product=SHOP),
            _bug(21, feature_id=FEATURE, section={"id": 17, "name": "Orchard"}),
            _bug(22, feature={"id": FEATURE}, test_environment={"id": 8, "title": "Balcony", "url": None}),
            _bug(23, app_section={"id": 700, "title": "Watering plan"}),
            _bug(24, feature={"title": "Bird house"}),
            _bug(25, test_feature={"id": 701, "feature_id": 62, "title": "Hedge trimmer"}),
        ],
        "user_story_version_executions": [execution],
        "test_environments": [],
        "test_templates": [{"id": 3, "title": "Autumn", "section": {"id": 16, "name": "Greenhouse"}}],
        "reject_reasons": [],
    }


FEATURES = {"Rain barrel", "Watering plan", "Bird house", "Hedge trimmer", "Seed catalogue", "Pots"}
SECTIONS = {"Seedlings", "Tools", "Compost", "Greenhouse", "Orchard", "Terracotta"}
STORIES = {"Pick a packet of marigolds", "Set a timer for the sprinkler", "Roll up the hose"}


class Shop:
    """The account, served on loopback, and its copy."""

    def __init__(self, lists: dict[str, list[dict[str, Any]]]) -> None:
        self.lists = lists
        self.app: App

    async def sync(self) -> None:
        assert (await run_sync(self.app, SyncOptions(full=True), silent)).status == "completed"

    async def ask(self, name: str, **arguments: Any) -> Any:
        return (await operations()[name].run(self.app, arguments)).model_dump(mode="json")

    async def search(self, query: str) -> set[tuple[str, str]]:
        return {(hit["kind"], hit["title"]) for hit in (await self.ask("search", query=query))["items"]}

    async def rows(self, model: Any) -> dict[int, dict[str, Any]]:
        table = table_of(model)
        rows = await self.app.store.read(lambda conn: conn.execute(table.select()).mappings().all())
        return {row["id"]: dict(row) for row in rows}

    async def change(self, model: Any, record_id: int, **values: Any) -> None:
        table = table_of(model)
        changed = update(table).where(table.c.id == record_id).values(values)
        await self.app.store.write(lambda conn: conn.execute(changed))

    def respond(self, path: str) -> Any:
        """What the API answers at an address."""
        *_, before, last = path.split("/")
        if before == "exploratory_tests":
            return {"exploratory_test": next(t for t in self.lists[before] if str(t["id"]) == last)}
        found = self.lists.get(last, [])
        return {last: found, "meta": {"record_count": len(found)}}


@pytest.fixture
async def shop(store: PersistentCache, settings_for: SettingsFor) -> AsyncIterator[Shop]:
    shop = Shop(_account())

    async def step(reader: StreamReader, writer: StreamWriter) -> None:
        seen = script.seen[-1]
        number = dict(seen.query).get("page", "1")
        value = shop.respond(seen.path) if number == "1" else {seen.path.rsplit("/", 1)[1]: []}
        await answer(deepcopy(value))(reader, writer)

    async with AsyncExitStack() as closing, scripted(step) as script:
        shop.app = App(settings_for(customer_api_base_url=script.url), store, closing, client=hasty_client)
        yield shop
        await closing.aclose()


async def _names(shop: Shop) -> list[set[Any]]:
    features, sections = await shop.rows(Feature), await shop.rows(Section)
    stories, environments = await shop.rows(UserStory), await shop.rows(TestEnvironment)
    return [
        {row["title"] for row in features.values()},
        {row["name"] for row in sections.values()},
        {row["title"] for row in stories.values()},
        {row["title"] for row in environments.values()},
    ]


@pytest.mark.parametrize("is_reversed", [False, True])
async def test_every_name_that_a_reference_gives_is_kept_in_whatever_order(shop: Shop, is_reversed: bool) -> None:
    if is_reversed:
        for records in shop.lists.values():
            records.reverse()

    await shop.sync()

    assert await _names(shop) == [FEATURES, SECTIONS, STORIES, {"Terrace staging", "Balcony"}]
    bugs = {bug["id"]: bug for bug in (await shop.ask("list_bugs", limit=100))["items"]}
    shown = {bug_id: bug["feature"] for bug_id, bug in bugs.items()}
    assert shown == {
        **dict.fromkeys((20, 21, 22), "Rain barrel"),
        23: "Watering plan",
        24: "Bird house",
        25: "Hedge trimmer",
    }


async def test_search_finds_the_names_that_only_references_give(shop: Shop) -> None:
    await shop.sync()

    for kind, names in (("feature", FEATURES), ("user_story", STORIES)):
        for name in names:
            assert (kind, name) in await shop.search(name)
    assert await shop.app.store.read(lambda conn: first_differences(conn, deep=True)) == []


async def test_a_name_counts_nowhere_and_is_never_called_deleted(shop: Shop) -> None:
    await shop.sync()
    await shop.sync()

    features = await shop.ask("list_features", limit=100)
    assert {item["title"] for item in features["items"]} == {"Seed catalogue", "Pots"}
    stories = await shop.ask("list_user_stories", limit=100)
    assert {item["title"] for item in stories["items"]} == {"Pick a packet of marigolds"}
    row = (await shop.rows(Feature))[FEATURE]
    assert row["content_hash"] == "" and row["gone_at"] is not None
    changes = (await shop.ask("list_changes", limit=100))["items"]
    assert [line for line in changes if line["field"] == "gone_at"] == []


async def test_a_later_reference_names_what_had_only_a_number(shop: Shop) -> None:
    named = [*shop.lists["bugs"]]
    shop.lists["bugs"] = [bug for bug in named if bug["id"] in (21, 22)]
    shop.lists["user_story_version_executions"] = []
    await shop.sync()
    assert (await shop.rows(Feature))[FEATURE]["title"] == f"Feature {FEATURE}"

    shop.lists["bugs"] = named
    await shop.sync()

    assert (await shop.rows(Feature))[FEATURE]["title"] == "Rain barrel"
    assert ("feature", "Rain barrel") in await shop.search("barrel")


async def test_a_full_record_replaces_a_name_and_no_reference_replaces_the_record(shop: Shop) -> None:
    await shop.sync()
    listed = {"id": FEATURE, "title": "Water butt", "description": "Two hundred litres", "user_stories": []}
    shop.lists["features"].append(listed)
    await shop.sync()
    shop.lists["bugs"].append(_bug(26, feature={"id": FEATURE, "title": "Some other name"}))

    await shop.sync()

    row = (await shop.rows(Feature))[FEATURE]
    assert (row["title"], row["description"], row["gone_at"]) == ("Water butt", "Two hundred litres", None)
    assert row["content_hash"] != "" and json.loads(row["raw"])["title"] == "Water butt"
    assert ("feature", "Water butt") in await shop.search("litres")


async def test_a_store_without_the_names_is_found_wrong_and_mended(shop: Shop) -> None:
    """As stores are that an earlier build filled: nothing in the account changes, and the names come back."""
    await shop.sync()
    before = await _names(shop)
    await shop.change(Feature, FEATURE, title=f"Feature {FEATURE}")
    await shop.change(Section, 17, name="Section 17")
    await shop.change(TestEnvironment, 8, title=None)
    stories = table_of(UserStory)
    await shop.app.store.write(lambda conn: conn.execute(stories.delete().where(stories.c.feature_id == 1)))

    assert len(await shop.app.store.read(lambda conn: first_differences(conn, deep=True))) > 1
    await rebuild(shop.app.store.write)

    assert await shop.app.store.read(lambda conn: first_differences(conn, deep=True)) == []
    assert await _names(shop) == before
    assert ("user_story", "Pick a packet of marigolds") in await shop.search("marigolds")


async def test_a_name_that_cannot_be_kept_is_counted_as_drift(shop: Shop) -> None:
    test = shop.lists["exploratory_tests"][0]
    test["features"].append({"id": 702, "title": "Gate", "user_stories": [{"priority": 1}]})
    test["test_environment"] = {"title": "Attic"}
    shop.lists["features"][1]["sections"].append({"name": "Nowhere"})
    shop.lists["bugs"][0]["shade_of_green"] = "moss"
    shop.lists["bugs"][0]["section"] = {"name": "Pond"}

    await shop.sync()

    notes = {note["note"] for note in (await shop.ask("list_problems"))["drift"]}
    assert {
        "features.user_stories.id:missing",
        "test_environment.id:missing",
        "sections.id:missing",
        "+shade_of_green",
        "section.id",
    } <= notes
