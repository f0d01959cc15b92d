"""The instants and the units of a period's days, and the period before it."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from testio_mcp.errors import BadInput
from testio_mcp.operations.periods import (
    MOST_BUCKETS,
    Bucket,
    Period,
    Unit,
    bounds,
    buckets,
    period_of,
    previous,
    starts_of,
    today_in,
)

DAY = timedelta(days=1)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Cairo",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Niue",
    "Pacific/Apia",
)
UNITS: tuple[Unit, ...] = ("day", "week", "month", "quarter", "year")

days = st.dates()
sane_days = st.dates(date(1990, 1, 1), date(2090, 12, 31))
zones = st.sampled_from(ZONES).map(ZoneInfo)
units = st.sampled_from(UNITS)


@st.composite
def spans(draw: st.DrawFn) -> Period:
    """Two days, or the whole unit of time around one."""
    if draw(st.booleans()):
        bucket = buckets(Period(*(draw(sane_days),) * 2), draw(units))[0]
        return Period(bucket.first, bucket.last)
    return Period(*sorted((draw(sane_days), draw(sane_days))))


def period(first: str, last: str) -> Period:
    """`-` is an open end."""
    return Period(*(None if day == "-" else date.fromisoformat(day) for day in (first, last)))


@pytest.mark.parametrize(
    ("zone", "now", "today"),
    [
        ("UTC", "2026-10-05T23:59:59+00:00", "2026-10-05"),
        ("Europe/Berlin", "2026-10-05T21:59:59+00:00", "2026-10-05"),
        ("Europe/Berlin", "2026-10-05T22:00:00+00:00", "2026-10-06"),
        ("America/New_York", "2026-01-01T04:59:59+00:00", "2025-12-31"),
        ("Pacific/Kiritimati", "2026-12-31T10:00:00+00:00", "2027-01-01"),
        ("Pacific/Niue", "2027-01-01T10:59:59+00:00", "2026-12-31"),
        ("Pacific/Niue", "2027-01-01T01:00:00+14:00", "2026-12-31"),
    ],
)
def test_today_in(zone: str, now: str, today: str) -> None:
    assert today_in(ZoneInfo(zone), datetime.fromisoformat(now)) == date.fromisoformat(today)


@pytest.mark.parametrize(
    ("zone", "first", "last", "start", "end"),
    [
        ("UTC", "2026-10-01", "2026-10-31", "2026-10-01T00:00Z", "2026-11-01T00:00Z"),
        ("Europe/Berlin", "2026-03-29", "2026-03-29", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("Europe/Berlin", "2026-10-25", "2026-10-25", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        ("Europe/Berlin", "2026-10-01", "2026-12-31", "2026-09-30T22:00Z", "2026-12-31T23:00Z"),
        ("America/New_York", "2026-03-08", "2026-03-08", "2026-03-08T05:00Z", "2026-03-09T04:00Z"),
        ("America/New_York", "2026-11-01", "2026-11-01", "2026-11-01T04:00Z", "2026-11-02T05:00Z"),
        # There is no midnight: the day begins at 01:00.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04", "2018-11-04T03:00Z", "2018-11-05T02:00Z"),
        ("America/Sao_Paulo", "2018-11-03", "2018-11-03", "2018-11-03T03:00Z", "2018-11-04T03:00Z"),
        ("Africa/Cairo", "2023-04-28", "2023-04-28", "2023-04-27T22:00Z", "2023-04-28T21:00Z"),
        ("Asia/Beirut", "2024-03-31", "2024-03-31", "2024-03-30T22:00Z", "2024-03-31T21:00Z"),
        # The clock goes back from 00:00 to 23:00, or over midnight: the day before has 25 hours, or the day itself.
        ("America/Sao_Paulo", "2018-02-17", "2018-02-17", "2018-02-17T02:00Z", "2018-02-18T03:00Z"),
        ("America/Havana", "2024-11-03", "2024-11-03", "2024-11-03T04:00Z", "2024-11-04T05:00Z"),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-05", "2026-04-04T13:00Z", "2026-04-05T13:30Z"),
        ("Pacific/Kiritimati", "2026-10-05", "2026-10-05", "2026-10-04T10:00Z", "2026-10-05T10:00Z"),
        ("Pacific/Niue", "2026-10-05", "2026-10-05", "2026-10-05T11:00Z", "2026-10-06T11:00Z"),
        # A day that was left out of the calendar holds nothing.
        ("Pacific/Apia", "2011-12-30", "2011-12-30", "2011-12-30T10:00Z", "2011-12-30T10:00Z"),
        ("Europe/Berlin", "2026-10-05", "-", "2026-10-04T22:00Z", None),
        ("Europe/Berlin", "-", "2026-10-05", None, "2026-10-05T22:00Z"),
        ("Europe/Berlin", "-", "-", None, None),
        ("Pacific/Niue", "2026-10-05", "9999-12-31", "2026-10-05T11:00Z", None),
    ],
)
def test_bounds(zone: str, first: str, last: str, start: str | None, end: str | None) -> None:
    instants = tuple(instant and datetime.fromisoformat(instant) for instant in (start, end))
    found = bounds(period(first, last), ZoneInfo(zone))
    assert found == instants
    assert all(instant is None or instant.tzinfo is UTC for instant in found)


@given(days, days, zones)
@example(date.min, date.max, ZoneInfo("Pacific/Kiritimati"))
@example(date.min, date.min, ZoneInfo("Europe/Berlin"))
def test_bounds_are_in_order(one: date, other: date, zone: ZoneInfo) -> None:
    first, last = sorted((one, other))
    start, end = bounds(Period(first, last), zone)
    assert start is not None
    assert (end is None) == (last == date.max)
    assert end is None or start <= end


@given(sane_days, zones)
def test_days_abut(day: date, zone: ZoneInfo) -> None:
    assert bounds(Period(day, day), zone)[1] == bounds(Period(day + DAY, day + DAY), zone)[0]


@given(st.integers(631152000, 3786912000), zones)
def test_now_is_within_today_unless_the_clock_went_back_over_midnight(second: int, zone: ZoneInfo) -> None:
    now = datetime.fromtimestamp(second, UTC)
    today = today_in(zone, now)
    start, end = bounds(Period(today, today), zone)
    assert start and end
    assume(now.astimezone(zone).fold == 0)
    assert start <= now < end


@pytest.mark.parametrize(
    ("first", "last", "before", "until"),
    [
        ("2026-10-01", "2026-10-31", "2026-09-01", "2026-09-30"),
        ("2026-03-01", "2026-03-31", "2026-02-01", "2026-02-28"),
        ("2024-03-01", "2024-03-31", "2024-02-01", "2024-02-29"),
        ("2026-01-01", "2026-01-31", "2025-12-01", "2025-12-31"),
        ("2026-07-01", "2026-09-30", "2026-04-01", "2026-06-30"),
        ("2026-01-01", "2026-03-31", "2025-10-01", "2025-12-31"),
        ("2026-08-01", "2026-10-31", "2026-05-01", "2026-07-31"),
        ("2025-11-01", "2026-02-28", "2025-07-01", "2025-10-31"),
        ("2025-01-01", "2025-12-31", "2024-01-01", "2024-12-31"),
        ("2026-12-28", "2027-01-03", "2026-12-21", "2026-12-27"),
        ("2026-01-01", "2026-08-19", "2025-05-15", "2025-12-31"),
        ("2026-07-21", "2026-08-19", "2026-06-21", "2026-07-20"),
        ("2024-02-29", "2024-02-29", "2024-02-28", "2024-02-28"),
        ("2026-10-01", "2026-10-30", "2026-09-01", "2026-09-30"),
    ],
)
def test_previous(first: str, last: str, before: str, until: str) -> None:
    assert previous(period(first, last)) == period(before, until)


@pytest.mark.parametrize(
    ("first", "last", "today", "until"),
    [
        ("2026-10-01", "2026-12-31", "2026-10-10", "2026-07-10"),
        ("2026-10-01", "2026-12-31", "2026-10-01", "2026-07-01"),
        ("2026-10-01", "2026-12-31", "2026-12-31", "2026-09-30"),
        ("2026-10-01", "2026-12-31", "2027-01-01", "2026-09-30"),
        ("2026-10-01", "2026-12-31", "2026-09-30", "2026-09-30"),
        ("2026-03-01", "2026-03-31", "2026-03-30", "2026-02-28"),
        ("2026-10-05", "2026-10-11", "2026-10-07", "2026-09-30"),
    ],
)
def test_what_is_not_over_is_compared_with_as_many_days(first: str, last: str, today: str, until: str) -> None:
    before = previous(period(first, last), date.fromisoformat(today))
    whole = previous(period(first, last))
    assert before and whole
    assert before == (whole.first, date.fromisoformat(until))


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("-", "-"),
        ("2026-01-01", "-"),
        ("-", "2026-01-01"),
        ("0001-01-01", "0001-01-07"),
        ("0001-01-01", "0001-12-31"),
    ],
)
def test_nothing_is_before_an_open_end_or_the_calendar(first: str, last: str) -> None:
    assert previous(period(first, last)) is None


@given(spans())
def test_previous_abuts_and_is_as_long(found: Period) -> None:
    before = previous(found)
    assert found.first and found.last and before and before.first and before.last
    assert before.last == found.first - DAY
    if found.first.day == (found.last + DAY).day == 1:
        assert before.first.day == 1
        assert len(buckets(before, "month")) == len(buckets(found, "month"))
    else:
        assert before.last - before.first == found.last - found.first


@given(days, days, days)
def test_previous_of_any_days(one: date, other: date, today: date) -> None:
    first, last = sorted((one, other))
    before = previous(Period(first, last), today)
    assert before is None or (before.first and before.last and before.first <= before.last < first)


@pytest.mark.parametrize(
    ("first", "last", "unit", "labels"),
    [
        ("2026-10-05", "2026-10-07", "day", ["2026-10-05", "2026-10-06", "2026-10-07"]),
        ("2026-12-27", "2027-01-04", "week", ["2026-W52", "2026-W53", "2027-W01"]),
        ("2025-12-28", "2025-12-29", "week", ["2025-W52", "2026-W01"]),
        ("2025-12-31", "2026-02-01", "month", ["2025-12", "2026-01", "2026-02"]),
        ("2026-03-31", "2026-10-01", "quarter", ["2026-Q1", "2026-Q2", "2026-Q3", "2026-Q4"]),
        ("2025-12-31", "2026-01-01", "year", ["2025", "2026"]),
    ],
)
def test_buckets(first: str, last: str, unit: Unit, labels: list[str]) -> None:
    found = buckets(period(first, last), unit)
    assert [bucket.label for bucket in found] == labels


def test_buckets_are_whole() -> None:
    assert buckets(period("2024-02-10", "2024-02-12"), "month") == [
        Bucket("2024-02", date(2024, 2, 1), date(2024, 2, 29))
    ]
    assert buckets(period("2026-12-31", "2026-12-31"), "week") == [
        Bucket("2026-W53", date(2026, 12, 28), date(2027, 1, 3))
    ]


@given(spans(), units)
def test_buckets_tile_the_period(found: Period, unit: Unit) -> None:
    assert found.first and found.last
    assume(unit not in ("day", "week", "month") or (found.last - found.first).days < 1_000)
    tiles = buckets(found, unit)
    assert all(bucket.first <= bucket.last for bucket in tiles)
    assert [bucket.last + DAY for bucket in tiles[:-1]] == [bucket.first for bucket in tiles[1:]]
    assert tiles[0].first <= found.first <= tiles[0].last
    assert tiles[-1].first <= found.last <= tiles[-1].last
    for bucket in tiles:
        assert period_of(bucket.label, bucket.first) == (bucket.first, bucket.last)


@given(days, days, units)
def test_buckets_of_any_days_are_some_or_bad_input(one: date, other: date, unit: Unit) -> None:
    first, last = sorted((one, other))
    try:
        assert 1 <= len(buckets(Period(first, last), unit)) <= MOST_BUCKETS
    except BadInput:
        assert (last - first).days > MOST_BUCKETS or last.year == date.max.year


def test_no_more_than_a_thousand() -> None:
    first = date(2020, 1, 1)
    assert len(buckets(Period(first, first + 999 * DAY), "day")) == 1_000
    with pytest.raises(BadInput, match=r"^period: it has more than 1,000 days\."):
        buckets(Period(first, first + 1_000 * DAY), "day")


@pytest.mark.parametrize("ends", [("-", "-"), ("2026-01-01", "-"), ("-", "2026-01-01")])
def test_an_open_end_has_no_buckets(ends: tuple[str, str]) -> None:
    with pytest.raises(BadInput, match=r"^period: it has an open end\."):
        buckets(period(*ends), "month")


@pytest.mark.parametrize("unit", UNITS)
def test_the_calendar_ends(unit: Unit) -> None:
    with pytest.raises(BadInput, match=r"^period: it reaches the end of the calendar\."):
        buckets(Period(date.max, date.max), unit)


def test_starts_of_days_in_berlin() -> None:
    found = starts_of(buckets(period("2026-03-28", "2026-03-30"), "day"), ZoneInfo("Europe/Berlin"))
    assert [instant.isoformat() for instant in found] == [
        "2026-03-27T23:00:00+00:00",
        "2026-03-28T23:00:00+00:00",
        "2026-03-29T22:00:00+00:00",
        "2026-03-30T22:00:00+00:00",
    ]
    assert starts_of([], ZoneInfo("Europe/Berlin")) == []


@given(spans(), zones)
def test_starts_are_the_bounds_of_their_buckets(found: Period, zone: ZoneInfo) -> None:
    tiles = buckets(found, "quarter")
    starts = starts_of(tiles, zone)
    assert starts == sorted(starts)
    assert list(pairwise(starts)) == [bounds(Period(bucket.first, bucket.last), zone) for bucket in tiles]
