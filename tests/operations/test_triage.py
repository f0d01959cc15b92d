"""The triage queue against the account's truth: order, clock, sums, evidence, duplicates, export backlog."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testio_mcp.api.mapping import severity_of
from testio_mcp.database.dialect import upsert
from testio_mcp.database.tables import Bug, table_of
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.lists.listing import COUNTED
from testio_mcp.operations.work.duplicates import LIKELY, combine_likeness, compute_likeness, split_title, split_words
from testio_mcp.operations.work.triage import LastComment, TriageItem
from tests.operations.conftest import ask
from tests.operations.test_lists import asked
from tests.operations.test_lists import statements as statements
from tests.operations.truth import has_run
from tests.sync.conftest import Account

_FAR = datetime(9999, 12, 31, tzinfo=UTC)
_RANKS = {"critical": 0, "high": 1, "low": 2}
_GRACE = timedelta(days=10)
Fact = dict[str, Any]


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _facts(account: Account) -> list[Fact]:
    """Every bug as the account shows it, with its status, test and product."""
    world = account.world
    return [
        {
            **world.shown_bug(bug),
            "shown": world.bug_status(bug),
            "test_id": test_id,
            "product_id": product_id,
            "end": _moment(world.test(test_id)["end_at"]),
        }
        for product_id in world.product_ids
        for test_id in world.test_ids(product_id)
        for bug in world.visible_bugs(world.test_facts(test_id))
    ]


def _waiting(account: Account, choose: Callable[[Fact], bool] = lambda _: True) -> list[Fact]:
    """The bugs that wait for a decision, most urgent first."""
    found = [fact for fact in _facts(account) if fact["shown"] in ("open", "question") and choose(fact)]
    return sorted(found, key=lambda fact: (_rank(fact), fact["end"] or _FAR, fact["id"]))


def _rank(fact: Fact) -> int:
    return _RANKS.get(severity_of(fact["severity"])[1], 3)


async def _queue(account: Account, **arguments: Any) -> list[TriageItem]:
    items: list[TriageItem] = []
    cursor = None
    while True:
        page = await ask(account, "triage_queue", cursor=cursor, **arguments)
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            return items


def _liven(account: Account) -> None:
    """Add what a small account lacks: questions, bugs of old tests and of a test without an end, unknown words."""
    world = account.world
    decided = [fact for fact in _facts(account) if fact["shown"] not in ("open", "question")]
    for number, fact in enumerate(decided[:9]):
        world.update_bug(fact["id"], status="question" if number % 2 else "forwarded")
    world.update_bug(decided[9]["id"], status="forwarded", severity="blocker")
    draft = world.add_test(world.product_ids[0], status="running")["id"]
    world.update_test(draft, end_at=None)
    for severity in ("critical", "low", "visual", "critical"):
        world.add_bug(draft, severity=severity)


@pytest.fixture
async def filled(account: Account) -> Account:
    """A synced account with bugs of every kind in its queue."""
    _liven(account)
    await account.sync()
    return account


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_every_waiting_bug_once_in_order(filled: Account, limit: int) -> None:
    expected = _waiting(filled)
    assert len({fact["end"] for fact in expected}) > 3

    items = await _queue(filled, limit=limit)

    assert [item.id for item in items] == [fact["id"] for fact in expected]


async def test_the_clock_starts_with_the_end_of_the_test(filled: Account) -> None:
    before = datetime.now(UTC)
    items = await _queue(filled)
    after = datetime.now(UTC)

    ends = {fact["id"]: fact["end"] for fact in _facts(filled)}
    kinds: Counter[str] = Counter()
    for item in items:
        end = ends[item.id]
        assert item.test_end_at == end
        if end is None or end > after:
            assert (item.auto_accept_at, item.hours_left, item.overdue) == (None, None, False)
            kinds["running"] += 1
            continue
        due = end + _GRACE
        assert item.auto_accept_at == due
        assert item.hours_left in {(due - now) // timedelta(hours=1) for now in (before, after)}
        assert item.overdue == (item.hours_left is not None and item.hours_left < 0)
        kinds["overdue" if item.overdue else "due"] += 1
    assert len(kinds) == 3


async def test_the_days_until_acceptance_are_a_setting(filled: Account) -> None:
    filled.app.settings = filled.app.settings.model_copy(update={"auto_accept_days": 90})

    page = await ask(filled, "triage_queue", limit=100)

    assert page.auto_accept_days == 90
    ended = [item for item in page.items if item.auto_accept_at]
    assert ended
    assert all(item.auto_accept_at - item.test_end_at == timedelta(days=90) for item in ended)


async def test_the_summary_counts_all_pages(filled: Account) -> None:
    waiting = _waiting(filled)
    now = datetime.now(UTC)

    for page in [await ask(filled, "triage_queue", limit=limit) for limit in (1, 100)]:
        levels = Counter(_rank(fact) for fact in waiting if fact["shown"] == "open")
        assert list(page.summary.open.model_dump().values()) == [levels[rank] for rank in range(4)]
        assert page.summary.questions == sum(fact["shown"] == "question" for fact in waiting) > 0
        left = [fact["end"] + _GRACE - now for fact in waiting if fact["end"] and fact["end"] <= now]
        assert page.summary.overdue == sum(time < timedelta(0) for time in left) > 0
        for hours in (24, 72):
            due = sum(timedelta(0) <= time <= timedelta(hours=hours) for time in left)
            assert getattr(page.summary, f"due_in_{hours}_hours") == due
        assert (page.total, page.total_is_capped) == (len(waiting), False)
        assert page.as_of is not None


async def test_filters_pick_what_they_say(filled: Account) -> None:
    product = filled.world.product_ids[1]
    now = datetime.now(UTC)
    author = next(fact["author"] for fact in _waiting(filled) if isinstance(fact["author"], dict))["name"]

    async def check(choose: Callable[[Fact], bool], **arguments: Any) -> None:
        expected = [fact["id"] for fact in _waiting(filled, choose)]
        page = await ask(filled, "triage_queue", limit=100, **arguments)
        assert [item.id for item in page.items] == expected, arguments
        summary = page.summary
        assert sum(summary.open.model_dump().values()) + summary.questions == page.total == len(expected)

    await check(lambda fact: fact["product_id"] == product, product_id=product)
    await check(lambda fact: _rank(fact) in (0, 3), levels="critical,none")
    await check(lambda fact: severity_of(fact["severity"])[0] == "unknown", kinds=["unknown"])
    await check(lambda fact: fact["shown"] == "question", statuses="question")
    await check(lambda fact: fact["author"] in (author, {"name": author}), reporters=author)
    for days in (0, 6, 9):
        last = now + timedelta(days=days) - _GRACE
        due = {fact["id"] for fact in _waiting(filled) if fact["end"] and fact["end"] <= last}
        await check(lambda fact, due=due: fact["id"] in due, due_within_days=days)  # type: ignore[misc]
    await check(lambda fact: bool(fact["end"]) and fact["end"] <= now, due_within_days=200)


@given(limit=st.integers(1, 30), product=st.sampled_from([None, 0, 1]), statuses=st.sampled_from(["", "open"]))
@settings(max_examples=10)
async def test_pages_join_to_the_whole_queue(filled: Account, limit: int, product: int | None, statuses: str) -> None:
    product_id = None if product is None else filled.world.product_ids[product]

    items = await _queue(filled, limit=limit, product_id=product_id, statuses=statuses)

    wanted = [statuses] if statuses else ["open", "question"]
    chosen = _waiting(filled, lambda fact: fact["shown"] in wanted and product_id in (None, fact["product_id"]))
    assert [item.id for item in items] == [fact["id"] for fact in chosen]


async def test_an_item_shows_the_evidence_of_its_report(filled: Account) -> None:
    facts = {fact["id"]: fact for fact in _facts(filled)}
    names = {product_id: filled.world.product(product_id)["name"] for product_id in filled.world.product_ids}

    for item in await _queue(filled):
        fact = facts[item.id]
        devices = [device for device in fact["devices"] if device]
        assert item.evidence.model_dump() == {
            "devices": len(devices),
            "comments": len(fact["comments"]),
            "attachments": len(fact["attachments"]),
        }
        author = fact["author"] if isinstance(fact["author"], str) else fact["author"]["name"]
        assert (item.reporter, item.product) == (author, names[fact["product_id"]])
        assert item.has_steps == bool(fact["steps"])
        system = devices[0]["operating_system"]["name"]
        assert system in (item.device or "")
        assert item.reported_at == _moment(fact["reported_at"])


async def test_a_question_shows_its_last_comment(account: Account) -> None:
    asked, silent, opened = [bug.id for bug in account.world.open_bugs(account.world.product_ids[0])][:3]
    comments = [
        {"id": 1, "body": "x" * 300, "author": {"name": "Ada"}, "created_at": "2026-03-02T10:00:00Z"},
        {"id": 2, "body": "first", "author": {"name": "Grace"}, "created_at": "2026-03-01T10:00:00Z"},
        {"id": 3, "body": "undated", "author": None, "created_at": None},
    ]
    account.world.update_bug(asked, status="question", comments=comments)
    account.world.update_bug(silent, status="question", comments=[])
    account.world.update_bug(opened, comments=comments)
    await account.sync()

    told = {item.id: item.last_comment for item in await _queue(account)}

    assert told[asked] == LastComment(author="Ada", at=datetime(2026, 3, 2, 10, tzinfo=UTC), text="x" * 160)
    assert told[silent] is None
    assert told[opened] is None


def _report(world: Any, test_id: int, title: str, **fields: Any) -> int:
    phone = {"operating_system": {"id": 1, "name": "iOS"}, "device": {"id": 1, "name": "Phone"}}
    about = {"severity": "critical", "feature": None, "test_feature": None, "app_section": None}
    told = {"title": title, "actual_result": "Nothing happens at all.", "devices": [phone]}
    return int(world.add_bug(test_id, **{**about, **told, **fields})["id"])


async def test_likely_duplicates_are_of_one_feature_and_device_family(account: Account) -> None:
    world = account.world
    product = world.product_ids[0]
    test = world.add_test(product, status="running")["id"]
    one, other = [{"id": fid, "title": "F"} for fid in list(world.product_state(product).features)[:2]]
    tablet = {"operating_system": {"id": 2, "name": "Android"}, "device": {"id": 2, "name": "Tablet"}}
    title = "[Shop] Pay button does not react after the voucher was redeemed"
    first = _report(world, test, title, feature=one)
    again = _report(world, test, title.replace("[Shop] ", ""), feature=one, status="accepted")
    alike = _report(world, test, "Pay button does not react when a voucher was redeemed", feature=one)
    _report(world, test, title, feature=one, status="rejected")
    _report(world, test, title, feature=one, devices=[tablet])
    _report(world, test, title, feature=other)
    _report(world, test, "Search field flickers on every key", feature=one)
    nowhere = _report(world, test, title, devices=[])
    await account.sync()

    items = {item.id: item for item in await _queue(account)}

    found = {duplicate.id: duplicate.similarity for duplicate in items[first].duplicates}
    assert list(found) == [again, alike]
    assert 1 == found[again] > found[alike] >= LIKELY
    assert {duplicate.id for duplicate in items[alike].duplicates} == {first, again}
    # It names no feature: any bug of its product may be the same, and no device speaks against it.
    assert [duplicate.similarity for duplicate in items[nowhere].duplicates] == [1, 1, 1]


_TEXTS = st.text(max_size=60)


@given(one=_TEXTS, other=_TEXTS)
def test_likeness_is_a_share_and_the_same_both_ways(one: str, other: str) -> None:
    words, more = split_words(one), split_title(other)

    assert 0 <= compute_likeness(words, more) == compute_likeness(more, words) <= 1
    assert compute_likeness(words, words) == (1 if words else 0)
    assert (compute_likeness(words, more) == 1) == (bool(words) and words == more)
    assert 0 <= combine_likeness(compute_likeness(words, more), compute_likeness(more, words)) <= 1
    assert combine_likeness(1, 1) == pytest.approx(1)


async def test_what_is_gone_waits_for_nothing(filled: Account) -> None:
    world = filled.world
    waiting = _waiting(filled)
    world.delete_bug(waiting[0]["id"])
    world.delete_test(waiting[-1]["test_id"])
    await filled.sync(full=True, accept_deletions=True)

    items = await _queue(filled)

    assert [item.id for item in items] == [fact["id"] for fact in _waiting(filled)]
    assert len(items) < len(waiting)


async def test_accepted_bugs_without_an_export_are_told_by_product(filled: Account) -> None:
    expected: dict[int, list[Fact]] = {}
    for fact in _facts(filled):
        is_exported = fact["exported_at"] or fact["external_idx"]
        if fact["shown"] in ("accepted", "auto_accepted") and not is_exported:
            expected.setdefault(fact["product_id"], []).append(fact)
    assert len(expected) == 2

    page = await ask(filled, "triage_queue", limit=1, include_backlog=True)

    told = {line.product_id: line for line in page.export_backlog}
    for product_id, facts in expected.items():
        oldest = min(facts, key=lambda fact: (_moment(fact["reported_at"]), fact["id"]))
        line = told.pop(product_id)
        assert (line.bugs, line.is_capped, line.oldest_bug_id) == (len(facts), False, oldest["id"])
        assert line.product == filled.world.product(product_id)["name"]
    assert told == {}
    assert [line.bugs for line in page.export_backlog] == sorted(map(len, expected.values()), reverse=True)
    assert page.summary.not_exported == sum(map(len, expected.values()))
    one = await ask(filled, "triage_queue", product_id=filled.world.product_ids[1], include_backlog=True)
    assert [line.product_id for line in one.export_backlog] == [filled.world.product_ids[1]]


async def test_a_long_backlog_is_counted_up_to_a_limit(account: Account) -> None:
    await account.sync()
    product = account.world.product_ids[0]
    test = account.world.test_ids(product)[-1]
    about = {"product_id": product, "test_id": test, "title": "T", "kind": "functional", "level": "low"}
    about |= {"is_known": False, "is_fixed": False, "comment_count": 0, "status": "accepted"}
    kept = {"content_hash": "x", "synced_at": datetime.now(UTC), "raw": "{}"}
    bugs = [{"id": 10**12 + number, **about, **kept} for number in range(COUNTED + 1)]

    await account.store.write(lambda conn: upsert(conn, table_of(Bug), bugs))
    page = await ask(account, "triage_queue", product_id=product, include_backlog=True)

    (line,) = page.export_backlog
    assert (line.bugs, line.is_capped, page.summary.not_exported_is_capped) == (COUNTED, True, True)
    assert line.oldest_bug_id is None or line.oldest_bug_id < 10**12


async def test_nothing_waits_in_an_empty_store(account: Account) -> None:
    page = await ask(account, "triage_queue", include_backlog=True)

    assert (page.items, page.total, page.export_backlog, page.as_of) == ([], 0, [], None)
    assert (page.summary.questions, page.summary.overdue, page.summary.not_exported) == (0, 0, 0)


async def test_what_is_not_there_is_said(account: Account) -> None:
    await account.sync()

    with pytest.raises(NotFound, match=r"Product 1 is not in the store\. list_products"):
        await ask(account, "triage_queue", product_id=1)
    with pytest.raises(BadInput, match="cursor: is not one"):
        await ask(account, "triage_queue", cursor="bm9uc2Vuc2U")
    with pytest.raises(BadInput, match="statuses"):
        await ask(account, "triage_queue", statuses="accepted")


async def test_a_page_takes_a_handful_of_statements(statements: list[str], account: Account) -> None:
    _liven(account)
    await account.sync()

    for limit in (1, 100):
        statements.clear()
        page = await ask(account, "triage_queue", limit=limit, include_backlog=True)
        assert len(page.items) == min(limit, page.total)
        assert 1 <= len(asked(statements)) <= 6, statements


async def test_the_export_backlog_comes_on_request(filled: Account) -> None:
    page = await ask(filled, "triage_queue")

    assert page.export_backlog == []
    assert page.summary.not_exported is None
    assert (await ask(filled, "triage_queue", include_backlog=True)).summary.not_exported > 0


@pytest.mark.parametrize("overdue", [True, False])
async def test_the_queue_by_due_time_with_or_without_what_is_overdue(filled: Account, overdue: bool) -> None:
    world, late = filled.world, datetime.now(UTC) - _GRACE
    tests = world.test_ids(world.product_ids[0])
    older, newer = [test for test in tests if world.visible_bugs(world.test_facts(test))][:2]
    ended = 12 if overdue else 6
    for test, days, severity in ((older, ended, "low"), (newer, ended - 1, "critical")):
        world.update_test(test, status="locked", end_at=(datetime.now(UTC) - timedelta(days=days)).isoformat())
        world.add_bug(test, severity=severity)
    await filled.sync()
    expected = _waiting(filled, lambda fact: ((fact["end"] or _FAR) < late) == overdue)
    by_due = sorted(expected, key=lambda fact: (fact["end"] or _FAR, _rank(fact), fact["id"]))
    assert by_due != expected

    for limit_of_page in (3, 100):
        items = await _queue(filled, overdue=overdue, order="due", limit=limit_of_page)
        assert [item.id for item in items] == [fact["id"] for fact in by_due]
    page = await ask(filled, "triage_queue", overdue=overdue, total_only=True)
    assert (page.items, page.total, page.summary.overdue) == ([], len(expected), len(expected) if overdue else 0)


async def test_the_queue_of_tests_and_of_the_days_on_which_they_ended(filled: Account) -> None:
    ends = sorted({fact["end"].date() for fact in _waiting(filled) if fact["end"]})
    first, last = ends[1], ends[-2]
    tests = sorted({fact["test_id"] for fact in _waiting(filled)})[:3]
    chosen: list[tuple[dict[str, Any], Callable[[Fact], bool]]] = [
        ({"end_from": first, "end_to": last}, lambda fact: fact["end"] and first <= fact["end"].date() <= last),
        ({"end_from": first}, lambda fact: fact["end"] and first <= fact["end"].date()),
        ({"test_ids": tests}, lambda fact: fact["test_id"] in tests),
        ({"exclude_test_ids": tests}, lambda fact: fact["test_id"] not in tests),
        ({"scope": "ran"}, lambda fact: has_run(filled.world.test(fact["test_id"]))),
    ]
    for arguments, choose in chosen:
        expected = [fact["id"] for fact in _waiting(filled, choose)]
        assert len(expected) > 0
        assert [item.id for item in await _queue(filled, limit=4, **arguments)] == expected, arguments
