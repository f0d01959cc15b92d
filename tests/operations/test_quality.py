"""The quality report against metrics and lists: one number, wherever it is asked for."""

from typing import Any

import pytest

from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.metrics.definitions import METRICS
from testio_mcp.operations.metrics.health import health_of
from testio_mcp.reports.model import Figure, Report, Section
from testio_mcp.reports.writers import FORMATS, write
from testio_sandbox import World
from tests.operations.conftest import NOW, ask
from tests.support.links import check_report, follow_on
from tests.sync.conftest import EVERYTHING, Account


@pytest.fixture
def world() -> World:
    """Two products with tests over some months."""
    return World(seed=3, products=2, tests_per_product=24, bugs_per_test=4, now=NOW)


async def _report(account: Account, **arguments: Any) -> Report:
    found = await ask(account, "quality_report", **{"detail": "full", **arguments})
    assert isinstance(found, Report)
    return found


def _section(report: Report, name: str) -> Section:
    return next(section for section in report.sections if section.id == name)


def _figures(report: Report) -> dict[str, Figure]:
    return {figure.name: figure for section in report.sections for figure in section.figures}


@pytest.mark.parametrize("period", ["last 90 days", "this year", "all time"])
async def test_every_figure_is_what_its_question_gives(account: Account, period: str) -> None:
    await account.sync(only=EVERYTHING)

    report = await _report(account, period=period, product_ids=[account.world.product_ids[0]])
    figures = _figures(report)
    assert len(figures) > 14
    assert all(figure.definition and figure.link for figure in figures.values())
    assert await check_report(report.model_dump(mode="json"), follow_on(account.app)) > 30
    asked = [name for name in figures if name in METRICS]
    measured = await ask(
        account,
        "query_metrics",
        metrics=asked,
        filters=f"product={account.world.product_ids[0]}",
        period=period,
        compare=period != "all time",
    )
    for name in asked:
        assert figures[name].value == measured.totals[name], name
        assert figures[name].previous == measured.totals.get(f"{name}_before"), name


async def test_tables_add_up_to_the_figures(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    report = await _report(account, period="this year")
    bugs = _figures(report)["bug_count"].value
    mixed, kinds = _section(report, "mix").tables
    assert sum(int(row[-1] or 0) for row in mixed.rows) == bugs
    assert sum(int(row[1] or 0) for row in kinds.rows) == bugs
    for row in mixed.rows:
        assert sum(int(number or 0) for number in row[1:-1]) == row[-1]
    (by_time,) = _section(report, "trend").tables
    places = [column.key for column in by_time.columns]
    assert sum(int(row[places.index("bug_count")] or 0) for row in by_time.rows) == bugs
    (products,) = _section(report, "products").tables
    assert sum(int(row[2] or 0) for row in products.rows) == bugs


async def test_rates_have_their_health_and_rule(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    for figure in _section(await _report(account, period="this year"), "rates").figures:
        assert figure.health == health_of(figure.name, figure.value)
        assert bool(figure.threshold) == (figure.name != "overall_acceptance_rate")


async def test_what_waits_is_what_the_queue_says(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    queue = await ask(account, "triage_queue", limit=50)

    report = await _report(account, period="all time")
    figures = _figures(report)
    waiting = int(figures["open_bugs"].value or 0) + int(figures["question_bugs"].value or 0)
    assert waiting == queue.total > 0
    table = next(table for table in _section(report, "review").tables if table.columns[0].key == "id")
    assert [row[0] for row in table.rows] == [item.id for item in queue.items][: len(table.rows)]
    assert f"{waiting} bugs in all wait for a decision." in [
        finding.text for finding in _section(report, "findings").findings
    ]


async def test_tests_are_taken_in_and_left_out(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    tests = [row["id"] for row in await account.rows("test", status="archived")][:3]

    alone = await _report(account, test_ids=tests)
    (table,) = _section(alone, "tests").tables
    assert {row[1] for row in table.rows} == set(tests)
    assert _figures(alone)["test_count"].value == len(tests)
    assert alone.period.first is None
    whole = await _report(account, period="all time")
    without = await _report(account, period="all time", exclude_test_ids=tests)
    assert _figures(without)["bug_count"].value == int(_figures(whole)["bug_count"].value or 0) - int(
        _figures(alone)["bug_count"].value or 0
    )


async def test_filters_are_those_of_metrics(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    report = await _report(account, period="all time", filters=["severity=critical"])
    measured = await ask(account, "query_metrics", metrics="bug_count", filters="severity=critical")
    assert _figures(report)["bug_count"].value == measured.totals["bug_count"]
    assert "executions" not in _figures(report)
    assert report.filters == {"severity": "critical"}
    for kind in FORMATS:
        assert write(report, kind)


async def test_a_summary_is_short_and_a_period_without_tests_is_said(account: Account) -> None:
    await account.sync(only=EVERYTHING)

    short = await _report(account, detail="summary")
    assert {table.title for section in short.sections for table in section.tables} == set()
    assert short.sections[0].id == "findings"
    empty = await _report(account, period="2001")
    assert [finding.text for finding in empty.sections[0].findings] == ["No tests ended in this period."]
    assert _figures(empty)["rejection_rate"].value is None
    for kind in FORMATS:
        assert write(empty, kind)


async def test_a_product_that_is_not_there_is_said(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    with pytest.raises(NotFound, match="no product '1' in the store"):
        await _report(account, product_ids=[1])
    with pytest.raises(BadInput, match="no dimension 'sevrity'"):
        await _report(account, filters=["sevrity=high"])
