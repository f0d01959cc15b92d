"""Two periods, two products, or two tests or sets of tests, side by side."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, bindparam, select

from testio_mcp.database.dialect import among, fetch
from testio_mcp.database.tables import Test, table_of
from testio_mcp.domain import Ratio, format_share, is_clear_rate_change
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations import figures
from testio_mcp.operations.arguments import AsList, Ids
from testio_mcp.operations.metrics.definitions import DIMENSIONS, METRICS, Unit, Value
from testio_mcp.operations.metrics.engine import Key, Measured, measure
from testio_mcp.operations.metrics.health import Direction, Health, direction_of, format_value, health_of, ratio_of
from testio_mcp.operations.metrics.periods import ALL_TIME, Period, cut_alike, period_of, today_in
from testio_mcp.operations.metrics.query import (
    compared_periods,
    counted_as_of,
    day_of_data,
    said_filters,
    scope_of,
)
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.reading import question_of, read_filters, titles
from testio_mcp.operations.registry import operation
from testio_mcp.reports.links import Link, link
from testio_mcp.settings import Settings

Way = Literal["periods", "products", "tests"]
Mix = Literal["severity", "kind", "bug_status"]
Groups = Mapping[tuple[Key, ...], Mapping[str, Value]]

MOST_TELLING = (
    *("test_count", "bug_count", "bugs_per_test", "bug_severity_score"),
    *figures.Rates.model_fields,
    *("pass_rate", "story_coverage", "active_testers", "features_tested"),
)
"""What is compared unless metrics are named."""
_MIXES: tuple[Mix, ...] = ("severity", "kind", "bug_status")
_WORTH_SAYING = 0.05
_ALIKE = 0.1
"""The part by which the lengths of two periods may differ for their counts to be compared."""
_GROWING = frozenset({"story_coverage"})
"""Shares that grow with the length of a period, as counts do."""
_STEP = (
    "Name two product_ids, two test_ids, left_test_ids and right_test_ids, or a period with or without with_period."
)
_test = table_of(Test).c
_tests: Select[Any] = select(_test.id, _test.product_id).where(
    among(_test.id, bindparam("ids")), _test.gone_at.is_(None)
)


class _Request(NamedTuple):
    """What was asked for, as the arguments of the operation have it."""

    product_ids: Sequence[int]
    test_ids: Sequence[int]
    left_test_ids: Sequence[int]
    right_test_ids: Sequence[int]
    period: str
    with_period: str


class _Chosen(NamedTuple):
    """One side: its name, its days, the products it is limited to, and the tests it consists of."""

    name: str
    period: Period
    product_ids: tuple[int, ...] = ()
    test_ids: tuple[int, ...] = ()

    @property
    def filters(self) -> list[str]:
        """The limit to products as a filter."""
        return [f"product={','.join(map(str, self.product_ids))}"] if self.product_ids else []


class Side(BaseModel):
    """What stands on one side."""

    name: str
    first: date | None = Field(description="First day, in the account's time zone; null: open.")
    last: date | None
    days: int | None = Field(description="How many; null with an open end.")
    is_to_date: bool = Field(description="Whether the rest of the period was left out: cut for a fair comparison.")
    filters: dict[str, str]
    link: Link = Field(description="The question that gives the metrics of this side.")


class MetricPair(BaseModel):
    """One metric on both sides."""

    name: str
    label: str
    unit: Unit
    left: float | int | None
    right: float | int | None
    change: float | int | None = Field(description="Right less left; null where one of them is.")
    direction: Direction | None = Field(
        description="Right against left, where it is more than chance would do. Volumes are higher or lower, neither "
        "better nor worse; null where a side has no value or cannot be compared."
    )
    left_health: Health | None = Field(description="Only of rates that have thresholds, over 5 bugs or more.")
    right_health: Health | None
    left_part: int | None = Field(default=None, description="Of a share, what it is made of: so many ...")
    left_whole: int | None = Field(default=None, description="... of so many.")
    right_part: int | None = None
    right_whole: int | None = None
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
    is_clear: bool = Field(description="Whether the shares differ by more than chance would do.")


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
    Changes are those from left to right; a period that still runs is compared with the same days of the one before.
    query_metrics splits every number further.
    """
    today = today_in(settings.zone, datetime.now(UTC))
    request = _Request(product_ids, test_ids, left_test_ids, right_test_ids, period, with_period)
    way, *both = _sides_of(conn, settings, request, today)
    names = metrics or _that_take(conn, [*filters, *both[0].filters])
    left, right = (_question(conn, settings, side, filters, names) for side in both)
    before, after = measure(conn, left), measure(conn, right)
    is_alike = _is_as_long(both[0].period, both[1].period)
    pairs = [_pair(name, before, after, settings, is_alike) for name in left.metrics]
    mixes = _mixes(conn, left, right)
    days = [f"{side}: {each.period.in_words()}." for side, each in zip(("Left", "Right"), both, strict=True)]
    unlike = (
        []
        if is_alike
        else ["The sides are not equally long: compare their rates, not their counts or story coverage."]
    )
    return Comparison(
        compared=way,
        left=_side(both[0], filters, left.metrics),
        right=_side(both[1], filters, right.metrics),
        summary=[*(days if way == "periods" else []), *unlike, *_summary(pairs), *_shifted(mixes)],
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
    conn: Connection, settings: Settings, side: _Chosen, filters: Sequence[str], metrics: Sequence[str]
) -> Question:
    said = [*filters, *side.filters]
    if side.filters and any(part.split("=")[0].strip().lower() == "product" for part in filters):
        raise BadInput("filters: the products are named already.", "Leave product out of filters.")
    return question_of(
        conn, metrics=metrics, filters=said, period=side.period, zone=settings.zone, test_ids=side.test_ids
    )


def _side(side: _Chosen, filters: Sequence[str], metrics: Sequence[str]) -> Side:
    written = [*filters, *side.filters]
    period = str(side.period) if side.period.first or side.period.last else ""
    return Side(
        name=side.name,
        first=side.period.first,
        last=side.period.last,
        days=side.period.days,
        is_to_date=side.period.is_to_date,
        filters=said_filters(written),
        link=link(
            "query_metrics", metrics=list(metrics), filters=written, period=period, test_ids=list(side.test_ids)
        ),
    )


def _is_as_long(left: Period, right: Period) -> bool:
    """Whether counts of two periods can be compared: months and quarters are not all equally long, but nearly."""
    if left.days is None or right.days is None:
        return left[:2] == right[:2]
    return abs(left.days - right.days) <= _ALIKE * max(left.days, right.days) + 1


def _pair(name: str, left: Measured, right: Measured, settings: Settings, is_alike: bool) -> MetricPair:
    metric = METRICS[name]
    ratios = [ratio_of(name, side.total_counts) for side in (left, right)]
    values = [side.total[name] for side in (left, right)]
    is_comparable = is_alike or (metric.unit == "share" and name not in _GROWING)
    return MetricPair(
        name=name,
        label=metric.label,
        unit=metric.unit,
        left=values[0],
        right=values[1],
        change=_change(*values),
        direction=direction_of(name, left.total_counts, right.total_counts) if is_comparable else None,
        left_health=health_of(name, values[0], settings.health, ratios[0]),
        right_health=health_of(name, values[1], settings.health, ratios[1]),
        **{
            f"{side}_{field}": getattr(ratio, field)
            for side, ratio in zip(("left", "right"), ratios, strict=True)
            for field in (Ratio._fields if ratio else ())
        },
        definition=metric.definition,
    )


def _change(left: Value, right: Value) -> Value:
    return None if left is None or right is None else round(right - left, 4)


def _mixes(conn: Connection, left: Question, right: Question) -> list[MixPair]:
    """What the bugs of both sides are made of; nothing where the filters do not choose bugs."""
    if not all("bugs" in each.facts for each in left.dimensions):
        return []
    before, after = _bugs(conn, left), _bugs(conn, right)
    found = []
    for place, mix in enumerate(_MIXES):
        old, new = _by_word(before, place), _by_word(after, place)
        for word in sorted(old.keys() | new.keys(), key=lambda word: (figures.rank(word), word)):
            ratios = [Ratio(side[word], side.total()) for side in (old, new)]
            found.append(
                MixPair(
                    mix=mix,
                    value=word,
                    left=old[word],
                    right=new[word],
                    left_share=ratios[0].share,
                    right_share=ratios[1].share,
                    change=_change(ratios[0].share, ratios[1].share),
                    is_clear=is_clear_rate_change(*ratios[0], *ratios[1]),
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


def _summary(pairs: Sequence[MetricPair]) -> list[str]:
    return [_in_all(pairs), *_judged(pairs), *_volumes(pairs), *_few(pairs), *_unmeasured(pairs)]


def _in_all(pairs: Sequence[MetricPair]) -> str:
    counts = Counter(pair.direction for pair in pairs if pair.change is not None)
    counted = {
        "better": counts["better"],
        "worse": counts["worse"],
        "without a clear change": counts["no clear change"],
        "the same": counts["same"],
        "neither better nor worse": counts["higher"] + counts["lower"] + counts[None],
    }
    words = [f"{number} {word}" for word, number in counted.items() if number]
    return f"Right against left, of {len(pairs)} metrics: {', '.join(words) or 'none can be compared'}."


def _judged(pairs: Sequence[MetricPair]) -> list[str]:
    """What got better or worse, the largest changes first."""
    found = [pair for pair in pairs if pair.direction in ("better", "worse")]
    found.sort(key=lambda pair: -abs(pair.change or 0))
    return [f"{_both(pair)}, {pair.direction}{_health(pair)}." for pair in found]


def _volumes(pairs: Sequence[MetricPair]) -> list[str]:
    """What there is clearly more or less of."""
    found = [f"{_both(pair)} ({pair.direction})" for pair in pairs if pair.direction in ("higher", "lower")]
    return [f"Changed, neither better nor worse: {'; '.join(found)}."] if found else []


def _few(pairs: Sequence[MetricPair]) -> list[str]:
    """The rates that are shown by their numbers."""
    found = [_both(pair) for pair in pairs if pair.change is not None and any(_ratio_is_of_few(pair))]
    return [f"Too few to judge: {'; '.join(found)}."] if found else []


def _ratio_is_of_few(pair: MetricPair) -> list[bool]:
    return [ratio is not None and ratio.is_of_few for ratio in _ratios(pair)]


def _ratios(pair: MetricPair) -> list[Ratio | None]:
    ratios = ((pair.left_part, pair.left_whole), (pair.right_part, pair.right_whole))
    return [None if part is None or whole is None else Ratio(part, whole) for part, whole in ratios]


def _both(pair: MetricPair) -> str:
    left, right = _ratios(pair)
    return f"{pair.label}: {format_value(pair.left, pair.name, left)} to {format_value(pair.right, pair.name, right)}"


def _health(pair: MetricPair) -> str:
    if pair.right_health == pair.left_health:
        return f" ({pair.right_health} on both sides)" if pair.right_health in ("warning", "critical") else ""
    return f" ({pair.left_health} on the left, {pair.right_health} on the right)"


def _unmeasured(pairs: Sequence[MetricPair]) -> list[str]:
    sides = {"left": [p.label for p in pairs if p.left is None], "right": [p.label for p in pairs if p.right is None]}
    return [f"Nothing to measure on the {side}: {', '.join(labels)}." for side, labels in sides.items() if labels]


def _shifted(mixes: Sequence[MixPair]) -> list[str]:
    """The largest shift of each mix, if it is clear and worth a word."""
    largest: dict[Mix, MixPair] = {}
    for pair in sorted(mixes, key=lambda pair: -abs(pair.change or 0)):
        if pair.is_clear and abs(pair.change or 0) >= _WORTH_SAYING:
            largest.setdefault(pair.mix, pair)
    return [
        f"Bugs by {DIMENSIONS[mix].label.lower()}, largest shift: {largest[mix].value} "
        f"{format_share(largest[mix].left_share)} to {format_share(largest[mix].right_share)}."
        for mix in _MIXES
        if mix in largest
    ]


def _sides_of(conn: Connection, settings: Settings, request: _Request, today: date) -> tuple[Way, _Chosen, _Chosen]:
    """What to compare, and the two sides.

    Raises `BadInput` for arguments that do not go together, `NotFound` for an id that is not in the store.
    """
    has_tests = bool(request.test_ids or request.left_test_ids or request.right_test_ids)
    ways = {"tests": has_tests, "products": len(request.product_ids) > 1, "periods": bool(request.with_period)}
    chosen = [way for way, is_meant in ways.items() if is_meant]
    if len(chosen) > 1 or (has_tests and request.product_ids):
        words = " and ".join(chosen if len(chosen) > 1 else ["tests", "products"])
        raise BadInput(f"{words.capitalize()} cannot be compared at once.", _STEP)
    if has_tests:
        return "tests", *_tests_of(conn, settings, request, today)
    if chosen == ["products"]:
        return "products", *_products_of(conn, settings, request, today)
    return "periods", *_periods_of(conn, settings, request, today)


def _tests_of(conn: Connection, settings: Settings, request: _Request, today: date) -> tuple[_Chosen, _Chosen]:
    left, right = _ids_of(request)
    if both := set(left) & set(right):
        raise BadInput(f"Test {min(both)} is on both sides.", "Leave it out of one of them.")
    products = {row[0]: row[1] for row in fetch(conn, _tests, {"ids": f"[{_joined((*left, *right))}]"})}
    for test_id in (*left, *right):
        if test_id not in products:
            raise NotFound(f"Test {test_id} is not in the store.", "list_tests shows the ids.")
    days = period_of(request.period or ALL_TIME, today, settings.fiscal_year_starts)

    def side(ids: tuple[int, ...]) -> _Chosen:
        # The products are named because the stories to cover are theirs.
        owners = tuple(sorted({products[test_id] for test_id in ids}))
        return _Chosen(f"test{'s' * (len(ids) > 1)} {_joined(ids, ', ')}", days, owners, ids)

    return side(left), side(right)


def _ids_of(request: _Request) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tests of each side."""
    named, left, right = (tuple(dict.fromkeys(ids)) for ids in request[1:4])
    if named and (left or right):
        raise BadInput("test_ids does not go with left_test_ids or right_test_ids.", _STEP)
    if named and len(named) != 2:
        raise BadInput(f"test_ids: two are compared, not {len(named)}.", "Use left_test_ids and right_test_ids.")
    if not named and not (left and right):
        missing = "right_test_ids" if left else "left_test_ids"
        raise BadInput(f"{missing}: there is nothing to compare with.", "Name the tests of both sides.")
    return (named[:1], named[1:]) if named else (left, right)


def _products_of(conn: Connection, settings: Settings, request: _Request, today: date) -> tuple[_Chosen, _Chosen]:
    ids = tuple(dict.fromkeys(request.product_ids))
    if len(ids) != 2:
        many = len(ids) > 2
        step = "query_metrics with by=product shows more of them." if many else "Name two different products."
        raise BadInput(f"product_ids: two are compared, not {len(ids)}.", step)
    names = _names(conn, ids)
    days = period_of(request.period or ALL_TIME, today, settings.fiscal_year_starts)
    left, right = (_Chosen(f"{names[each]} ({each})", days, (each,)) for each in ids)
    return left, right


def _periods_of(conn: Connection, settings: Settings, request: _Request, today: date) -> tuple[_Chosen, _Chosen]:
    if not request.period:
        raise BadInput("There is nothing to compare with.", _STEP)
    days = period_of(request.period, today, settings.fiscal_year_starts)
    ids = tuple(request.product_ids)
    if request.with_period:
        other = period_of(request.with_period, today, settings.fiscal_year_starts)
        days, before = _alike(days, other, day_of_data(conn, settings))
        if before[:2] == days[:2]:
            raise BadInput(
                "period and with_period are the same days.", "Leave with_period out for the period before."
            )
    else:
        days, before = compared_periods(conn, settings, days)
    _names(conn, ids)
    return _Chosen(request.with_period or f"the period before: {before}", before, ids), _Chosen(
        request.period, days, ids
    )


def _alike(period: Period, other: Period, as_of: date) -> tuple[Period, Period]:
    """Two periods up to the day of the data; of units of the same length, both to date where one of them is."""
    period, other = period.cut_after(as_of), other.cut_after(as_of)
    return cut_alike(other, period), cut_alike(period, other)


def _names(conn: Connection, ids: Iterable[int]) -> dict[int, str]:
    found = titles(conn, "product", ids)
    for product_id in ids:
        if product_id not in found:
            raise NotFound(f"Product {product_id} is not in the store.", "list_products shows the ids.")
    return found


def _joined(ids: Iterable[int], sign: str = ",") -> str:
    return sign.join(map(str, ids))
