"""Any metric by any dimension."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel
from sqlalchemy import Connection, Select, select

from testio_mcp.database.dialect import fetch
from testio_mcp.errors import BadInput
from testio_mcp.operations import figures
from testio_mcp.operations.arguments import AsList, Ids
from testio_mcp.operations.metrics import words
from testio_mcp.operations.metrics.behind import newest_tests
from testio_mcp.operations.metrics.engine import Key, measure
from testio_mcp.operations.metrics.filling import aligned, filled, unit_of
from testio_mcp.operations.metrics.questions import Question, Time
from testio_mcp.operations.metrics.reading import HAS_ID, in_period, question_of, titles
from testio_mcp.operations.metrics.spans import utc
from testio_mcp.operations.metrics.words import DIMENSIONS, METRICS, Value
from testio_mcp.operations.paging import as_of
from testio_mcp.operations.periods import Period, period_of, previous, today_in
from testio_mcp.operations.registry import operation
from testio_mcp.settings import Settings

MOST_DIMENSIONS = 3
Chart = Literal["number", "line", "bar", "stacked bar", "table"]
_as_of: Select[Any] = select(as_of("products", "features", "tests", "bugs", "executions"))


def counted_as_of(conn: Connection) -> datetime | None:
    """The moment up to which all that metrics count was read completely."""
    return utc(fetch(conn, _as_of, {})[0][0])


class MetricRow(RootModel[dict[str, int | float | str | bool | list[int] | None]]):
    """One group: its dimensions, then the metrics; dimensions with ids have both, times their first and last day."""


class Range(BaseModel):
    """Days in the account's time zone; null is an open end."""

    words: str
    first: date | None
    last: date | None


class MetricTable(BaseModel):
    """The metrics of each group, and of all together."""

    items: list[MetricRow]
    groups: int = Field(description="Groups in all; limit says how many are shown.")
    totals: dict[str, int | float | None]
    period: Range
    previous: Range | None = None
    time: Time
    time_zone: str
    scope: str
    filters: dict[str, str]
    definitions: dict[str, str]
    chart: Chart
    as_of: datetime | None


def scope_of(question: Question) -> str:
    """Which tests count, in words."""
    named = question.values_of("test_status")
    tests = f"tests that are {', '.join(map(str, named))}" if named else figures.SCOPE.removeprefix("bugs of ")
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
    metrics: Annotated[
        list[str], AsList, Field(description="Such as test_count, bug_count, review_rate, pass_rate.")
    ],
    by: Annotated[
        list[str],
        AsList,
        Field(description="Up to 3: product, feature, severity, tester, device, month ..."),
    ] = [],  # noqa: B006
    filters: Annotated[
        list[str], AsList, Field(description="dimension=value,value: product=12, severity=critical.")
    ] = [],  # noqa: B006
    period: Annotated[str, Field(description="last 30 days, this quarter, YTD, 2026-Q3, 2026-W41.")] = "",
    time: Annotated[Time, Field(description="By end of test, or by report of bug.")] = "end",
    compare: Annotated[bool, Field(description="Also the previous period: _before and _change.")] = False,
    sort: Annotated[str, Field(description="A metric or dimension; -name turns it round.")] = "",
    limit: Annotated[int, Field(ge=1, le=1000, description="Groups shown, 1 to 1000.")] = 50,
    show_tests: Annotated[bool, Field(description="Ids of up to 10 tests per group.")] = False,
    test_ids: Annotated[Ids, Field(description="Only these tests.")] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, Field(description="Without these tests.")] = [],  # noqa: B006
) -> MetricTable:
    """Count and rate tests, bugs and executions by any dimension and period, with totals and definitions.

    testio://metrics and metric_capabilities list all metrics and dimensions.
    """
    return _answer(conn, settings, locals())


def _answer(conn: Connection, settings: Settings, asked: Mapping[str, Any]) -> MetricTable:
    """The answer to the arguments of `query_metrics`."""
    if len(set(asked["by"])) > MOST_DIMENSIONS:
        raise BadInput(f"by: at most {MOST_DIMENSIONS} dimensions.", "Ask for the others on their own.")
    today = today_in(settings.zone, datetime.now(UTC))
    days = period_of(asked["period"], today)
    said = ("metrics", "by", "filters", "time", "test_ids", "exclude_test_ids")
    question = question_of(conn, period=days, zone=settings.zone, **{name: asked[name] for name in said})
    before = _previous(days, today) if asked["compare"] else None
    found = measure(conn, question)
    rows = filled(question, found.rows)
    old = measure(conn, in_period(question, before)) if before else None
    earlier = aligned(question, rows, filled(in_period(question, before), old.rows)) if old and before else None
    keys = _sorted(question, rows, asked["sort"])[: asked["limit"]]
    shown = _shown(conn, question, rows, keys, earlier)
    if asked["show_tests"]:
        for row, key in zip(shown, keys, strict=True):
            row.root["test_ids"] = newest_tests(conn, question, key)
    return MetricTable(
        items=shown,
        groups=len(rows),
        totals=found.total | _compared(found.total, old.total if old else None),
        period=range_of(days, asked["period"]),
        previous=range_of(before) if before else None,
        time=question.time,
        time_zone=settings.zone.key,
        scope=scope_of(question),
        filters=said_filters(asked["filters"]),
        definitions={name: METRICS[name].definition for name in question.metrics}
        | {name: DIMENSIONS[name].definition for name in question.by},
        chart=_chart(question, len(rows)),
        as_of=counted_as_of(conn),
    )


def range_of(period: Period, said: str = "") -> Range:
    """A period as an answer tells it."""
    return Range(words=said or str(period), first=period.first, last=period.last)


def said_filters(filters: Iterable[str]) -> dict[str, str]:
    """Filters as an answer repeats them."""
    found: dict[str, list[str]] = {}
    name = ""
    for part in filters:
        said, has_name, value = part.partition("=")
        name = said.strip().lower() if has_name else name
        found.setdefault(name, []).append((value if has_name else part).strip())
    return {name: ", ".join(values) for name, values in found.items()}


def _previous(days: Period, today: date) -> Period:
    before = previous(days, today)
    if before is None:
        raise BadInput("compare: this period has no previous one.", "Name a period with a first and a last day.")
    return before


def _sorted(question: Question, rows: Mapping[tuple[Key, ...], Any], sort: str) -> list[tuple[Key, ...]]:
    """The keys in the order asked for: by time if there is one, else the most of the first metric first."""
    name = sort.lstrip("-").strip() or question.unit or question.metrics[0]
    is_turned = sort.startswith("-")
    order = sorted(rows, key=lambda key: tuple((part is None, str(part)) for part in key))
    if name in question.by:
        place = question.by.index(name)
        order.sort(key=lambda key: (key[place] is None, _rank(key[place])), reverse=is_turned)
    elif name in question.metrics:
        numbers = {key: rows[key][name] for key in rows}
        order.sort(key=lambda key: (numbers[key] or 0) * (1 if is_turned else -1))
        order.sort(key=lambda key: numbers[key] is None)
    else:
        raise words.nearest("column to sort by", name, [*question.metrics, *question.by], "Sort by one of them.")
    return order


def _rank(value: Key) -> Any:
    """What a value is ordered by: words of the domain in their order."""
    place = figures.rank(value) if isinstance(value, str) else 0
    return (place, str(value)) if not isinstance(value, int) else (0, f"{value:020d}")


def _shown(
    conn: Connection,
    question: Question,
    rows: Mapping[tuple[Key, ...], dict[str, Value]],
    keys: Sequence[tuple[Key, ...]],
    old: Mapping[tuple[Key, ...], dict[str, Value]] | None,
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
            row |= _named(name, value, named.get(name, {}))
        values = rows[key]
        earlier = None if old is None else old.get(key, dict.fromkeys(question.metrics))
        shown.append(MetricRow(row | values | _compared(values, earlier)))
    return shown


def _named(name: str, value: Key, known: Mapping[int, str]) -> dict[str, Any]:
    if name in HAS_ID:
        return {name: known.get(value) if isinstance(value, int) else None, f"{name}_id": value}
    if isinstance(value, date):
        bucket = unit_of(name, value)
        return {name: bucket.label, "first": str(bucket.first), "last": str(bucket.last)}
    return {name: value}


def _compared(values: Mapping[str, Value], old: Mapping[str, Value] | None) -> dict[str, Value]:
    """The values of the previous period and what changed since, beside each metric."""
    if old is None:
        return {}
    found: dict[str, Value] = {}
    for name, value in values.items():
        before = old[name]
        found[f"{name}_before"] = before
        found[f"{name}_change"] = None if value is None or before is None else round(value - before, 4)
    return found


def _chart(question: Question, groups: int) -> Chart:
    """What shows the answer best."""
    if not question.by or groups <= 1:
        return "number"
    if len(question.by) == 1:
        return "line" if question.unit else "bar"
    return "stacked bar" if len(question.by) == 2 and len(question.metrics) == 1 else "table"
