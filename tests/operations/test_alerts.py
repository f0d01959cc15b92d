"""What the rules for alerts say of a copy, and that each alert is told once while it lasts."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from testio_mcp.errors import BadInput
from testio_mcp.operations.work.alerts import (
    Alert,
    Pending,
    built_in_rules,
    evaluate,
    find_pending,
    mark_sent,
    read_rules,
)
from tests.conftest import SettingsFor
from tests.operations.conftest import ask
from tests.sync.conftest import Account

Ruled = Callable[[str], None]
_NEW = '[[rule]]\nname = "new"\nkind = "new_bug"\nlevels = ["critical"]\n'
_ALWAYS = '[[rule]]\nname = "many"\nkind = "threshold"\nmetric = "bug_count"\nat_least = 1\nperiod = "all time"\n'


@pytest.fixture
def ruled(account: Account, settings_for: SettingsFor, tmp_path: Path) -> Ruled:
    """Give the account a file of rules."""

    def write(text: str) -> None:
        file = tmp_path / "rules.toml"
        file.write_text(text)
        url = account.app.settings.customer_api_base_url
        account.app.settings = settings_for(customer_api_base_url=url, alert_rules=file)

    return write


async def _told(account: Account) -> list[Alert]:
    """Deliver what is find_pending, and mark_sent it."""
    found = await find_pending(account.app)
    await mark_sent(account.app, found.unsent, found.evaluation.last_seen)
    return found.unsent


def _keys(found: Pending) -> list[str]:
    return sorted(alert.key for alert in found.unsent)


def _report(account: Account, **fields: Any) -> int:
    """Report a bug in a test that can still change."""
    tests = map(account.world.test, account.world.test_ids(account.world.product_ids[0]))
    test_id = next(test["id"] for test in tests if test["status"] in ("running", "locked"))
    return int(account.world.add_bug(test_id, status="forwarded", **fields)["id"])


async def test_a_threshold_is_told_per_product_and_once_while_it_lasts(account: Account, ruled: Ruled) -> None:
    ruled(_ALWAYS)
    await account.sync()
    truth = {product_id: bugs for product_id, (_, bugs, _) in account.truth().items()}

    first = await find_pending(account.app)
    assert {alert.product_id: alert.value for alert in first.unsent} == truth
    assert _keys(await find_pending(account.app)) == _keys(first), "undelivered, it is told again under the same key"
    await mark_sent(account.app, first.unsent, first.evaluation.last_seen)
    assert await _told(account) == []

    most = max(truth.values())
    ruled(_ALWAYS.replace("at_least = 1", f"at_least = {most + 1}"))
    assert await _told(account) == []
    ruled(_ALWAYS)
    again = await find_pending(account.app)
    assert {alert.product_id for alert in again.unsent} == truth.keys()
    assert not {*_keys(again)} & {*_keys(first)}, "what ended and comes again is another occurrence"


async def test_thresholds_are_of_the_metrics_and_inclusive(account: Account, ruled: Ruled) -> None:
    await account.sync()
    ruled(_ALWAYS.replace("bug_count", "review_rate").replace("at_least = 1", "at_least = 0"))
    rates = {alert.product_id: alert.value for alert in await _told(account)}
    product, value = next((product, value) for product, value in rates.items() if value)
    rule = (
        _ALWAYS.replace("bug_count", "review_rate")
        .replace("many", "exact")
        .replace("at_least = 1", f"products = [{product}]")
    )
    ruled(f"{rule}at_least = {value}\nat_most = {value}")
    (alert,) = await _told(account)
    assert (alert.product_id, alert.value) == (product, value)
    assert f"{100 * value:.1f} %" in alert.text
    for outside in (f"at_least = {value + 0.0001}", f"at_most = {value - 0.0001}", "at_least = 0\nmin_bugs = 100000"):
        ruled(rule + outside)
        assert await _told(account) == []


async def test_a_deadline_is_told_per_test_before_it_has_passed(account: Account, ruled: Ruled) -> None:
    near, later, past = (account.world.test_ids(account.world.product_ids[0])[place] for place in (-1, -2, -3))
    now = datetime.now(UTC)
    for test_id, days in ((near, 9), (later, 5), (past, 11)):
        account.world.update_test(test_id, end_at=(now - timedelta(days=days)).isoformat(), status="locked")
        for bug in (account.world.add_bug(test_id), account.world.add_bug(test_id)):
            account.world.update_bug(bug["id"], severity="critical", status="forwarded")
    await account.sync()
    known = await account.rows("bug", status="open", gone_at=None)
    ruled('[[rule]]\nname = "d"\nkind = "deadline"\nwithin_days = 2\nlevels = ["critical"]')
    told = {alert.test_id: alert for alert in await _told(account)}
    assert near in told
    assert not {later, past} & told.keys()
    expected = [bug for bug in known if bug["test_id"] == near and bug["level"] == "critical"]
    assert told[near].value == len(expected) >= 2
    due = told[near].due_at
    assert due
    assert now < due < now + timedelta(days=2)
    ruled('[[rule]]\nname = "d"\nkind = "deadline"\nwithin_hours = 3')
    assert near not in {alert.test_id for alert in await _told(account)}


async def test_new_bugs_are_those_after_the_last_delivery(account: Account, ruled: Ruled) -> None:
    ruled(_NEW)
    await account.sync()
    assert await _told(account) == [], "what the first sync copies is not new"
    critical, low = _report(account, severity="critical"), _report(account, severity="low")
    await account.sync()

    first = await find_pending(account.app)
    assert [alert.bug_id for alert in first.unsent] == [critical]
    assert _keys(await find_pending(account.app)) == _keys(first), "not delivered, not lost"
    await mark_sent(account.app, first.unsent, first.evaluation.last_seen)
    assert await _told(account) == []
    ruled(_NEW.replace('"critical"', '"low"').replace('"new"', '"other"'))
    assert low in [alert.bug_id for alert in await _told(account)], "each rule has a look of its own"


async def test_a_stale_copy(account: Account, ruled: Ruled) -> None:
    ruled('[[rule]]\nname = "old"\nkind = "sync_stale"\nhours = 24')
    assert [alert.text for alert in await _told(account)] == ["The copy has never been complete."]
    await account.sync()
    assert await _told(account) == []
    settings = account.app.settings
    for hours, count in ((23, 0), (25, 1)):
        later = datetime.now(UTC) + timedelta(hours=hours)
        held = await account.store.read(partial(evaluate, settings=settings, now=later))
        assert len(held.alerts) == count


async def test_the_digest_tells_what_lists_and_rules_tell(account: Account, ruled: Ruled) -> None:
    ruled(_ALWAYS)
    await account.sync()
    bug_id = _report(account, severity="critical")
    await account.sync()
    digest = await ask(account, "get_digest", period="last 90 days")
    running = await ask(account, "list_tests", statuses="running", limit=100)
    assert (digest.running_count, [test.id for test in digest.running]) == (
        running.total,
        [test.id for test in running.items[:10]],
    )
    assert digest.needs_decision == (await ask(account, "triage_queue")).summary
    assert "1 new bug" in digest.changes
    assert {alert.product_id for alert in digest.alerts} == set(account.world.product_ids)
    asked = {"levels": "critical", "limit": 100}
    days = {"reported_from": str(digest.period.first), "reported_to": str(digest.period.last)}
    critical = await ask(account, "list_bugs", **asked, **days)
    assert [bug.id for bug in digest.new_critical] == [bug.id for bug in critical.items[:10]]
    assert digest.new_critical_count == critical.total
    assert bug_id in {bug.id for bug in (await ask(account, "list_bugs", **asked)).items}

    product = account.world.product_ids[0]
    of_one = await ask(account, "get_digest", product_id=product)
    assert {alert.product_id for alert in of_one.alerts} == {product}


async def test_the_built_in_rules_can_be_evaluated(account: Account) -> None:
    await account.sync()
    names = {rule.name for rule in built_in_rules(account.app.settings.health)}
    assert len(names) == 11
    assert {alert.rule for alert in await _told(account)} <= names
    assert await _told(account) == []


def test_the_example_of_the_readme_is_a_file_of_rules(tmp_path: Path, settings_for: SettingsFor) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (example,) = re.findall(r"```toml\n(\[\[rule.*?)```", readme, re.DOTALL)
    (tmp_path / "rules.toml").write_text(example)
    kinds = [rule.kind for rule in read_rules(settings_for(alert_rules=tmp_path / "rules.toml"))]
    assert kinds == ["threshold", "deadline", "new_bug", "sync_stale"]


_THRESHOLD = '[[rule]]\nname = "r"\nkind = "threshold"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules = 1", r"'rules' is not expected there"),
        ("rule = 1", r"'rule' is not expected there"),
        ("[[rule]", r"it is no TOML"),
        ('[[rule]]\nname = "r"', r"rule 'r': kind: it is none of the kinds\. kind takes any of: threshold"),
        ('[[rule]]\nkind = "new_bug"', r"rule 1: name: it is required"),
        (f'{_THRESHOLD}metric = "rejektion_rate"\nat_least = 1', r"rule 'r': metric: There is no metric"),
        (f'{_THRESHOLD}metric = "bug_count"', r"rule 'r': it needs at_least or at_most"),
        (f'{_THRESHOLD}metric = "bug_count"\nat_leest = 1', r"rule 'r': at_leest: there is no such key\. Valid keys"),
        (f'{_THRESHOLD}metric = "bug_count"\nat_least = nan', r"rule 'r': at_least: NaN should be a finite number"),
        (f'{_THRESHOLD}metric = "bug_count"\nat_least = "1"', r"rule 'r': at_least: "),
        (
            f'{_THRESHOLD}metric = "bug_count"\nat_least = 1\nperiod = "someday"',
            r"rule 'r': period: 'someday' is not a period",
        ),
        (f'{_THRESHOLD}metric = "bug_count"\nat_least = 1\nproducts = "1"', r"rule 'r': products: "),
        (_NEW.replace('"new"', '"a\\u0000b"'), r"rule 'a.*b': name: "),
        (f"{_NEW}products = [9223372036854775808]", r"rule 'new': products: "),
        (f"{_NEW}{_NEW}", r"rule 'new': name: two rules have it"),
        (_NEW.replace('"critical"', '"crit"'), r"rule 'new': levels: \"crit\" is not one of its words"),
        ('[[rule]]\nname = "r"\nkind = "deadline"\nwithin_days = 1\nwithin_hours = 2', r"and not both"),
        ('[[rule]]\nname = "r"\nkind = "sync_stale"\nhours = true', r"rule 'r': hours: true should be"),
    ],
)
def test_a_wrong_rule_is_refused_in_one_line(tmp_path: Path, settings_for: SettingsFor, text: str, said: str) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=f"^TESTIO_ALERT_RULES: .*{said}") as refused:
        read_rules(settings_for(alert_rules=file))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_missing_or_no_text(tmp_path: Path, settings_for: SettingsFor) -> None:
    file = tmp_path / "rules.toml"
    with pytest.raises(BadInput, match=r"^TESTIO_ALERT_RULES: .* cannot be read: No such file"):
        read_rules(settings_for(alert_rules=file))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match=r"^TESTIO_ALERT_RULES: .* no text in UTF-8"):
        read_rules(settings_for(alert_rules=file))
