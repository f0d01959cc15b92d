"""Readiness against the account's payloads, and every rule against the question that shows what is behind it."""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete

from testio_mcp.database.tables import Checkpoint, table_of
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.registry import operations
from testio_mcp.operations.reports.readiness import DAYS, Readiness, RuleResult, outcome_of, said_limits
from testio_mcp.operations.reports.readiness_facts import FACTS
from testio_mcp.rules import READINESS, Limits
from testio_sandbox import World
from tests.operations import truth
from tests.operations.conftest import NOW, ask
from tests.support.links import check_rules, follow_on
from tests.sync.conftest import EVERYTHING, Account

_SINCE = NOW.date() - timedelta(days=DAYS - 1)
_ALL_RULES = [f"{name}=0/0" if name.startswith("max_") else f"{name}=1/1" for name in READINESS]
"""Every rule with a limit, whatever the settings say of it."""
Payload = dict[str, Any]


@pytest.fixture
def world() -> World:
    """An account with open bugs of every level and a few executions."""
    return World(seed=2, products=2, tests_per_product=14, bugs_per_test=4, now=NOW)


@pytest.fixture
async def filled(account: Account) -> Account:
    """An account that is copied with all it has."""
    await account.sync(only=EVERYTHING)
    return account


def _by_rule(found: Readiness) -> dict[str, RuleResult]:
    return {rule.rule: rule for rule in found.rules}


def _ran(account: Account, product_id: int, since: date | None = None) -> dict[int, Payload]:
    tests = truth.tests_of(account.world, product_id)
    return {
        test_id: test
        for test_id, test in tests.items()
        if truth.has_run(test) and (since is None or ((end := truth.moment(test["end_at"])) and end.date() >= since))
    }


def _bugs(account: Account, tests: dict[int, Payload]) -> list[Payload]:
    return [bug for test_id in tests for bug in account.world.bugs_of(test_id)]


def _due(account: Account, tests: dict[int, Payload]) -> int:
    limit = datetime.now(UTC) + timedelta(hours=72) - timedelta(days=account.app.settings.auto_accept_days)
    soon = {test_id for test_id, test in tests.items() if (end := truth.moment(test["end_at"])) and end <= limit}
    bugs = _bugs(account, {test_id: tests[test_id] for test_id in soon})
    return sum(truth.status(bug) in ("open", "question") for bug in bugs)


def _numbers(account: Account, standing: dict[int, Payload], recent: dict[int, Payload]) -> dict[str, Any]:
    """What the rules have to measure."""
    waiting = Counter((truth.status(bug), truth.level(bug)) for bug in _bugs(account, standing))
    opened = {level: number for (status, level), number in waiting.items() if status == "open"}
    runs = [run for run in truth.executions(account.world) if run["test_cycle"]["id"] in recent]
    ended = Counter(run["status"] for run in runs if run["status"] in ("passed", "failed", "blocked"))
    stories: dict[int, set[str]] = defaultdict(set)
    for run in runs:
        if (story := truth.runs_story(run)) is not None:
            stories[story].add(run["status"])
    rates = truth.rates(_bugs(account, recent))
    return {
        "min_tests": len(recent),
        "max_open_critical": opened.get("critical", 0),
        "max_open_high": opened.get("high", 0),
        "max_open": sum(opened.values()),
        "max_questions": sum(number for (status, _), number in waiting.items() if status == "question"),
        "max_due_in_72_hours": _due(account, standing),
        "max_unpassed_stories": sum(
            "passed" not in seen and {"failed", "blocked"} & seen != set() for seen in stories.values()
        ),
        "min_pass_rate": truth.of(ended["passed"], sum(ended.values())),
        "min_review_rate": rates["review_rate"],
        "max_rejection_rate": rates["rejection_rate"],
        "max_running_tests": sum(test["status"] == "running" for test in standing.values()),
        "max_problems": 0,
    }


def _values(found: Readiness) -> dict[str, Any]:
    return {name: rule.value for name, rule in _by_rule(found).items() if name in FACTS}


def _liven(account: Account) -> None:
    """Questions, open bugs of a test that is about to be accepted, and a running test with a critical bug."""
    world = account.world
    product = world.product_ids[0]
    ended = [
        test_id
        for test_id, test in _ran(account, product).items()
        if test["status"] != "running" and (end := truth.moment(test["end_at"])) and end < NOW
    ]
    bugs = [bug["id"] for test_id in ended for bug in world.bugs_of(test_id)]
    for number, bug_id in enumerate(bugs[-12:]):
        severity = ("critical", "high", "low")[number % 3]
        world.update_bug(bug_id, status="forwarded" if number % 4 else "question", severity=severity)


async def test_rules_measure_what_the_account_holds(account: Account) -> None:
    _liven(account)
    await account.sync(only=EVERYTHING)
    for product in account.world.product_ids:
        found = await ask(account, "readiness", product_id=product, rules=_ALL_RULES)
        wanted = _numbers(account, _ran(account, product), _ran(account, product, _SINCE))
        assert {name: _values(found)[name] for name in wanted} == wanted
        assert (found.period.first, found.period.last, found.tests) == (_SINCE, None, wanted["min_tests"])
        assert found.as_of
        assert _by_rule(found)["max_age_hours"].value == 1, "the first hour has begun"
    assert wanted["min_tests"], "there is something to judge"


@pytest.mark.parametrize("how", ["usual", "period", "tests", "both"])
async def test_every_rule_names_the_question_that_shows_its_number(account: Account, how: str) -> None:
    _liven(account)
    await account.sync(only=EVERYTHING)
    product = account.world.product_ids[0]
    tests = sorted(_ran(account, product))
    scopes: dict[str, dict[str, Any]] = {
        "usual": {},
        "period": {"period": f"since {_SINCE - timedelta(days=30)}"},
        "tests": {"test_ids": tests[:9]},
        "both": {"test_ids": tests[:9], "period": "last 200 days"},
    }
    found = await ask(account, "readiness", product_id=product, rules=_ALL_RULES, **scopes[how])
    assert await check_rules(found.model_dump(mode="json"), follow_on(account.app)) > 10
    for rule in found.rules:
        if isinstance(rule.value, int) and rule.rule != "max_age_hours":
            assert len(rule.ids) == min(5, rule.value), rule


async def test_records_are_those_that_count(account: Account) -> None:
    _liven(account)
    await account.sync(only=EVERYTHING)
    product = account.world.product_ids[0]
    found = _by_rule(await ask(account, "readiness", product_id=product, rules=_ALL_RULES))
    bugs = {bug["id"]: bug for bug in _bugs(account, _ran(account, product))}
    for level in ("critical", "high"):
        told = [bugs[bug_id] for bug_id in found[f"max_open_{level}"].ids]
        assert told
        assert {(truth.status(bug), truth.level(bug)) for bug in told} == {("open", level)}
    assert {truth.status(bugs[bug_id]) for bug_id in found["max_questions"].ids} == {"question"}
    assert not {truth.status(bugs[bug_id]) for bug_id in found["min_review_rate"].ids} & {"accepted", "rejected"}
    runs = {run["id"]: run["status"] for run in truth.executions(account.world)}
    assert {runs[run_id] for run_id in found["min_pass_rate"].ids} <= {"failed", "blocked"}


async def test_named_tests_and_periods_are_all_that_counts(filled: Account) -> None:
    product = filled.world.product_ids[0]
    ran = _ran(filled, product)
    chosen = dict(list(ran.items())[:4])
    found = await ask(filled, "readiness", product_id=product, rules=_ALL_RULES, test_ids=list(chosen))
    wanted = _numbers(filled, chosen, chosen)
    assert {name: _values(found)[name] for name in wanted} == wanted
    since = _ran(filled, product, NOW.date() - timedelta(days=100))
    found = await ask(
        filled, "readiness", product_id=product, rules=_ALL_RULES, period=f"since {NOW.date() - timedelta(days=100)}"
    )
    wanted = _numbers(filled, since, since)
    assert {name: _values(found)[name] for name in wanted} == wanted


async def test_the_worst_rule_decides(filled: Account) -> None:
    product = filled.world.product_ids[0]
    tests = len(_ran(filled, product, _SINCE))
    assert tests, "the product has tests of late"
    for rule, verdict in (
        (f"min_tests={tests}/{tests}", "go"),
        (f"min_tests={tests + 1}/{tests}", "caution"),
        (f"min_tests={tests + 1}", "stop"),
        (f"min_tests={tests + 1}/-", "caution"),
        ("min_tests=-", "go"),
    ):
        found = await ask(filled, "readiness", product_id=product, rules=[rule])
        assert found.verdict == verdict
        assert len(found.because) == (verdict != "go")
    both = await ask(filled, "readiness", product_id=product, rules=[f"min_tests={tests + 1}/-", "max_age_hours=0"])
    assert both.verdict == "stop"
    assert [line.partition(":")[0] for line in both.because] == ["Stop", "Caution"]


async def test_rules_of_the_settings_count_unless_others_are_given(filled: Account) -> None:
    product = filled.world.product_ids[0]
    found = await ask(filled, "readiness", product_id=product)
    configured = filled.app.settings.readiness
    assert list(_by_rule(found)) == [name for name in FACTS if configured[name] != Limits(None, None)]
    for rule in found.rules:
        assert (rule.caution, rule.stop) == tuple(configured[rule.rule])


async def test_a_product_without_tests_of_late_is_judged_by_its_newest(account: Account) -> None:
    product = account.world.product_ids[0]
    newest = NOW - timedelta(days=200)
    for number, test_id in enumerate(_ran(account, product)):
        account.world.update_test(test_id, end_at=(newest - timedelta(days=4 * number)).isoformat())
    await account.sync(only=EVERYTHING)
    found = await ask(account, "readiness", product_id=product)
    first = newest.date() - timedelta(days=DAYS - 1)
    assert (found.period.first, found.period.last) == (first, newest.date())
    assert found.tests == len(_ran(account, product, first)) < len(_ran(account, product))
    assert str(newest.date()) in found.scope


async def test_a_product_on_which_nothing_ran_stops(account: Account) -> None:
    product = account.world.product_ids[0]
    for test_id in account.world.test_ids(product):
        account.world.update_test(test_id, status="waiting")
    await account.sync(only=EVERYTHING)
    found = await ask(account, "readiness", product_id=product)
    rules = _by_rule(found)
    assert (found.verdict, found.tests, rules["min_tests"].outcome) == ("stop", 0, "stop")
    assert rules["min_pass_rate"].outcome == "not_measured"
    assert "no test" in found.scope


async def test_records_that_could_not_be_copied_are_told(account: Account) -> None:
    product = account.world.product_ids[0]
    test_id = account.world.test_ids(product)[0]
    account.break_with("poison", f"exploratory_tests/{test_id}", record_id=test_id)
    account.break_with("poison", f"products/{product}/exploratory_tests", record_id=test_id)
    await account.sync(only=EVERYTHING)
    letters = [row["id"] for row in await account.rows("dead_letter", product_id=product)]
    assert letters
    rule = _by_rule(await ask(account, "readiness", product_id=product))["max_problems"]
    assert (rule.outcome, rule.value, rule.ids) == ("caution", len(letters), letters[:5])


@pytest.mark.parametrize("resource", ["products", "tests", "bugs"])
async def test_a_copy_that_was_never_complete_is_too_old(filled: Account, resource: str) -> None:
    point = table_of(Checkpoint)

    def forget(conn: Connection) -> None:
        conn.execute(delete(point).where(point.c.resource == resource))

    await filled.store.write(forget)
    found = await ask(filled, "readiness", product_id=filled.world.product_ids[0])
    assert (found.as_of, found.verdict) == (None, "stop")
    assert _by_rule(found)["max_age_hours"].outcome == "stop"


async def test_wrong_questions_name_what_is_right(filled: Account) -> None:
    mine, other = filled.world.product_ids
    with pytest.raises(NotFound, match="Product 9 is not"):
        await ask(filled, "readiness", product_id=9)
    with pytest.raises(NotFound, match="has no test"):
        await ask(filled, "readiness", product_id=mine, test_ids=[filled.world.test_ids(other)[0]])
    with pytest.raises(BadInput, match="did you mean max_open_critical") as caught:
        await ask(filled, "readiness", product_id=mine, rules=["max_open_criticals=0"])
    assert all(name in caught.value.message for name in READINESS)
    for wrong in ("min_pass_rate=90", "max_open=-1", "max_open_high=3/0", "min_pass_rate=0.5/0.9", "max_open"):
        with pytest.raises(BadInput, match=f"rules: {wrong.partition('=')[0]}"):
            await ask(filled, "readiness", product_id=mine, rules=[wrong])


@pytest.mark.parametrize(
    ("rule", "limits", "value", "outcome"),
    [
        ("max_open", Limits(0, 3), 0, "passed"),
        ("max_open", Limits(0, 3), 3, "caution"),
        ("max_open", Limits(0, 3), 4, "stop"),
        ("max_open", Limits(0, None), 4, "caution"),
        ("min_pass_rate", Limits(0.9, 0.7), 0.9, "passed"),
        ("min_pass_rate", Limits(0.9, 0.7), 0.7, "caution"),
        ("min_pass_rate", Limits(0.9, 0.7), 0.6999, "stop"),
        ("min_pass_rate", Limits(0.9, 0.7), None, "not_measured"),
        ("max_age_hours", Limits(24, None), None, "caution"),
        ("max_age_hours", Limits(24, 168), None, "stop"),
    ],
)
def test_a_limit_is_allowed_and_what_is_beyond_is_not(
    rule: str, limits: Limits, value: float | None, outcome: str
) -> None:
    assert outcome_of(rule, limits, value) == outcome


def test_limits_in_words() -> None:
    assert said_limits("max_open_high", 0, 3) == "at most 3, better at most 0"
    assert said_limits("min_pass_rate", 0.9, None) == "better at least 90 %"
    assert said_limits("min_review_rate", None, 0.6) == "at least 60 %"


def test_every_rule_is_found_and_every_question_exists() -> None:
    assert list(FACTS) == list(READINESS)
    assert "readiness" in operations()
