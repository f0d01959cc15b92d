"""What people say, and the days that it means."""

import string
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from testio_mcp.errors import BadInput
from testio_mcp.operations.periods import EXAMPLES, Period, period_of

TODAY = date(2026, 8, 19)
WORDS = [
    "last", "previous", "past", "this", "letzte", "dieses", "since", "until", "seit", "from", "to", "bis", "vom",
    "zum", "den", "und", "..", "/", "-", "–", "0", "1", "3", "30", "53", "99999", "2026", "9999", "0001",
    "2024-02-29", "2026-Q3", "2026-W53", "KW", "Q3", "Oktober", "October", "März", "05.10.2026", "1.", "days",
    "weeks", "Monate", "Quartal", "year", "YTD", "today", "gestern", "Vorjahr", "Jahresbeginn", "all", "time",
]  # fmt: skip

days = st.dates()


def period(first: str, last: str) -> Period:
    """`-` is an open end."""
    return Period(*(None if day == "-" else date.fromisoformat(day) for day in (first, last)))


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
        ("", "-", "-"),
        ("  ", "-", "-"),
        ("All time", "-", "-"),
        ("alles", "-", "-"),
        ("gesamt", "-", "-"),
    ],
)
def test_what_is_said(said: str, first: str, last: str) -> None:
    assert period_of(said, TODAY) == period(first, last)


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
    assert period_of(said, date.fromisoformat(today)) == period(first, last)


@pytest.mark.parametrize(
    "said",
    ["soon", "in the", "since", "..", "last 0 days", "last 99999999999 days", "last 99999 weeks", "last 9999 years",
     "2026-Q5", "2025-W53", "2026-W00", "2026-13", "13/2026", "0000", "2026-02-30", "29.2.2026", "32 October 2026",
     "Foo 2026", "October", "10/05/2026", "٢٠٢٦", "last 30 days!", "vor 3 Tagen", "seit soon", "2026 to soon",
     "a" * 101, f"2026-01-01 {' ' * 200}x", f"{' ' * 200}x", "2026-01-01 to 2026-02-01 to 2026-03-01",
     "since all time", "\ud800", "\x00"],
)  # fmt: skip
def test_what_is_no_period_is_refused_with_the_forms(said: str) -> None:
    with pytest.raises(
        BadInput, match=r"^period: .* is none\. Say it as 'last 30 days', .*'1\.10\.2026 bis 31"
    ) as told:
        period_of(said, TODAY)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize("said", ["2026-03-31..2026-01-01", "heute bis gestern", "from today to last month"])
def test_the_earlier_day_comes_first(said: str) -> None:
    with pytest.raises(BadInput, match=r"^period: .* ends before it begins\."):
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
    assert period_of(str(found), today) == found


@given(st.text(string.printable, max_size=40), st.sampled_from(EXAMPLES), days)
def test_case_and_spaces_do_not_matter(noise: str, said: str, today: date) -> None:
    spaces = "".join(each for each in noise if each.isspace())
    try:
        plain = period_of(said, today)
    except BadInput:
        return
    assert period_of(spaces + said.upper().replace(" ", f" {spaces}"), today) == plain
