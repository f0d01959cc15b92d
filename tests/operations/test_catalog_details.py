"""The summaries of products, features, user stories and people against the account's truth."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from testio_mcp.database.tables import FeatureSection, table_of
from testio_mcp.operations.lists import features
from testio_sandbox import World
from tests.operations import truth
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import EVERYTHING, Account


@pytest.fixture
def world() -> World:
    """An account whose tests have enough bugs for all statuses."""
    return World(seed=3, products=2, tests_per_product=16, bugs_per_test=5, now=NOW)


@pytest.fixture
async def synced(account: Account) -> Account:
    """The account, copied with everything."""
    await account.sync(only=EVERYTHING)
    return account


async def test_a_product_shows_its_numbers(synced: Account) -> None:
    world = synced.world
    for product_id in world.product_ids:
        detail = await ask(synced, "get_product", product_id=product_id)

        tests = truth.tests_of(world, product_id)
        bugs = [bug for test_id in tests for bug in world.bugs_of(test_id)]
        truth.same_bugs(detail, bugs)
        assert detail.bugs_by_kind == truth.counts(bugs, truth.kind)
        assert detail.open_bugs_by_level == truth.counts(
            [bug for bug in bugs if truth.status(bug) == "open"], truth.level
        )
        assert detail.tests_by_status == truth.counts(tests.values(), lambda test: test["status"])
        assert detail.tests == len(tests)
        assert detail.rates.model_dump() == truth.rates(bugs)
        running = [test for test in tests.values() if test["status"] == "running"]
        assert {test.id for test in detail.running_tests} == {test["id"] for test in running}
        newest_test = max(tests.values(), key=lambda test: (truth.moment(test["end_at"]), test["id"]))
        assert detail.newest_test.id == newest_test["id"]
        listed = {item.id: item for item in (await ask(synced, "list_products")).items}[product_id]
        assert (detail.tests, detail.bugs.total, detail.last_activity_at) == (
            listed.tests,
            listed.bugs,
            listed.last_activity_at,
        )
        assert detail.as_of is not None


async def test_a_product_shows_what_it_is_made_of(synced: Account) -> None:
    world = synced.world
    for product_id in world.product_ids:
        detail = await ask(synced, "get_product", product_id=product_id)

        features = world.features(product_id, objects=True)
        tested = {
            feature["feature_id"]
            for test in truth.tests_of(world, product_id).values()
            if truth.has_run(test)
            for feature in test["features"]
        }
        assert detail.features == len(features)
        assert detail.user_stories == sum(len(feature["user_stories"]) for feature in features)
        assert detail.untested_features == len({feature["id"] for feature in features} - tested)
        state = world.product_state(product_id)
        assert (detail.test_environments, detail.test_templates) == (len(state.environments), len(state.templates))
        sections = {section["id"]: section["name"] for section in state.payload["sections_with_default"]}
        assert {section.id: section.name for section in detail.sections} == sections
        assert {section.features for section in detail.sections} == {None}


async def test_sections_count_their_features_where_these_name_them(synced: Account) -> None:
    world = synced.world
    product_id = next(pid for pid in world.product_ids if world.product_state(pid).section_ids)
    told = [
        (sid, f["id"]) for sid in world.product_state(product_id).section_ids for f in world.features(product_id, sid)
    ]
    members = [{"section_id": section_id, "feature_id": feature_id} for section_id, feature_id in told]
    await synced.store.write(lambda conn: conn.execute(insert(table_of(FeatureSection)), members))

    detail = await ask(synced, "get_product", product_id=product_id)
    features = [await ask(synced, "get_feature", feature_id=feature_id) for feature_id in dict(told).values()]

    sections = Counter(section_id for section_id, _ in told)
    assert {section.id: section.features for section in detail.sections if section.features} == dict(sections)
    names = {section.id: section.name for section in detail.sections}
    for feature in features:
        assert feature.sections == [names[section_id] for section_id, member in told if member == feature.id]


async def test_rates_are_over_tests_that_ran_and_null_over_nothing(account: Account) -> None:
    empty = account.world.add_product()["id"]
    product_id = account.world.product_ids[0]
    ran = [bug for test_id in account.world.test_ids(product_id) for bug in account.world.bugs_of(test_id)]
    await account.sync(only=EVERYTHING)
    test = account.world.add_test(product_id, status="archived")
    bug = account.world.add_bug(test["id"], status="rejected")
    await account.sync(only=EVERYTHING)
    account.world.update_test(test["id"], status="cancelled")
    await account.sync(only=EVERYTHING)

    detail = await ask(account, "get_product", product_id=product_id)

    assert (await ask(account, "get_bug", bug_id=bug["id"])).status == "rejected"
    assert detail.bugs.total == len(ran) + 1
    assert detail.rates.model_dump() == truth.rates(ran)
    assert "cancelled" in detail.scope
    nothing = await ask(account, "get_product", product_id=empty)
    assert set(nothing.rates.model_dump().values()) == {None}
    assert (nothing.bugs.total, nothing.newest_test, nothing.last_activity_at) == (0, None, None)


@pytest.mark.parametrize("few", [0, 500])
async def test_a_feature_shows_its_stories_tests_and_bugs(
    synced: Account, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(features, "FEW", few)
    world = synced.world
    for product_id in world.product_ids:
        tests = truth.tests_of(world, product_id)
        gone = world.test_ids(product_id)[-1]
        world.delete_test(gone)
        await synced.sync(full=True)
        del tests[gone]
        runs = truth.executions(world)
        bugs = [bug for test_id in tests for bug in world.bugs_of(test_id)]
        for feature in world.features(product_id, objects=True):
            detail = await ask(synced, "get_feature", feature_id=feature["id"])

            assert (detail.title, detail.howtofind) == (feature["title"], feature["howtofind"])
            own = [bug for bug in bugs if truth.feature_of(world, bug) == feature["id"]]
            truth.same_bugs(detail, own)
            assert [bug.id for bug in detail.recent_bugs] == truth.newest(own)
            with_it = [t for t in tests.values() if feature["id"] in [f["feature_id"] for f in t["features"]]]
            assert detail.tests == len(with_it)
            by_end = sorted(with_it, key=lambda test: (truth.moment(test["end_at"]), test["id"]), reverse=True)
            assert [test.id for test in detail.newest_tests] == [test["id"] for test in by_end[:10]]
            ends = [truth.moment(test["end_at"]) for test in by_end if truth.has_run(test)]
            assert detail.last_tested_at == (ends[0] if ends else None)
            assert {story.id: story.executions for story in detail.user_stories} == {
                story["id"]: truth.counts(
                    [run for run in runs if truth.runs_story(run) == story["id"]], lambda run: run["status"]
                )
                for story in feature["user_stories"]
            }


async def test_a_user_story_shows_how_it_went(synced: Account) -> None:
    world = synced.world
    features = [f for product_id in world.product_ids for f in world.features(product_id, objects=True)]
    tests = {t: world.test(t, objects=True) for pid in world.product_ids for t in world.test_ids(pid)}
    runs = truth.executions(world)
    shown = 0
    for feature in features:
        for story in feature["user_stories"]:
            detail = await ask(synced, "get_user_story", user_story_id=story["id"])

            own = sorted((r for r in runs if truth.runs_story(r) == story["id"]), key=lambda r: r["id"], reverse=True)
            done = Counter(run["status"] for run in own)
            assert (detail.title, detail.feature_id) == (story["title"], feature["id"])
            assert (detail.executions, detail.executions_by_status) == (len(own), dict(done))
            assert detail.pass_rate == truth.of(done["passed"], done["passed"] + done["failed"] + done["blocked"])
            assert [run.id for run in detail.recent_executions] == [run["id"] for run in own[:20]]
            for told, run in zip(detail.recent_executions, own, strict=False):
                device = run["device_reports"][0]
                system = f"{device['operating_system']['name']} {device['operating_system_version']['name']}"
                assert told.devices == [f"{device['device']['name']} ({system})"]
                assert (told.tester, told.status, told.comment) == (
                    truth.name(run["executed_by"]),
                    run["status"],
                    run["comment"],
                )
                assert (told.test_id, told.executed_at) == (run["test_cycle"]["id"], truth.moment(run["executed_at"]))
            expected = {
                test_id: copy["execution_status"]
                for test_id, test in tests.items()
                if truth.has_run(test)
                for feature_copy in test["features"]
                for copy in feature_copy["user_stories"]
                if copy["id"] == story["id"]
            }
            told_results = [(result.test_id, result.execution_status) for result in detail.results]
            assert told_results == sorted(expected.items(), reverse=True)[:20]
            shown += len(told_results)
    assert shown


async def test_a_person_shows_what_they_did(synced: Account) -> None:
    world = synced.world
    bugs, runs = truth.all_bugs(world), truth.executions(world)
    tests = [world.test(test_id) for pid in world.product_ids for test_id in world.test_ids(pid)]
    roles: set[str] = set()
    for person in await synced.rows("person"):
        detail = await ask(synced, "get_person", person_id=person["id"])

        who = person["name"]
        own = [bug for bug in bugs if truth.name(bug["author"]) == who]
        mine = [run for run in runs if truth.name(run["executed_by"]) == who]
        created = [test for test in tests if truth.name(test["created_by"]) == who]
        submitted = [test for test in tests if truth.name(test["submitted_by"]) == who]
        assert detail.name == who
        truth.same_bugs(detail, own)
        assert detail.overall_acceptance_rate == truth.rates(own)["overall_acceptance_rate"]
        assert detail.executions_by_status == truth.counts(mine, lambda run: run["status"])
        assert (detail.tests_created, detail.tests_submitted) == (len(created), len(submitted))
        expected = [*(["tester"] if own or mine else []), *(["contact"] if created else [])]
        assert detail.roles == expected
        moments = [
            *(truth.moment(bug["reported_at"]) for bug in own),
            *(truth.moment(run["executed_at"]) for run in mine),
            *(
                at
                for test in created + submitted
                if (at := truth.moment(test["start_at"])) and at <= datetime.now(UTC)
            ),
        ]
        known = [when for when in moments if when]
        assert detail.first_activity_at == min(known, default=None)
        assert detail.last_activity_at == max(known, default=None)
        products = Counter(bug["product"]["id"] for bug in own)
        assert {product.id: product.bugs for product in detail.products} == dict(products)
        assert [bug.id for bug in detail.recent_bugs] == truth.newest(own)
        roles.update(detail.roles)
    assert roles == {"tester", "contact"}
