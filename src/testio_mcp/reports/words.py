"""Numbers, days and moments as people read them: the same in every kind of file."""

from datetime import UTC, date, datetime, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from testio_mcp.domain import Ratio
from testio_mcp.reports.model import Cell, Chart, Column, Figure, Health, Report, Section, Span, Table, Unit

NOTHING = "–"
"""What stands where there is no value."""
HEALTH: dict[Health, str] = {"good": "Good", "warning": "Warning", "critical": "Critical"}
_RANK: dict[Health | None, int] = {"critical": 3, "warning": 2, "good": 1, None: 0}
_UNITS: dict[str, Unit] = {"count": "count", "number": "number", "share": "share"}


class Zone(NamedTuple):
    """The time zone of a report and the name that it is shown under."""

    name: str
    info: tzinfo


UTC_ZONE = Zone("UTC", UTC)


def zone_of(report: Report) -> Zone:
    """The time zone of a report's days; UTC where this machine does not know that zone."""
    name = report.period.time_zone
    try:
        return Zone(name, ZoneInfo(name))
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        return UTC_ZONE


def worst(healths: list[Health | None]) -> Health | None:
    """The health that needs the most attention."""
    return max(healths, key=_RANK.__getitem__, default=None)


def number(value: float | int | None, unit: Unit) -> str:
    """A number of a figure, a chart or a table."""
    if value is None:
        return NOTHING
    if unit == "share":
        return "<0.1%" if 0 < value < 0.0005 else _minus(f"{value * 100:,.1f}%")
    return _minus(f"{value:,.0f}" if unit == "count" or isinstance(value, int) else f"{value:,.2f}")


def tick(value: float, unit: Unit) -> str:
    """A number at an axis, without the digits that say nothing."""
    text = f"{value * 100:,.4f}" if unit == "share" else f"{value:,.6f}"
    return _minus(text.rstrip("0").rstrip(".")) + ("%" if unit == "share" else "")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def value(figure: Figure) -> str:
    """A figure's number; of a rate over few bugs what it is made of, `2 of 3`."""
    return of_few(figure.part, figure.whole) or number(figure.value, figure.unit)


def previous(figure: Figure) -> str:
    """A figure's number in the previous period."""
    return of_few(figure.previous_part, figure.previous_whole) or number(figure.previous, figure.unit)


def of_few(part: int | None, whole: int | None) -> str | None:
    """What a rate over few bugs is made of; None for others, and over nothing."""
    if part is None or not whole or not (ratio := Ratio(part, whole)).is_of_few:
        return None
    return str(ratio)


def change(figure: Figure) -> str | None:
    """What became of a figure since the previous period; None where one of the two is missing."""
    if figure.value is None or figure.previous is None:
        return None
    before = previous(figure)
    if value(figure) == before:
        return f"unchanged from {before}"
    if of_few(figure.part, figure.whole) or of_few(figure.previous_part, figure.previous_whole):
        return f"from {before}"
    verdict = f", {figure.direction}" if figure.direction in ("better", "worse", "no clear change") else ""
    return f"{_difference(figure)}, from {before}{verdict}"


def _difference(figure: Figure) -> str:
    if figure.value is None or figure.previous is None:
        return ""
    unit = figure.unit
    by = figure.value - figure.previous
    sign = "▲ +" if by > 0 else "▼ −"
    if unit == "share":
        return f"{sign}{abs(by) * 100:,.1f} points"
    part = f" ({abs(by / figure.previous) * 100:.0f}%)" if abs(by) < 10 * figure.previous else ""
    return f"{sign}{number(abs(by), unit)}{part}"


def day(value: date) -> str:
    """A day such as 5 Oct 2026."""
    return f"{value.day} {value:%b} {value.year}"


def days(span: Span) -> str:
    """The days of a period; its words where it has no end on either side."""
    match span.first, span.last:
        case None, None:
            return span.words
        case None, date() as last:
            return f"until {day(last)}"
        case date() as first, None:
            return f"since {day(first)}"
        case date() as first, date() as last if first == last:
            return day(first)
        case date() as first, date() as last:
            shared = f" {first.year}" if first.year == last.year else ""
            to_date = ", to date" if span.is_to_date else ""
            return f"{day(first).removesuffix(shared) if shared else day(first)} – {day(last)}{to_date}"
    raise AssertionError(span)


def format_time(value: datetime, zone: Zone) -> str:
    """A moment to the minute, with the name of its time zone."""
    there = local(value, zone)
    return f"{day(there)}, {there:%H:%M} {zone.name}"


def day_of(text: str) -> date | None:
    """The day that a cell holds; None for another text."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def moment_of(text: str, zone: Zone) -> datetime | None:
    """The moment that a cell holds, without its zone; None for another text."""
    try:
        return local(datetime.fromisoformat(text), zone).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def local(value: datetime, zone: Zone = UTC_ZONE) -> datetime:
    """A moment in a time zone; one that does not say its own is in UTC."""
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(zone.info)


def is_number(column: Column) -> bool:
    """Whether the cells of a column are numbers."""
    return column.kind in _UNITS


def cell(value: Cell, column: Column, zone: Zone) -> str:
    """A cell as people read it; nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value, _UNITS.get(column.kind, "number")) if is_number(column) else str(value)
    if column.kind == "moment" and (found := moment_of(value, zone)):
        return f"{found:%Y-%m-%d %H:%M}"
    return value


def heading(column: Column, zone: Zone) -> str:
    """A column's label; moments say in which time zone they are."""
    return f"{column.label} ({zone.name})" if column.kind == "moment" else column.label


def tables_of(section: Section) -> list[Table]:
    """The tables of a section for files without pictures: those of its charts where it has no other."""
    return section.tables or [_table_of(chart) for chart in section.charts]


def _table_of(chart: Chart) -> Table:
    columns = [Column(key=str(at), label=series.name, kind=chart.unit) for at, series in enumerate(chart.series)]
    values: list[list[Cell]] = [[*row] for row in zip(*(series.values for series in chart.series), strict=True)]
    rows = [[label, *row] for label, row in zip(chart.labels, values, strict=False)]
    return Table(title=chart.title, columns=[Column(key="label", label="Label"), *columns], rows=rows)


def facts(report: Report) -> list[tuple[str, str]]:
    """What a report is about: the period, what was counted, and how old it is."""
    zone = zone_of(report)
    said = [("Period", f"{days(report.period)} ({report.period.words})")]
    if report.period.first is None and report.period.last is None:
        said = [("Period", report.period.words)]
    if report.previous:
        said.append(("Compared with", days(report.previous)))
    said.append(("Counted", report.scope))
    said += [(name.replace("_", " ").capitalize(), value) for name, value in sorted(report.filters.items())]
    if report.as_of:
        said.append(("Data as of", format_time(report.as_of, zone)))
    return [*said, ("Generated", format_time(report.generated_at, zone))]
