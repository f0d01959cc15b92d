"""`query_metrics` against the account's truth and against what lists say of the same records."""

import re
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest

from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.metrics.definitions import DIMENSIONS, METRICS
from testio_mcp.operations.metrics.query import MetricTable
from testio_mcp.operations.registry import operations
from testio_sandbox import World
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
    tests = {test_id: test for pid in world.product_ids for test_id, test in truth.tests_of(world, pid).items()}
    return [bug for bug in truth.all_bugs(world) if truth.has_run(tests[bug["test"]["id"]])]


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

    assert [(row["week"], row["first"], row["last"], row.get("is_partial")) for row in _rows(table)] == [
        ("2001-W05", "2001-01-29", "2001-02-04", None),
        ("2001-W06", "2001-02-05", "2001-02-11", None),
        ("2001-W07", "2001-02-12", "2001-02-18", None),
        ("2001-W08", "2001-02-19", "2001-02-20", True),
    ]
    assert {(row["bug_count"], row["rejection_rate"]) for row in _rows(table)} == {(0, None)}
    assert table.chart == "line"
    assert (table.period.first, table.period.last) == (date(2001, 1, 29), date(2001, 2, 20))


async def test_the_days_of_a_bucket_are_those_in_the_period(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    for by in ("week", "month", "quarter"):
        table = await _table(account, metrics="bug_count", by=by, period="2001-02-07 to 2001-08-29")
        rows = _rows(table)
        assert (rows[0]["first"], rows[-1]["last"]) == ("2001-02-07", "2001-08-29")
        assert [row.get("is_partial") for row in rows] == [True, *[None] * (len(rows) - 2), True]
        days = [date.fromisoformat(row[end]) for row in rows for end in ("first", "last")]
        assert all((later - day).days == 1 for day, later in zip(days[1::2], days[2::2], strict=False))
    report = await ask(account, "quality_report", period="2001-02-07 to 2001-08-29", detail="full")
    trend = next(section for section in report.sections if section.id == "trend").tables[0]
    assert (trend.rows[0][1], trend.rows[-1][2]) == ("2001-02-07", "2001-08-29")
    assert trend.note == "Only partly in the period: 2001-02, 2001-08."


async def test_empty_groups_that_are_left_out_are_said(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    arguments = {"metrics": "bug_count", "by": "tester,device,day", "sort": "day", "limit": 1000}

    short = await _table(account, period="last 150 days", **arguments)
    pairs = await _table(account, metrics="bug_count", by="tester,device", period="last 150 days")
    assert short.groups == 150 * pairs.groups > 5_000
    assert not any(note.startswith("Only groups with records") for note in short.notes)
    assert {row["first"] for row in _rows(short)[: pairs.groups]} == {str((NOW - timedelta(days=149)).date())}
    long = await _table(account, period="last 900 days", **arguments)
    assert long.groups < 50_000
    assert any(note.startswith("Only groups with records are listed and counted") for note in long.notes)


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


async def test_a_leading_minus_sorts_highest_first(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    async def by(split: str, sort: str) -> tuple[list[Any], str]:
        table = await _table(account, metrics="bug_count", by=split, sort=sort, limit=1000)
        return [row["bug_count" if sort.endswith("bug_count") else split] for row in _rows(table)], table.sort

    most, most_said = await by("tester", "-bug_count")
    least, least_said = await by("tester", "bug_count")
    assert most == sorted(most, reverse=True) == least[::-1] != least
    assert (most_said, least_said) == ("sorted by bug_count, highest first", "sorted by bug_count, lowest first")
    highest = ["critical", "high", "low", "none"]
    assert await by("severity", "-severity") == (highest, "sorted by severity, highest first")
    assert await by("severity", "severity") == (highest[::-1], "sorted by severity, lowest first")
    newest, said = await by("month", "-month")
    assert newest == sorted(newest, reverse=True)
    assert said == "sorted by month, newest first"
    names, said = await by("tester", "tester")
    known = [name for name in names if name is not None]
    assert known == sorted(known, key=str.casefold)
    assert said == "sorted by tester, A to Z"
    assert (await by("tester", "-Tester"))[0] == known[::-1] + names[len(known) :]


@pytest.mark.parametrize(
    ("name", "column"),
    [("list_tests", "end_at"), ("list_bugs", "reported_at"), ("list_executions", "id"), ("list_features", "id")],
)
async def test_a_leading_minus_is_the_newest_first_in_lists(account: Account, name: str, column: str) -> None:
    await account.sync(only=EVERYTHING)

    async def ids(sort: str) -> list[int]:
        return [item.id for item in (await ask(account, name, sort=sort, limit=100)).items]

    assert await ids(f"-{column}") == await ids("newest") != []
    if name != "list_features":
        assert await ids(column) == await ids("Oldest") != await ids("newest")
    with pytest.raises(BadInput, match="sort takes any of: "):
        await ids("-size")


async def test_without_sort_the_highest_come_first_and_times_in_their_order(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    every = await _table(account, metrics="bug_count,test_count", by="tester", limit=1000)
    most = [row["bug_count"] for row in _rows(every)]
    assert most == sorted(most, reverse=True)
    assert every.sort == "sorted by bug_count, highest first"
    months = await _table(account, metrics="bug_count", by="product,month")
    assert [row["first"] for row in _rows(months)] == sorted(row["first"] for row in _rows(months))
    assert months.sort == "sorted by month, oldest first"


@pytest.mark.parametrize("sort", ["-bug_count", "bug_count", "severity", "-tester", ""])
async def test_a_tie_at_the_cut_is_said(account: Account, sort: str) -> None:
    await account.sync(only=EVERYTHING)
    arguments = {"metrics": "bug_count", "by": "tester,severity", "sort": sort}
    every = _rows(await _table(account, **arguments, limit=1000))
    column = sort.lstrip("-") or "bug_count"
    seen = set()
    for limit in range(1, len(every) + 2):
        table = await _table(account, **arguments, limit=limit)
        values = [row[column] for row in every]
        last = values[min(limit, len(values)) - 1]
        others = sum(1 for value in values[limit:] if value == last) if last is not None else 0
        assert (table.groups, len(table.items)) == (len(every), min(limit, len(every)))
        assert table.tied == others
        assert len(table.notes) == bool(others)
        seen.add(min(others, 2))
    assert {0, 1, 2} == seen or column == "tester"


async def test_a_tie_is_named_by_its_places(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    table = await _table(account, metrics="bug_count", by="month,severity", limit=1, sort="severity")
    said = r"The 2nd to \d+(st|nd|rd|th) have the same severity as the 1st, the last one shown\."
    assert re.fullmatch(said, "".join(table.notes))


@pytest.mark.parametrize("written", ["bug_count", "Bug Count", "BUG-COUNT", " bugcount "])
async def test_names_match_however_they_are_written(account: Account, written: str) -> None:
    await account.sync(only=EVERYTHING)
    wanted = await _table(
        account, metrics="bug_count", by="testing_type", filters="bug_status=rejected", sort="-bug_count"
    )
    table = await _table(
        account, metrics=[written], by="Testing-Type", filters="Bug Status=rejected", sort=f"-{written.strip()}"
    )
    assert table == wanted


@pytest.mark.parametrize(
    ("metrics", "meant"),
    [
        ("bug_count", "bug_status"),
        ("active_testers,bugs_per_test", "bug_status"),
        ("test_count,review_rate", "bug_status"),
        ("test_count", "test_status"),
        ("pass_rate", "test_status"),
        ("bug_count,executions", "test_status"),
    ],
)
async def test_status_is_that_of_what_is_counted(account: Account, metrics: str, meant: str) -> None:
    await account.sync(only=EVERYTHING)
    value = "accepted" if meant == "bug_status" else "archived"
    table = await _table(account, metrics=metrics, by="Status", filters=f"status={value}", sort="-status")
    wanted = await _table(account, metrics=metrics, by=meant, filters=f"{meant}={value}", sort=f"-{meant}")
    assert table.items == wanted.items != []
    assert table.filters == {meant: value}
    assert table.notes == [f"status was read as {meant}."]
    assert wanted.notes == []


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        ({"metrics": "bug"}, METRICS),
        ({"metrics": "bug_count", "by": "colour"}, DIMENSIONS),
        ({"metrics": "bug_count", "filters": "sevrity=high"}, DIMENSIONS),
        (
            {"metrics": "bug_count,test_count", "by": "product", "sort": "bugs"},
            ["bug_count", "test_count", "product"],
        ),
    ],
)
async def test_an_error_lists_all_valid_names(account: Account, arguments: dict[str, Any], known: Any) -> None:
    with pytest.raises(BadInput) as refused:
        await ask(account, "query_metrics", **arguments)
    listed = refused.value.next_step.rpartition("Valid names: ")[2].partition(".")[0].split(", ")
    assert sorted(listed) == sorted(known)


def test_the_schema_lists_all_names() -> None:
    properties = operations()["query_metrics"].input_schema["properties"]
    assert properties["metrics"]["items"]["enum"] == list(METRICS)
    assert properties["by"]["items"]["enum"] == list(DIMENSIONS)


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
        ({"metrics": "bug_cuont"}, r"no metric 'bug_cuont'. Did you mean bug_count\? Valid names: bug_count, "),
        (
            {"metrics": "bug_count", "by": "sevrity"},
            r"no dimension 'sevrity'. Did you mean severity\? Valid names: severity, ",
        ),
        ({"metrics": "executions", "by": "severity"}, r"executions cannot be split or filtered by severity"),
        ({"metrics": "bug_count", "by": "month,week"}, "Only one of day, week, month and quarter"),
        ({"metrics": "bug_count", "by": "product,kind,severity,known"}, "at most 3 dimensions"),
        ({"metrics": "bug_count", "filters": "critical"}, "names no dimension"),
        ({"metrics": "bug_count", "filters": "known=maybe"}, "known is true or false"),
        ({"metrics": "bug_count", "filters": "product=Shop"}, "product takes ids"),
        ({"metrics": "bug_count", "filters": "month=2026-10"}, "month cannot be filtered. Say the time as a period"),
        ({"metrics": "pass_rate", "time": "report"}, "pass_rate cannot be asked by the time of report"),
        ({"metrics": "bug_count", "sort": "size"}, "no column to sort by 'size'"),
        (
            {"metrics": "bug_count", "period": "next year"},
            "'next year' is not a period. Try 'last 30",
        ),
        ({"metrics": "bug_count", "compare": True}, "this one has no previous one"),
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
