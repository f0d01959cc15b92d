"""Comparisons against the account's payloads, counted in plain Python, and against metrics and lists."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.metrics.definitions import METRICS, Counts
from testio_mcp.operations.metrics.health import BETTER_WHEN, direction_of
from testio_mcp.operations.metrics.periods import Period, previous
from testio_mcp.operations.reports.compare import MOST_TELLING, Comparison, MetricPair
from testio_mcp.reports import words
from tests.metrics.data import Account as Stored
from tests.metrics.data import a_bug, a_test, store_account
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
        if truth.has_run(test) and end and days.first <= end.date() <= days.last:
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
            assert (pair.change, pair.direction) == (None, None)
            continue
        assert pair.change == round(pair.right - pair.left, 4)
        assert (pair.direction == "same") == (not pair.change) or pair.unit == "number"
        if pair.left_whole is not None and pair.right_whole is not None:
            assert pair.left == truth.of(pair.left_part, pair.left_whole)
            assert pair.right == truth.of(pair.right_part, pair.right_whole)
            if min(pair.left_whole, pair.right_whole) < 20:
                assert pair.direction in ("same", "no clear change")
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
    opposite = {"better": "worse", "worse": "better", "higher": "lower", "lower": "higher"}
    assert [opposite.get(str(pair.direction), pair.direction) for pair in found.metrics] == [
        pair.direction for pair in turned.metrics
    ]


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
    assert {pair.direction for pair in found.metrics if pair.left is None} == {None}
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
        ({"period": "last qarter"}, "'last qarter' is not a period. Try 'last quarter', 'last 30 days'"),
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


def _bugs(**numbers: int) -> Counts:
    return Counts(bugs=numbers)


@pytest.mark.parametrize(
    ("name", "before", "after", "direction"),
    [
        ("review_rate", _bugs(accepted=43, open=25), _bugs(accepted=24, open=14), "no clear change"),
        ("review_rate", _bugs(accepted=184, open=16), _bugs(accepted=168, open=32), "worse"),
        ("review_rate", _bugs(accepted=168, open=32), _bugs(accepted=184, open=16), "better"),
        ("rejection_rate", _bugs(rejected=2, open=98), _bugs(rejected=20, open=80), "worse"),
        ("auto_acceptance_rate", _bugs(auto_accepted=20, accepted=5), _bugs(auto_accepted=5, accepted=20), "better"),
        # Twenty on each side, of what the rate is over.
        ("rejection_rate", _bugs(rejected=19), _bugs(open=500), "no clear change"),
        ("rejection_rate", _bugs(rejected=20), _bugs(open=500), "better"),
        ("rejection_rate", _bugs(open=1), _bugs(rejected=1), "no clear change"),
        ("auto_acceptance_rate", _bugs(auto_accepted=19, open=90), _bugs(accepted=50), "no clear change"),
        ("rejection_rate", _bugs(), _bugs(rejected=20), None),
        ("rejection_rate", _bugs(rejected=1, open=9), _bugs(rejected=2, open=18), "same"),
        ("bug_count", _bugs(open=100), _bugs(open=128), "no clear change"),
        ("bug_count", _bugs(open=100), _bugs(open=131), "higher"),
        ("bug_count", _bugs(open=131), _bugs(open=100), "lower"),
        ("bug_count", _bugs(), _bugs(open=4), "no clear change"),
        ("bug_count", _bugs(), _bugs(open=5), "higher"),
        ("bug_count", _bugs(), _bugs(), "same"),
        # Twenty points are four critical bugs: the score is judged as if all were.
        ("bug_severity_score", Counts(score=0), Counts(score=20), "no clear change"),
        ("bug_severity_score", Counts(score=0), Counts(score=25), "higher"),
        ("bugs_per_test", Counts(tests=1, bugs={"open": 1}), Counts(tests=1, bugs={"open": 90}), None),
        ("pass_rate", Counts(executions={"passed": 50}), Counts(executions={"failed": 19}), "no clear change"),
        ("pass_rate", Counts(executions={"passed": 50}), Counts(executions={"failed": 20}), "worse"),
        ("story_coverage", Counts(all_stories=40), Counts(living=set(range(20)), all_stories=40), "better"),
        ("story_coverage", Counts(all_stories=19), Counts(living=set(range(19)), all_stories=19), "no clear change"),
    ],
)  # fmt: skip
def test_directions(name: str, before: Counts, after: Counts, direction: str | None) -> None:
    assert direction_of(name, before, after) == direction


@given(st.sampled_from(sorted(METRICS)), st.data())
def test_a_direction_turns_with_its_sides(name: str, data: st.DataObject) -> None:
    words, numbers = ("accepted", "auto_accepted", "rejected", "open"), st.integers(0, 60)
    one, other = (Counts(bugs=data.draw(st.fixed_dictionaries(dict.fromkeys(words, numbers)))) for _ in range(2))
    opposite = {"better": "worse", "worse": "better", "higher": "lower", "lower": "higher"}
    there, back = direction_of(name, one, other), direction_of(name, other, one)
    assert opposite.get(str(there), there) == back
    if there in ("better", "worse"):
        assert min(one.bug_count, other.bug_count) >= 20


def test_every_metric_is_judged_or_a_volume() -> None:
    assert set(BETTER_WHEN) <= set(MOST_TELLING) <= set(METRICS)


# A store of chosen records: the tests were read up to 22 November 2026, whatever the day is.


async def _keep(account: Account, *tests: tuple[int, str, dict[str, int]]) -> None:
    """Tests of a product that ended on a day, with so many bugs of each status."""
    days = [datetime.fromisoformat(f"{day}T12:00:00Z") for _, day, _ in tests]
    rows = [
        a_test(101 + place, product_id=product, end_at=end)
        for place, ((product, _, _), end) in enumerate(zip(tests, days, strict=True))
    ]
    bugs = [
        a_bug(1001 + 1000 * place + number, 101 + place, product_id=product, status=status, reported_at=end)
        for place, ((product, _, numbers), end) in enumerate(zip(tests, days, strict=True))
        for number, status in enumerate(Counter(numbers).elements())
    ]
    await account.app.store.write(store_account(Stored(tests=rows, bugs=bugs)))


def _pairs(found: Comparison) -> dict[str, MetricPair]:
    return {pair.name: pair for pair in found.metrics}


async def test_sixty_three_per_cent_twice_is_no_change(account: Account) -> None:
    await _keep(
        account,
        (1, "2026-09-10", {"accepted": 43, "open": 25}),
        (1, "2026-10-10", {"accepted": 24, "open": 14}),
    )
    found = await ask(account, "compare_quality", period="2026-10")
    rate = _pairs(found)["review_rate"]
    assert (rate.left, rate.right, rate.direction) == (0.6324, 0.6316, "no clear change")
    assert (rate.left_part, rate.left_whole, rate.right_part, rate.right_whole) == (43, 68, 24, 38)
    assert not any("better" in line and "neither" not in line for line in found.summary[3:])
    table = await ask(account, "query_metrics", metrics="review_rate", period="2026-10", compare=True)
    assert table.totals["review_rate_verdict"] == "no clear change"


async def test_one_bug_is_shown_as_a_number_and_not_judged(account: Account) -> None:
    await _keep(account, (1, "2026-09-10", {"accepted": 2, "open": 1}), (1, "2026-10-10", {"rejected": 1}))
    found = await ask(account, "compare_quality", period="2026-10")
    for pair in found.metrics:
        assert pair.direction not in ("better", "worse")
        assert (pair.left_health, pair.right_health) == (None, None)
    [few] = [line for line in found.summary if line.startswith("Too few to judge: ")]
    assert "Review rate: 2 of 3 to 1 of 1" in few
    assert not any("%" in line for line in found.summary)
    report = await ask(account, "quality_report", period="2026-10", detail="full")
    figures = {each.name: each for section in report.sections for each in section.figures}
    assert (figures["rejection_rate"].value, figures["rejection_rate"].health) == (1.0, None)
    assert words.value(figures["review_rate"]) == "1 of 1"
    assert words.change(figures["review_rate"]) == "from 2 of 3"
    assert not any("rate" in finding.text for finding in report.sections[0].findings)


async def test_what_runs_is_compared_with_the_same_days(account: Account) -> None:
    await _keep(
        account,
        (1, "2026-07-01", {"open": 1}),
        (1, "2026-08-22", {"open": 2}),
        (1, "2026-08-23", {"open": 4}),
        (1, "2026-09-30", {"open": 8}),
        (1, "2026-10-01", {"open": 16}),
        (1, "2026-11-22", {"open": 32}),
        (1, "2026-11-23", {"open": 64}),
    )
    table = await ask(account, "query_metrics", metrics="bug_count", period="2026-Q4", compare=True)
    assert table.notes == ["1 Oct to 22 Nov 2026, to date (53 days) against 1 Jul to 22 Aug 2026, to date (53 days)."]
    report = await ask(account, "quality_report", period="2026-Q4", detail="full")
    compared = await ask(account, "compare_quality", period="2026-Q4")
    named = await ask(account, "compare_quality", period="2026-Q4", with_period="2026-Q3")
    figure = next(each for section in report.sections for each in section.figures if each.name == "bug_count")
    assert (table.totals["bug_count"], table.totals["bug_count_before"]) == (48, 3)
    assert (figure.value, figure.previous) == (48, 3)
    for now, before in (
        (table.period, table.previous),
        (report.period, report.previous),
        (compared.right, compared.left),
        (named.right, named.left),
    ):
        assert (str(now.first), str(now.last), now.days, now.is_to_date) == ("2026-10-01", "2026-11-22", 53, True)
        assert (str(before.first), str(before.last), before.days) == ("2026-07-01", "2026-08-22", 53)
    for found in (compared, named):
        assert (_pairs(found)["bug_count"].left, _pairs(found)["bug_count"].right) == (3, 48)
        assert found.summary[:2] == [
            "Left: 1 Jul to 22 Aug 2026, to date (53 days).",
            "Right: 1 Oct to 22 Nov 2026, to date (53 days).",
        ]


async def test_a_quiet_period_before_is_zero_and_not_unknown(account: Account) -> None:
    await _keep(account, (1, "2026-03-10", {"accepted": 30}), (1, "2026-10-10", {"accepted": 30}))
    for period in ("2026-10", "2026-09"):
        report = await ask(account, "quality_report", period=period, detail="full")
        figures = {each.name: each for section in report.sections for each in section.figures}
        table = await ask(
            account, "query_metrics", metrics="test_count,bug_count,review_rate", period=period, compare=True
        )
        for name, quiet in (("test_count", 0), ("bug_count", 0), ("review_rate", None)):
            assert figures[name].previous == table.totals[f"{name}_before"] == quiet


async def test_groups_of_one_side_are_shown(account: Account) -> None:
    await _keep(
        account,
        (1, "2026-09-10", {"accepted": 3}),
        (1, "2026-10-10", {"accepted": 6}),
        (2, "2026-09-11", {"rejected": 7}),
    )
    arguments = {"metrics": "bug_count,rejection_rate", "period": "2026-10", "compare": True}
    table = await ask(account, "query_metrics", by="product", **arguments)
    rows = {row.root["product_id"]: row.root for row in table.items}
    assert (rows[1]["bug_count"], rows[1]["bug_count_before"], rows[1]["bug_count_change"]) == (6, 3, 3)
    assert (rows[2]["bug_count"], rows[2]["bug_count_before"], rows[2]["bug_count_change"]) == (0, 7, -7)
    assert (rows[2]["rejection_rate"], rows[2]["rejection_rate_before"]) == (None, 1.0)
    assert rows[2]["bug_count_verdict"] == "lower"
    assert table.groups == 2
    turned = await ask(account, "query_metrics", by="bug_status", **arguments | {"metrics": "bug_count"})
    assert {row.root["bug_status"]: row.root["bug_count_before"] for row in turned.items} == {
        "accepted": 3,
        "rejected": 7,
    }
    found = await ask(account, "compare_quality", period="2026-10")
    mixes = {pair.value: (pair.left, pair.right) for pair in found.mixes if pair.mix == "bug_status"}
    assert mixes == {"accepted": (3, 6), "rejected": (7, 0)}


async def test_buckets_of_both_sides_add_up_to_the_totals(account: Account) -> None:
    await _keep(
        account,
        (1, "2026-01-30", {"open": 1}),
        (1, "2026-01-31", {"open": 2}),
        (2, "2026-01-05", {"open": 4}),
        (1, "2026-02-05", {"open": 8}),
        (1, "2026-02-28", {"open": 16}),
    )
    table = await ask(
        account, "query_metrics", metrics="bug_count", by="product,day", period="2026-02", compare=True, limit=1000
    )
    rows = [row.root for row in table.items]
    assert len(rows) == 56 + len(["2026-01-30", "2026-01-31"])
    assert sum(row["bug_count"] for row in rows) == table.totals["bug_count"] == 24
    assert sum(row["bug_count_before"] for row in rows) == table.totals["bug_count_before"] == 7
    fifth = next(row for row in rows if (row["day"], row["product_id"]) == ("2026-02-05", 2))
    assert (fifth["day_before"], fifth["bug_count"], fifth["bug_count_before"]) == ("2026-01-05", 0, 4)
    alone = [row for row in rows if row["day"] is None]
    assert [(row["day_before"], row["bug_count"], row["bug_count_before"]) for row in alone] == [
        ("2026-01-30", 0, 1),
        ("2026-01-31", 0, 2),
    ]


async def test_a_clear_fall_is_not_filed_as_good(account: Account) -> None:
    await _keep(
        account,
        (1, "2026-09-10", {"accepted": 368, "open": 32}),
        (1, "2026-10-10", {"accepted": 336, "open": 64}),
    )
    report = await ask(account, "quality_report", period="2026-10", detail="full")
    [review] = [each for each in report.sections[0].findings if each.text.startswith("Review rate")]
    assert review.health != "good"
    assert review.text == "Review rate is 84.0 % (before: 92.0 %, worse); it is still within its limits."
    figure = next(each for section in report.sections for each in section.figures if each.name == "review_rate")
    assert (figure.health, figure.direction) == ("good", "worse")
    assert words.change(figure) == "▼ −8.0 points, from 92.0%, worse"
    pair = _pairs(await ask(account, "compare_quality", period="2026-10"))["review_rate"]
    assert (pair.left_health, pair.right_health, pair.direction) == ("good", "good", "worse")


async def test_only_clear_changes_of_volume_are_findings(account: Account) -> None:
    await _keep(account, (1, "2026-09-10", {"open": 8}), (1, "2026-10-10", {"open": 12}))
    report = await ask(account, "quality_report", period="2026-10", detail="full")
    assert not any("rose" in each.text for each in report.sections[0].findings)
    await _keep(account, (1, "2026-10-10", {"open": 12}))
    report = await ask(account, "quality_report", period="2026-10", detail="full")
    assert any("Bugs rose from 0 to 12" in each.text for each in report.sections[0].findings)


async def test_counts_of_unequal_lengths_are_not_judged(account: Account) -> None:
    await _keep(account, (1, "2026-03-10", {"open": 90}), (1, "2026-10-10", {"open": 12}))
    found = await ask(account, "compare_quality", period="2026-10", with_period="2026-Q1")
    assert {_pairs(found)[name].direction for name in ("bug_count", "story_coverage")} == {None}
    assert _pairs(found)["review_rate"].direction == "same"
    assert "The sides are not equally long: compare their rates, not their counts or story coverage." in found.summary


async def test_what_begins_after_the_data_is_said(account: Account) -> None:
    await _keep(account, (1, "2026-10-10", {"open": 12}))
    for name, arguments in (("query_metrics", {"metrics": "bug_count", "compare": True}), ("compare_quality", {})):
        with pytest.raises(BadInput, match=r"begins after the data ends \(2026-11-22\)"):
            await ask(account, name, period="2026-12", **arguments)
    report = await ask(account, "quality_report", period="2026-12")
    assert report.previous is None
