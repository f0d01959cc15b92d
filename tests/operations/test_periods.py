"""What people say, and the days that it means."""

import string
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics.periods import EXAMPLES, Unit, period_of

TODAY = date(2026, 8, 19)
WORDS = [
    "last", "previous", "past", "this", "letzte", "dieses", "since", "until", "seit", "from", "to", "bis", "vom",
    "zum", "den", "und", "..", "/", "-", "–", "0", "1", "3", "30", "53", "99999", "2026", "9999", "0001",
    "2024-02-29", "2026-Q3", "2026-W53", "KW", "Q3", "Oktober", "October", "März", "05.10.2026", "1.", "days",
    "weeks", "Monate", "Quartal", "year", "YTD", "today", "gestern", "Vorjahr", "Jahresbeginn", "all", "time",
]  # fmt: skip

days = st.dates()


def ends(first: str, last: str) -> tuple[date | None, date | None]:
    """`-` is an open end."""
    one, other = (None if day == "-" else date.fromisoformat(day) for day in (first, last))
    return one, other


@pytest.mark.parametrize(
    ("said", "first", "last"),
    [
        ("today", "2026-08-19", "2026-08-19"),
        ("heute", "2026-08-19", "2026-08-19"),
        ("yesterday", "2026-08-18", "2026-08-18"),
        ("Gestern", "2026-08-18", "2026-08-18"),
        ("Last 30 Days", "2026-07-21", "2026-08-19"),
        ("the past 30 days", "2026-07-21", "2026-08-19"),
        ("letzte 30 Tage", "2026-07-21", "2026-08-19"),
        ("in den letzten 30 Tagen", "2026-07-21", "2026-08-19"),
        ("last 1 day", "2026-08-19", "2026-08-19"),
        ("previous 30 days", "2026-07-20", "2026-08-18"),
        ("this week", "2026-08-17", "2026-08-23"),
        ("diese Woche", "2026-08-17", "2026-08-23"),
        ("last week", "2026-08-10", "2026-08-16"),
        ("last 2 weeks", "2026-08-03", "2026-08-16"),
        ("Vorwoche", "2026-08-10", "2026-08-16"),
        ("this month", "2026-08-01", "2026-08-31"),
        ("im laufenden Monat", "2026-08-01", "2026-08-31"),
        ("last month", "2026-07-01", "2026-07-31"),
        ("Vormonat", "2026-07-01", "2026-07-31"),
        ("previous 3 months", "2026-05-01", "2026-07-31"),
        ("letzten 3 Monate", "2026-05-01", "2026-07-31"),
        ("last 12 months", "2025-08-01", "2026-07-31"),
        ("this quarter", "2026-07-01", "2026-09-30"),
        ("dieses Quartal", "2026-07-01", "2026-09-30"),
        ("last quarter", "2026-04-01", "2026-06-30"),
        ("letztes Quartal", "2026-04-01", "2026-06-30"),
        ("last 4 quarters", "2025-07-01", "2026-06-30"),
        ("this year", "2026-01-01", "2026-12-31"),
        ("last year", "2025-01-01", "2025-12-31"),
        ("Vorjahr", "2025-01-01", "2025-12-31"),
        ("ytd", "2026-01-01", "2026-08-19"),
        ("year to date", "2026-01-01", "2026-08-19"),
        ("seit Jahresbeginn", "2026-01-01", "2026-08-19"),
        ("QTD", "2026-07-01", "2026-08-19"),
        ("seit Quartalsbeginn", "2026-07-01", "2026-08-19"),
        ("seit Monatsanfang", "2026-08-01", "2026-08-19"),
        ("seit Wochenbeginn", "2026-08-17", "2026-08-19"),
        ("2026", "2026-01-01", "2026-12-31"),
        ("2026-Q4", "2026-10-01", "2026-12-31"),
        ("Q3 2026", "2026-07-01", "2026-09-30"),
        ("3. Quartal 2026", "2026-07-01", "2026-09-30"),
        ("2026-W41", "2026-10-05", "2026-10-11"),
        ("KW 41 2026", "2026-10-05", "2026-10-11"),
        ("kw41/2026", "2026-10-05", "2026-10-11"),
        ("week 41 of 2026", "2026-10-05", "2026-10-11"),
        ("2026-W01", "2025-12-29", "2026-01-04"),
        ("2026-W53", "2026-12-28", "2027-01-03"),
        ("2026-10", "2026-10-01", "2026-10-31"),
        ("10/2026", "2026-10-01", "2026-10-31"),
        ("October 2026", "2026-10-01", "2026-10-31"),
        ("im Oktober 2026", "2026-10-01", "2026-10-31"),
        ("Okt. 2026", "2026-10-01", "2026-10-31"),
        ("März 2026", "2026-03-01", "2026-03-31"),
        ("Ma\u0308rz 2026", "2026-03-01", "2026-03-31"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2026-10-05", "2026-10-05", "2026-10-05"),
        ("05.10.2026", "2026-10-05", "2026-10-05"),
        ("am 5. Oktober 2026", "2026-10-05", "2026-10-05"),
        ("October 5th, 2026", "2026-10-05", "2026-10-05"),
        ("2026-01-01..2026-03-31", "2026-01-01", "2026-03-31"),
        ("2026-01-01 to 2026-03-31", "2026-01-01", "2026-03-31"),
        ("2026-01-01 until 2026-03-31", "2026-01-01", "2026-03-31"),
        ("2026-01-01 - 2026-03-31", "2026-01-01", "2026-03-31"),
        ("2026-01-01-2026-03-31", "2026-01-01", "2026-03-31"),
        ("2026-01-01/2026-03-31", "2026-01-01", "2026-03-31"),
        ("1.10.2026 bis 31.10.2026", "2026-10-01", "2026-10-31"),
        ("vom 1.10.2026 bis zum 31.10.2026", "2026-10-01", "2026-10-31"),
        ("zwischen 1.10.2026 und 31.10.2026", "2026-10-01", "2026-10-31"),
        ("1.10.2026–31.10.2026", "2026-10-01", "2026-10-31"),
        ("Q1 2026 to Q3 2026", "2026-01-01", "2026-09-30"),
        ("from last month to today", "2026-07-01", "2026-08-19"),
        ("since 2026-10-05", "2026-10-05", "-"),
        ("seit dem 5.10.2026", "2026-10-05", "-"),
        ("seit letztem Monat", "2026-07-01", "-"),
        ("2026-10-05..", "2026-10-05", "-"),
        ("until 2026-03", "-", "2026-03-31"),
        ("bis 31.10.2026", "-", "2026-10-31"),
        ("..2026-03-31", "-", "2026-03-31"),
        ("All time", "-", "-"),
        ("alles", "-", "-"),
        ("gesamt", "-", "-"),
    ],
)
def test_what_is_said(said: str, first: str, last: str) -> None:
    assert period_of(said, TODAY)[:2] == ends(first, last)


@pytest.mark.parametrize(
    ("today", "said", "first", "last"),
    [
        ("2026-01-01", "yesterday", "2025-12-31", "2025-12-31"),
        ("2026-01-01", "last month", "2025-12-01", "2025-12-31"),
        ("2026-01-01", "last quarter", "2025-10-01", "2025-12-31"),
        ("2026-01-01", "YTD", "2026-01-01", "2026-01-01"),
        ("2026-01-01", "this week", "2025-12-29", "2026-01-04"),
        ("2025-12-31", "this week", "2025-12-29", "2026-01-04"),
        ("2025-12-31", "previous 3 months", "2025-09-01", "2025-11-30"),
        ("2026-02-15", "previous 3 months", "2025-11-01", "2026-01-31"),
        ("2026-02-15", "last 14 months", "2024-12-01", "2026-01-31"),
        ("2024-02-29", "last 1 days", "2024-02-29", "2024-02-29"),
        ("2024-02-29", "last year", "2023-01-01", "2023-12-31"),
        ("2024-02-29", "this month", "2024-02-01", "2024-02-29"),
        ("2024-03-01", "yesterday", "2024-02-29", "2024-02-29"),
        ("2024-03-31", "last month", "2024-02-01", "2024-02-29"),
        ("2023-03-31", "last month", "2023-02-01", "2023-02-28"),
        ("2024-03-01", "last 2 days", "2024-02-29", "2024-03-01"),
        ("2027-01-03", "this week", "2026-12-28", "2027-01-03"),
        ("2027-01-04", "last week", "2026-12-28", "2027-01-03"),
        ("2027-01-04", "last 2 weeks", "2026-12-21", "2027-01-03"),
        ("2026-03-31", "this quarter", "2026-01-01", "2026-03-31"),
        ("2026-04-01", "this quarter", "2026-04-01", "2026-06-30"),
        ("2026-04-01", "last quarter", "2026-01-01", "2026-03-31"),
        ("2026-04-01", "last 2 quarters", "2025-10-01", "2026-03-31"),
        ("2026-12-31", "this year", "2026-01-01", "2026-12-31"),
        ("2026-06-30", "last 3 years", "2023-01-01", "2025-12-31"),
    ],
)
def test_the_day_it_is_said(today: str, said: str, first: str, last: str) -> None:
    assert period_of(said, date.fromisoformat(today))[:2] == ends(first, last)


@pytest.mark.parametrize(
    "said",
    ["soon", "in the", "since", "..", "last 0 days", "last 99999999999 days", "last 99999 weeks", "last 9999 years",
     "2026-Q5", "2025-W53", "2026-W00", "2026-13", "13/2026", "0000", "2026-02-30", "29.2.2026", "32 October 2026",
     "Foo 2026", "٢٠٢٦", "last 30 days!", "seit soon", "Q5", "KW 54", "H3 2026", "FY", "Sommer 2026", "30h",
     "next week", "2026/27", "FY25/27", "last zero days", "half", "30 February", "31/31/2026", "Q3 of soon",
     "2026 to soon", "a" * 101, f"2026-01-01 {' ' * 200}x", f"{' ' * 200}x",
     "2026-01-01 to 2026-02-01 to 2026-03-01",
     "since all time", "\ud800", "\x00"],
)  # fmt: skip
def test_what_is_no_period_is_refused_with_the_forms(said: str) -> None:
    with pytest.raises(BadInput, match=r" is not a period\. Try .*'last 30 days', .*'1\.10\.2026 bis 31") as told:
        period_of(said, TODAY)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize(
    ("said", "same"),
    [
        ("last two weeks", "last 2 weeks"),
        ("the past two weeks", "last 2 weeks"),
        ("letzte zwei Wochen", "last 2 weeks"),
        ("in den letzten zwei Wochen", "last 2 weeks"),
        ("2w", "last 2 weeks"),
        ("30d", "last 30 days"),
        ("30 D", "last 30 days"),
        ("30 days", "last 30 days"),
        ("last 30d", "last 30 days"),
        ("L30D", "last 30 days"),
        ("P30D", "last 30 days"),
        ("30 Tage", "last 30 days"),
        ("last thirty days", "last 30 days"),
        ("letzte einundzwanzig Tage", "last 21 days"),
        ("last twenty-one days", "last 21 days"),
        ("last ninety days", "last 90 days"),
        ("last hundred days", "last 100 days"),
        ("last_30_days", "last 30 days"),
        ("last-30-days", "last 30 days"),
        ("last30days", "last 30 days"),
        ("LAST_QUARTER", "last quarter"),
        ("fortnight", "last 14 days"),
        ("6m", "last 6 months"),
        ("half a year", "last 6 months"),
        ("das letzte halbe Jahr", "last 6 months"),
        ("sechs Monate", "last 6 months"),
        ("TTM", "last 12 months"),
        ("rolling twelve months", "last 12 months"),
        ("letzten drei Quartale", "last 3 quarters"),
        ("ein Jahr", "last year"),
        ("vorletzte Woche", "2026-W32"),
        ("the quarter before last", "2026-Q1"),
        ("vorgestern", "2026-08-17"),
        ("3 days ago", "2026-08-16"),
        ("vor drei Tagen", "2026-08-16"),
        ("this year so far", "YTD"),
        ("dieses Jahr bisher", "YTD"),
        ("year-to-date", "YTD"),
        ("since the beginning of the quarter", "QTD"),
        ("seit Anfang des Jahres", "YTD"),
        ("Q2", "2026-Q2"),
        ("q 2", "2026-Q2"),
        ("second quarter", "2026-Q2"),
        ("zweites Quartal", "2026-Q2"),
        ("2. Quartal", "2026-Q2"),
        ("2nd quarter 2026", "2026-Q2"),
        ("2Q26", "2026-Q2"),
        ("Q2'26", "2026-Q2"),
        ("Q2/26", "2026-Q2"),
        ("2026 Q2", "2026-Q2"),
        ("Q2 last year", "2025-Q2"),
        ("Q2 letzten Jahres", "2025-Q2"),
        ("Q4 this year", "2026-Q4"),
        ("this Q4", "2026-Q4"),
        ("last Q4", "2025-Q4"),
        ("KW 31", "2026-W31"),
        ("kw31", "2026-W31"),
        ("week 31", "2026-W31"),
        ("31. KW", "2026-W31"),
        ("KW 31/26", "2026-W31"),
        ("KW 30-32", "2026-W30 to 2026-W32"),
        ("KW 30 bis 32 2026", "2026-W30 to 2026-W32"),
        ("H1 2026", "2026-01 to 2026-06"),
        ("H1", "2026-01 to 2026-06"),
        ("2026-H2", "2026-07 to 2026-12"),
        ("1H26", "2026-01 to 2026-06"),
        ("first half of 2026", "2026-01 to 2026-06"),
        ("1. Halbjahr 2026", "2026-01 to 2026-06"),
        ("zweites Halbjahr 2025", "2025-07 to 2025-12"),
        ("erste Hälfte 2026", "2026-01 to 2026-06"),
        ("this half-year", "2026-07 to 2026-12"),
        ("letztes Halbjahr", "2026-01 to 2026-06"),
        ("FY26", "2026"),
        ("fiscal year 2026", "2026"),
        ("GJ 2026", "2026"),
        ("Q2 FY26", "2026-Q2"),
        ("FY26-Q2", "2026-Q2"),
        ("last fiscal year", "2025"),
        ("laufendes Geschäftsjahr", "2026"),
        ("FYTD", "YTD"),
        ("July", "2026-07"),
        ("im Juli", "2026-07"),
        ("Jul", "2026-07"),
        ("last October", "2025-10"),
        ("letzten Oktober", "2025-10"),
        ("October last year", "2025-10"),
        ("Oct '25", "2025-10"),
        ("July 5", "2026-07-05"),
        ("5. Juli", "2026-07-05"),
        ("5.7.", "2026-07-05"),
        ("5.7.26", "2026-07-05"),
        ("13/07/2026", "2026-07-13"),
        ("07/13/2026", "2026-07-13"),
        ("2026/07/05", "2026-07-05"),
        ("1.-15. Juli 2026", "2026-07-01 to 2026-07-15"),
        ("July 1-15, 2026", "2026-07-01 to 2026-07-15"),
        ("1.7. bis 15.7.2026", "2026-07-01 to 2026-07-15"),
        ("Q1-Q2 2026", "2026-Q1 to 2026-Q2"),
        ("Jan to Mar", "2026-01 to 2026-03"),
        ("Nov to Jan 2026", "2025-11 to 2026-01"),
        ("zwischen Januar und März 2026", "2026-01 to 2026-03"),
        ("since October", "since 2025-10"),
        ("seit KW 30", "since 2026-W30"),
        ("until Q2", "until 2026-Q2"),
        ("Monday", "2026-08-17"),
        ("since Monday", "since 2026-08-17"),
        ("year 2026", "2026"),
        ("CY26", "2026"),
        ("das ganze Jahr 2026", "2026"),
        ("29.2.", "2024-02-29"),
    ],
)
def test_what_people_write_is_what_is_said_at_length(said: str, same: str) -> None:
    assert period_of(said, TODAY)[:2] == period_of(same, TODAY)[:2]


@pytest.mark.parametrize(
    ("start", "said", "first", "last"),
    [
        (4, "FY26", "2025-04-01", "2026-03-31"),
        (4, "GJ 2025/26", "2025-04-01", "2026-03-31"),
        (4, "FY26 Q1", "2025-04-01", "2025-06-30"),
        (4, "Q4 FY26", "2026-01-01", "2026-03-31"),
        (4, "H2 FY2026", "2025-10-01", "2026-03-31"),
        (4, "this fiscal year", "2026-04-01", "2027-03-31"),
        (4, "last fiscal year", "2025-04-01", "2026-03-31"),
        (4, "letztes Geschäftsjahr", "2025-04-01", "2026-03-31"),
        (4, "last fiscal quarter", "2026-04-01", "2026-06-30"),
        (4, "FYTD", "2026-04-01", "2026-08-19"),
        (4, "FQ1", "2026-04-01", "2026-06-30"),
        (10, "FY26", "2025-10-01", "2026-09-30"),
        (10, "this fiscal year", "2025-10-01", "2026-09-30"),
        (9, "this fiscal quarter", "2026-06-01", "2026-08-31"),
        (12, "last two fiscal years", "2023-12-01", "2025-11-30"),
        (4, "Q3 2026", "2026-07-01", "2026-09-30"),
        (4, "this year", "2026-01-01", "2026-12-31"),
        (4, "last quarter", "2026-04-01", "2026-06-30"),
    ],
)
def test_the_fiscal_year_begins_where_the_account_says(start: int, said: str, first: str, last: str) -> None:
    assert period_of(said, TODAY, start)[:2] == ends(first, last)


@pytest.mark.parametrize(
    ("start", "said", "readings"),
    [
        (1, "Q4", ("2025-Q4", "2026-Q4")),
        (1, "KW 41", ("2025-W41", "2026-W41")),
        (1, "October", ("2025-10", "2026-10")),
        (1, "5.10.", ("2025-10-05", "2026-10-05")),
        (1, "last July", ("2026-07", "2025-07")),
        (1, "last Q2", ("2026-Q2", "2025-Q2")),
        (1, "letzten Montag", ("2026-08-17", "2026-08-10")),
        (1, "Wednesday", ("2026-08-19", "2026-08-12")),
        (1, "05/10/2026", ("2026-10-05", "2026-05-10")),
        (1, "since 05-10-2026", ("2026-10-05", "2026-05-10")),
        (1, "July 26", ("2026-07-26", "2026-07")),
        (1, "7/26", ("2026-07", "2026-07-26")),
        (1, "3q", ("2026-Q3", "last 3 quarters")),
        (1, "two weeks ago", ("2026-W32", "2026-08-05")),
        (1, "vor einem Monat", ("2026-07", "2026-07-19")),
        (1, "last couple of weeks", ("last 2 weeks", "last 3 weeks")),
        (1, "ein paar Tage", ("last 3 days", "last 4 days")),
        (1, "FY25/26", ("FY2025", "FY2026")),
        (4, "Q1", ("2026-Q1", "FY2027-Q1")),
        (10, "first half", ("2026-H1", "FY2026-H1")),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_both(start: int, said: str, readings: tuple[str, ...]) -> None:
    with pytest.raises(BadInput) as told:
        period_of(said, TODAY, start)
    assert tuple(told.value.next_step.split("'")[1::2]) == readings
    assert "can be read in two ways" in told.value.message
    assert len(str(told.value)) < 500
    days = {period_of(form, TODAY, start)[:2] for form in readings}
    assert len(days) == len(readings), "each reading has one meaning of its own"


@given(
    st.sampled_from(["Q{}", "H{}", "KW {}", "FQ{}", "{}. Quartal", "{}. Oktober", "FY{}", "last {} fiscal quarters"]),
    st.integers(0, 60),
    st.integers(1, 12),
    days,
)
def test_a_name_means_days_that_have_begun_or_two_readings(form: str, number: int, start: int, today: date) -> None:
    try:
        found = period_of(form.format(number), today, start)
    except BadInput as refused:
        if "two ways" in refused.message:
            first, second = refused.next_step.split("'")[1::2]
            assert period_of(first, today, start)[:2] != period_of(second, today, start)[:2]
        return
    assert found.first is not None
    assert form.startswith("FY") or found.first <= today


@pytest.mark.parametrize("said", ["2026-03-31..2026-01-01", "heute bis gestern", "from today to last month"])
def test_the_earlier_day_comes_first(said: str) -> None:
    with pytest.raises(BadInput, match=r"^period: .* ends before it begins\."):
        period_of(said, TODAY)


@pytest.mark.parametrize("said", ["", "  ", "\u00a0\t"])
def test_an_empty_period_is_not_all_time(said: str) -> None:
    with pytest.raises(BadInput, match=r"^period: it is empty\. Write 'all time' for all of it"):
        period_of(said, TODAY)


def test_the_message_names_forms_that_work() -> None:
    with pytest.raises(BadInput) as told:
        period_of("soon", TODAY)
    named = told.value.next_step.split("'")[1::2]
    assert len(named) > 10
    for form in (*named, *EXAMPLES):
        period_of(form, TODAY)


@given(st.one_of(st.text(max_size=120), st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)), days)
@example("last year", date.min)
@example("this week", date.max)
@example("last 36500 days", date.min)
@example("9999-W52", date.max)
def test_any_text_is_a_period_or_bad_input(said: str, today: date) -> None:
    try:
        found = period_of(said, today)
    except BadInput:
        return
    assert found.first is None or found.last is None or found.first <= found.last
    assert period_of(str(found), today)[:2] == found[:2]


@given(st.text(string.printable, max_size=40), st.sampled_from(EXAMPLES), days)
def test_case_and_spaces_do_not_matter(noise: str, said: str, today: date) -> None:
    spaces = "".join(each for each in noise if each.isspace())
    try:
        plain = period_of(said, today)
    except BadInput:
        return
    assert period_of(spaces + said.upper().replace(" ", f" {spaces}"), today) == plain


@pytest.mark.parametrize(
    ("said", "unit"),
    [
        ("last 30 days", None),
        ("yesterday", None),
        ("2026-10-05", None),
        ("2026-10-05 to 2026-10-20", None),
        ("2026-10-01 to 2026-10-31", None),
        ("last month to today", None),
        ("2026-10 to 2026-W48", None),
        ("this week", "week"),
        ("KW 41 2026", "week"),
        ("2026-W41 to 2026-W44", "week"),
        ("Vormonat", "month"),
        ("last 3 months", "month"),
        ("October 2026", "month"),
        ("2026-Q1 to 2026-05", "month"),
        ("QTD", "quarter"),
        ("2026-Q3", "quarter"),
        ("seit Jahresbeginn", "year"),
        ("last year", "year"),
        ("2024 to 2025", "year"),
    ],
)
def test_a_period_knows_the_unit_it_was_asked_in(said: str, unit: Unit | None) -> None:
    assert period_of(said, TODAY).unit == unit
