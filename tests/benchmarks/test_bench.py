"""The benchmark goes through all its steps; what it measures on this occasion means nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.__main__ import measure
from benchmarks.measure import Series, quantile, ratio
from benchmarks.multiplied import multiply
from benchmarks.parts import PARTS, QUICK
from benchmarks.programs import served
from benchmarks.report import page
from benchmarks.stores import store_with
from testio_mcp.operations.registry import operations

pytestmark = pytest.mark.slow

_ENDED = "test_id IN (SELECT id FROM test WHERE status IN ('archived', 'cancelled', 'locked'))"
_OF_BUGS = f"bug_id IN (SELECT id FROM bug WHERE {_ENDED})"
_COUNTS = [
    (f"SELECT count(*) FROM {table} WHERE {condition}", f"SELECT count(*) FROM {table}")
    for table, condition in (
        ("test", _ENDED.replace("test_id", "id", 1)),
        ("test_feature", _ENDED),
        ("test_story_result", _ENDED),
        ("execution", _ENDED),
        ("bug", _ENDED),
        ("bug_comment", _OF_BUGS),
        ("bug_device", _OF_BUGS),
        ("search_bug", f"rowid IN (SELECT id FROM bug WHERE {_ENDED})"),
    )
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first part that runs builds the stores for all of them."""
    return tmp_path_factory.mktemp("bench")


@pytest.mark.parametrize("part", PARTS)
async def test_a_smoke_run_fills_its_part_of_the_page(
    part: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CACHE", cache)
    monkeypatch.chdir(tmp_path)
    (section,) = await measure(QUICK, [part])
    text = page(machine.described(), [section], 1.0, quick=True)
    assert section.tables
    assert f"\n## {section.title}\n" in text
    assert all(f"| {target.what} | {target.goal} |" in text for target in section.targets)
    assert str(tmp_path) not in text
    assert str(cache) not in text


async def test_a_store_that_is_multiplied_repeats_what_belongs_to_ended_tests(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CACHE", cache)
    small, large = await store_with(40), tmp_path / "large.db"
    multiply(small, large, 3)
    with closing(sqlite3.connect(small)) as one, closing(sqlite3.connect(large)) as three:
        for of_ended, of_all in _COUNTS:
            [ended], [before], [after] = (
                db.execute(statement).fetchone()
                for db, statement in ((one, of_ended), (one, of_all), (three, of_all))
            )
            assert ended > 0
            assert after == before + 2 * ended
        assert three.execute("PRAGMA foreign_key_check").fetchall() == []
        assert three.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_what_is_multiplied_is_found_by_the_same_words(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CACHE", cache)
    large = tmp_path / "large.db"
    multiply(await store_with(40), large, 3)
    with closing(sqlite3.connect(large)) as db:
        copy, test, title = db.execute("SELECT id, test_id, title FROM bug ORDER BY id DESC").fetchone()
    async with served(large) as app:
        page = await operations()["list_bugs"].answer(app, {"text": title, "test_ids": [test], "limit": 100})
    assert copy in [bug["id"] for bug in page["items"]]


def test_quantiles_are_samples_that_so_many_do_not_exceed() -> None:
    samples = [float(n) for n in range(1, 101)]
    assert [quantile(samples, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert quantile([7.0], 0.5) == 7.0


def test_a_ratio_tells_the_least_and_the_most_of_any_round() -> None:
    slow, fast = Series([[2.0, 2.0], [9.0, 9.0]]), Series([[1.0, 1.0], [3.0, 3.0]])
    assert ratio(slow, fast) == (2.0, 2.0, 3.0)
