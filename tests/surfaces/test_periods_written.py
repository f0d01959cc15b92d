"""Periods as people write them, asked of a running server with the settings of an account."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import http_server

TODAY = datetime.now(UTC).date()
MONDAY = TODAY - timedelta(days=TODAY.weekday())


def begin_of_fiscal_year(start: int) -> date:
    """The first day of the fiscal year of today."""
    return date(TODAY.year - (TODAY.month < start), start, 1)


BEGUN = begin_of_fiscal_year(7)
SAME = {
    "last two weeks": f"{MONDAY - timedelta(days=14)} to {MONDAY - timedelta(days=1)}",
    "letzte zwei Wochen": f"{MONDAY - timedelta(days=14)} to {MONDAY - timedelta(days=1)}",
    "30d": f"{TODAY - timedelta(days=29)} to {TODAY}",
    "last thirty days": f"{TODAY - timedelta(days=29)} to {TODAY}",
    "KW 1": f"{TODAY.isocalendar().year}-W01",
    "H1 2025": "2025-01-01 to 2025-06-30",
    "1. Halbjahr 2025": "2025-01-01 to 2025-06-30",
    "FY25": "2024-07-01 to 2025-06-30",
    "Q1 FY25": "2024-07-01 to 2024-09-30",
    "this fiscal year": f"{BEGUN} to {BEGUN.replace(year=BEGUN.year + 1) - timedelta(days=1)}",
}
"""What people write, and the same days in a form that leaves nothing open; the fiscal year begins in July."""


async def days_of(web: httpx2.AsyncClient, words: str) -> tuple[str, str]:
    """The first and the last day of a period, as the server reads it."""
    answer = await web.get("/api/metrics", params={"metrics": "bug_count", "period": words})
    assert answer.status_code == 200, (words, answer.text)
    period = answer.json()["period"]
    return period["first"], period["last"]


@pytest.mark.slow
async def test_a_server_reads_what_people_write(synced: Copy, tmp_path: Path) -> None:
    with http_server({**synced.environment, "TESTIO_FISCAL_YEAR_STARTS": "7"}, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web:
            for words, same in SAME.items():
                assert await days_of(web, words) == await days_of(web, same), words
            refused = await web.get("/api/metrics", params={"metrics": "bug_count", "period": "Q1"})
            assert refused.status_code == 422
            assert "can be read in two ways" in refused.text
            assert f"'{TODAY.year}-Q1'" in refused.text
            assert "'FY20" in refused.text


async def test_without_a_fiscal_year_a_quarter_is_one_of_the_calendar(synced: Copy, cli: Cli) -> None:
    question = ("metrics", "bug_count", "--json", "--period")
    seen = [
        json.loads((await cli(synced.environment, *question, words)).out)["period"] for words in ("Q1", "Q1 FY26")
    ]
    assert [(period["first"][5:], period["last"][5:]) for period in seen] == [("01-01", "03-31")] * 2
    assert seen[0]["first"] == f"{TODAY.year}-01-01"


@pytest.mark.parametrize("words", ["05/10/2026", "two weeks ago", "Oct 26", "a couple of weeks"])
async def test_the_command_line_names_both_readings(synced: Copy, cli: Cli, words: str) -> None:
    ended = await cli(synced.environment, "metrics", "bug_count", "--period", words)
    assert (ended.code, ended.out) == (2, "")
    assert "can be read in two ways. Write '" in ended.err
    for reading in ended.err.split("'")[3:6:2]:
        assert (await cli(synced.environment, "metrics", "bug_count", "--period", reading)).code == 0, reading


@pytest.mark.parametrize("month", ["0", "13", "April"])
async def test_a_month_that_is_none_is_refused_by_name(synced: Copy, cli: Cli, month: str) -> None:
    ended = await cli({**synced.environment, "TESTIO_FISCAL_YEAR_STARTS": month}, "products", "list")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("TESTIO_FISCAL_YEAR_STARTS: ")
