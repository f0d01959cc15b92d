"""Bugs that are found again after they were marked as fixed."""

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from testio_mcp.operations.work.regressions import Regression, find_regressions
from testio_sandbox import World
from testio_sandbox.bug_payloads import found_again
from tests.operations import truth
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import Account

TITLE = "Voucher field swallows the last letter of a gift code"
SEEN = "The code is shown without its last letter, and the shop says that it is unknown."


@pytest.fixture
def world() -> World:
    """An account with so many bugs that some of those that were fixed came back."""
    return World(seed=7, products=2, tests_per_product=40, bugs_per_test=4, now=NOW)


async def _regressions(account: Account, **asked: Any) -> list[Regression]:
    return await account.store.read(lambda conn: find_regressions(conn, **asked))


async def _mark_as_fixed(account: Account, bug_id: int) -> None:
    """What a customer's own tracker does."""
    headers = {"Authorization": f"Token {account.sandbox.token}"}
    async with httpx2.AsyncClient(base_url=account.sandbox.url, headers=headers, timeout=5) as caller:
        (await caller.put(f"bugs/{bug_id}/mark_as_fixed")).raise_for_status()


def _report(world: World, test_id: int, feature_id: int, title: str = TITLE, **fields: Any) -> int:
    feature = world.feature(feature_id)
    assert feature is not None
    about = {"title": title, "actual_result": SEEN, "feature": {"id": feature.id, "title": feature.title}}
    return int(world.add_bug(test_id, **{**about, "test_feature": None, "app_section": None, **fields})["id"])


def _running(world: World, product_id: int) -> dict[str, Any]:
    """A test that has started by the moment of the copy, however far the account's own clock has gone on."""
    return world.add_test(product_id, status="running", start_at=(NOW - timedelta(hours=5)).isoformat())


@pytest.fixture
async def fixed(account: Account) -> int:
    """A bug of the copy that was marked as fixed since it was first copied; a day has passed then."""
    await account.sync()
    product = account.world.product_ids[0]
    test = _running(account.world, product)["id"]
    feature = next(iter(account.world.product_state(product).features))
    reported = (NOW - timedelta(hours=3)).isoformat()
    bug = _report(account.world, test, feature, status="accepted", reported_at=reported)
    await account.sync()
    await _mark_as_fixed(account, bug)
    await account.sync()
    account.world.advance(days=1, new_tests=0)
    return bug


async def test_the_mark_is_copied_shown_and_logged(account: Account, fixed: int) -> None:
    assert (await ask(account, "get_bug", bug_id=fixed)).is_fixed
    changes = (await ask(account, "list_changes", entities=["bug"], limit=200)).items
    marks = [(line.old, line.new) for line in changes if line.entity_id == fixed and line.field == "is_fixed"]
    assert marks == [("False", "True")]


async def test_a_similar_bug_reported_after_the_mark_is_a_regression(account: Account, fixed: int) -> None:
    world = account.world
    old = world.bug(fixed)
    product, feature = old["product"]["id"], old["feature"]["id"]
    test = _running(world, product)["id"]
    again = _report(world, test, feature, f"[Shop] {TITLE} again")
    await account.sync()

    (found,) = await _regressions(account, test_ids=[test])

    (mark,) = await account.rows("change_log", entity_id=fixed, field="is_fixed")
    new = world.bug(again)
    assert (found.id, found.title, found.status, found.level) == (again, new["title"], "open", truth.level(new))
    assert (found.test_id, found.feature_id, found.feature) == (test, feature, new["feature"]["title"])
    assert (found.fixed_bug_id, found.fixed_title, found.fixed_at) == (fixed, TITLE, mark["changed_at"])
    assert found.reported_at == truth.moment(new["reported_at"])
    assert 0.9 < found.similarity < 1
    assert found in await _regressions(account, product_ids=[product], limit=1_000)
    assert found in await _regressions(account, product_ids=world.product_ids, limit=1_000)
    assert await _regressions(account, product_ids=world.product_ids[1:], test_ids=[test]) == []
    assert found not in await _regressions(account, exclude_test_ids=[test], limit=1_000)


async def test_the_end_of_the_test_decides_on_the_period(account: Account, fixed: int) -> None:
    world = account.world
    old = world.bug(fixed)
    test = _running(world, old["product"]["id"])
    again = _report(world, test["id"], old["feature"]["id"])
    await account.sync()
    end = truth.moment(test["end_at"])
    assert end
    second = timedelta(seconds=1)

    periods = ((end, end + second), (end, None), (None, end + second), (end - second, end), (end + second, None))
    asked = [await _regressions(account, start=start, end=stop, limit=1_000) for start, stop in periods]

    assert [again in [one.id for one in found] for found in asked] == [True, True, True, False, False]


async def test_what_is_no_regression(account: Account, fixed: int) -> None:
    world = account.world
    old = world.bug(fixed)
    product, feature = old["product"]["id"], old["feature"]["id"]
    other = next(key for key in world.product_state(product).features if key != feature)
    test = _running(world, product)["id"]
    _report(world, test, other)
    _report(world, test, feature, "Order summary is cut off on small screens", actual_result="Half of it is missing.")
    _report(world, test, feature, status="rejected")
    _report(world, test, feature, reported_at=(NOW - timedelta(hours=1)).isoformat())
    _report(world, world.add_test(product, status="cancelled")["id"], feature)
    await account.sync()

    assert [one for one in await _regressions(account, limit=1_000) if one.fixed_bug_id == fixed] == []

    again = _report(world, test, feature)
    await account.sync()
    assert [one.id for one in await _regressions(account, limit=1_000) if one.fixed_bug_id == fixed] == [again]

    world.delete_bug(again)
    await account.sync()
    assert [one for one in await _regressions(account, limit=1_000) if one.fixed_bug_id == fixed] == []


async def test_one_that_was_fixed_when_it_was_first_copied(account: Account) -> None:
    world = account.world
    product = world.product_ids[0]
    feature = next(iter(world.product_state(product).features))
    first, second = (_running(world, product)["id"] for _ in range(2))
    times = [(NOW - timedelta(hours=hours)).isoformat() for hours in (4, 3, 2, 1)]
    _report(world, second, feature, reported_at=times[0])
    old = _report(world, first, feature, status="accepted", fixed=True, reported_at=times[1])
    _report(world, first, feature, reported_at=times[2])
    again = _report(world, second, feature, reported_at=times[3])
    await account.sync()

    (found,) = (one for one in await _regressions(account, limit=1_000) if one.fixed_bug_id == old)

    assert (found.id, found.fixed_at) == (again, None)


async def test_the_last_reports_come_first_and_each_once(account: Account, fixed: int) -> None:
    world = account.world
    old = world.bug(fixed)
    test = _running(world, old["product"]["id"])["id"]
    twin = _report(world, test, old["feature"]["id"], status="accepted")
    await account.sync()
    await _mark_as_fixed(account, twin)
    await account.sync()
    world.advance(days=1, new_tests=0)
    later = _report(world, _running(world, old["product"]["id"])["id"], old["feature"]["id"])
    await account.sync()

    found = [one for one in await _regressions(account, limit=1_000) if one.fixed_bug_id in (fixed, twin)]

    assert [(one.id, one.fixed_bug_id) for one in found] == [(later, twin), (twin, fixed)]
    assert [one.id for one in await _regressions(account, limit=1)] == [later]


async def test_what_came_back_before_the_first_copy_is_found(account: Account) -> None:
    world = account.world
    await account.sync()
    facts = [world.bug_facts(bug["id"]) for bug in truth.all_bugs(world)]
    came_back = {bug.id: first for bug in facts if (first := found_again(world, bug))}
    open_again = {number for number in came_back if world.bug_status(world.bug_facts(number)) != "rejected"}
    assert open_again

    found = {one.id: one for one in await _regressions(account, limit=10_000)}

    assert found.keys() >= open_again
    assert all(found[number].fixed_bug_id == came_back[number].id for number in open_again)
    for one in found.values():
        new, old = world.bug(one.id), world.bug(one.fixed_bug_id)
        assert old["fixed"] and one.fixed_at is None
        assert new["test"]["id"] != old["test"]["id"]
        assert new["product"]["id"] == old["product"]["id"]
        assert truth.feature_of(world, new) == truth.feature_of(world, old) == one.feature_id
        assert new["reported_at"] and one.reported_at == truth.moment(new["reported_at"])
        reported = truth.moment(old["reported_at"])
        assert reported and one.reported_at > reported
