"""What a number means by itself (health) and against another of its kind (direction)."""

from collections.abc import Mapping
from typing import Literal

from testio_mcp.domain import Direction, Ratio, format_share, is_clear_count_change, is_clear_rate_change
from testio_mcp.operations.metrics.definitions import METRICS, Counts, Value
from testio_mcp.rules import HEALTH as THRESHOLDS
from testio_mcp.rules import Rules, is_worse_high

__all__ = [
    "BETTER_WHEN",
    "THRESHOLDS",
    "Direction",
    "Health",
    "direction_of",
    "format_value",
    "health_of",
    "ratio_of",
    "rule_in_words",
]

Health = Literal["good", "warning", "critical"]
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


def health_of(
    name: str, value: float | None, thresholds: Rules = THRESHOLDS, ratio: Ratio | None = None
) -> Health | None:
    """What a metric's value means; None where nothing or too little was measured, or where the metric has no limits.

    `thresholds` are those of the settings (`settings.health`). A value that is exactly a limit is beyond it. `ratio`
    is what the value is made of: a rate over fewer than five bugs is neither good nor bad.
    """
    if value is None or name not in thresholds or (ratio is not None and ratio.is_of_few):
        return None
    mild, hard = (limit is not None and _is_beyond(name, value, limit) for limit in thresholds[name])
    if hard:
        return "critical"
    return "warning" if mild else "good"


def ratio_of(name: str, counts: Counts) -> Ratio | None:
    """What a share is made of; None for other metrics."""
    ratio = METRICS[name].ratio
    return ratio(counts) if ratio else None


def direction_of(name: str, before: Counts, after: Counts) -> Direction | None:
    """What the change of a metric means; None where a side has no value, and for means, which are not judged.

    A change is told only where it is more than chance would do: of a share by its part and whole on both sides, of a
    count by its size.
    """
    metric = METRICS[name]
    old, new = metric.value(before), metric.value(after)
    if old is None or new is None or metric.unit == "number":
        return None
    if old == new:
        return "same"
    if not _is_clear(name, before, after):
        return "no clear change"
    way: Direction = "higher" if new > old else "lower"
    if name not in BETTER_WHEN:
        return way
    return "better" if way == BETTER_WHEN[name] else "worse"


def _is_clear(name: str, before: Counts, after: Counts) -> bool:
    metric = METRICS[name]
    if metric.ratio:
        return is_clear_rate_change(*metric.ratio(before), *metric.ratio(after))
    old, new = (metric.value(side) or 0 for side in (before, after))
    return is_clear_count_change(old / metric.most, new / metric.most)


def format_value(value: Value, name: str, ratio: Ratio | None = None) -> str:
    """A metric's value in a sentence: a share over few as `2 of 3`."""
    if value is None:
        return "nothing"
    if METRICS[name].unit == "share":
        return str(ratio) if ratio is not None and ratio.is_of_few else format_share(value)
    return f"{value:,.0f}" if METRICS[name].unit == "count" else f"{value:,.2f}"


def rule_in_words(name: str, thresholds: Rules = THRESHOLDS) -> str:
    """The limits of a metric as a sentence; empty for a metric without limits."""
    if name not in thresholds:
        return ""
    mild, hard = (f"{100 * (limit or 0):g} %" for limit in thresholds[name])
    side = "or more" if is_worse_high(name) else "or less"
    return f"{METRICS[name].label}: warning at {mild} {side}, critical at {hard} {side}."


def _is_beyond(name: str, value: float, limit: float) -> bool:
    return value >= limit if is_worse_high(name) else value <= limit
