"""The findings of a report: sentences computed from its numbers, the most urgent first."""

from collections.abc import Iterator, Sequence

from testio_mcp.operations.health import health_of
from testio_mcp.operations.metrics.words import METRICS
from testio_mcp.operations.quality.areas import RECURRING
from testio_mcp.operations.quality.asking import Asked
from testio_mcp.operations.quality.numbers import RATES, said_rule
from testio_mcp.operations.quality.review import Waiting
from testio_mcp.reports.model import Finding, Section

_ORDER = {"critical": 0, "warning": 1, None: 2, "good": 3}
_MOST = 12
_CHANGED, _FEW = 0.25, 5
"""A change is told from a quarter on, and only of numbers that are not tiny."""


def findings(asked: Asked, bugs: Sequence[Waiting], sections: Sequence[Section]) -> list[Finding]:
    """What people should know first."""
    if not asked.measure("test_count").total["test_count"]:
        return [Finding(text="No tests ended in this period.")]
    by_id = {section.id: section for section in sections}
    found = [
        *_rates(asked),
        *_waiting(asked, bugs, by_id.get("review")),
        *_lost(by_id.get("auto_acceptance")),
        *_again(by_id.get("regressions")),
        *_concentration(asked),
        *_recurring(by_id.get("recurring")),
        *_untested(by_id.get("coverage")),
        *_changes(asked),
    ]
    found.sort(key=lambda each: _ORDER[each.health])
    return found[:_MOST]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def _rates(asked: Asked) -> Iterator[Finding]:
    values = asked.measure(*RATES).total
    before = asked.measure_before(*RATES)
    limits = asked.settings.health
    for name in RATES:
        value = values[name]
        health = health_of(name, value, limits)
        if value is None or health is None:
            continue
        text = f"{METRICS[name].label} is {_percent(value)}"
        if (earlier := before.get(name)) is not None:
            text += f" (before: {_percent(earlier)})"
        rule = "" if health == "good" else f" {said_rule(name, limits)}"
        yield Finding(health=health, text=f"{text}.{rule}", query=asked.metrics(name))


def _waiting(asked: Asked, bugs: Sequence[Waiting], review: Section | None) -> Iterator[Finding]:
    critical = [bug for bug in bugs if bug.level == "critical"]
    if not review or not review.tables or not bugs:
        return
    if critical:
        due = [bug.due_at for bug in critical if bug.due_at]
        when = f"; the first is accepted by the clock on {min(due):%Y-%m-%d}" if due else ""
        text = f"{_many(len(critical), 'critical bug')} wait{'s' if len(critical) == 1 else ''} for a decision{when}."
        yield Finding(health="critical", text=text, query=asked.queue(levels="critical"))
    text = f"{_many(len(bugs), 'bug')} in all wait{'s' if len(bugs) == 1 else ''} for a decision."
    yield Finding(health="warning", text=text, query=asked.queue())


def _lost(section: Section | None) -> Iterator[Finding]:
    if section:
        levels = {str(row[0]): row[1] for row in section.tables[0].rows}
        severe = sum(int(levels.get(level) or 0) for level in ("critical", "high"))
        text = f"{_many(int(section.figures[0].value or 0), 'bug')} accepted by the clock"
        text += f", {severe} of them critical or high." if severe else "."
        yield Finding(health="warning" if severe else None, text=text, query=section.figures[0].query)


def _again(section: Section | None) -> Iterator[Finding]:
    if section and section.tables:
        number = len(section.tables[0].rows)
        yield Finding(
            health="warning", text=f"{_many(number, 'bug')} found again after a similar one was marked as fixed."
        )


def _concentration(asked: Asked) -> Iterator[Finding]:
    """The feature with the most bugs, where it has a large share of all."""
    rows = {key[0]: row["bug_count"] or 0 for key, row in asked.measure("bug_count", by=("feature",)).rows.items()}
    named = {key: number for key, number in rows.items() if key is not None}
    total = sum(rows.values())
    if total < _FEW or not named:
        return
    most = max(named, key=lambda key: named[key])
    share = named[most] / total
    if share >= _CHANGED:
        text = f"{asked.named('feature', [most])[most]} has {_percent(share)} of all bugs ({named[most]} of {total})."
        yield Finding(text=text, query=asked.metrics("bug_count", by="feature"))


def _recurring(section: Section | None) -> Iterator[Finding]:
    if section and section.tables:
        first = section.tables[0]
        number = len(first.rows) + int((first.note or "0").split()[0])
        text = f"{_many(number, 'feature')} with bugs in {RECURRING} tests or more"
        text += f", most often {first.rows[0][0]} (in {first.rows[0][2]} tests)."
        yield Finding(text=text, query=first.query)


def _untested(section: Section | None) -> Iterator[Finding]:
    table = (
        next((each for each in section.tables if each.title == "Features without a test"), None) if section else None
    )
    if table:
        more = table.note.split()[0] if table.note else str(len(table.rows))
        yield Finding(text=f"Features without a test in this scope: {more}.", query=table.query)


def _changes(asked: Asked) -> Iterator[Finding]:
    names = asked.possible("test_count", "bug_count", "bug_severity_score")
    values, before = asked.measure(*names).total, asked.measure_before(*names)
    for name in names:
        now, then = values[name] or 0, before.get(name) or 0
        if then < _FEW or abs(now - then) < _CHANGED * then:
            continue
        word = "rose" if now > then else "fell"
        change = f"{(now - then) / then:+.0%}".replace("%", " %")
        text = f"{METRICS[name].label} {word} from {then} to {now} ({change} against the period before)."
        yield Finding(text=text, query=asked.metrics(name))


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
