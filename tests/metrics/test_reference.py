"""The reference agrees with what a person counts."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from testio_mcp.database.cache import PersistentCache
from tests.metrics.data import (
    Account,
    a_bug,
    a_copy,
    a_run,
    a_test,
    accounts,
    devices_of,
    store_account,
)
from tests.metrics.reference import METRICS, Answer, Records, answer, bucket, is_refused, read_records

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
JUNE, JULY = datetime(2026, 6, 30, 21, 59, tzinfo=UTC), datetime(2026, 6, 30, 22, 0, tzinfo=UTC)
"""A minute that belongs to June in Berlin, and the next one, which does not."""


@dataclass(frozen=True)
class Ask:
    """A question."""

    metrics: tuple[str, ...]
    by: tuple[str, ...] = ()
    filters: tuple[tuple[str, tuple[str | int | bool | None, ...]], ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    time: Literal["end", "report"] = "end"
    test_ids: tuple[int, ...] = ()
    exclude_test_ids: tuple[int, ...] = ()
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))


def _story(number: int, feature_id: int, **values: Any) -> dict[str, Any]:
    return {"id": number, "product_id": 1, "feature_id": feature_id, "gone_at": None, **values}


# Test 1 has two copies of feature 31 and one of 32, test 2 has none, test 3 did not run, test 4 is gone.
RECORDS = Records(
    tests=[
        a_test(1, end_at=JUNE, created_by_id=71, submitted_by_id=72),
        a_test(2, end_at=JULY, section_id=11, status="running", testing_type="coverage"),
        a_test(3, end_at=JULY, status="cancelled", created_by_id=71),
        a_test(4, end_at=JULY, gone_at=JULY),
    ],
    test_features=[
        a_copy(1, 1, 31),
        a_copy(2, 1, 31),
        a_copy(3, 1, 32),
        a_copy(4, 4, 33),
    ],
    bugs=[
        a_bug(1, 1, level="critical", status="accepted", author_id=71, feature_id=31, reported_at=JUNE),
        a_bug(2, 1, level="high", status="rejected", rejection_reason="Odd", author_id=71, reported_at=JULY),
        a_bug(3, 2, level="low", status="auto_accepted", rejection_reason="Odd", author_id=72, is_known=True),
        a_bug(4, 2, level="none", kind="visual"),
        a_bug(5, 2, gone_at=JULY),
        a_bug(6, 3),
        a_bug(7, 4),
    ],
    bug_devices=[
        *devices_of("bug_id", 1, [{"name": "Pixel", "browsers": "Chrome, Firefox"}, {"name": "Mac"}]),
        *devices_of("bug_id", 2, [{"name": "Mac", "browsers": "Chrome"}, {"name": "Moto", "browsers": "Chrome"}]),
    ],
    executions=[
        a_run(1, 1, user_story_id=51, executed_by_id=72),
        a_run(2, 1, user_story_id=51, status="failed"),
        a_run(3, 1, user_story_id=53, status="blocked"),
        a_run(4, 2, user_story_id=998, status="pending"),
        a_run(5, 2),
        a_run(6, 3, user_story_id=54),
        a_run(7, 999, user_story_id=54),
        a_run(8, None, user_story_id=54),
        a_run(9, 1, user_story_id=54, gone_at=JULY),
    ],
    execution_devices=devices_of("execution_id", 1, [{"name": "Mac"}, {"name": "Mac"}]),
    stories=[_story(51, 31), _story(52, 31), _story(53, 32), _story(54, 32), _story(55, 31, gone_at=JULY)],
)


def _total(metric: str, **asked: Any) -> Any:
    return answer(RECORDS, Ask((metric,), **asked)).total[metric]


def _rows(metric: str, *by: str, **asked: Any) -> dict[Any, Any]:
    found = answer(RECORDS, Ask((metric,), by, **asked)).rows
    return {key[0] if len(key) == 1 else key: values[metric] for key, values in found.items()}


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("test_count", 2),
        ("tests_created", 1),
        ("tests_submitted", 1),
        ("bug_count", 4),
        ("bug_severity_score", 5 + 3 + 1),
        ("active_acceptance_rate", 0.25),
        ("auto_acceptance_rate", 0.5),
        ("overall_acceptance_rate", 0.5),
        ("rejection_rate", 0.25),
        ("review_rate", 0.5),
        ("active_testers", 2),
        ("bugs_per_test", 2.0),
        ("executions", 5),
        ("passed", 2),
        ("failed", 1),
        ("blocked", 1),
        ("pass_rate", 0.5),
        ("stories_tested", 3),
        ("story_coverage", 0.5),
        ("features_tested", 2),
    ],
)
def test_totals(metric: str, value: float) -> None:
    assert _total(metric) == value
    assert len(METRICS) == 20


def test_nothing_has_counts_of_0_and_no_rates() -> None:
    assert answer(Records(), Ask(tuple(METRICS), ("product",))) == Answer(
        {}, {name: None if "rate" in name or name in ("bugs_per_test", "story_coverage") else 0 for name in METRICS}
    )


def test_a_record_counts_once_in_each_of_its_groups() -> None:
    assert _rows("test_count", "feature") == {31: 1, 32: 1, None: 1}
    assert _rows("features_tested", "feature") == {31: 1, 32: 1, None: 0}
    assert _rows("bug_count", "feature") == {31: 1, None: 3}
    assert _rows("bug_count", "browser") == {"Chrome": 2, "Firefox": 1, None: 3}
    assert _rows("bug_count", "device") == {"Pixel": 1, "Mac": 2, "Moto": 1, None: 2}
    assert _rows("bug_count", "device", "browser") == {
        ("Pixel", "Chrome"): 1,
        ("Pixel", "Firefox"): 1,
        ("Mac", None): 1,
        ("Mac", "Chrome"): 1,
        ("Moto", "Chrome"): 1,
        (None, None): 2,
    }
    assert _rows("executions", "device") == {"Mac": 1, None: 4}
    assert _rows("bug_severity_score", "browser") == {"Chrome": 8, "Firefox": 5, None: 6}


def test_one_device_meets_all_filters() -> None:
    assert _total("bug_count", filters=(("device", ("Mac",)), ("browser", ("Chrome",)))) == 1
    assert _total("bug_count", filters=(("device", ("Mac",)), ("browser", ("Firefox",)))) == 0
    assert _rows("bug_count", "browser", filters=(("device", ("Mac",)),)) == {None: 1, "Chrome": 1}
    assert _rows("bug_count", "device", filters=(("device", ("Mac", None)),)) == {"Mac": 2, None: 2}


def test_tests_of_what_bugs_have() -> None:
    assert _rows("test_count", "severity") == {"critical": 1, "high": 1, "low": 1, "none": 1}
    assert _rows("test_count", "tester") == {71: 1, 72: 1, None: 1}
    assert _rows("test_count", "feature", "severity") == {
        (31, "critical"): 1,
        (None, "high"): 1,
        (None, "low"): 1,
        (None, "none"): 1,
    }
    assert _total("test_count", filters=(("severity", ("critical", "high")),)) == 1
    assert _total("test_count", filters=(("severity", ("critical",)), ("bug_status", ("rejected",)))) == 0
    assert _rows("executions", "tester") == {72: 1, None: 4}


def test_reasons_are_those_of_rejected_bugs() -> None:
    assert _rows("bug_count", "rejection_reason") == {"Odd": 1, None: 3}
    assert _rows("bug_count", "known") == {True: 1, False: 3}


def test_stories_and_their_coverage() -> None:
    assert _rows("executions", "user_story") == {51: 2, 53: 1, 998: 1, None: 1}
    assert _rows("test_count", "user_story") == {51: 1, 53: 1, 998: 1, None: 1}
    assert _rows("executions", "feature") == {31: 2, 32: 1, None: 2}
    assert _rows("story_coverage", "feature") == {31: 0.5, 32: 0.5, None: None}
    assert _rows("story_coverage", "user_story") == {51: 1.0, 53: 1.0, 998: None, None: None}
    assert _rows("story_coverage", "product") == {1: 0.5}
    assert _rows("story_coverage", "testing_type") == {"rapid": 0.5, "coverage": 0.0}
    assert _total("story_coverage", filters=(("feature", (31,)),)) == 0.5
    assert _total("story_coverage", filters=(("user_story", (51, 52, 53)),)) == 0.6667


def test_times() -> None:
    assert _rows("test_count", "month", zone=BERLIN) == {date(2026, 6, 1): 1, date(2026, 7, 1): 1}
    assert _rows("test_count", "month") == {date(2026, 6, 1): 2}
    assert _rows("test_count", "quarter", zone=BERLIN) == {date(2026, 4, 1): 1, date(2026, 7, 1): 1}
    assert _rows("bug_count", "day", time="report", zone=BERLIN) == {
        date(2026, 6, 30): 1,
        date(2026, 7, 1): 1,
        None: 2,
    }
    assert _rows("test_count", "day", time="report", zone=BERLIN) == {
        date(2026, 6, 30): 1,
        date(2026, 7, 1): 1,
        None: 1,
    }
    assert bucket(datetime(2025, 1, 1, tzinfo=UTC), "week", NEW_YORK) == date(2024, 12, 30)
    assert bucket(datetime(2025, 1, 1, tzinfo=UTC), "day", NEW_YORK) == date(2024, 12, 31)


def test_periods_are_half_open() -> None:
    assert _total("bug_count", start=JUNE, end=JULY) == 2
    assert _total("bug_count", start=JULY) == 2
    assert _total("bug_count", end=JULY, time="report") == 1
    assert _total("test_count", start=JUNE, time="report") == 1
    assert _total("bug_count", time="report") == 4


def test_scope() -> None:
    assert _total("test_count", filters=(("test_status", ("cancelled", "running")),)) == 2
    assert _total("bug_count", filters=(("test_status", ("cancelled",)),)) == 1
    assert _total("executions", test_ids=(1, 3, 4)) == 3
    assert _total("features_tested", exclude_test_ids=(1,)) == 0


@pytest.mark.parametrize(
    "question",
    [
        Ask(("features_tested",), ("severity",)),
        Ask(("executions",), ("bug_status",)),
        Ask(("bug_count",), ("user_story",)),
        Ask(("bugs_per_test",), (), (("user_story", (51,)),)),
        Ask(("executions",), time="report"),
        Ask(("features_tested",), time="report"),
        Ask(("bug_count", "executions"), (), (("kind", ("visual",)),)),
        Ask(("test_count",), ("user_story", "tester")),
        Ask(("test_count",), ("user_story",), time="report"),
        Ask(("test_count",), ("user_story",), (("device", ("Mac",)),)),
    ],
)
def test_what_does_not_go_together(question: Ask) -> None:
    assert is_refused(question)
    assert not is_refused(replace(question, by=(), filters=(), time="end"))


@given(account=accounts())
async def test_records_are_read_back_as_they_are(store: PersistentCache, account: Account) -> None:
    await store.write(store_account(account))
    found = await store.read(read_records)
    assert len(found.stories) == 4
    for kept, given_rows in (
        (found.tests, account.tests),
        (found.test_features, account.test_features),
        (found.bugs, account.bugs),
        (found.bug_devices, account.bug_devices),
        (found.executions, account.executions),
        (found.execution_devices, account.execution_devices),
    ):
        assert len(kept) == len(given_rows)
        assert all(any(row.items() <= other.items() for other in kept) for row in given_rows)
