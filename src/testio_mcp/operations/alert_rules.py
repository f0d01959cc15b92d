"""Rules for alerts: those of the file that `TESTIO_ALERT_RULES` names, or those that are built in.

A file is TOML with one `[[rule]]` table per rule. Whatever it says wrongly is refused, rule and key named: a rule
that is left out silently would be an alert that nobody misses.
"""

import tomllib
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from testio_mcp.errors import BadInput
from testio_mcp.operations.arguments import explain
from testio_mcp.operations.bugs import BugKind, Level
from testio_mcp.operations.metrics.words import metric
from testio_mcp.operations.periods import period_of
from testio_mcp.rules import Rules, is_worse_high
from testio_mcp.settings import Settings

Severity = Literal["warning", "critical"]


def _known_metric(name: str) -> str:
    try:
        return metric(name).name
    except BadInput as error:
        raise ValueError(error.message) from None


def _known_period(words: str) -> str:
    try:
        period_of(words, date(2026, 1, 1))
    except BadInput as error:
        raise ValueError(error.message.removeprefix("period: ")) from None
    return words


class _Rule(BaseModel):
    """What all rules have."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    name: str = Field(
        pattern=r"^[^\x00-\x1f\x7f]{1,80}$", description="A name of its own on one line, up to 80 characters."
    )
    severity: Severity = Field(default="warning", description="warning or critical.")
    products: list[Annotated[int, Field(ge=0, lt=2**63)]] = Field(
        default=[], description="Ids of products; all when left out."
    )


class Threshold(_Rule):
    """A metric of a product that has crossed a threshold."""

    kind: Literal["threshold"]
    metric: Annotated[str, AfterValidator(_known_metric)] = Field(description="A metric of metric_capabilities.")
    at_least: float | None = Field(default=None, description="A number.")
    at_most: float | None = Field(default=None, description="A number.")
    period: Annotated[str, AfterValidator(_known_period)] = Field(
        default="last 30 days", description="Such as last 30 days, this quarter or 2026-Q3."
    )
    min_bugs: int = Field(default=0, ge=0, description="Fewer bugs than these say nothing.")

    @model_validator(mode="after")
    def _has_a_threshold(self) -> "Threshold":
        if self.at_least is None and self.at_most is None:
            raise ValueError("it needs at_least or at_most")
        return self


class Deadline(_Rule):
    """Bugs of a test that the clock will accept before long."""

    kind: Literal["deadline"]
    within_days: float | None = Field(default=None, gt=0, le=90, description="Days, more than 0 and up to 90.")
    within_hours: float | None = Field(default=None, gt=0, le=2160, description="Hours, up to 2160.")
    levels: list[Level] = Field(default=[], description="Levels of bugs; all when left out.")

    @model_validator(mode="after")
    def _has_one_limit(self) -> "Deadline":
        if (self.within_days is None) == (self.within_hours is None):
            raise ValueError("it needs within_days or within_hours, and not both")
        return self

    @property
    def hours(self) -> float:
        """How near the deadline is."""
        return self.within_hours if self.within_hours is not None else 24 * (self.within_days or 0)


class NewBug(_Rule):
    """A bug that was found since the last evaluation."""

    kind: Literal["new_bug"]
    levels: list[Level] = Field(default=[], description="Levels of bugs; all when left out.")
    kinds: list[BugKind] = Field(default=[], description="Kinds of bugs; all when left out.")


class SyncStale(_Rule):
    """A copy that is too old; it has no products."""

    kind: Literal["sync_stale"]
    hours: float = Field(gt=0, le=8760, description="Hours, more than 0.")

    @model_validator(mode="after")
    def _is_about_the_account(self) -> "SyncStale":
        if self.products:
            raise ValueError("products: the copy is one for all of them")
        return self


Rule = Threshold | Deadline | NewBug | SyncStale
_KINDS: dict[str, type[Rule]] = {
    "threshold": Threshold,
    "deadline": Deadline,
    "new_bug": NewBug,
    "sync_stale": SyncStale,
}


def built_in(health: Rules) -> tuple[Rule, ...]:
    """The rules of an account that has no file: those of the settings' health of rates, and a few that all need."""
    return (
        NewBug(name="critical bug", kind="new_bug", severity="critical", levels=["critical"]),
        Deadline(name="auto-acceptance near", kind="deadline", within_days=2),
        SyncStale(name="sync stale", kind="sync_stale", hours=24),
        *(_threshold(name, limits.mild, "warning") for name, limits in health.items()),
        *(_threshold(name, limits.hard, "critical") for name, limits in health.items()),
    )


def _threshold(name: str, limit: float | None, severity: Severity) -> Rule:
    side = "at_least" if is_worse_high(name) else "at_most"
    about = {"name": f"{name} {severity}", "kind": "threshold", "metric": name, "severity": severity, "min_bugs": 10}
    return Threshold.model_validate(about | {side: limit})


def rules_of(settings: Settings) -> tuple[Rule, ...]:
    """The rules of an account. Raises `BadInput` for a file that cannot be read, and for what it says wrongly."""
    if settings.alert_rules is None:
        return built_in(settings.health)
    try:
        text = settings.alert_rules.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no text in UTF-8"
        raise _wrong(f"{settings.alert_rules} cannot be read: {why}.", "Correct the path or the file.") from None
    return _rules(text)


@lru_cache(maxsize=4)
def _rules(text: str) -> tuple[Rule, ...]:
    try:
        parts = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _wrong(f"it is no TOML: {str(error)[:100] or 'nested too deeply'}.", "Correct the file.") from None
    unknown = next((name for name in parts if name != "rule"), None)
    tables = parts.get("rule", [])
    if unknown is not None or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _wrong(f"{(unknown or 'rule')[:40]!r} is not expected there.", "Write one [[rule]] table per rule.")
    rules = [_rule(place, table) for place, table in enumerate(tables, 1)]
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _wrong(f"rule {twice!r}: name: two rules have it.", "Give each rule a name of its own.")
    return tuple(rules)


def _rule(place: int, table: dict[str, Any]) -> Rule:
    name = table.get("name")
    said = f"rule {name[:80]!r}" if isinstance(name, str) and name else f"rule {place}"
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise _wrong(f"{said}: kind: it is none of the kinds.", f"kind takes any of: {', '.join(_KINDS)}.")
    try:
        return _KINDS[kind].model_validate(table)
    except ValidationError as error:
        explained = explain(error, _KINDS[kind])
        message = explained.message.removeprefix("arguments: ").replace("argument", "key")
        raise _wrong(f"{said}: {message}", explained.next_step.replace("arguments", "keys")) from None


def _wrong(message: str, next_step: str) -> BadInput:
    return BadInput(f"TESTIO_ALERT_RULES: {message}", next_step)
