"""Comparisons against the account's payloads, counted in plain Python, and against metrics and lists."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.compare import BETTER_WHEN, MOST_TELLING, Comparison, direction_of
from testio_mcp.operations.metrics.words import METRICS
from testio_mcp.operations.periods import Period, previous
from tests.operations import truth
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import EVERYTHING, Account

_TODAY = NOW.date()
_THIS = Period(_TODAY - timedelta(days=44), _TODAY - timedelta(days=1))
_SCORES = {"critical": 5, "high": 3, "low": 1}


@pytest.fixture
async def filled(account: Account) -> Account:
    """An account that is copied with all it has."""
    await account.sync(only=EVERYTHING)
    return account


def _days(period: Period) -> str:
    return f"{period.first} to {period.last}"


def _ended(account: Account, product_id: int, days: Period) -> list[int]:
    """The tests of a product that ran and ended in these days."""
    assert days.first
    assert days.last
    found = []
    for test_id, test in truth.tests_of(account.world, product_id).items():
        end = truth.moment(test["end_at"])
        if test["status"] not in truth.NOT_RUN and end and days.first <= end.date() <= days.last:
            found.append(test_id)
    return found


def _numbers(account: Account, test_ids: Iterable[int]) -> dict[str, Any]:
    """What the metrics of these tests have to be."""
    tests = list(test_ids)
    bugs = [bug for test_id in tests for bug in account.world.bugs_of(test_id)]
    runs = Counter(run["status"] for run in truth.executions(account.world) if run["test_cycle"]["id"] in set(tests))
    ended = runs["passed"] + runs["failed"] + runs["blocked"]
    return {
        "test_count": len(tests),
        "bug_count": len(bugs),
        "bugs_per_test": truth.of(len(bugs), len(tests)),
        "bug_severity_score": sum(_SCORES.get(truth.level(bug), 0) for bug in bugs),
        "active_testers": len({truth.name(bug["author"]) for bug in bugs if bug["author"]}),
        "pass_rate": truth.of(runs["passed"], ended),
        **truth.rates(bugs),
    }


def _side(found: Comparison, side: str) -> dict[str, Any]:
    return {pair.name: getattr(pair, side) for pair in found.metrics}


def _same(found: Comparison, side: str, account: Account, test_ids: Iterable[int]) -> None:
    wanted = _numbers(account, test_ids)
    assert {name: _side(found, side)[name] for name in wanted} == wanted
    for mix in ("severity", "kind", "bug_status"):
        assert sum(getattr(pair, side) for pair in found.mixes if pair.mix == mix) == wanted["bug_count"]


async def test_a_period_and_the_one_before(filled: Account) -> None:
    [product, _] = filled.world.product_ids
    found = await ask(filled, "compare_quality", product_ids=[product], period=_days(_THIS))
    before = previous(_THIS)
    assert before
    assert (found.compared, found.left.first, found.left.last) == ("periods", before.first, before.last)
    assert (found.right.first, found.right.last) == (_THIS.first, _THIS.last)
    assert [pair.name for pair in found.metrics] == list(MOST_TELLING)
    _same(found, "left", filled, _ended(filled, product, before))
    _same(found, "right", filled, _ended(filled, product, _THIS))
    assert _side(found, "right")["test_count"], "the account has something to compare"
    named = await ask(
        filled, "compare_quality", product_ids=[product], period=_days(_THIS), with_period=_days(before)
    )
    assert named.metrics == found.metrics


async def test_every_row_says_what_follows_from_its_sides(filled: Account) -> None:
    found = await ask(filled, "compare_quality", period="this year", with_period="last year")
    assert any(pair.change for pair in found.metrics)
    for pair in found.metrics:
        assert (pair.label, pair.definition) == (METRICS[pair.name].label, METRICS[pair.name].definition)
        if pair.left is None or pair.right is None:
            assert (pair.change, pair.direction) == (None, "neutral")
            continue
        assert pair.change == round(pair.right - pair.left, 4)
        if pair.direction in ("better", "worse"):
            is_higher = pair.right > pair.left
            assert (BETTER_WHEN[pair.name] == "higher") == (is_higher == (pair.direction == "better"))
            assert any(line.startswith(f"{pair.label}: ") and pair.direction in line for line in found.summary)
    for mix in found.mixes:
        total = _side(found, "right")["bug_count"]
        assert mix.right_share == (truth.of(mix.right, total))


async def test_two_products(filled: Account) -> None:
    left, right = filled.world.product_ids
    found = await ask(filled, "compare_quality", product_ids=[left, right], period=_days(_THIS))
    assert found.compared == "products"
    assert str(left) in found.left.name
    for side, product in (("left", left), ("right", right)):
        _same(found, side, filled, _ended(filled, product, _THIS))
        table = await ask(
            filled,
            "query_metrics",
            metrics=list(MOST_TELLING),
            filters=[f"product={product}"],
            period=_days(_THIS),
        )
        assert _side(found, side) == table.totals
    turned = await ask(filled, "compare_quality", product_ids=[right, left], period=_days(_THIS))
    opposite = {"better": "worse", "worse": "better", "same": "same", "neutral": "neutral"}
    assert [opposite[pair.direction] for pair in found.metrics] == [pair.direction for pair in turned.metrics]


async def test_tests_and_sets_of_tests(filled: Account) -> None:
    world = filled.world
    ids = [test_id for test_id in world.test_ids(world.product_ids[0]) if world.test(test_id)["status"] == "archived"]
    pair = await ask(filled, "compare_quality", test_ids=ids[:2])
    sets = await ask(filled, "compare_quality", left_test_ids=ids[:3], right_test_ids=ids[3:6])
    assert (pair.compared, sets.compared) == ("tests", "tests")
    for found, left, right in ((pair, ids[:1], ids[1:2]), (sets, ids[:3], ids[3:6])):
        _same(found, "left", filled, left)
        _same(found, "right", filled, right)
        for side, chosen in (("left", left), ("right", right)):
            bugs = await ask(filled, "list_bugs", test_ids=chosen, limit=1)
            assert _side(found, side)["bug_count"] == bugs.total
            for level in ("critical", "high", "low", "none"):
                listed = await ask(filled, "list_bugs", test_ids=chosen, levels=[level], limit=1)
                told = [getattr(mix, side) for mix in found.mixes if (mix.mix, mix.value) == ("severity", level)]
                assert sum(told) == listed.total


async def test_filters_choose_and_what_they_cannot_choose_is_left_out(filled: Account) -> None:
    found = await ask(
        filled, "compare_quality", period="this year", with_period="last year", filters=["severity=critical,high"]
    )
    assert {pair.value for pair in found.mixes if pair.mix == "severity"} <= {"critical", "high"}
    assert {"pass_rate", "story_coverage", "features_tested"} == set(found.not_compared)
    assert found.left.filters == {"severity": "critical, high"}
    stories = await ask(
        filled, "compare_quality", period="this year", with_period="last year", metrics=["pass_rate", "passed"]
    )
    assert [pair.name for pair in stories.metrics] == ["pass_rate", "passed"]


async def test_nothing_on_a_side_is_said(filled: Account) -> None:
    found = await ask(filled, "compare_quality", period="this year", with_period="2001")
    left = _side(found, "left")
    assert (left["bug_count"], left["review_rate"]) == (0, None)
    assert {pair.direction for pair in found.metrics if pair.left is None} == {"neutral"}
    assert any(line.startswith("Nothing to measure on the left:") for line in found.summary)


async def test_health_follows_the_settings(filled: Account) -> None:
    found = await ask(filled, "compare_quality", period="this year", with_period="last year")
    health = {pair.name: pair.right_health for pair in found.metrics if pair.right is not None}
    rate = _side(found, "right")["rejection_rate"]
    assert health["rejection_rate"] == ("critical" if rate >= 0.35 else "warning" if rate >= 0.2 else "good")
    assert health["pass_rate"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to compare with"),
        ({"with_period": "last year"}, "nothing to compare with"),
        ({"period": "all time"}, "no previous one"),
        ({"period": "2025", "with_period": "2025"}, "the same days"),
        ({"product_ids": [1, 2, 3], "period": "2025"}, "two are compared, not 3"),
        ({"product_ids": [1, 1]}, "two are compared, not 1"),
        ({"product_ids": [1, 2], "with_period": "2025"}, "Products and periods"),
        ({"product_ids": [1], "test_ids": [1, 2]}, "Tests and products"),
        ({"test_ids": [1]}, "two are compared, not 1"),
        ({"test_ids": [1, 2, 3]}, "two are compared, not 3"),
        ({"test_ids": [1, 2], "left_test_ids": [3]}, "does not go with"),
        ({"left_test_ids": [1, 2]}, "right_test_ids: there is nothing"),
        ({"left_test_ids": [1, 2], "right_test_ids": [2]}, "Test 2 is on both sides"),
        ({"period": "2025", "metrics": ["quality"]}, "no metric 'quality'"),
        ({"period": "2025", "filters": ["severity=critical"], "metrics": ["pass_rate"]}, "pass_rate cannot be"),
        ({"period": "soon"}, "period: 'soon'"),
    ],
)
async def test_what_does_not_go_together_is_one_clear_error(
    account: Account, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        await ask(account, "compare_quality", **arguments)
    assert caught.value.next_step


async def test_unknown_ids_are_not_found(filled: Account) -> None:
    for arguments in ({"product_ids": [9, 8]}, {"product_ids": [9], "period": "2025"}, {"test_ids": [9, 8]}):
        with pytest.raises(NotFound):
            await ask(filled, "compare_quality", **arguments)
    with pytest.raises(BadInput, match="named already"):
        product = filled.world.product_ids[0]
        await ask(filled, "compare_quality", product_ids=[product], period="2025", filters=[f"product={product}"])


@pytest.mark.parametrize(
    ("name", "change", "direction"),
    [
        ("review_rate", 0.1, "better"),
        ("review_rate", -0.1, "worse"),
        ("rejection_rate", 0.1, "worse"),
        ("auto_acceptance_rate", -0.1, "better"),
        ("pass_rate", 0.0, "same"),
        ("pass_rate", None, "neutral"),
        ("bug_count", 5, "neutral"),
        ("bug_count", 0, "same"),
        ("bug_severity_score", -5, "neutral"),
    ],
)
def test_directions(name: str, change: float | None, direction: str) -> None:
    assert direction_of(name, change) == direction


def test_every_metric_is_judged_or_a_volume() -> None:
    assert set(BETTER_WHEN) <= set(MOST_TELLING) <= set(METRICS)
