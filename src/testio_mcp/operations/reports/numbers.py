"""Sections of numbers: volume, rates, mixes, trend."""

from collections.abc import Mapping, Sequence
from datetime import date

from testio_mcp.operations import figures
from testio_mcp.operations.metrics.filling import Rows, filled, stretch_of
from testio_mcp.operations.metrics.health import health_of, ratio_of, rule_in_words
from testio_mcp.operations.reports.scope import Asked, column, figure, split_table, with_all
from testio_mcp.reports.model import Chart, Column, Section, Series, Table, Unit
from testio_mcp.rules import Rules

VOLUME = (
    "test_count",
    "bug_count",
    "bugs_per_test",
    "bug_severity_score",
    "active_testers",
    "features_tested",
    "executions",
    "pass_rate",
    "story_coverage",
)
RATES: Mapping[str, tuple[str, ...]] = {
    "active_acceptance_rate": ("accepted",),
    "auto_acceptance_rate": ("auto_accepted",),
    "overall_acceptance_rate": ("accepted", "auto_accepted"),
    "rejection_rate": ("rejected",),
    "review_rate": ("accepted", "rejected"),
}
"""The rates of bugs, with the statuses that each counts."""
_DAYS_BY_WEEK, _WEEKS_BY_MONTH = 21, 200


def volume(asked: Asked) -> Section:
    """How much was tested and found."""
    names = asked.possible(*VOLUME)
    measured, before = asked.measure(*names), asked.measure_before(*names)
    lists = {"test_count": asked.tests, "bug_count": asked.bugs}
    links = {name: lists[name]() if name in lists else asked.metrics(name) for name in names}
    return Section(
        id="volume",
        title="Volume",
        figures=[figure(name, measured, before, links[name]) for name in names],
    )


def rates(asked: Asked) -> Section:
    """What became of the bugs."""
    measured, before = asked.measure(*RATES), asked.measure_before(*RATES)
    limits = asked.settings.health
    return Section(
        id="rates",
        title="Acceptance and review",
        figures=[
            figure(
                name,
                measured,
                before,
                asked.listed_bugs(bug_status=statuses) or asked.metrics(name),
                health=health_of(name, measured.total[name], limits, ratio_of(name, measured.total_counts)),
                threshold=said_rule(name, limits) or None,
            )
            for name, statuses in RATES.items()
        ],
    )


def said_rule(name: str, limits: Rules) -> str:
    """The limits of a rate, without its name before them."""
    return rule_in_words(name, limits).partition(": ")[2].capitalize()


def mix(asked: Asked) -> Section:
    """Bugs by severity, status and kind."""
    question = asked.metrics("bug_count", by=("severity", "bug_status"))
    rows = asked.ask(question).rows
    groups = [(status, level, values["bug_count"]) for (level, status), values in rows.items()]
    levels, statuses = figures.tally(groups, 1), figures.tally(groups, 0)
    count = {(level, status): number for status, level, number in groups}
    table = Table(
        title="Bugs by severity and status",
        columns=[
            Column(key="severity", label="Severity"),
            *(Column(key=status, label=_spoken(status), kind="count") for status in statuses),
            Column(key="total", label="All", kind="count"),
        ],
        rows=[
            [level, *(count.get((level, status), 0) for status in statuses), number]
            for level, number in levels.items()
        ],
        link=with_all(question, len(rows)),
    )
    kinds = split_table(asked, "Bugs by kind", "kind", ("bug_count", "rejection_rate"))
    chart = Chart(
        title="Bugs by severity and status",
        kind="stacked",
        unit="count",
        labels=list(levels),
        series=[
            Series(name=_spoken(status), values=[count.get((level, status), 0) for level in levels])
            for status in statuses
        ],
    )
    return Section(
        id="mix",
        title="Severity, kind and status",
        charts=[chart] if groups else [],
        tables=[each for each in (table, kinds) if each and each.rows],
    )


def _spoken(word: str) -> str:
    return word.replace("_", " ").capitalize()


_TREND: tuple[tuple[str, Unit], ...] = (("Tests and bugs", "count"), ("Rejection and review", "share"))


def trend(asked: Asked) -> Section | None:
    """Tests and bugs over time; None where there is only one span of time."""
    unit = _unit(asked)
    names = asked.possible("test_count", "bug_count", "rejection_rate", "review_rate", by=(unit,))
    link = asked.metrics(*names, by=(unit,))
    question = asked.question_of(link)
    rows = filled(question, asked.ask(link))
    today = asked.now.astimezone(asked.settings.zone).date()
    keys = sorted(
        day for (day,), row in rows.items() if isinstance(day, date) and (day <= today or any(row.values()))
    )
    if len(keys) < 2:
        return None
    buckets = [stretch_of(question, day) for day in keys]
    partial = [bucket.label for bucket in buckets if bucket.is_partial]
    return Section(
        id="trend",
        title="Trend",
        charts=[
            Chart(
                title=title,
                kind="lines",
                unit=kind,
                labels=[bucket.label for bucket in buckets],
                series=[_series(name, rows, keys) for name in names if column(name).kind == kind],
            )
            for title, kind in _TREND
        ],
        tables=[
            Table(
                title=f"By {unit}",
                columns=[
                    Column(key=unit, label=unit.capitalize()),
                    Column(key="first", label="First day", kind="day"),
                    Column(key="last", label="Last day", kind="day"),
                    *map(column, names),
                ],
                rows=[
                    [bucket.label, str(bucket.first), str(bucket.last), *(rows[(day,)][name] for name in names)]
                    for bucket, day in zip(buckets, keys, strict=True)
                ],
                note=f"Only partly in the period: {', '.join(partial)}." if partial else None,
                link=with_all(link, len(rows)),
            )
        ],
    )


def _series(name: str, rows: Rows, keys: Sequence[date]) -> Series:
    return Series(name=column(name).label, values=[rows[day,][name] for day in keys])


def _unit(asked: Asked) -> str:
    """Days for weeks, weeks for months, months for years."""
    if asked.days.first is None or asked.days.last is None:
        return "month"
    days = (asked.days.last - asked.days.first).days + 1
    return "day" if days <= _DAYS_BY_WEEK else "week" if days <= _WEEKS_BY_MONTH else "month"
