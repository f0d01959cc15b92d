"""What only a test or a bug mentions is a name, not a feature, on every path by which a copy came about."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from testio_mcp.operations.registry import operations
from testio_mcp.sync.run import Entity
from testio_sandbox import World
from tests.conftest import ON_SQLITE
from tests.sync.conftest import Account, FirstCopy
from tests.sync.same import differences

pytestmark = [pytest.mark.slow, ON_SQLITE]

ALL: frozenset[Entity] = frozenset(get_args(Entity))
"""Everything by name: then the lists that are read once a day are read as well."""
QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("list_features", {"limit": 100}),
    ("list_features", {"limit": 100, "tested": False}),
    ("list_features", {"limit": 100, "untested_on": "ios"}),
    ("list_user_stories", {"limit": 100}),
    ("list_user_stories", {"limit": 100, "executed": False}),
    ("list_products", {}),
    ("list_test_environments", {}),
    ("query_metrics", {"metrics": ["features_tested", "test_count", "story_coverage"]}),
    ("query_metrics", {"metrics": ["features_tested", "test_count", "bug_count"], "by": ["feature"]}),
    ("query_metrics", {"metrics": ["stories_tested", "executions"], "by": ["feature"]}),
    ("query_metrics", {"metrics": ["executions", "story_coverage"], "by": ["product"]}),
    ("query_metrics", {"metrics": ["bug_count", "features_tested"], "by": ["section"]}),
    ("query_metrics", {"metrics": ["test_count"], "by": ["test_environment"]}),
    ("search", {"query": "checkout search account start"}),
)
OF_PRODUCT: tuple[tuple[str, dict[str, Any]], ...] = (("get_product", {}), ("execution_matrix", {}))
MOMENTS = {"as_of", "synced_at", "started_at", "finished_at"}


@pytest.fixture
def world() -> World:
    """Three small products: that one of them is missing is believed."""
    return World(seed=7, products=3, tests_per_product=10, bugs_per_test=2)


def _without_moments(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_moments(item) for key, item in value.items() if key not in MOMENTS}
    return [_without_moments(item) for item in value] if isinstance(value, list) else value


async def _answers(account: Account) -> dict[str, Any]:
    found = {}
    questions = [*QUESTIONS]
    for product_id in account.world.product_ids:
        questions += [(name, {"product_id": product_id, **more}) for name, more in OF_PRODUCT]
    for name, arguments in questions:
        answer = await operations()[name].run(account.app, arguments)
        found[f"{name} {arguments}"] = _without_moments(answer.model_dump(mode="json"))
    return found


def _feature(world: World) -> tuple[int, int]:
    """A product, and a feature of it that tests and bugs mention."""
    product_id = world.product_ids[0]
    bugs = [bug for test_id in world.test_ids(product_id) for bug in world.bugs_of(test_id)]
    named = [facts for bug in bugs if (facts := world.bug_facts(bug["id"]).feature_id)]
    return product_id, max(set(named), key=named.count)


def _lose_feature(world: World) -> None:
    world.delete_feature(*_feature(world))


def _lose_story(world: World) -> None:
    product_id, feature_id = _feature(world)
    features = world.product_state(product_id).features
    feature = next(each for each in (features[feature_id], *features.values()) if each.stories)
    feature.gone_stories.add(next(iter(feature.stories)))


def _lose_section(world: World) -> None:
    product_id = next(key for key in world.product_ids if world.product(key)["sections"])
    world.delete_section(product_id, world.product(product_id)["sections"][0]["id"])


def _lose_environment(world: World) -> None:
    """The list no longer has it; tests still name it."""
    product_id = world.product_ids[0]
    test_id = world.test_ids(product_id)[0]
    environment = world.test(test_id)["test_environment"]
    for other in world.test_ids(product_id):
        world.update_test(other, test_environment=world.test(other)["test_environment"])
    del world.product_state(product_id).environments[environment["id"]]


def _lose_product(world: World) -> None:
    world.delete_product(world.product_ids[0])


def _lose_test(world: World) -> None:
    world.delete_test(world.test_ids(world.product_ids[0])[3])


LOSSES: dict[str, Callable[[World], None]] = {
    "feature": _lose_feature,
    "story": _lose_story,
    "section": _lose_section,
    "environment": _lose_environment,
    "product": _lose_product,
    "test": _lose_test,
}


@pytest.mark.parametrize("lost", LOSSES)
async def test_a_kept_copy_and_a_first_copy_hold_and_answer_the_same(
    account: Account, first_copy: FirstCopy, lost: str
) -> None:
    await account.sync(only=ALL)
    LOSSES[lost](account.world)

    assert (await account.sync(only=ALL)).status == "completed"

    fresh = await first_copy(account)
    assert await differences(account, fresh) == {}
    assert await _answers(account) == await _answers(fresh)


@pytest.mark.parametrize("lost", ["feature", "story"])
async def test_what_is_listed_later_is_what_it_would_have_been(
    account: Account, first_copy: FirstCopy, lost: str
) -> None:
    features = {key: dict(account.world.product_state(key).features) for key in account.world.product_ids}
    LOSSES[lost](account.world)
    await account.sync(only=ALL)
    for product_id, found in features.items():
        state = account.world.product_state(product_id)
        state.features.clear()
        state.features.update(found)
        for feature in found.values():
            feature.gone_stories.clear()

    assert (await account.sync(only=ALL)).status == "completed"

    fresh = await first_copy(account)
    assert await differences(account, fresh) == {}
    assert await _answers(account) == await _answers(fresh)


async def test_a_name_is_shown_and_not_counted(account: Account) -> None:
    product_id, feature_id = _feature(account.world)
    listed = len(account.world.features(product_id)) - 1
    feature = account.world.delete_feature(product_id, feature_id)
    await account.sync(only=ALL)

    async def ask(name: str, **arguments: Any) -> Any:
        return (await operations()[name].run(account.app, arguments)).model_dump(mode="json")

    assert (await ask("get_product", product_id=product_id))["features"] == listed
    features = await ask("list_features", product_id=product_id, limit=100)
    assert len(features["items"]) == features["total"] == listed
    assert feature_id not in {item["id"] for item in features["items"]}
    bugs = await ask("list_bugs", feature_ids=[feature_id], limit=100)
    assert {item["feature"] for item in bugs["items"]} == {feature.title}
    detail = await ask("get_feature", feature_id=feature_id)
    assert detail["title"] == feature.title and detail["gone_at"] is not None


async def test_a_name_is_the_one_that_the_newest_test_gives(account: Account, first_copy: FirstCopy) -> None:
    """Also for a copy that knew another title when the feature was listed."""
    product_id, feature_id = _feature(account.world)
    listed = account.world.product_state(product_id).features[feature_id]
    called, listed.title = listed.title, "As the list called it"
    await account.sync(only=frozenset({"features"}))
    listed.title = called
    await account.sync(only=ALL - {"features"})
    account.world.delete_feature(product_id, feature_id)

    await account.sync(only=ALL)

    assert [row["title"] for row in await account.rows("feature", id=feature_id)] == [called]
    assert await differences(account, await first_copy(account)) == {}
