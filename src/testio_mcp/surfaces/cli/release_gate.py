"""`testio-mcp gate`: a verdict on a product that a pipeline reads from the exit code."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from testio_mcp.errors import NotFound
from testio_mcp.surfaces.account import importing, read_settings, registry
from testio_mcp.surfaces.cli.terminal import show, talk_about_age
from testio_mcp.surfaces.mcp import plain
from testio_mcp.surfaces.operation_names import in_commands

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from testio_mcp.rules import Rules

FAILED = 4
"""Exit code when a rule is not met."""
UNDECIDED = 5
"""Exit code when the copy does not tell: nothing of the product, nothing to measure, or too old."""
Verdict = Literal["passed", "failed", "undecided"]
_CODES: dict[Verdict, int] = {"passed": 0, "failed": FAILED, "undecided": UNDECIDED}
_MARKS = {"passed": "ok", "caution": "caution", "stop": "FAILED", "not_measured": "no data"}


def gate(
    product: Annotated[int, typer.Option(help="The product that is judged.", metavar="ID")],
    max_open_critical: Annotated[int | None, typer.Option(min=0, help="Open critical bugs allowed.")] = None,
    max_open_high: Annotated[int | None, typer.Option(min=0, help="Open high bugs allowed.")] = None,
    max_open: Annotated[int | None, typer.Option(min=0, help="Open bugs allowed, whatever their level.")] = None,
    min_pass_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of executions that passed.")
    ] = None,
    min_story_coverage: Annotated[float | None, typer.Option(min=0, max=1, help="Share of stories executed.")] = None,
    min_review_rate: Annotated[float | None, typer.Option(min=0, max=1, help="Share of bugs decided on.")] = None,
    max_rejection_rate: Annotated[float | None, typer.Option(min=0, max=1, help="Share of bugs rejected.")] = None,
    period: Annotated[str, typer.Option(help="Only tests that end in these days, such as 'last 14 days'.")] = "",
    test: Annotated[list[str] | None, typer.Option(help="Only these tests.", metavar="ID,...")] = None,
    max_age: Annotated[int | None, typer.Option(min=0, help="Hours that the copy may be old.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say by the exit code whether a product may be released; one line per rule on stdout.

    Without a limit, the rules of 'testio-mcp readiness' count (TESTIO_READINESS), and what they call stop fails.

    Exit codes: 0 passed; 4 a rule is not met; 5 cannot decide, because the copy holds nothing of the product or
    nothing to measure, was never complete, or is older than --max-age. As everywhere, 1 is an error and 2 a wrong
    option. A copy that is too old is brought up to date for as long as TESTIO_REFRESH_BUDGET_SECONDS allows.
    """
    with importing():
        from testio_mcp.settings import load_settings
    limits = {
        "max_open_critical": max_open_critical,
        "max_open_high": max_open_high,
        "max_open": max_open,
        "min_pass_rate": min_pass_rate,
        "min_story_coverage": min_story_coverage,
        "min_review_rate": min_review_rate,
        "max_rejection_rate": max_rejection_rate,
    }
    given = {name: limit for name, limit in limits.items() if limit is not None}
    rules = _rules(given, max_age, load_settings().readiness)
    try:
        result = asyncio.run(_judge(product_id=product, test_ids=test or [], period=period, rules=rules))
    except NotFound as error:
        result = {"product_id": product, "rules": [], "reason": in_commands(f"{error.message} {error.next_step}")}
    verdict, reason = _verdict(result, given)
    told = {"gate": verdict, "exit_code": _CODES[verdict], "reason": reason, **result}
    if as_json:
        show(told, "json")
    else:
        typer.echo("\n".join(_lines(told)))
        talk_about_age(told)
    if verdict != "passed":
        raise typer.Exit(_CODES[verdict])


def _rules(given: "Mapping[str, float]", max_age: int | None, configured: "Rules") -> list[str]:
    """The rules that count. What could not be copied is always told; where limits are given, it fails nothing."""
    age = {} if max_age is None else {"max_age_hours": str(max_age)}
    if given:
        wanted: dict[str, object] = {**{name: str(limit) for name, limit in given.items()}, "max_problems": "0/-"}
    else:
        wanted = dict(configured)
    return [f"{name}={limit}" for name, limit in {**wanted, **age}.items()]


async def _judge(**arguments: object) -> dict[str, Any]:
    with importing():
        from testio_mcp.app import open_app
    async with open_app(await read_settings(), refreshes=True, is_brief=True) as app:
        return await registry()["readiness"].answer(app, arguments)


def _verdict(result: "Mapping[str, Any]", given: "Mapping[str, float]") -> tuple[Verdict, str]:
    """Passed, failed or undecided, and why. What is not known never passes; what is known to be wrong fails."""
    rules = {rule["rule"]: rule["outcome"] for rule in result["rules"]}
    if "reason" in result:
        return "undecided", result["reason"]
    if result["as_of"] is None:
        return "undecided", "This product was never copied completely. Run 'testio-mcp sync'."
    if not result["tests"]:
        return "undecided", "There is no test that ran, so there is nothing to judge."
    if rules.get("max_age_hours") == "stop":
        return "undecided", "The copy is too old, or as of a moment in the future. Run 'testio-mcp sync'."
    if failed := [name for name, outcome in rules.items() if outcome == "stop"]:
        return "failed", f"Not met: {', '.join(failed)}."
    if unknown := [name for name in given if rules[name] == "not_measured"]:
        return "undecided", f"There is nothing to measure for {', '.join(unknown)}."
    return "passed", ""


def _lines(told: "Mapping[str, Any]") -> "Iterable[str]":
    """One line per rule, the records behind those that are not met, and the verdict."""
    from testio_mcp.operations.links import command_line
    from testio_mcp.operations.reports.readiness import said_limits, said_value
    from testio_mcp.reports.links import Link

    width = max((len(rule["about"]) for rule in told["rules"]), default=0)
    for rule in told["rules"]:
        value = said_value(rule["rule"], rule["value"])
        limits = said_limits(rule["rule"], rule["caution"], rule["stop"])
        yield f"{_MARKS[rule['outcome']]:8} {rule['about']:{width}}  {value:>8}  ({limits})"
        if rule["outcome"] in ("stop", "caution"):
            ids = f"{rule['records'].replace('_', ' ')} {', '.join(map(str, rule['ids']))}: " if rule["ids"] else ""
            yield f"         {ids}{command_line(Link.model_validate(rule['link']))}"
    reason = f" {told['reason']}" if told["reason"] else ""
    if told.get("as_of"):
        zone = ZoneInfo(told["time_zone"])
        as_of = f"as of {plain.format_moment(told['as_of'], zone)} {zone.key}"
        about = f"{plain.readable(told['product'])} ({told['product_id']})"
        yield f"{about}: {told['tests']} tests, {told['period']['words']}, {as_of}"
    yield f"gate {told['gate']}.{reason}"
