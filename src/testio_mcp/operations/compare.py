"""Two periods, two products, or two tests or sets of tests, side by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Connection

from testio_mcp.errors import BadInput
from testio_mcp.operations import figures
from testio_mcp.operations.arguments import AsList, Ids
from testio_mcp.operations.health import Health, health_of
from testio_mcp.operations.metrics.engine import Key, measure
from testio_mcp.operations.metrics.query import counted_as_of, said_filters, scope_of
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.reading import question_of, read_filters
from testio_mcp.operations.metrics.words import DIMENSIONS, METRICS, Unit, Value
from testio_mcp.operations.periods import today_in
from testio_mcp.operations.registry import operation
from testio_mcp.operations.sides import Asked, SideOf, Way, sides_of
from testio_mcp.settings import Settings

Direction = Literal["better", "worse", "same", "neutral"]
Mix = Literal["severity", "kind", "bug_status"]
Groups = Mapping[tuple[Key, ...], Mapping[str, Value]]

MOST_TELLING = (
    *("test_count", "bug_count", "bugs_per_test", "bug_severity_score"),
    *figures.Rates.model_fields,
    *("pass_rate", "story_coverage", "active_testers", "features_tested"),
)
"""What is compared unless metrics are named."""
BETTER_WHEN: Mapping[str, Literal["higher", "lower"]] = {
    "active_acceptance_rate": "higher",
    "auto_acceptance_rate": "lower",
    "overall_acceptance_rate": "higher",
    "rejection_rate": "lower",
    "review_rate": "higher",
    "pass_rate": "higher",
    "story_coverage": "higher",
}
"""Which way a metric gets better; volumes, and what testers find, are neither good nor bad by themselves."""
_MIXES: tuple[Mix, ...] = ("severity", "kind", "bug_status")
_WORTH_SAYING = 0.05


class Side(BaseModel):
    """What stands on one side."""

    name: str
    first: date | None = Field(description="First day, in the account's time zone; null: open.")
    last: date | None
    filters: dict[str, str]


class MetricPair(BaseModel):
    """One metric on both sides."""

    name: str
    label: str
    unit: Unit
    left: float | int | None
    right: float | int | None
    change: float | int | None = Field(description="Right less left; null where one of them is.")
    direction: Direction = Field(description="How right stands against left.")
    left_health: Health | None = Field(description="Only of rates that have thresholds.")
    right_health: Health | None
    definition: str


class MixPair(BaseModel):
    """How many bugs have a word, on both sides, and which share of all bugs that is."""

    mix: Mix
    value: str
    left: int
    right: int
    left_share: float | None
    right_share: float | None
    change: float | None = Field(description="Of the shares, in points from -1 to 1.")


class Comparison(BaseModel):
    """Left and right, metric by metric, and what the bugs are made of."""

    compared: Way
    left: Side
    right: Side
    summary: list[str]
    metrics: list[MetricPair]
    mixes: list[MixPair]
    not_compared: list[str] = Field(description="Telling metrics that cannot be filtered like this.")
    scope: str
    time_zone: str
    as_of: datetime | None


@operation(
    "/compare",
    command="compare",
    toolset="numbers",
    needs=("features", "tests", "bugs", "executions"),
    examples=(
        {"period": "last 30 days"},
        {
            "product_ids": [1],
            "period": "this year",
            "with_period": "last year",
            "filters": ["severity=critical,high"],
        },
    ),
    by_default=False,
)
def compare_quality(
    conn: Connection,
    settings: Settings,
    product_ids: Annotated[
        Ids, Field(description="Two products to compare, or one whose periods are; list_products shows the ids.")
    ] = [],  # noqa: B006
    test_ids: Annotated[Ids, Field(description="Two tests to compare; list_tests shows the ids.")] = [],  # noqa: B006
    left_test_ids: Annotated[Ids, Field(description="Several tests, to compare with right_test_ids.")] = [],  # noqa: B006
    right_test_ids: Annotated[Ids, Field(description="Several tests, to compare with left_test_ids.")] = [],  # noqa: B006
    period: Annotated[
        str, Field(description="Right side: this quarter, 2026-10 ...; of products and tests, both sides.")
    ] = "",
    with_period: Annotated[str, Field(description="Left side; the period before when left out.")] = "",
    filters: Annotated[
        list[str], AsList, Field(description="dimension=value,value as in query_metrics: severity=critical.")
    ] = [],  # noqa: B006
    metrics: Annotated[
        list[str], AsList, Field(description="As in query_metrics; the most telling ones when left out.")
    ] = [],  # noqa: B006
) -> Comparison:
    """Compare two periods, two products, or two tests or sets of tests: what got better, and what worse.

    Say a period to compare it with the one before or with another; or name two products, or tests for both sides.
    Changes are those from left to right. query_metrics splits every number further.
    """
    today = today_in(settings.zone, datetime.now(UTC))
    asked = Asked(product_ids, test_ids, left_test_ids, right_test_ids, period, with_period)
    way, *both = sides_of(conn, asked, today)
    names = metrics or _that_take(conn, [*filters, *both[0].filters])
    left, right = (_question(conn, settings, side, filters, names) for side in both)
    before, after = measure(conn, left).total, measure(conn, right).total
    pairs = [_pair(name, before[name], after[name], settings) for name in left.metrics]
    mixes = _mixes(conn, left, right)
    return Comparison(
        compared=way,
        left=_side(both[0], filters),
        right=_side(both[1], filters),
        summary=[_in_all(pairs), *_judged(pairs), *_unmeasured(pairs), *_shifted(mixes)],
        metrics=pairs,
        mixes=mixes,
        not_compared=[] if metrics else [name for name in MOST_TELLING if name not in names],
        scope=scope_of(left),
        time_zone=settings.zone.key,
        as_of=counted_as_of(conn),
    )


def _that_take(conn: Connection, filters: Sequence[str]) -> list[str]:
    """The telling metrics that can be filtered like this."""
    named = [DIMENSIONS[name] for name, _ in read_filters(conn, filters)]
    found = [name for name in MOST_TELLING if all(each.facts.issuperset(METRICS[name].facts) for each in named)]
    if not found:
        raise BadInput("No metric can be filtered like this.", "metric_capabilities tells what goes together.")
    return found


def _question(
    conn: Connection, settings: Settings, side: SideOf, filters: Sequence[str], metrics: Sequence[str]
) -> Question:
    said = [*filters, *side.filters]
    if side.filters and any(part.split("=")[0].strip().lower() == "product" for part in filters):
        raise BadInput("filters: the products are named already.", "Leave product out of filters.")
    return question_of(
        conn, metrics=metrics, filters=said, period=side.period, zone=settings.zone, test_ids=side.test_ids
    )


def _side(side: SideOf, filters: Sequence[str]) -> Side:
    return Side(
        name=side.name,
        first=side.period.first,
        last=side.period.last,
        filters=said_filters([*filters, *side.filters]),
    )


def _pair(name: str, left: Value, right: Value, settings: Settings) -> MetricPair:
    change = _change(left, right)
    return MetricPair(
        name=name,
        label=METRICS[name].label,
        unit=METRICS[name].unit,
        left=left,
        right=right,
        change=change,
        direction=direction_of(name, change),
        left_health=health_of(name, left, settings.health),
        right_health=health_of(name, right, settings.health),
        definition=METRICS[name].definition,
    )


def _change(left: Value, right: Value) -> Value:
    return None if left is None or right is None else round(right - left, 4)


def direction_of(name: str, change: Value) -> Direction:
    """What a change of a metric means; nothing where it cannot be told, and where the metric is only a volume."""
    if change is None:
        return "neutral"
    if not change:
        return "same"
    if name not in BETTER_WHEN:
        return "neutral"
    return "better" if (change > 0) == (BETTER_WHEN[name] == "higher") else "worse"


def _mixes(conn: Connection, left: Question, right: Question) -> list[MixPair]:
    """What the bugs of both sides are made of; nothing where the filters do not choose bugs."""
    if not all("bugs" in each.facts for each in left.dimensions):
        return []
    before, after = _bugs(conn, left), _bugs(conn, right)
    found = []
    for place, mix in enumerate(_MIXES):
        old, new = _by_word(before, place), _by_word(after, place)
        for word in sorted(old.keys() | new.keys(), key=lambda word: (figures.rank(word), word)):
            shares = [figures.share(side.get(word, 0), sum(side.values())) for side in (old, new)]
            found.append(
                MixPair(
                    mix=mix,
                    value=word,
                    left=old.get(word, 0),
                    right=new.get(word, 0),
                    left_share=shares[0],
                    right_share=shares[1],
                    change=_change(*shares),
                )
            )
    return found


def _bugs(conn: Connection, question: Question) -> Groups:
    return measure(conn, replace(question, metrics=("bug_count",), by=_MIXES)).rows


def _by_word(groups: Groups, place: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for key, values in groups.items():
        found[str(key[place])] += int(values["bug_count"] or 0)
    return found


def _in_all(pairs: Sequence[MetricPair]) -> str:
    counts = Counter(pair.direction for pair in pairs if pair.change is not None)
    said = [f"{counts[word]} {word}" for word in ("better", "worse", "same") if counts[word]]
    rest = [f"{counts['neutral']} changed without being good or bad by itself"] if counts["neutral"] else []
    return f"Right against left, of {len(pairs)} metrics: {', '.join([*said, *rest]) or 'none can be compared'}."


def _judged(pairs: Sequence[MetricPair]) -> list[str]:
    """What got better or worse, the largest changes first."""
    found = [pair for pair in pairs if pair.direction in ("better", "worse")]
    found.sort(key=lambda pair: -abs(pair.change or 0))
    return [
        f"{pair.label}: {_said(pair.left, pair.unit)} to {_said(pair.right, pair.unit)}, {pair.direction}"
        f"{_health(pair)}."
        for pair in found
    ]


def _health(pair: MetricPair) -> str:
    if pair.right_health == pair.left_health:
        return f" ({pair.right_health} on both sides)" if pair.right_health in ("warning", "critical") else ""
    return f" ({pair.left_health} on the left, {pair.right_health} on the right)"


def _unmeasured(pairs: Sequence[MetricPair]) -> list[str]:
    sides = {"left": [p.label for p in pairs if p.left is None], "right": [p.label for p in pairs if p.right is None]}
    return [f"Nothing to measure on the {side}: {', '.join(labels)}." for side, labels in sides.items() if labels]


def _shifted(mixes: Sequence[MixPair]) -> list[str]:
    """The largest shift of each mix, if it is worth a word."""
    largest: dict[Mix, MixPair] = {}
    for pair in sorted(mixes, key=lambda pair: -abs(pair.change or 0)):
        if abs(pair.change or 0) >= _WORTH_SAYING:
            largest.setdefault(pair.mix, pair)
    return [
        f"Bugs by {DIMENSIONS[mix].label.lower()}, largest shift: {largest[mix].value} "
        f"{_said(largest[mix].left_share, 'share')} to {_said(largest[mix].right_share, 'share')}."
        for mix in _MIXES
        if mix in largest
    ]


def _said(value: Value, unit: Unit) -> str:
    if value is None:
        return "nothing"
    return f"{100 * value:.1f} %" if unit == "share" else f"{value:g}"
