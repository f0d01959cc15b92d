"""The instants and the units of a period's days, and the period before it."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics.periods import (
    MOST_BUCKETS,
    Bucket,
    Period,
    Unit,
    bounds,
    buckets,
    cut_alike,
    period_of,
    previous,
    starts_of,
    today_in,
    with_previous,
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
        day = draw(sane_days)
        bucket = buckets(Period(day, day), draw(units))[0]
        return Period(bucket.first, bucket.last)
    first, last = sorted((draw(sane_days), draw(sane_days)))
    return Period(first, last)


def period(first: str, last: str) -> Period:
    """`-` is an open end."""
    one, other = (None if day == "-" else date.fromisoformat(day) for day in (first, last))
    return Period(one, other)


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
    ("said", "today", "days", "before"),
    [
        # Days that were counted or named one by one: as many right before them.
        ("last 30 days", "2026-11-30", "1 Nov to 30 Nov 2026 (30 days)", "2 Oct to 31 Oct 2026 (30 days)"),
        ("last 90 days", "2026-03-01", "2 Dec 2025 to 1 Mar 2026 (90 days)", "3 Sep to 1 Dec 2025 (90 days)"),
        ("previous 7 days", "2026-11-30", "23 Nov to 29 Nov 2026 (7 days)", "16 Nov to 22 Nov 2026 (7 days)"),
        ("today", "2024-03-01", "1 Mar 2024 (1 day)", "29 Feb 2024 (1 day)"),
        ("yesterday", "2027-01-01", "31 Dec 2026 (1 day)", "30 Dec 2026 (1 day)"),
        ("2026-10-05 to 2026-10-20", "2026-11-30", "5 Oct to 20 Oct 2026 (16 days)",
         "19 Sep to 4 Oct 2026 (16 days)"),
        ("2026-10-01 to 2026-10-31", "2026-11-30", "1 Oct to 31 Oct 2026 (31 days)",
         "31 Aug to 30 Sep 2026 (31 days)"),
        ("last month to today", "2026-11-30", "1 Oct to 30 Nov 2026 (61 days)", "1 Aug to 30 Sep 2026 (61 days)"),
        ("2024-02-29", "2026-11-30", "29 Feb 2024 (1 day)", "28 Feb 2024 (1 day)"),
        ("2026-11-21 to 2026-12-10", "2026-11-30", "21 Nov to 30 Nov 2026, to date (10 days)",
         "11 Nov to 20 Nov 2026 (10 days)"),
        # Units of the calendar that are over: as many units before them.
        ("last month", "2024-04-15", "1 Mar to 31 Mar 2024 (31 days)", "1 Feb to 29 Feb 2024 (29 days)"),
        ("2026-03", "2026-11-30", "1 Mar to 31 Mar 2026 (31 days)", "1 Feb to 28 Feb 2026 (28 days)"),
        ("2026-01", "2026-11-30", "1 Jan to 31 Jan 2026 (31 days)", "1 Dec to 31 Dec 2025 (31 days)"),
        ("2026-Q1", "2026-11-30", "1 Jan to 31 Mar 2026 (90 days)", "1 Oct to 31 Dec 2025 (92 days)"),
        ("last 3 months", "2026-02-15", "1 Nov 2025 to 31 Jan 2026 (92 days)", "1 Aug to 31 Oct 2025 (92 days)"),
        ("2024", "2026-11-30", "1 Jan to 31 Dec 2024 (366 days)", "1 Jan to 31 Dec 2023 (365 days)"),
        ("2026-W53", "2027-02-01", "28 Dec 2026 to 3 Jan 2027 (7 days)", "21 Dec to 27 Dec 2026 (7 days)"),
        ("2027-W01", "2027-02-01", "4 Jan to 10 Jan 2027 (7 days)", "28 Dec 2026 to 3 Jan 2027 (7 days)"),
        ("last 2 weeks", "2027-01-04", "21 Dec 2026 to 3 Jan 2027 (14 days)", "7 Dec to 20 Dec 2026 (14 days)"),
        ("2026-Q1 to 2026-Q2", "2026-11-30", "1 Jan to 30 Jun 2026 (181 days)", "1 Jul to 31 Dec 2025 (184 days)"),
        ("2026-Q1 to 2026-04", "2026-11-30", "1 Jan to 30 Apr 2026 (120 days)", "1 Sep to 31 Dec 2025 (122 days)"),
        # The last day of a period is the day on which it is whole.
        ("this month", "2026-11-30", "1 Nov to 30 Nov 2026 (30 days)", "1 Oct to 31 Oct 2026 (31 days)"),
        ("this week", "2026-11-29", "23 Nov to 29 Nov 2026 (7 days)", "16 Nov to 22 Nov 2026 (7 days)"),
        ("YTD", "2026-12-31", "1 Jan to 31 Dec 2026 (365 days)", "1 Jan to 31 Dec 2025 (365 days)"),
        # Those that still run: as many days from the beginning of the one before, at most to its end.
        ("this quarter", "2026-11-30", "1 Oct to 30 Nov 2026, to date (61 days)",
         "1 Jul to 30 Aug 2026, to date (61 days)"),
        ("QTD", "2026-11-30", "1 Oct to 30 Nov 2026, to date (61 days)", "1 Jul to 30 Aug 2026, to date (61 days)"),
        ("2026-Q4", "2026-10-01", "1 Oct 2026, to date (1 day)", "1 Jul 2026, to date (1 day)"),
        ("2026-10 to 2026-12", "2026-11-30", "1 Oct to 30 Nov 2026, to date (61 days)",
         "1 Jul to 30 Aug 2026, to date (61 days)"),
        ("this quarter", "2026-06-29", "1 Apr to 29 Jun 2026, to date (90 days)", "1 Jan to 31 Mar 2026 (90 days)"),
        ("this month", "2026-03-30", "1 Mar to 30 Mar 2026, to date (30 days)", "1 Feb to 28 Feb 2026 (28 days)"),
        ("MTD", "2024-03-29", "1 Mar to 29 Mar 2024, to date (29 days)", "1 Feb to 29 Feb 2024 (29 days)"),
        ("MTD", "2026-03-31", "1 Mar to 31 Mar 2026 (31 days)", "1 Feb to 28 Feb 2026 (28 days)"),
        ("this week", "2026-12-30", "28 Dec to 30 Dec 2026, to date (3 days)",
         "21 Dec to 23 Dec 2026, to date (3 days)"),
        ("2026-W52 to 2026-W53", "2026-12-30", "21 Dec to 30 Dec 2026, to date (10 days)",
         "7 Dec to 16 Dec 2026, to date (10 days)"),
        # Of years, the same days of the year.
        ("YTD", "2026-11-30", "1 Jan to 30 Nov 2026, to date (334 days)", "1 Jan to 30 Nov 2025, to date (334 days)"),
        ("this year", "2024-11-30", "1 Jan to 30 Nov 2024, to date (335 days)",
         "1 Jan to 30 Nov 2023, to date (334 days)"),
        ("2024", "2024-02-29", "1 Jan to 29 Feb 2024, to date (60 days)", "1 Jan to 28 Feb 2023, to date (59 days)"),
        ("2026-Q1 to 2026-Q4", "2026-08-15", "1 Jan to 15 Aug 2026, to date (227 days)",
         "1 Jan to 15 Aug 2025, to date (227 days)"),
    ],
)  # fmt: skip
def test_like_is_compared_with_like(said: str, today: str, days: str, before: str) -> None:
    day = date.fromisoformat(today)
    found = with_previous(period_of(said, day), day)
    assert found
    assert [each.in_words() for each in found] == [days, before]


@pytest.mark.parametrize(
    ("said", "as_of", "days", "before"),
    [
        ("last 30 days", "2026-11-27", "1 Nov to 27 Nov 2026, to date (27 days)", "5 Oct to 31 Oct 2026 (27 days)"),
        ("this quarter", "2026-11-27", "1 Oct to 27 Nov 2026, to date (58 days)",
         "1 Jul to 27 Aug 2026, to date (58 days)"),
        ("YTD", "2026-11-27", "1 Jan to 27 Nov 2026, to date (331 days)", "1 Jan to 27 Nov 2025, to date (331 days)"),
        ("this month", "2026-11-27", "1 Nov to 27 Nov 2026, to date (27 days)",
         "1 Oct to 27 Oct 2026, to date (27 days)"),
    ],
)  # fmt: skip
def test_a_period_ends_where_the_data_ends(said: str, as_of: str, days: str, before: str) -> None:
    found = with_previous(period_of(said, date(2026, 11, 30)), date.fromisoformat(as_of))
    assert found
    assert [each.in_words() for each in found] == [days, before]


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
    assert previous(period(first, last)._replace(unit="year")) is None


def test_what_begins_after_the_data_is_not_compared() -> None:
    assert with_previous(period_of("2026-12", date(2026, 11, 30)), date(2026, 11, 30)) is None


RUNNING = ("this week", "this month", "this quarter", "this year", "WTD", "MTD", "QTD", "YTD")
OVER = ("last week", "last month", "last quarter", "last year", "last 3 months", "last 5 weeks", "last 2 quarters",
        "last 12 months")  # fmt: skip
ROLLING = ("today", "yesterday", "last 7 days", "last 30 days", "previous 90 days", "last 365 days")


@given(st.sampled_from((*RUNNING, *OVER, *ROLLING)), sane_days, st.integers(0, 40))
@example("this month", date(2026, 3, 31), 0)
@example("MTD", date(2024, 3, 30), 0)
@example("this year", date(2024, 2, 29), 0)
@example("YTD", date(2024, 12, 30), 0)
@example("this quarter", date(2026, 5, 31), 0)
def test_no_comparison_goes_beyond_the_data_or_meets_itself(said: str, today: date, age: int) -> None:
    as_of = today - age * DAY
    found = with_previous(period_of(said, today), as_of)
    if found is None:
        first = period_of(said, today).first
        assert first
        assert first > as_of
        return
    now, before = found
    assert now.first and now.last and before.first and before.last
    assert now.first <= now.last <= as_of
    assert before.first <= before.last < now.first
    assert now.first == period_of(said, today).first


@given(st.sampled_from(ROLLING), sane_days, st.integers(0, 40))
def test_a_rolling_period_has_as_many_days_right_before_it(said: str, today: date, age: int) -> None:
    if found := with_previous(period_of(said, today), today - age * DAY):
        now, before = found
        assert now.first and before.last
        assert (before.days, before.last) == (now.days, now.first - DAY)


@given(sane_days, sane_days, sane_days)
def test_a_custom_range_has_as_many_days_right_before_it(one: date, other: date, as_of: date) -> None:
    first, last = sorted((one, other))
    if found := with_previous(period_of(f"{first} to {last}", as_of), as_of):
        now, before = found
        assert now[:2] == (first, min(last, as_of))
        assert now.is_to_date == (last > as_of)
        assert now.first and before.last
        assert (before.days, before.last) == (now.days, now.first - DAY)


@given(sane_days, st.sampled_from(("week", "month", "quarter", "year")), st.integers(1, 5))
def test_units_that_are_over_have_as_many_before_them(today: date, unit: Unit, count: int) -> None:
    found = with_previous(period_of(f"last {count} {unit}s", today), today)
    assert found
    now, before = found
    assert now.first and before.last == now.first - DAY
    assert len(buckets(before, unit)) == len(buckets(now, unit)) == count
    assert not now.is_to_date and not before.is_to_date
    assert buckets(before, unit)[0].first == before.first


@given(sane_days, st.sampled_from(("week", "month", "quarter")))
def test_what_runs_has_as_many_days_from_the_beginning_of_the_one_before(today: date, unit: Unit) -> None:
    found = with_previous(period_of(f"this {unit}", today), today)
    assert found
    now, before = found
    assert now.first and now.days and before.first and before.days
    whole = buckets(Period(now.first - DAY, now.first - DAY), unit)[0]
    assert before.first == whole.first
    if not now.is_to_date:
        assert before.last == whole.last
    else:
        assert before.days == min(now.days, (whole.last - whole.first).days + 1)


@given(sane_days, st.sampled_from(("this year", "YTD")))
def test_a_year_to_date_has_the_same_days_of_the_year_before(today: date, said: str) -> None:
    found = with_previous(period_of(said, today), today)
    assert found
    now, before = found
    assert now.first and now.last and before.first and before.last
    assert before.first == now.first.replace(year=today.year - 1)
    is_leap_day = (today.month, today.day) == (2, 29)
    assert before.last == today.replace(year=today.year - 1, day=28 if is_leap_day else today.day)


@given(spans(), st.sampled_from((None, *UNITS[1:])), days)
def test_previous_of_any_days(found: Period, unit: Unit | None, as_of: date) -> None:
    pair = with_previous(found._replace(unit=unit), as_of)
    assert pair is None or (pair[1].first and pair[1].last and pair[1].first <= pair[1].last)


@pytest.mark.parametrize(
    ("said", "other", "cut"),
    [
        ("this quarter", "last quarter", "1 Jul to 30 Aug 2026, to date (61 days)"),
        ("this quarter", "2025-Q4", "1 Oct to 30 Nov 2025, to date (61 days)"),
        ("this year", "2024", "1 Jan to 30 Nov 2024, to date (335 days)"),
        ("this year", "2025-01 to 2025-12", "1 Jan to 31 Dec 2025 (365 days)"),
        ("this quarter", "last year", "1 Jan to 31 Dec 2025 (365 days)"),
        ("this quarter", "last 2 quarters", "1 Apr to 30 Sep 2026 (183 days)"),
        ("last quarter", "2025-Q3", "1 Jul to 30 Sep 2025 (92 days)"),
        ("last 30 days", "2025-11", "1 Nov to 30 Nov 2025 (30 days)"),
    ],
)
def test_a_named_period_is_cut_like_the_one_that_runs(said: str, other: str, cut: str) -> None:
    today = date(2026, 11, 30)
    found = cut_alike(period_of(said, today).cut_after(today), period_of(other, today))
    assert found.in_words() == cut


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
        assert period_of(bucket.label, bucket.first)[:2] == (bucket.first, bucket.last)


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
