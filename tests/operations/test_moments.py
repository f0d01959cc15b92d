"""Any moment that the API tells, in any zone and form, is stored as UTC and answered in the form of RFC 3339."""

import json
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from testio_mcp.operations.registry import operations
from tests.sync.conftest import Account

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_FORMS = ("{0}", "{0:%Y-%m-%d %H:%M:%S.%f %z}", "{0:%Y%m%dT%H%M%S%z}")
# Later than the seconds in the offsets of some zones, which the API cannot mean.
_FIRST, _LAST = datetime(1972, 2, 1), datetime(2200, 1, 1)  # noqa: DTZ001
_MOMENTS = st.datetimes(_FIRST, _LAST) | st.datetimes(_FIRST, _LAST, timezones=st.timezones())
_BERLIN, _LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")


def _meant(told: str, moment: datetime) -> datetime:
    """The moment that a text tells: without a zone it is UTC, and some forms tell whole seconds."""
    whole = moment if "." in told else moment.replace(microsecond=0)
    return whole.replace(tzinfo=UTC) if whole.tzinfo is None else whole.astimezone(UTC)


@given(moment=_MOMENTS, form=st.sampled_from(_FORMS))
@example(moment=datetime(2026, 10, 25, 2, 30, tzinfo=_BERLIN, fold=0), form=_FORMS[0])
@example(moment=datetime(2026, 10, 25, 2, 30, tzinfo=_BERLIN, fold=1), form=_FORMS[0])
@example(moment=datetime(2026, 3, 29, 2, 30, tzinfo=_BERLIN), form=_FORMS[0])
@example(moment=datetime(2026, 4, 5, 1, 45, tzinfo=_LORD_HOWE, fold=1), form=_FORMS[1])
@example(moment=datetime(2026, 11, 22), form=_FORMS[2])  # noqa: DTZ001
@settings(max_examples=20)
async def test_a_moment_of_any_zone(account: Account, moment: datetime, form: str) -> None:
    test_id = account.world.test_ids(account.world.product_ids[0])[0]
    told = form.format(moment).strip()
    account.world.update_test(test_id, end_at=told)
    assert (await account.sync(only=frozenset({"tests"}))).status == "completed"

    (row,) = await account.rows("test", id=test_id)
    assert row["end_at"] == _meant(told, moment)
    assert row["end_at"].utcoffset().total_seconds() == 0
    answer = (await operations()["get_test"].run(account.app, {"test_id": test_id})).model_dump_json()
    said = json.loads(answer)["end_at"]
    assert _RFC_3339.fullmatch(said)
    assert datetime.fromisoformat(said) == _meant(told, moment)
    is_flagged = any(row["note"] == "end_at:naive" for row in await account.rows("drift"))
    assert is_flagged or moment.tzinfo is not None


@pytest.mark.parametrize("told", ["2026-11-22", "2026-11-22T00:00:00", "2026-11-22 00:00:00 UTC", "20261122T000000Z"])
async def test_a_day_begins_in_utc(account: Account, told: str) -> None:
    test_id = account.world.test_ids(account.world.product_ids[0])[0]
    account.world.update_test(test_id, end_at=told)

    await account.sync(only=frozenset({"tests"}))

    (row,) = await account.rows("test", id=test_id)
    assert row["end_at"] == datetime(2026, 11, 22, tzinfo=UTC)
    of_that_day = await operations()["list_tests"].run(
        account.app, {"end_from": "2026-11-22", "end_to": "2026-11-22", "limit": 100}
    )
    assert test_id in {item["id"] for item in of_that_day.model_dump()["items"]}
    before = await operations()["list_tests"].run(account.app, {"end_to": "2026-11-21", "limit": 100})
    assert test_id not in {item["id"] for item in before.model_dump()["items"]}
