"""Sections of numbers: volume, rates, mixes, trend."""

from collections.abc import Sequence
from datetime import date

from testio_mcp.operations import figures
from testio_mcp.operations.health import health_of, rule_in_words
from testio_mcp.operations.metrics.filling import Rows, filled, unit_of
from testio_mcp.operations.quality.asking import Asked, column, figure, split_table
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
RATES = (
    "active_acceptance_rate",
    "auto_acceptance_rate",
    "overall_acceptance_rate",
    "rejection_rate",
    "review_rate",
)
_DAYS_BY_WEEK, _WEEKS_BY_MONTH = 21, 200


def volume(asked: Asked) -> Section:
    """How much was tested and found."""
    names = asked.possible(*VOLUME)
    values = asked.measure(*names).total
    before = asked.measure_before(*names)
    queries = {"test_count": asked.tests(), "bug_count": asked.bugs()}
    return Section(
        id="volume",
        title="Volume",
        figures=[
            figure(asked, name, values, queries.get(name, asked.metrics(name)), previous=before.get(name))
            for name in names
        ],
    )


def rates(asked: Asked) -> Section:
    """What became of the bugs."""
    values = asked.measure(*RATES).total
    before = asked.measure_before(*RATES)
    statuses = {
        "active_acceptance_rate": "accepted",
        "auto_acceptance_rate": "auto_accepted",
        "overall_acceptance_rate": "accepted,auto_accepted",
        "rejection_rate": "rejected",
        "review_rate": "open,question,auto_accepted",
    }
    limits = asked.settings.health
    return Section(
        id="rates",
        title="Acceptance and review",
        figures=[
            figure(
                asked,
                name,
                values,
                asked.bugs(statuses=statuses[name]),
                previous=before.get(name),
                health=health_of(name, values[name], limits),
                threshold=said_rule(name, limits) or None,
            )
            for name in RATES
        ],
    )


def said_rule(name: str, limits: Rules) -> str:
    """The limits of a rate, without its name before them."""
    return rule_in_words(name, limits).partition(": ")[2].capitalize()


def mix(asked: Asked) -> Section:
    """Bugs by severity, status and kind."""
    rows = asked.measure("bug_count", by=("severity", "bug_status")).rows
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
        query=asked.metrics("bug_count", by="severity,bug_status"),
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
    question = asked.question(names, (unit,))
    rows = filled(question, asked.measure(*names, by=(unit,)).rows)
    today = asked.now.astimezone(asked.settings.zone).date()
    keys = sorted(
        day for (day,), row in rows.items() if isinstance(day, date) and (day <= today or any(row.values()))
    )
    if len(keys) < 2:
        return None
    buckets = [unit_of(unit, day) for day in keys]
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
                query=asked.metrics(*names, by=unit),
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
