"""Every number of reports, rules, digests and alerts is what its link gives, whatever the account holds."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from testio_mcp.app import App
from testio_mcp.errors import BadInput
from testio_mcp.operations.registry import operations
from testio_mcp.reports.links import link
from testio_mcp.rules import READINESS
from testio_sandbox import World
from tests.metrics.data import GONE_STORIES, NO_STORY, PEOPLE, RECENT, TEST_IDS, accounts, store_account
from tests.metrics.data import Account as Rows
from tests.operations.conftest import NOW
from tests.support.links import ID_IN, check_comparison, check_digest, check_report, check_rules, follow_on
from tests.sync.conftest import EVERYTHING, Account


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    """An account; of the seed that a test names, and so large that bugs came back for seed 7."""
    callspec = getattr(request.node, "callspec", None)
    seed = callspec.params.get("seed", 3) if callspec else 3
    return World(seed=seed, products=2, tests_per_product=40 if seed == 7 else 24, bugs_per_test=4, now=NOW)


PERIODS = (
    "all time",
    "this year",
    "last 90 days",
    "2026-Q3",
    "since 2026-03-29",
    "until 2026-09-30",
    "2026-03-01 to 2026-03-31",
    "2001",
)
FILTERS = (
    "product=1",
    "severity=critical,high",
    "severity=none",
    "bug_status=open,rejected",
    "bug_status=accepted",
    "kind=functional",
    "known=false",
    "testing_type=rapid,coverage",
    "test_status=archived,running",
    "feature=31,none",
    "section=none",
    "test_environment=none",
    "contact=none",
    f"tester={PEOPLE[0]},none",
    "device=Pixel 8",
    "operating_system=none",
    "rejection_reason=Out of scope",
    "browser=Chrome,Firefox",
)
RULES = """
[[rule]]
name = "many"
kind = "threshold"
metric = "bug_count"
at_least = 1
period = "all time"
[[rule]]
name = "rate"
kind = "threshold"
metric = "review_rate"
at_most = 0.99
period = "last 90 days"
[[rule]]
name = "soon"
kind = "deadline"
within_days = 60
levels = ["critical", "high"]
[[rule]]
name = "new"
kind = "new_bug"
[[rule]]
name = "old"
kind = "sync_stale"
hours = 1
"""
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
_ids = st.lists(st.sampled_from(TEST_IDS), max_size=3)
scopes = st.fixed_dictionaries(
    {
        "period": st.sampled_from(PERIODS),
        "filters": st.lists(st.sampled_from(FILTERS), max_size=2),
        "time": st.sampled_from(("end", "end", "report")),
        "product_ids": st.sampled_from(([], [], [1], [1, 2])),
        "test_ids": st.just([]) | _ids,
        "exclude_test_ids": st.just([]) | _ids,
    }
)
_DRAWN = settings(
    phases=(Phase.explicit, Phase.generate),
    max_examples=max(1, settings().max_examples // 5),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def in_zone(app: App, zone: str) -> None:
    """Let days begin where a zone has its midnight."""
    app.settings = app.settings.model_copy(update={"time_zone": zone})


@_DRAWN
@given(rows=accounts(3, RECENT), scope=scopes, zone=st.sampled_from(ZONES))
async def test_links_of_a_quality_report(account: Account, rows: Rows, scope: dict[str, Any], zone: str) -> None:
    await account.store.write(store_account(rows))
    in_zone(account.app, zone)
    held = {test["id"] for test in rows.tests}
    scope["test_ids"] = [test_id for test_id in scope["test_ids"] if test_id in held]
    report = await operations()["quality_report"].answer(account.app, {**scope, "detail": "full"})
    assert await check_report(report, follow_on(account.app)) > 5


@pytest.mark.parametrize("seed", [7])
async def test_untested_features_and_bugs_found_again_are_lists(account: Account, seed: int) -> None:
    await account.sync(only=EVERYTHING)
    follow, told = follow_on(account.app), set[str]()
    tests = await operations()["list_tests"].answer(account.app, {"scope": "ran", "limit": 5})
    ids = [test["id"] for test in tests["items"]]
    product = f"product={account.world.product_ids[0]}"
    for scope in (
        {"period": "all time"},
        {"period": "last 90 days", "time": "report"},
        {"period": "last 30 days", "filters": [product]},
        {"test_ids": ids, "filters": ["testing_type=rapid,coverage"]},
        {"period": "last 20 days", "exclude_test_ids": ids},
    ):
        report = await operations()["quality_report"].answer(account.app, {**scope, "detail": "full"})
        await check_report(report, follow)
        for section in report["sections"]:
            for table in section["tables"]:
                if table["title"] in ID_IN:
                    told |= {table["title"], table["link"]["operation"]}
    assert told == {*ID_IN, "list_features", "list_bugs"}
    tested = await follow(link("list_features", tested=True, test_ids=ids[:1]))
    assert all(item["tested"] for item in tested["items"])
    assert tested["total"] == len(
        (await operations()["get_test"].answer(account.app, {"test_id": ids[0]}))["features"]
    )


@_DRAWN
@given(rows=accounts(3, RECENT), scope=scopes, zone=st.sampled_from(ZONES), product=st.sampled_from((1, 2)))
async def test_links_of_readiness(
    account: Account, rows: Rows, scope: dict[str, Any], zone: str, product: int
) -> None:
    await account.store.write(store_account(rows))
    in_zone(account.app, zone)
    own = {test["id"] for test in rows.tests if test["product_id"] == product and not test["gone_at"]}
    arguments = {
        "product_id": product,
        "period": scope["period"],
        "test_ids": [test_id for test_id in scope["test_ids"] if test_id in own],
        "rules": [f"{name}=0/0" if name.startswith("max_") else f"{name}=1/1" for name in READINESS],
    }
    found = await operations()["readiness"].answer(account.app, arguments)
    assert await check_rules(found, follow_on(account.app), (*GONE_STORIES, NO_STORY)) == len(READINESS)


@_DRAWN
@given(rows=accounts(3, RECENT), scope=scopes, zone=st.sampled_from(ZONES))
async def test_links_of_a_comparison(account: Account, rows: Rows, scope: dict[str, Any], zone: str) -> None:
    await account.store.write(store_account(rows))
    in_zone(account.app, zone)
    arguments = {
        "period": "2026-Q3" if scope["period"] in ("all time", "2001") else scope["period"],
        "with_period": "all time",
        "filters": scope["filters"],
    }
    try:
        found = await operations()["compare_quality"].answer(account.app, arguments)
    except BadInput:  # no metric takes both filters
        assume(False)
    await check_comparison(found, follow_on(account.app))


@_DRAWN
@given(rows=accounts(3, RECENT), scope=scopes, zone=st.sampled_from(ZONES), product=st.sampled_from((None, 1, 2)))
async def test_links_of_a_digest(
    account: Account, tmp_path: Path, rows: Rows, scope: dict[str, Any], zone: str, product: int | None
) -> None:
    await account.store.write(store_account(rows))
    (tmp_path / "rules.toml").write_text(RULES)
    account.app.settings = account.app.settings.model_copy(update={"alert_rules": tmp_path / "rules.toml"})
    in_zone(account.app, zone)
    arguments = {"period": scope["period"], "product_id": product}
    await check_digest(await operations()["get_digest"].answer(account.app, arguments), follow_on(account.app))


@pytest.mark.parametrize("seed", [3, 11, 29])
async def test_links_of_alerts_and_reports_of_a_whole_account(account: Account, seed: int, tmp_path: Path) -> None:
    await account.sync(only=EVERYTHING)
    (tmp_path / "rules.toml").write_text(RULES)
    account.app.settings = account.app.settings.model_copy(update={"alert_rules": tmp_path / "rules.toml"})
    follow = follow_on(account.app)
    digest = await operations()["get_digest"].answer(account.app, {"period": "last 90 days"})
    await check_digest(digest, follow)
    assert {alert["kind"] for alert in digest["alerts"]} >= {"threshold", "deadline"}
    for product in account.world.product_ids:
        for period in ("last 90 days", "this year"):
            arguments = {"product_ids": [product], "period": period, "detail": "full"}
            report = await operations()["quality_report"].answer(account.app, arguments)
            assert await check_report(report, follow) > 30
