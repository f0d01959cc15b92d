"""The findings of a report: sentences computed from its numbers, the most urgent first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testio_mcp.domain import format_share
from testio_mcp.operations.metrics.definitions import METRICS
from testio_mcp.operations.metrics.health import Health, direction_of, health_of, ratio_of
from testio_mcp.operations.reports.breakdowns import RECURRING, Recurring, Untested, link_to
from testio_mcp.operations.reports.numbers import RATES, said_rule
from testio_mcp.operations.reports.review import Losses, Waiting
from testio_mcp.operations.reports.scope import Asked
from testio_mcp.operations.work.regressions import MOST, Regression
from testio_mcp.reports.model import Finding

_ORDER = {"critical": 0, "warning": 1, None: 2, "good": 3}
_MOST = 12
_CONCENTRATED, _FEW = 0.25, 5
"""The part of all bugs from which on a feature is told of, and the bugs that there have to be."""


@dataclass(frozen=True)
class Evidence:
    """What sections and findings of a report both tell; None of what the scope does not tell."""

    waiting: Waiting | None
    losses: Losses | None
    returned: Sequence[Regression] | None
    recurring: Recurring | None
    untested: Untested | None


def findings(asked: Asked, evidence: Evidence) -> list[Finding]:
    """What people should know first."""
    if not asked.measure("test_count").total["test_count"]:
        return [Finding(name="no_tests", text="No tests ended in this period.", value=0, link=asked.tests())]
    found = [
        *_rates(asked),
        *_waiting(asked, evidence.waiting),
        *_lost(evidence.losses),
        *_again(evidence.returned),
        *_concentration(asked),
        *_recurring(evidence.recurring),
        *_untested(evidence.untested),
        *_changes(asked),
    ]
    found.sort(key=lambda each: _ORDER[each.health])
    return found[:_MOST]


def _rates(asked: Asked) -> Iterator[Finding]:
    """The rates that have limits, and those that clearly changed; rates over few bugs are only figures."""
    now, before = asked.measure(*RATES), asked.measure_before(*RATES)
    limits = asked.settings.health
    for name in RATES:
        value, ratio = now.total[name], ratio_of(name, now.total_counts)
        health = health_of(name, value, limits, ratio)
        direction = direction_of(name, before.total_counts, now.total_counts) if before else None
        if value is None or (health is None and direction not in ("better", "worse")):
            continue
        text = f"{METRICS[name].label} is {format_share(value)}"
        if before and direction:
            text += f" (before: {format_share(before.total[name])}, {direction})"
        rule = "" if health in ("good", None) else f" {said_rule(name, limits)}"
        if health == "good" and direction == "worse":
            health, text = None, f"{text}; it is still within its limits"
        yield Finding(name=name, health=health, text=f"{text}.{rule}", value=value, link=asked.metrics(name))


def _waiting(asked: Asked, waiting: Waiting | None) -> Iterator[Finding]:
    if waiting is None or not waiting.count:
        return
    if number := waiting.critical:
        due = waiting.due_at("critical")
        when = f"; the first is auto-accepted on {due.astimezone(asked.settings.zone):%Y-%m-%d}" if due else ""
        yield Finding(
            name="critical_waiting",
            health="critical",
            text=f"{_many(number, 'critical bug')} wait{'s' if number == 1 else ''} for a decision{when}.",
            value=number,
            link=waiting.critical_link,
        )
    number = waiting.count
    text = f"{_many(number, 'bug')} in all wait{'s' if number == 1 else ''} for a decision."
    yield Finding(name="waiting", health="warning", text=text, value=number, link=waiting.link)


def _lost(losses: Losses | None) -> Iterator[Finding]:
    if losses:
        text = f"{_many(losses.count, 'bug')} {'was' if losses.count == 1 else 'were'} auto-accepted"
        text += f", {losses.severe} of them critical or high." if losses.severe else "."
        health: Health | None = "warning" if losses.severe else None
        yield Finding(name="auto_accepted", health=health, text=text, value=losses.count, link=losses.link)


def _again(returned: Sequence[Regression] | None) -> Iterator[Finding]:
    if returned:
        number = len(returned)
        more = " or more" if number == MOST else ""
        text = f"{number}{more} bug{'' if number == 1 else 's'} found again after a similar one was marked as fixed."
        yield Finding(name="found_again", health="warning", text=text, value=number, link=link_to(returned))


def _concentration(asked: Asked) -> Iterator[Finding]:
    """The feature with the most bugs, where it has a large share of all."""
    rows = {key[0]: row["bug_count"] or 0 for key, row in asked.measure("bug_count", by=("feature",)).rows.items()}
    named = {key: number for key, number in rows.items() if key is not None}
    total = sum(rows.values())
    if total < _FEW or not named:
        return
    most = max(named, key=lambda key: named[key])
    share = named[most] / total
    if share >= _CONCENTRATED:
        name = asked.named("feature", [most])[most]
        text = f"{name} has {format_share(share)} of all bugs ({named[most]} of {total})."
        yield Finding(name="concentration", text=text, value=named[most], link=asked.bugs(feature=(most,)))


def _recurring(recurring: Recurring | None) -> Iterator[Finding]:
    if recurring and recurring.features:
        number = len(recurring.features)
        _, title, row = recurring.features[0]
        text = f"{_many(number, 'feature')} with bugs in {RECURRING} tests or more"
        text += f", most often {title} (in {row['test_count']} tests)."
        yield Finding(name="recurring", text=text, value=number, link=recurring.link)


def _untested(untested: Untested | None) -> Iterator[Finding]:
    """Features that no test of the scope had."""
    if untested and untested.features:
        number = len(untested.features)
        text = f"{_many(number, 'feature')} had no test in this scope; {untested.tested} had one."
        yield Finding(name="features_untested", text=text, value=number, link=untested.link)


def _changes(asked: Asked) -> Iterator[Finding]:
    """Volumes that changed by more than chance would do."""
    names = asked.possible("test_count", "bug_count", "bug_severity_score")
    now, before = asked.measure(*names), asked.measure_before(*names)
    for name in names:
        if before is None or direction_of(name, before.total_counts, now.total_counts) not in ("higher", "lower"):
            continue
        value, earlier = now.total[name] or 0, before.total[name] or 0
        word = "rose" if value > earlier else "fell"
        part = f"{100 * (value - earlier) / earlier:+.0f} % " if earlier else ""
        text = f"{METRICS[name].label} {word} from {earlier} to {value} ({part}against the period before)."
        yield Finding(name=f"{name}_change", text=text, value=value, link=asked.metrics(name))


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
