"""The account itself: determinism, ids, dates, sizes."""

import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testio_mcp.api.mapping import TEST_STATUSES
from testio_sandbox import SECRET_MARK, World
from testio_sandbox.bug_payloads import found_again
from testio_sandbox.catalog import AUTO_ACCEPT_DAYS, REJECT_REASONS, Payload
from testio_sandbox.state import surviving
from testio_sandbox.test_payloads import runs_of

NOW = datetime(2026, 10, 14, 9, 30, tzinfo=UTC)


def everything(world: World) -> list[Payload]:
    """All that an account shows."""
    shown: list[Payload] = list(world.iter_products())
    for product in list(shown):
        shown += world.features(product["id"], objects=True)
        for test in world.iter_tests(product["id"]):
            shown += [test, world.test(test["id"], objects=True), *world.bugs_of(test["id"])]
    return shown


def test_the_same_seed_gives_the_same_account() -> None:
    first, second = (World(seed=7, products=2, tests_per_product=9, now=NOW) for _ in range(2))
    assert json.dumps(everything(first)) == json.dumps(everything(second))


def test_another_seed_gives_another_account() -> None:
    first, second = (World(seed=seed, products=1, tests_per_product=5, now=NOW) for seed in (1, 2))
    assert json.dumps(everything(first)) != json.dumps(everything(second))


def test_a_record_does_not_depend_on_what_was_asked_before() -> None:
    asked_late = World(products=3, tests_per_product=12, now=NOW)
    everything(asked_late)
    asked_first = World(products=3, tests_per_product=12, now=NOW)
    bug = next(bug for bug in everything(asked_late) if "reported_at" in bug)
    assert asked_first.bug(bug["id"]) == bug


@given(
    products=st.integers(1, 8),
    tests=st.integers(1, 25),
    bugs=st.sampled_from([0.0, 0.4, 1.0, 3.0, 4.5]),
    days=st.integers(0, 40),
)
def test_ids_dates_and_statuses_agree(products: int, tests: int, bugs: float, days: int) -> None:
    world = World(products=products, tests_per_product=tests, bugs_per_test=bugs, now=NOW)
    world.advance(days, new_tests=1)
    seen_tests: set[int] = set()
    seen_bugs: set[int] = set()
    for product_id in world.product_ids:
        facts = [world.facts(number) for number in world.numbers_of(product_id)]
        assert [test.product_id for test in facts] == [product_id] * (tests + 1)
        assert all(new.id > old.id and new.phases.created >= old.phases.created for new, old in pairwise(facts))
        seen_tests.update(test.id for test in facts)
        for test in facts:
            phases = test.phases
            assert phases.created <= phases.finalized <= phases.approved <= phases.start < phases.end
            assert world.test_status(test) in TEST_STATUSES
            for bug in world.visible_bugs(test):
                assert world.bug_facts(bug.id) == bug
                assert phases.start <= bug.reported < phases.end and bug.reported <= world.clock
                recent = world.clock < phases.end + AUTO_ACCEPT_DAYS * 86_400
                assert recent or bug.status(world.clock) != "open"
                seen_bugs.add(bug.id)
    assert len(seen_tests) == products * (tests + 1)
    assert len(seen_bugs) == sum(world.truth(product_id).bugs for product_id in world.product_ids)


@given(gone=st.sets(st.integers(0, 30)), offset=st.integers(0, 40), limit=st.integers(0, 12))
def test_paging_over_deleted_records_skips_exactly_those(gone: set[int], offset: int, limit: int) -> None:
    left = [number for number in range(30) if number not in gone]
    assert list(surviving(sorted(gone), 30, offset, limit)) == left[offset : offset + limit]


def test_the_newest_tests_are_under_way_and_the_rest_is_over() -> None:
    world = World(products=2, tests_per_product=60, now=NOW)
    for product_id in world.product_ids:
        statuses = [test["status"] for test in world.iter_tests(product_id)]
        assert statuses[:5] == ["initialized", "customer_finalized", "waiting", "running", "locked"]
        assert set(statuses[7:]) == {"archived", "cancelled"}
    assert {bug.status(world.clock) for number in range(120) for bug in world.visible_bugs(world.facts(number))} == {
        "open",
        "accepted",
        "auto_accepted",
        "rejected",
    }


def test_dates_are_relative_to_the_present() -> None:
    early, late = (World(products=1, tests_per_product=8, now=NOW + timedelta(days=d)) for d in (0, 100))
    assert [t["status"] for t in early.iter_tests(21001)] == [t["status"] for t in late.iter_tests(21001)]
    assert abs(World().now - datetime.now(UTC)) < timedelta(minutes=5)


def test_rejections_are_written_in_many_forms() -> None:
    world = World(products=4, tests_per_product=60, now=NOW)
    openings = tuple(reason["default_comment"] for reason in REJECT_REASONS)
    rejected = [bug for bug in everything(world) if bug.get("status") == "rejected"]
    decisions = [[comment["body"] for comment in bug["comments"]] for bug in rejected]
    assert all(decisions)

    plain = sum(any(text.startswith(openings) for text in texts) for texts in decisions)
    last = sum(texts[-1].startswith(openings) for texts in decisions)
    unrecognised = sum(world.rejection_reason(bug["id"]) == "unrecognised" for bug in rejected)
    told = sum("rejection_reason" in bug for bug in rejected)

    assert 0.2 < plain / len(rejected) < 0.7
    assert last < plain, "some are followed by more comments"
    assert 0 < unrecognised < 0.15 * len(rejected)
    assert 0 < told < 0.2 * len(rejected)


def test_the_bugs_of_some_accounts_say_the_reason() -> None:
    world = World(products=2, now=NOW, tells_reasons=True)
    names = {reason["name"] for reason in REJECT_REASONS} | {reason["key"] for reason in REJECT_REASONS}
    rejected = [bug for bug in everything(world) if bug.get("status") == "rejected"]
    assert rejected and all(bug["rejection_reason"] in names for bug in rejected)


def test_some_decided_bugs_are_fixed_and_some_of_those_come_back_in_a_later_test() -> None:
    world = World(now=NOW)
    facts = [
        bug for pid in world.product_ids for n in world.numbers_of(pid) for bug in world.visible_bugs(world.facts(n))
    ]
    fixed = {bug.id for bug in facts if world.bug(bug.id).get("fixed")}
    assert 0.01 < len(fixed) / len(facts) < 0.08
    assert {world.bug_status(world.bug_facts(number)) for number in fixed} == {"accepted"}
    pairs = [(bug, first) for bug in facts if (first := found_again(world, bug))]
    assert 0 < len(pairs) < len(fixed)
    for again, first in pairs:
        assert first.id in fixed and first.feature_id == again.feature_id
        assert first.test.number < again.test.number and first.reported < again.reported
        assert world.bug(again.id)["title"] in world.bug(first.id)["title"]


def test_executions_follow_their_test() -> None:
    world = World(products=2, tests_per_product=60, now=NOW)
    by_status: dict[str, set[str]] = {}
    for number in range(120):
        facts = world.facts(number)
        outcomes = {run.status for run in runs_of(world, facts)}
        by_status.setdefault(world.test_status(facts), set()).update(outcomes)
    assert by_status["cancelled"] == {"cancelled"}
    assert by_status["waiting"] == by_status["initialized"] == {"pending"}
    assert by_status["archived"] == {"passed", "failed", "blocked", "pending"}


def test_secrets_are_marked() -> None:
    world = World(products=1, now=NOW)
    test = next(world.iter_tests(21001))
    for name in ("login", "password"):
        assert test["test_environment"][name].startswith(SECRET_MARK)
    assert SECRET_MARK in test["test_environment"]["environment_test_information"]["description"]


def test_quirks_are_spread_and_can_be_switched_off() -> None:
    quirky, tidy = (World(now=NOW, quirks=quirks) for quirks in (True, False))
    odd, plain = everything(quirky), everything(tidy)
    bugs, plain_bugs = ([r for r in records if "reported_at" in r] for records in (odd, plain))
    tests, plain_tests = ([r for r in records if "review_status" in r] for records in (odd, plain))
    assert {type(bug["steps"]) for bug in bugs} == {str, list}
    assert {type(bug["author"]) for bug in bugs} == {str, dict}
    assert {bug["reported_at"][19:] for bug in bugs} == {"Z", "+02:00", ".000+02:00", ".417Z"}
    assert any("title" not in test for test in tests) and any("test_title" not in test for test in tests)
    assert any(device == {} for bug in bugs for device in bug["devices"])
    assert any("feature" not in bug for bug in bugs) and any("app_section" not in bug for bug in bugs)
    assert any(bug["status"] == "auto_accepted" for bug in bugs)
    assert {bug["language"] for bug in bugs} >= {"en", "de", "ja", "he", "ar", "fr"}
    assert all({"title", "test_title"} <= set(test) for test in plain_tests)
    assert {type(bug["steps"]) for bug in plain_bugs} == {list}
    assert {bug["reported_at"][19:] for bug in plain_bugs} == {"+02:00"}
    assert all(record["id"] > 0 for record in odd)


def test_a_large_account_streams_without_being_held() -> None:
    world = World(products=6, tests_per_product=66_667, bugs_per_test=3, now=NOW)
    assert len(list(world.tests_page(21003, 60_000, 25))) == 25
    next(world.tests_page(21003, 66_666, 1))
    tracemalloc.start()
    try:
        sum(1 for _ in islice(world.iter_tests(21001), 300))
        before = tracemalloc.get_traced_memory()[0]
        sum(1 for _ in islice(world.iter_tests(21002), 2_000))
        assert tracemalloc.get_traced_memory()[0] - before < 300_000
    finally:
        tracemalloc.stop()


def test_sizes_come_out_as_asked() -> None:
    world = World(products=4, tests_per_product=500, bugs_per_test=3, now=NOW)
    truths = [world.truth(product_id) for product_id in world.product_ids]
    assert [truth.tests for truth in truths] == [500] * 4
    assert 2.7 < sum(truth.bugs for truth in truths) / 2_000 < 3.2


def test_helpers_change_what_is_shown() -> None:
    world = World(products=1, tests_per_product=5, now=NOW)
    test = world.add_test(21001, title="By hand", status="running")
    assert (test["title"], test["test_title"], test["status"]) == ("By hand", "By hand", "running")
    assert next(world.iter_tests(21001))["id"] == test["id"]
    bug = world.add_bug(test["id"], severity="critical")
    assert (bug["severity"], bug["status"]) == ("critical", "forwarded")
    assert world.update_bug(bug["id"], status="rejected")["status"] == "rejected"
    assert world.truth(21001).bugs_by_status["rejected"] >= 1
    world.delete_bug(bug["id"])
    assert world.bugs_of(test["id"]) == []
    world.update_test(test["id"], status="archived")
    assert world.test(test["id"])["status"] == "archived"
    world.delete_test(test["id"])
    oldest = world.test_ids(21001)[-1]
    world.delete_test(oldest)
    assert world.truth(21001).tests == 4
    for gone in (test["id"], oldest):
        with pytest.raises(KeyError):
            world.test(gone)


def _statuses(world: World) -> dict[int, str]:
    return {
        facts.id: world.test_status(facts)
        for product_id in world.product_ids
        for facts in map(world.facts, world.numbers_of(product_id))
    }


def test_a_day_moves_the_account_on() -> None:
    world = World(products=3, tests_per_product=20, now=NOW)
    moved: set[tuple[str, str]] = set()
    before = _statuses(world)
    for _ in range(60):
        created = world.advance(days=0.25, new_tests=1)["tests"]
        after = _statuses(world)
        assert set(after) - set(before) == set(created)
        moved |= {(before[i], after[i]) for i in before if before[i] != after[i]}
        before = after
    way = ["initialized", "customer_finalized", "waiting", "running", "locked", "archived"]
    assert moved >= set(pairwise(way))
    undecided = len(world.open_bugs(21001))
    world.advance(days=30, new_tests=0)
    assert undecided and len(world.open_bugs(21001)) == 0
