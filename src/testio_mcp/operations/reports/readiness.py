"""Whether a product is ready to be released: go, caution or stop, and the numbers that decided."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, bindparam, func, select

from testio_mcp.database.dialect import among, fetch
from testio_mcp.database.tables import Test, table_of
from testio_mcp.domain import FAR_FUTURE
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations import figures
from testio_mcp.operations.arguments import AsList, Ids
from testio_mcp.operations.metrics.definitions import Value
from testio_mcp.operations.metrics.periods import ALL_TIME, Period, period_of, today_in
from testio_mcp.operations.metrics.query import Range, range_of
from testio_mcp.operations.metrics.reading import titles
from testio_mcp.operations.metrics.spans import utc
from testio_mcp.operations.registry import operation
from testio_mcp.operations.reports.readiness_facts import FACTS, Evidence, Fact, Kind, Scope, first_ids
from testio_mcp.reports.links import Link
from testio_mcp.rules import Limits, Rules, is_worse_high, release_rules
from testio_mcp.settings import Settings

Verdict = Literal["go", "caution", "stop"]
Outcome = Literal["passed", "caution", "stop", "not_measured"]
DAYS = 30
_ALWAYS = Period(None, None)
_test = table_of(Test).c
_mine: Select[Any] = select(_test.id).where(
    among(_test.id, bindparam("ids")), _test.product_id == bindparam("product_id"), _test.gone_at.is_(None)
)
_newest_end: Select[Any] = select(func.max(_test.sort_at)).where(
    _test.product_id == bindparam("product_id"), _test.gone_at.is_(None), figures.RAN, _test.sort_at < FAR_FUTURE
)


class RuleResult(BaseModel):
    """One rule: its limits, the number that was measured, and the records behind it."""

    outcome: Outcome
    rule: str
    about: str
    value: float | int | None = Field(description="Null where there is nothing to measure.")
    caution: float | int | None = Field(description="Beyond this limit: caution.")
    stop: float | int | None = Field(description="Beyond this limit: stop.")
    records: Kind | None
    ids: list[int] = Field(description="The first of these records, five at most.")
    link: Link = Field(description="The question that gives the value.")


class Readiness(BaseModel):
    """The verdict, why, and every rule."""

    verdict: Verdict
    product_id: int
    product: str
    because: list[str]
    tests: int
    period: Range
    scope: str
    rules: list[RuleResult]
    time_zone: str
    as_of: datetime | None


@operation(
    "/products/{product_id}/readiness",
    command="readiness",
    toolset="numbers",
    needs=("features", "tests", "bugs", "executions"),
    examples=({"product_id": 1}, {"product_id": 1, "rules": ["max_open_critical=0", "min_review_rate=0.8/0.5"]}),
    by_default=False,
)
def readiness(
    conn: Connection,
    settings: Settings,
    product_id: Annotated[int, Field(description="The product; list_products shows the ids.")],
    test_ids: Annotated[Ids, Field(description="Judge only these tests of it.")] = [],  # noqa: B006
    period: Annotated[str, Field(description="Judge only its tests that end in these days: this month ...")] = "",
    rules: Annotated[
        list[str],
        AsList,
        Field(description="Only these rules, name=caution/stop or name=stop; those of the settings when left out."),
    ] = [],  # noqa: B006
) -> Readiness:
    """Say whether a product can be released: go, caution or stop, with every rule, its number and its records.

    Unless tests or a period are named, all open bugs and running tests of the product count, and results of the
    tests of the last 30 days. Each rule has a link to what it counts.
    """
    limits = _rules_of(rules, settings)
    name = titles(conn, "product", [product_id]).get(product_id)
    if name is None:
        raise NotFound(f"Product {product_id} is not in the store.", "list_products shows the ids.")
    today = today_in(settings.zone, datetime.now(UTC))
    evidence, said = _evidence(conn, settings, product_id, tuple(dict.fromkeys(test_ids)), period, today)
    found = [
        _result(rule, limits[rule], fact(evidence), about) for rule, (about, fact) in FACTS.items() if rule in limits
    ]
    return Readiness(
        verdict=_verdict(found),
        product_id=product_id,
        product=name,
        because=[_sentence(each) for word in ("stop", "caution") for each in found if each.outcome == word],
        tests=int(evidence.tests().value or 0),
        period=range_of(evidence.recent.period, period),
        scope=said,
        rules=found,
        time_zone=settings.zone.key,
        as_of=evidence.as_of,
    )


def _rules_of(said: Sequence[str], settings: Settings) -> Rules:
    """The rules with a limit."""
    limits = settings.readiness
    if said:
        try:
            limits = release_rules(", ".join(said))
        except ValueError as error:
            raise BadInput(f"rules: {error}.", "Write them as max_open_critical=0, min_pass_rate=0.9/0.7.") from None
    return {name: each for name, each in limits.items() if each != Limits(None, None)}


def _evidence(
    conn: Connection, settings: Settings, product_id: int, test_ids: tuple[int, ...], said: str, today: date
) -> tuple[Evidence, str]:
    """Where to look, and that in words."""
    if test_ids or said:
        values = {"ids": f"[{','.join(map(str, test_ids))}]", "product_id": product_id}
        own = {row[0] for row in fetch(conn, _mine, values)}
        if missing := [each for each in test_ids if each not in own]:
            raise NotFound(f"Product {product_id} has no test {missing[0]}.", "list_tests shows the ids.")
        scope = Scope(
            product_id, period_of(said or ALL_TIME, today, settings.fiscal_year_starts), test_ids, settings.zone
        )
        return Evidence(
            conn, scope, scope, settings.auto_accept_days
        ), "Only the tests that are named, or end in the period, of those that ran."
    period, words = _usual(conn, settings, product_id, today)
    standing = Scope(product_id, _ALWAYS, (), settings.zone)
    recent = Scope(product_id, period, (), settings.zone)
    words = f"Open bugs, questions and running tests: all of the product. Results: {words}."
    return Evidence(conn, standing, recent, settings.auto_accept_days), words


def _usual(conn: Connection, settings: Settings, product_id: int, today: date) -> tuple[Period, str]:
    """The last 30 days and what is to come; where no test ended then, 30 days up to the end of the newest test."""
    period = Period(today - timedelta(days=DAYS - 1), None)
    if first_ids(conn, "tests", Scope(product_id, period, (), settings.zone)):
        return period, f"tests that end in the last {DAYS} days or later"
    newest = utc(fetch(conn, _newest_end, {"product_id": product_id})[0][0])
    if newest is None:
        return _ALWAYS, "no test of this product has come to an end yet"
    last = newest.astimezone(settings.zone).date()
    words = f"no test ended in the last {DAYS} days, so those of the {DAYS} days up to the newest, {last}"
    return Period(last - timedelta(days=DAYS - 1), last), words


def _result(rule: str, limits: Limits, fact: Fact, about: str) -> RuleResult:
    return RuleResult(
        outcome=outcome_of(rule, limits, fact.value),
        rule=rule,
        about=about,
        value=fact.value,
        caution=_number(limits.mild),
        stop=_number(limits.hard),
        records=fact.kind if fact.ids else None,
        ids=fact.ids,
        link=fact.link,
    )


def _number(limit: float | None) -> float | int | None:
    return int(limit) if limit is not None and limit.is_integer() else limit


def outcome_of(rule: str, limits: Limits, value: Value) -> Outcome:
    """What a number means for a rule: a limit is allowed, what is beyond it is not.

    A copy that was never complete is as bad as one that is too old.
    """
    if value is None and rule != "max_age_hours":
        return "not_measured"
    if limits.hard is not None and _is_beyond(rule, limits.hard, value):
        return "stop"
    return "caution" if limits.mild is not None and _is_beyond(rule, limits.mild, value) else "passed"


def _is_beyond(rule: str, limit: float, value: Value) -> bool:
    if value is None:
        return True
    return value > limit if is_worse_high(rule) else value < limit


def _verdict(found: Sequence[RuleResult]) -> Verdict:
    outcomes = {each.outcome for each in found}
    if "stop" in outcomes:
        return "stop"
    return "caution" if "caution" in outcomes else "go"


def _sentence(result: RuleResult) -> str:
    """What a rule says that is not met."""
    limit = result.stop if result.outcome == "stop" else result.caution
    value, wanted = (said_value(result.rule, number) for number in (result.value, limit))
    return f"{result.outcome.capitalize()}: {result.about} {value}, must be {_bound(result.rule)} {wanted}."


def _bound(rule: str) -> str:
    return "at most" if is_worse_high(rule) else "at least"


def said_limits(rule: str, caution: Value, stop: Value) -> str:
    """The limits of a rule in words."""
    said = [f"{_bound(rule)} {said_value(rule, limit)}" for limit in (stop, caution) if limit is not None]
    return f"{said[0]}, better {said[1]}" if len(said) > 1 else said[0] if stop is not None else f"better {said[0]}"


def said_value(rule: str, value: Value) -> str:
    """A number as a rule speaks of it: rates in per cent."""
    if value is None:
        return "unknown"
    return f"{100 * value:.4g} %" if rule.endswith(("_rate", "_coverage")) else f"{value:.12g}"
