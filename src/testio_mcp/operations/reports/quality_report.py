"""The quality report."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import Connection

from testio_mcp.domain import BUGS_FOR_A_RATE
from testio_mcp.errors import NotFound
from testio_mcp.operations.arguments import AsList, Ids
from testio_mcp.operations.metrics.definitions import METRICS
from testio_mcp.operations.metrics.periods import Period, period_of, today_in, with_previous
from testio_mcp.operations.metrics.query import counted_as_of, day_of_data, said_filters, scope_of
from testio_mcp.operations.metrics.questions import Time
from testio_mcp.operations.metrics.reading import question_of, titles
from testio_mcp.operations.registry import operation
from testio_mcp.operations.reports import breakdowns as areas
from testio_mcp.operations.reports import numbers, review
from testio_mcp.operations.reports.findings import Evidence, findings
from testio_mcp.operations.reports.scope import Asked
from testio_mcp.reports.model import Definition, Report, Section, Span
from testio_mcp.settings import Settings

Detail = Literal["summary", "full"]
PERIOD = "last 90 days"


@operation(
    "/reports/quality",
    command="report quality",
    toolset="numbers",
    needs=("features", "tests", "bugs", "executions"),
    examples=({"period": "this year"},),
)
def quality_report(
    conn: Connection,
    settings: Settings,
    product_ids: Annotated[Ids, Field(description="These products; all when left out.")] = [],  # noqa: B006
    period: Annotated[str, Field(description="this quarter, 2026-Q3, YTD, all time ...")] = PERIOD,
    filters: Annotated[list[str], AsList, Field(description="As in query_metrics: severity=critical.")] = [],  # noqa: B006
    time: Annotated[Time, Field(description="As in query_metrics.")] = "end",
    test_ids: Annotated[Ids, Field(description="Only these tests, whenever they ended.")] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, Field(description="Without these tests.")] = [],  # noqa: B006
    detail: Annotated[Detail, Field(description="full adds tables, charts and definitions.")] = "summary",
) -> Report:
    """Report the quality of products or tests: findings, volume, rates with health, trend, areas, regressions.

    Each number has its previous value and a link to what it counts.
    """
    now = datetime.now(UTC)
    today = today_in(settings.zone, now)
    is_any_time = bool(test_ids) and period == PERIOD
    days = Period(None, None) if is_any_time else period_of(period, today, settings.fiscal_year_starts)
    days, before = with_previous(days, day_of_data(conn, settings)) or (days, None)
    written = [*filters, *([f"product={','.join(map(str, product_ids))}"] if product_ids else [])]
    scope = question_of(
        conn,
        metrics=("bug_count",),
        filters=written,
        period=days,
        zone=settings.zone,
        time=time,
        test_ids=test_ids,
        exclude_test_ids=exclude_test_ids,
    )
    if missing := set(test_ids) - titles(conn, "test", test_ids).keys():
        raise NotFound(f"Test {min(missing)} is not in the store.", "list_tests shows the ids.")
    asked = Asked(conn, settings, scope, days, before, tuple(written), now)
    sections = _sections(asked)
    return Report(
        kind="quality",
        title=f"Quality of {_title(asked)}",
        subtitle=None,
        period=_span(asked, days, "all time" if is_any_time else period),
        previous=_span(asked, asked.before) if asked.before else None,
        scope=scope_of(scope),
        filters=said_filters(written),
        generated_at=now,
        as_of=counted_as_of(conn),
        sections=sections
        if detail == "full"
        else [_brief(each) for each in sections if each.figures or each.findings],
        definitions=_definitions(sections) if detail == "full" else [],
    )


def _sections(asked: Asked) -> list[Section]:
    evidence = Evidence(
        waiting=review.find_waiting(asked),
        losses=review.find_losses(asked),
        returned=areas.find_returned(asked),
        recurring=areas.find_recurring(asked),
        untested=areas.find_untested(asked),
    )
    found = [
        numbers.volume(asked),
        numbers.rates(asked),
        numbers.mix(asked),
        numbers.trend(asked),
        areas.products(asked),
        areas.coverage(asked, evidence.untested),
        areas.recurring(evidence.recurring),
        areas.returned(evidence.returned),
        review.review(asked, evidence.waiting),
        review.losses(evidence.losses),
        areas.devices(asked),
        areas.people(asked),
        areas.tests(asked),
    ]
    first = Section(id="findings", title="Findings", findings=findings(asked, evidence))
    return [first, *(section for section in found if section)]


def _brief(section: Section) -> Section:
    """A section without its pictures and tables, and its figures without what a reader can ask for."""
    figures = []
    for figure in section.figures:
        is_shown_in_numbers = figure.whole is not None and figure.whole < BUGS_FOR_A_RATE
        parts = () if is_shown_in_numbers else ("part", "whole", "previous_part", "previous_whole")
        figures.append(figure.model_copy(update=dict.fromkeys(("definition", "threshold", *parts))))
    return section.model_copy(update={"charts": [], "tables": [], "figures": figures})


def _definitions(sections: list[Section]) -> list[Definition]:
    figures = (figure for section in sections for figure in section.figures)
    names = {figure.name: figure.definition for figure in figures if figure.definition}
    columns = {column.key for section in sections for table in section.tables for column in table.columns}
    names |= {name: METRICS[name].definition for name in METRICS if name in columns}
    return [Definition(name=name, text=text) for name, text in sorted(names.items())]


def _title(asked: Asked) -> str:
    """What the report is about, in names."""
    scope = asked.scope
    if products := scope.values_of("product"):
        names = list(asked.named("product", products).values())
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{len(scope.test_ids)} tests" if scope.test_ids else "all products"


def _span(asked: Asked, days: Period, said: str = "") -> Span:
    return Span(
        words=said or str(days),
        first=days.first,
        last=days.last,
        days=days.days,
        is_to_date=days.is_to_date,
        time_zone=asked.settings.zone.key,
    )
