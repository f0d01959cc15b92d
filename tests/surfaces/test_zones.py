"""The zone of the machine changes nothing: neither what is stored nor what is answered."""

import asyncio
import json
import re
import sqlite3
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from testio_sandbox import World, serve_sandbox
from tests.surfaces.programs import whole
from tests.surfaces.zoned import NOON

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# Half an hour and daylight saving, three quarters of an hour, a day that was left out.
ZONES = ("America/St_Johns", "Asia/Kathmandu", "Pacific/Apia")
TIMES = (
    "2026-03-08T02:30:00",
    "2026-11-01T01:30:00-02:30",
    "2026-11-22",
    "2011-12-30T12:00:00+14:00",
    "2026-11-22 23:59:59 UTC",
    "2026-01-01T00:15:00+05:45",
)
QUESTIONS = (
    "/api/products",
    "/api/tests?limit=100",
    "/api/tests?limit=100&end_from=2026-11-22&end_to=2026-11-22",
    "/api/tests?limit=100&end_to=2011-12-30",
    "/api/changes?since=2026-01-01",
    "/api/problems",
    "/api/status",
)
# As answers give it, and as a person reads it: to the minute.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?Z| \d\d:\d\d UTC)")
_OWNER = "sync_lease"


@dataclass(frozen=True)
class Seen:
    """What one zone makes of an account: the rows, the answers, and what the command line prints."""

    offset: int
    rows: dict[str, list[str]]
    answers: list[str]
    printed: str


def _without_now(text: str, before: datetime) -> str:
    """A text without the moments of this test itself; a local time would not be one of them."""

    def name_now(found: re.Match[str]) -> str:
        since = before.replace(second=0, microsecond=0) if found[0].endswith("UTC") else before
        return (
            "now" if since <= datetime.fromisoformat(found[0].replace(" UTC", "Z")) <= datetime.now(UTC) else found[0]
        )

    return _MOMENT.sub(name_now, text)


def _rows(path: Path, before: datetime) -> dict[str, list[str]]:
    """Every row of every table as SQLite holds it; who held the lease is the only thing that may differ."""
    connection = sqlite3.connect(path)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {
        name: sorted(_without_now(repr(row), before) for row in connection.execute(f"SELECT * FROM {name}"))
        for name in names
        if name != _OWNER
    }
    connection.close()
    return rows


def _seen(folder: Path, before: datetime) -> Seen:
    answers = [
        _without_now(answer, before).replace(str(folder), "")
        for answer in json.loads((folder / "answers").read_text())
    ]
    return Seen(
        int((folder / "offset").read_text()),
        _rows(folder / "store.db", before),
        answers,
        _without_now((folder / "printed").read_text(), before),
    )


async def test_every_zone_stores_and_answers_what_utc_does(tmp_path: Path, canary: str) -> None:
    world = World(seed=2, products=1, tests_per_product=12, bugs_per_test=1)
    test_ids = world.test_ids(world.product_ids[0])
    for test_id, moment in zip(test_ids, TIMES, strict=False):
        world.update_test(test_id, start_at=moment, end_at=moment)
    questions = (*QUESTIONS, f"/api/tests/{test_ids[0]}")
    before = datetime.now(UTC)
    async with serve_sandbox(world, token=canary) as sandbox:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.surfaces.zoned", str(tmp_path), *questions, "--", "UTC", *ZONES),
            env=whole({"TESTIO_CUSTOMER_API_BASE_URL": sandbox.url, "TESTIO_CUSTOMER_API_TOKEN": canary}),
            cwd=ROOT,
        )
        assert await process.wait() == 0
    expected = _seen(tmp_path / "UTC", before)
    for zone in ZONES:
        seen = _seen(tmp_path / zone, before)
        there = datetime.fromtimestamp(NOON, ZoneInfo(zone)).utcoffset()
        assert there == timedelta(seconds=seen.offset) != timedelta(0), "the process had another zone"
        assert seen.rows == expected.rows, zone
        assert seen.answers == expected.answers, zone
        assert seen.printed == expected.printed, zone

    assert '"now"' in expected.answers[0]
    assert len(expected.rows["test"]) == 12
    for stored in ("2026-03-08T02:30:00", "2026-11-01T04:00:00", "2026-11-22T00:00:00", "2011-12-29T22:00:00"):
        assert f'"end_at":"{stored}Z"' in expected.answers[1]
        assert stored in expected.printed
    assert all(answer.startswith("{") and '"error":{' not in answer for answer in expected.answers)
