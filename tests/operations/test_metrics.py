"""`query_metrics` against the account's truth and against what lists say of the same records."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest

from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.metrics.query import MetricTable
from testio_mcp.operations.metrics.words import DIMENSIONS, METRICS
from testio_mcp.sandbox import World
from tests.operations import truth
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import EVERYTHING, Account


@pytest.fixture
def world() -> World:
    """Two products with tests over some months."""
    return World(seed=3, products=2, tests_per_product=24, bugs_per_test=3, now=NOW)


async def _table(account: Account, **arguments: Any) -> MetricTable:
    found = await ask(account, "query_metrics", **arguments)
    assert isinstance(found, MetricTable)
    return found


def _rows(table: MetricTable) -> list[dict[str, Any]]:
    return [row.root for row in table.items]


def _ran(world: World) -> list[truth.Payload]:
    """The bugs of tests that ran."""
    statuses = {
        test_id: test["status"] for pid in world.product_ids for test_id, test in truth.tests_of(world, pid).items()
    }
    return [bug for bug in truth.all_bugs(world) if statuses[bug["test"]["id"]] not in truth.NOT_RUN]


async def test_numbers_are_those_of_the_account(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    bugs = _ran(account.world)

    by_severity = _rows(await _table(account, metrics="bug_count", by="severity", filters="known=false"))
    wanted = Counter(truth.level(bug) for bug in bugs if not bug.get("known"))
    assert {row["severity"]: row["bug_count"] for row in by_severity} == wanted

    whole = await _table(account, metrics="bug_count,rejection_rate,review_rate,active_testers")
    assert whole.totals["bug_count"] == len(bugs)
    assert whole.totals["rejection_rate"] == truth.rates(bugs)["rejection_rate"]
    assert whole.totals["review_rate"] == truth.rates(bugs)["review_rate"]
    assert whole.totals["active_testers"] == len({truth.name(bug["author"]) for bug in bugs} - {None})


async def test_a_list_gives_the_same_number(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    product = account.world.product_ids[0]
    first, last = (NOW - timedelta(days=80)).date(), (NOW - timedelta(days=20)).date()
    period = f"{first} to {last}"

    for status in ("open", "accepted", "rejected", "auto_accepted"):
        filters = [f"product={product}", f"bug_status={status}"]
        measured = await _table(account, metrics="bug_count", filters=filters, period=period)
        listed = await ask(account, "list_bugs", product_id=product, statuses=status, end_from=first, end_to=last)
        assert measured.totals["bug_count"] == listed.total, status
        reported = await _table(account, metrics="bug_count", filters=filters, period=period, time="report")
        listed = await ask(
            account, "list_bugs", product_id=product, statuses=status, reported_from=first, reported_to=last
        )
        assert reported.totals["bug_count"] == listed.total, status


async def test_the_matrix_gives_the_same_number(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    product = account.world.product_ids[0]

    measured = await _table(
        account,
        metrics="executions,passed,failed,blocked,pass_rate,stories_tested,story_coverage",
        filters=f"product={product}",
    )
    matrix = await ask(account, "execution_matrix", product_id=product)
    assert measured.totals == {name: getattr(matrix.totals, name) for name in measured.totals}


async def test_every_bucket_of_a_period_is_there_with_its_days(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    table = await _table(account, metrics="bug_count,rejection_rate", by="week", period="2001-01-29 to 2001-02-20")

    assert [(row["week"], row["first"], row["last"]) for row in _rows(table)] == [
        ("2001-W05", "2001-01-29", "2001-02-04"),
        ("2001-W06", "2001-02-05", "2001-02-11"),
        ("2001-W07", "2001-02-12", "2001-02-18"),
        ("2001-W08", "2001-02-19", "2001-02-25"),
    ]
    assert {(row["bug_count"], row["rejection_rate"]) for row in _rows(table)} == {(0, None)}
    assert table.chart == "line"
    assert (table.period.first, table.period.last) == (date(2001, 1, 29), date(2001, 2, 20))


async def test_a_period_is_compared_with_the_one_before(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    now = await _table(account, metrics="bug_count", by="product", period="last 2 months", compare=True)
    assert now.previous
    then = await _table(
        account, metrics="bug_count", by="product", period=f"{now.previous.first} to {now.previous.last}"
    )

    before = {row["product_id"]: row["bug_count"] for row in _rows(then)}
    for row in _rows(now):
        assert row["bug_count_before"] == before[row["product_id"]]
        assert row["bug_count_change"] == row["bug_count"] - before[row["product_id"]]
    assert now.totals["bug_count_before"] == then.totals["bug_count"]
    months = _rows(await _table(account, metrics="bug_count", by="month", period="last 2 months", compare=True))
    assert sum(row["bug_count_before"] for row in months) == then.totals["bug_count"]


async def test_groups_come_in_the_order_asked_for(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    every = await _table(account, metrics="bug_count", by="tester", limit=1000)
    most = [row["bug_count"] for row in _rows(every)]
    least = [
        row["bug_count"] for row in _rows(await _table(account, metrics="bug_count", by="tester", sort="-bug_count"))
    ]
    assert most == sorted(most, reverse=True) != least
    assert least == sorted(least)
    levels = _rows(await _table(account, metrics="bug_count", by="severity", sort="severity"))
    assert [row["severity"] for row in levels] == ["critical", "high", "low", "none"]
    few = await _table(account, metrics="bug_count", by="tester", limit=3)
    assert (len(few.items), few.groups) == (3, len(most))


async def test_the_tests_behind_a_group_are_told(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    table = await _table(account, metrics="test_count", by="severity,month", show_tests=True, limit=20)
    assert {row["test_count"] == 0 for row in _rows(table)} == {True, False}
    for row in _rows(table):
        assert len(row["test_ids"]) == min(10, row["test_count"])
        if not row["test_ids"]:
            continue
        listed = await ask(
            account,
            "list_bugs",
            test_ids=row["test_ids"],
            levels=row["severity"],
            end_from=row["first"],
            end_to=row["last"],
            limit=100,
        )
        assert {bug.test_id for bug in listed.items} == set(row["test_ids"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": "bug_cuont"}, r"no metric 'bug_cuont'. Did you mean bug_count"),
        ({"metrics": "bug_count", "by": "sevrity"}, r"no dimension 'sevrity'. Did you mean severity"),
        ({"metrics": "executions", "by": "severity"}, r"executions cannot be split or filtered by severity"),
        ({"metrics": "bug_count", "by": "month,week"}, "Only one of day, week, month and quarter"),
        ({"metrics": "bug_count", "by": "product,kind,severity,known"}, "at most 3 dimensions"),
        ({"metrics": "bug_count", "filters": "critical"}, "names no dimension"),
        ({"metrics": "bug_count", "filters": "known=maybe"}, "known is true or false"),
        ({"metrics": "bug_count", "filters": "product=Shop"}, "product takes ids"),
        ({"metrics": "bug_count", "filters": "month=2026-10"}, "month cannot be filtered. Say the time as a period"),
        ({"metrics": "pass_rate", "time": "report"}, "pass_rate cannot be asked by the time of report"),
        ({"metrics": "bug_count", "sort": "size"}, "no column to sort by 'size'"),
        ({"metrics": "bug_count", "period": "next year"}, "period: 'next year' is none"),
        ({"metrics": "bug_count", "compare": True}, "this period has no previous one"),
        ({"metrics": []}, "metric"),
    ],
)
async def test_what_has_no_meaning_is_refused_with_the_way_out(
    account: Account, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        await ask(account, "query_metrics", **arguments)


async def test_an_id_that_is_not_there_is_said(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    with pytest.raises(NotFound, match=r"no product '1' in the store. list_products"):
        await ask(account, "query_metrics", metrics="bug_count", filters="product=1")
    with pytest.raises(NotFound, match="no tester 'Nobody'"):
        await ask(account, "query_metrics", metrics="bug_count", filters="tester=Nobody")


async def test_capabilities_name_everything(account: Account) -> None:
    found = await ask(account, "metric_capabilities")

    assert [each.name for each in found.metrics] == list(METRICS)
    assert [each.name for each in found.dimensions] == list(DIMENSIONS)
    assert all(each.definition for each in (*found.metrics, *found.dimensions))
