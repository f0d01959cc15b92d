"""Reasons of rejections in lists, records, metrics and the status: the account's own, and never silently missing."""

from collections import Counter
from typing import Any

import pytest

from testio_mcp.surfaces.cli import exports
from testio_mcp.surfaces.mcp import plain
from testio_mcp.surfaces.mcp.replies import success, to_reply
from testio_sandbox import World
from tests.operations import truth
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import EVERYTHING, Account

UNRECOGNISED = "unrecognised"


@pytest.fixture
def world() -> World:
    """An account with enough rejections that some are not recognised."""
    return World(seed=5, products=2, tests_per_product=40, bugs_per_test=4, now=NOW)


@pytest.fixture
async def rejections(account: Account) -> dict[int, str]:
    """The reason of each rejected bug, as the account planned it."""
    await account.sync(only=EVERYTHING)
    reasons = {bug["id"]: account.world.rejection_reason(bug["id"]) for bug in truth.all_bugs(account.world)}
    return {bug_id: reason for bug_id, reason in reasons.items() if reason is not None}


async def test_lists_and_records_tell_the_reason(account: Account, rejections: dict[int, str]) -> None:
    assert 0 < Counter(rejections.values())[UNRECOGNISED] < len(rejections)
    seen: dict[int, str | None] = {}
    cursor = None
    while not seen or cursor:
        page = await ask(account, "list_bugs", limit=100, cursor=cursor)
        seen |= {bug.id: bug.rejection_reason for bug in page.items}
        cursor = page.next_cursor
    assert {bug_id: reason for bug_id, reason in seen.items() if reason is not None} == rejections
    for bug_id, reason in rejections.items():
        detail = await ask(account, "get_bug", bug_id=bug_id)
        assert (detail.rejection_reason, detail.rejection_match == "none") == (reason, reason == UNRECOGNISED)
        test = await ask(account, "get_test", test_id=detail.test_id)
        assert all(bug.rejection_reason == rejections.get(bug.id) for bug in test.recent_bugs)
    hits = await ask(account, "search", query="the", kinds=["bug"], limit=50)
    assert {hit.id: hit.rejection_reason for hit in hits.items} == {h.id: rejections.get(h.id) for h in hits.items}


async def test_what_is_not_recognised_can_be_filtered_for(account: Account, rejections: dict[int, str]) -> None:
    for reason, bugs in Counter(rejections.values()).items():
        page = await ask(account, "list_bugs", rejection_reason=reason.lower(), limit=100)
        assert {bug.id for bug in page.items} == {bug_id for bug_id, name in rejections.items() if name == reason}
        table = await ask(account, "query_metrics", metrics=["bug_count"], filters=[f"rejection_reason={reason}"])
        assert table.totals["bug_count"] == bugs == page.total


async def test_metrics_count_what_is_not_recognised_as_that(account: Account, rejections: dict[int, str]) -> None:
    table = await ask(account, "query_metrics", metrics=["bug_count"], by=["rejection_reason"])

    counted = {row.root["rejection_reason"]: row.root["bug_count"] for row in table.items}
    others = sum(await _bugs(account)) - len(rejections)
    wanted: dict[str | None, int] = {None: others, **Counter(rejections.values())}
    assert counted == wanted


async def _bugs(account: Account) -> list[int]:
    table = await ask(account, "query_metrics", metrics=["bug_count"])
    return [table.totals["bug_count"]]


async def test_a_dimension_asked_for_is_a_column_also_where_no_bug_has_a_value(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    table = await ask(
        account, "query_metrics", metrics=["bug_count"], by=["rejection_reason"], filters=["bug_status=accepted"]
    )
    answer: dict[str, Any] = table.model_dump(mode="json")
    heading = "rejection_reason\tbug_count"

    assert answer["items"] == [{"rejection_reason": None, "bug_count": table.totals["bug_count"]}]
    reply = success(to_reply(answer), is_foreign=True)
    assert heading in reply.content[0].text  # type: ignore[union-attr]
    assert reply.structured_content is not None and reply.structured_content["items"] == answer["items"]
    assert exports.tab_separated(answer).splitlines()[0] == heading
    assert exports.comma_separated(answer).splitlines()[0] == heading.replace("\t", ",")
    assert exports.markdown(answer).splitlines()[0] == "| rejection_reason | bug_count |"
    assert plain.text(answer, plain.requested_columns(answer)).splitlines()[0] == heading


async def test_the_status_tells_the_share_that_is_recognised(account: Account, rejections: dict[int, str]) -> None:
    status = await ask(account, "get_status")

    unrecognised = Counter(rejections.values())[UNRECOGNISED]
    assert (status.rejected_bugs, status.unrecognised_rejections) == (len(rejections), unrecognised)
    recognised = len(rejections) - unrecognised
    share = f"{100 * recognised / len(rejections):.1f} %"
    assert status.rejection_reasons == f"recognised for {recognised} of {len(rejections)} rejected bugs ({share})"
