"""Why bugs were rejected: the same answer in whatever order bugs, comments and reasons are read."""

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from testio_mcp.app import App
from testio_mcp.database.cache import PersistentCache
from testio_sandbox import Fault, World
from tests.conftest import SettingsFor
from tests.support.hasty import hasty_client
from tests.sync.conftest import EVERYTHING, Account

_PREFIXES = ("", "Rejected - ", "Bug rejected: ", "rejected – ", "Hi team,\r\n\r\n")


@pytest.fixture
def world() -> World:
    """An account with many rejections."""
    return World(seed=5, products=2, tests_per_product=30, bugs_per_test=4)


def _planned(world: World) -> dict[int, str | None]:
    """The reason of every bug, as the account planned it."""
    return {
        bug["id"]: world.rejection_reason(bug["id"])
        for product_id in world.product_ids
        for test_id in world.test_ids(product_id)
        for bug in world.bugs_of(test_id)
    }


async def _stored(account: Account) -> dict[int, str | None]:
    return {row["id"]: row["rejection_reason"] for row in await account.rows("bug")}


async def _reasons(account: Account) -> list[Any]:
    """What the store holds of reasons, and of the bugs that were rejected for them."""
    listed = [tuple(row.values()) for row in await account.rows("reject_reason")]
    columns = ("id", "rejection_reason", "rejection_match")
    bugs = [tuple(row[name] for name in columns) for row in await account.rows("bug")]
    return [sorted(map(str, listed)), sorted(bugs)]


def _reject(world: World, bug_id: int, *texts: str, **fields: Any) -> int:
    """ProblemRecord a bug with these comments, an hour apart."""
    comments = [
        {"id": world.new_id(), "body": text, "author": {"name": "Anna"}, "created_at": at.isoformat()}
        for n, text in enumerate(texts)
        if (at := world.now - timedelta(hours=len(texts) - n))
    ]
    world.update_bug(bug_id, status="rejected", comments=comments, rejection_reason=None, **fields)
    return bug_id


async def test_every_rejection_has_its_reason_or_is_unrecognised(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    planned = _planned(account.world)
    assert await _stored(account) == planned
    assert {None, "unrecognised", "Duplicate", "Not a bug"} < {*planned.values()}
    rows = await account.rows("bug")
    assert {row["rejection_match"] for row in rows} == {None, "api", "comment", "name", "similar", "none"}
    assert all((row["rejection_match"] is None) == (row["status"] != "rejected") for row in rows)
    assert all((row["rejection_match"] == "none") == (row["rejection_reason"] == "unrecognised") for row in rows)


async def test_a_reason_is_recognised_behind_any_prefix_before_and_after_other_comments(account: Account) -> None:
    world = account.world
    test_id = world.add_test(world.product_ids[0], status="running")["id"]
    reasons = {each["default_comment"]: each["name"] for each in world.reject_reasons}
    wanted = {
        _reject(world, world.add_bug(test_id)["id"], "Which build?", f"{prefix}{text}", "I see."): name
        for prefix in _PREFIXES
        for text, name in reasons.items()
    }
    unknown = _reject(world, world.add_bug(test_id)["id"], "Rejected - wir sehen das anders")
    told = _reject(world, world.add_bug(test_id)["id"], "This is not a bug.")
    world.update_bug(told, rejection_reason={"name": "Wrong device"})

    await account.sync()

    stored = await _stored(account)
    assert {bug_id: stored[bug_id] for bug_id in wanted} == wanted
    assert (stored[unknown], stored[told]) == ("unrecognised", "Wrong device")


async def test_reasons_read_after_the_bugs_count_as_if_they_had_been_read_before(account: Account) -> None:
    account.break_with("error", "bugs/reject_reasons", status=500)
    await account.sync()
    rejected = await account.rows("bug", status="rejected")
    assert rejected and {row["rejection_match"] for row in rejected} == {"none", "api"}

    account.sandbox.faults.clear()
    await account.sync(only=frozenset({"reasons"}))

    assert await _stored(account) == _planned(account.world)


async def test_a_changed_list_of_reasons_gives_what_a_first_copy_gives(
    account: Account, tmp_path: Path, settings_for: SettingsFor
) -> None:
    world = account.world
    await account.sync(only=EVERYTHING)
    first, second, *others = world.reject_reasons
    renamed = {**second, "name": "Cannot be reproduced"}
    added = {"key": "culture", "name": "Gewollt", "default_comment": "Das Verhalten ist so gewollt."}
    for listed in ([first, renamed, *others], [first, renamed, *others[1:], added], world.reject_reasons[:2], []):
        world.reject_reasons = listed
        await account.sync(only=EVERYTHING)
        async with AsyncExitStack() as closing:
            store = await closing.enter_async_context(
                PersistentCache(tmp_path / f"fresh{len(listed)}-{id(listed)}.db")
            )
            settings = settings_for(customer_api_base_url=account.sandbox.url)
            fresh = Account(world, account.sandbox, App(settings, store, closing, client=hasty_client))
            await fresh.sync(only=EVERYTHING)
            assert await _reasons(account) == await _reasons(fresh)
            await closing.aclose()


async def test_a_list_that_is_broken_or_refused_takes_no_reason_away(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    before = await _stored(account)
    for fault in (
        Fault("error", "reject_reasons", status=404),
        Fault("error", "reject_reasons", status=500),
        Fault("drop", "reject_reasons", field="reject_reasons.*.key"),
    ):
        account.sandbox.faults.clear()
        account.sandbox.faults.add(fault)
        await account.sync(only=EVERYTHING)
        assert await _stored(account) == before


async def test_bugs_of_a_store_that_an_older_build_filled_are_matched(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    def forget(conn: Any) -> None:
        conn.exec_driver_sql("UPDATE bug SET rejection_match = NULL, rejection_reason = NULL")

    await account.store.write(forget)
    await account.sync(only=EVERYTHING)

    assert await _stored(account) == _planned(account.world)
