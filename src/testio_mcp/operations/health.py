"""How healthy a rate is: good, a warning or critical."""

from typing import Literal

from testio_mcp.operations.metrics.words import METRICS
from testio_mcp.rules import HEALTH as THRESHOLDS
from testio_mcp.rules import Rules, is_worse_high

__all__ = ["THRESHOLDS", "Health", "health_of", "rule_in_words"]

Health = Literal["good", "warning", "critical"]


def health_of(name: str, value: float | None, thresholds: Rules = THRESHOLDS) -> Health | None:
    """What a metric's value means; None where nothing was measured, or where the metric has no limits.

    `thresholds` are those of the settings (`settings.health`). A value that is exactly a limit is beyond it.
    """
    if value is None or name not in thresholds:
        return None
    mild, hard = (limit is not None and _is_beyond(name, value, limit) for limit in thresholds[name])
    if hard:
        return "critical"
    return "warning" if mild else "good"


def rule_in_words(name: str, thresholds: Rules = THRESHOLDS) -> str:
    """The limits of a metric as a sentence; empty for a metric without limits."""
    if name not in thresholds:
        return ""
    mild, hard = (f"{100 * (limit or 0):g} %" for limit in thresholds[name])
    side = "or more" if is_worse_high(name) else "or less"
    return f"{METRICS[name].label}: warning at {mild} {side}, critical at {hard} {side}."


def _is_beyond(name: str, value: float, limit: float) -> bool:
    return value >= limit if is_worse_high(name) else value <= limit
