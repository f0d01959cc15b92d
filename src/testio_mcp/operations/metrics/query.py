"""Any metric by any dimension."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel
from sqlalchemy import Connection, Select, select

from testio_mcp.database.dialect import fetch
from testio_mcp.domain import RAN_IN_WORDS
from testio_mcp.errors import BadInput
from testio_mcp.operations import figures
from testio_mcp.operations.arguments import AsList, Ids
from testio_mcp.operations.lists.filter_values import say_unmatched
from testio_mcp.operations.lists.paging import as_of
from testio_mcp.operations.metrics.behind import newest_tests
from testio_mcp.operations.metrics.definitions import DIMENSIONS, METRICS, TIMES, Value, unknown_name
from testio_mcp.operations.metrics.engine import Key, measure
from testio_mcp.operations.metrics.filling import filled, say_unfilled, stretch_of
from testio_mcp.operations.metrics.periods import ALL_TIME, Period, period_of, today_in, with_previous
from testio_mcp.operations.metrics.previous import Columns, compare_with
from testio_mcp.operations.metrics.questions import (
    DimensionName,
    MetricName,
    Question,
    Time,
    dimension_named,
    is_status,
)
from testio_mcp.operations.metrics.reading import HAS_ID, named_filters, question_of, titles
from testio_mcp.operations.metrics.spans import utc
from testio_mcp.operations.registry import operation
from testio_mcp.settings import Settings
from testio_mcp.texts import squeezed

MOST_DIMENSIONS = 3
Chart = Literal["number", "line", "bar", "stacked bar", "table"]
_as_of: Select[Any] = select(as_of("products", "features", "tests", "bugs", "executions"))


def counted_as_of(conn: Connection) -> datetime | None:
    """The moment up to which all that metrics count was read completely."""
    return utc(fetch(conn, _as_of, {})[0][0])


class MetricRow(RootModel[dict[str, int | float | str | bool | list[int] | None]]):
    """One group: its dimensions, then the metrics; dimensions with ids have both, times their first and last day.

    `is_partial` marks a day, week, month or quarter of which the period holds a part only.
    """


class Range(BaseModel):
    """Days in the account's time zone; null is an open end."""

    words: str
    first: date | None
    last: date | None
    days: int | None = Field(description="How many; null with an open end.")
    is_to_date: bool = Field(description="Whether the rest of the period was left out: cut for a fair comparison.")


class MetricTable(BaseModel):
    """The metrics of each group, and of all together."""

    items: list[MetricRow]
    groups: int = Field(description="Groups in all; limit says how many are shown.")
    sort: str = Field(description="The order of the groups in words: sorted by bug_count, highest first.")
    tied: int = Field(
        description="Groups left out by limit that have the value by which the last one shown is sorted."
    )
    totals: dict[str, int | float | str | None]
    period: Range
    previous: Range | None = None
    time: Time
    time_zone: str
    scope: str
    filters: dict[str, str]
    definitions: dict[str, str]
    chart: Chart
    as_of: datetime | None
    notes: list[str] = Field(default=[], description="What else to know, such as a filter that nothing matches.")


def scope_of(question: Question) -> str:
    """Which tests count, in words."""
    named = question.values_of("test_status")
    tests = f"tests that are {', '.join(map(str, named))}" if named else RAN_IN_WORDS
    if question.test_ids:
        tests += "; only the named tests"
    if question.exclude_test_ids:
        tests += f"; without {len(question.exclude_test_ids)} excluded"
    return tests


@operation(
    "/metrics",
    command="metrics",
    toolset="numbers",
    needs=("features", "tests", "bugs", "executions"),
    examples=(
        {"metrics": ["bug_count", "rejection_rate"], "by": ["product"]},
        {"metrics": ["test_count", "bugs_per_test"], "by": ["month"], "filters": ["severity=critical"]},
    ),
)
def query_metrics(
    conn: Connection,
    settings: Settings,
    metrics: Annotated[list[MetricName], AsList, Field(description="What to count.")],
    by: Annotated[list[DimensionName], AsList, Field(description="Up to 3, one of them time.")] = [],  # noqa: B006
    filters: Annotated[
        list[str],
        AsList,
        Field(description="name=value,value with the names of by but no time: product=12, severity=critical."),
    ] = [],  # noqa: B006
    period: Annotated[str, Field(description="last 30 days, this quarter, YTD, 2026-Q3, 2026-W41.")] = "",
    time: Annotated[Time, Field(description="By end of test, or by report of bug.")] = "end",
    compare: Annotated[bool, Field(description="Also the previous period: _before, _change, _verdict.")] = False,
    sort: Annotated[
        str, Field(description="A name of metrics or by: -bug_count highest first, bug_count lowest.")
    ] = "",
    limit: Annotated[int, Field(ge=1, le=1000, description="Groups shown, 1 to 1000.")] = 50,
    show_tests: Annotated[bool, Field(description="Ids of up to 10 tests per group.")] = False,
    test_ids: Annotated[Ids, Field(description="Only these tests.")] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, Field(description="Without these tests.")] = [],  # noqa: B006
) -> MetricTable:
    """Count and rate tests, bugs and executions by any dimension and period, with totals and definitions.

    Sorted by the first metric, highest first, or by time. custom_report adds up custom
    fields.
    """
    return _answer(conn, settings, locals())


def _answer(conn: Connection, settings: Settings, asked: Mapping[str, Any]) -> MetricTable:
    """The answer to the arguments of `query_metrics`."""
    today = today_in(settings.zone, datetime.now(UTC))
    days = period_of(asked["period"] or ALL_TIME, today, settings.fiscal_year_starts)
    before = None
    if asked["compare"]:
        days, before = compared_periods(conn, settings, days)
    said = ("metrics", "by", "filters", "time", "test_ids", "exclude_test_ids")
    question = question_of(conn, period=days, zone=settings.zone, **{name: asked[name] for name in said})
    if len(question.by) > MOST_DIMENSIONS:
        raise BadInput(f"by: at most {MOST_DIMENSIONS} dimensions.", "Ask for the others on their own.")
    order = _order(question, asked["sort"])
    found = measure(conn, question)
    compared = compare_with(conn, question, found, before) if before else None
    rows = compared.rows if compared else filled(question, found)
    every = _sorted(conn, question, rows, order)
    keys = every[: asked["limit"]]
    tied = _tied(question, rows, order, every, len(keys))
    shown = _build_rows(conn, question, rows, keys, compared.columns if compared else {})
    if asked["show_tests"]:
        for row, key in zip(shown, keys, strict=True):
            row.root["test_ids"] = newest_tests(conn, question, key)
    return MetricTable(
        items=shown,
        groups=len(rows),
        sort=f"sorted by {order.name}, {order.in_words}",
        tied=tied,
        totals=found.total | (compared.totals if compared else {}),
        period=range_of(days, asked["period"]),
        previous=range_of(before) if before else None,
        time=question.time,
        time_zone=settings.zone.key,
        scope=scope_of(question),
        filters=said_filters(asked["filters"], question.metrics),
        definitions={name: METRICS[name].definition for name in question.metrics}
        | {name: DIMENSIONS[name].definition for name in question.by},
        chart=_chart(question, len(rows)),
        notes=[
            *_say_periods(days, before),
            *_readings(question, asked),
            *_note_of_tie(order, len(keys), tied),
            *say_unfilled(question, found),
            *say_unmatched(conn, question, found.total),
        ],
        as_of=counted_as_of(conn),
    )


def _say_periods(days: Period, before: Period | None) -> list[str]:
    return [f"{days.in_words()} against {before.in_words()}."] if before else []


def range_of(period: Period, said: str = "") -> Range:
    """A period as an answer tells it."""
    return Range(
        words=said or str(period),
        first=period.first,
        last=period.last,
        days=period.days,
        is_to_date=period.is_to_date,
    )


def said_filters(filters: Iterable[str], metrics: Iterable[str] = ()) -> dict[str, str]:
    """Filters as an answer repeats them, each under the name of its dimension."""
    found: dict[str, list[str]] = {}
    for name, values in named_filters(filters, metrics):
        found.setdefault(name, []).append(values.strip())
    return {name: ", ".join(values) for name, values in found.items()}


def _readings(question: Question, asked: Mapping[str, Any]) -> list[str]:
    """Which status was meant by a name that leaves it open."""
    names = [*asked["by"], *(part.partition("=")[0] for part in asked["filters"] if "=" in part)]
    if not any(map(is_status, names)):
        return []
    return [f"status was read as {dimension_named('status', question.metrics).name}."]


def day_of_data(conn: Connection, settings: Settings) -> date:
    """The day up to which there is data, in the account's time zone; today before the first complete sync."""
    return today_in(settings.zone, counted_as_of(conn) or datetime.now(UTC))


def compared_periods(conn: Connection, settings: Settings, days: Period) -> tuple[Period, Period]:
    """The days of a period up to the day of the data, and the period to compare them with.

    Raises `BadInput` where there is none.
    """
    as_of = day_of_data(conn, settings)
    if found := with_previous(days, as_of):
        return found
    if days.first and days.first > as_of:
        raise BadInput(f"period: it begins after the data ends ({as_of}).", "Compare an earlier period.")
    raise BadInput("period: this one has no previous one.", "Name a period with a first and a last day.")


@dataclass(frozen=True)
class _Order:
    """How groups are sorted: by which of their columns, and whether what is highest, or newest, comes first."""

    name: str
    is_descending: bool

    @property
    def in_words(self) -> str:
        """What comes first."""
        upwards, downwards = _DIRECTIONS.get(self.name, ("A to Z", "Z to A"))
        if self.name in METRICS:
            upwards, downwards = "lowest first", "highest first"
        elif DIMENSIONS[self.name].is_time:
            upwards, downwards = "oldest first", "newest first"
        return downwards if self.is_descending else upwards


_DIRECTIONS = {
    "severity": ("lowest first", "highest first"),
    "known": ("false first", "true first"),
    **dict.fromkeys(("bug_status", "test_status", "kind"), ("in their usual order", "in reverse order")),
}


def _order(question: Question, sort: str) -> _Order:
    """The order asked for; else by time if there is one, else the highest of the first metric first.

    Raises `BadInput` for a column that the answer does not have.
    """
    said = sort.strip().lstrip("-")
    if not said:
        return _Order(question.unit, is_descending=False) if question.unit else _Order(question.metrics[0], True)
    known = {squeezed(name): name for name in (*question.metrics, *question.by)}
    if is_status(said):
        known[squeezed(said)] = next((name for name in question.by if name.endswith("_status")), "")
    name = known.get(squeezed(said))
    if not name:
        raise unknown_name("column to sort by", said, known.values())
    return _Order(name, is_descending=sort.strip().startswith("-"))


def _sorted(
    conn: Connection, question: Question, rows: Mapping[tuple[Key, ...], Any], order: _Order
) -> list[tuple[Key, ...]]:
    """The keys in the order asked for; what has no value comes last."""
    keys = sorted(rows, key=lambda key: tuple((part is None, _rank(part)) for part in key))
    if order.name in METRICS:
        keys.sort(key=lambda key: rows[key][order.name] or 0, reverse=order.is_descending)
        keys.sort(key=lambda key: rows[key][order.name] is None)
        return keys
    place = question.by.index(order.name)
    rank = _rank_of(conn, order.name, {key[place] for key in keys if key[place] is not None})
    keys.sort(key=lambda key: rank(key[place]), reverse=order.is_descending)
    keys.sort(key=lambda key: key[place] is None)
    return keys


def _rank_of(conn: Connection, name: str, values: set[Key]) -> Callable[[Key], Any]:
    """What the values of a dimension are ordered by: records by their names."""
    if name in HAS_ID:
        names = titles(conn, name, values)
        return lambda value: (names.get(value, "").casefold() if isinstance(value, int) else "", value or 0)
    if name == "severity":  # critical is the highest
        return lambda value: (-_rank(value)[0], str(value))
    return _rank


def _rank(value: Key) -> tuple[int, str]:
    """What a value is ordered by: words of the domain in their order."""
    if isinstance(value, int):
        return 0, f"{value:020d}"
    return (figures.rank(value) if isinstance(value, str) else 0), str(value)


def _tied(
    question: Question,
    rows: Mapping[tuple[Key, ...], dict[str, Value]],
    order: _Order,
    keys: Sequence[tuple[Key, ...]],
    shown: int,
) -> int:
    """How many of the groups after those shown have the value by which the last one shown is sorted."""

    def value(key: tuple[Key, ...]) -> Key | Value:
        return rows[key][order.name] if order.name in METRICS else key[question.by.index(order.name)]

    if not 0 < shown < len(keys) or value(keys[shown - 1]) is None:
        return 0
    last = value(keys[shown - 1])
    return next((place for place, key in enumerate(keys[shown:]) if value(key) != last), len(keys) - shown)


def _note_of_tie(order: _Order, shown: int, tied: int) -> list[str]:
    if not tied:
        return []
    others = _ordinal(shown + 1) + (f" to {_ordinal(shown + tied)} have" if tied > 1 else " has")
    return [f"The {others} the same {order.name} as the {_ordinal(shown)}, the last one shown."]


def _ordinal(number: int) -> str:
    """A number as a place: 1st, 2nd, 3rd, 4th.

    >>> [_ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 112)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '112th']
    """
    is_teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if is_teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _build_rows(
    conn: Connection,
    question: Question,
    rows: Mapping[tuple[Key, ...], dict[str, Value]],
    keys: Sequence[tuple[Key, ...]],
    columns: Mapping[tuple[Key, ...], Columns],
) -> list[MetricRow]:
    named = {
        name: titles(conn, name, {key[place] for key in keys if key[place] is not None})
        for place, name in enumerate(question.by)
        if name in HAS_ID
    }
    shown = []
    for key in keys:
        row: dict[str, Any] = {}
        for name, value in zip(question.by, key, strict=True):
            row |= _named(question, name, value, named.get(name, {}))
        shown.append(MetricRow(row | rows[key] | columns.get(key, {})))
    return shown


def _named(question: Question, name: str, value: Key, known: Mapping[int, str]) -> dict[str, Any]:
    if name in HAS_ID:
        return {name: known.get(value) if isinstance(value, int) else None, f"{name}_id": value}
    if isinstance(value, date):
        stretch = stretch_of(question, value)
        days = {name: stretch.label, "first": str(stretch.first), "last": str(stretch.last)}
        return days | ({"is_partial": True} if stretch.is_partial else {})
    if name in TIMES and isinstance(value, str):  # a bucket that only the period before has
        return {name: None, "first": None, "last": None}
    return {name: value}


def _chart(question: Question, groups: int) -> Chart:
    """What shows the answer best."""
    if not question.by or groups <= 1:
        return "number"
    if len(question.by) == 1:
        return "line" if question.unit else "bar"
    return "stacked bar" if len(question.by) == 2 and len(question.metrics) == 1 else "table"
