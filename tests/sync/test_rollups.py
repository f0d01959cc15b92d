"""Counts of past months that are kept: what counting again gives, also between a change and the next sync."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, select

from testio_mcp.database.tables import Bug, RollupCell, table_of
from testio_mcp.database.tables.rollups import EVERY
from testio_mcp.errors import BadInput
from testio_mcp.operations.metrics.engine import Key, Measured, measure
from testio_mcp.operations.metrics.kept import knows
from testio_mcp.operations.metrics.questions import Question
from testio_mcp.operations.metrics.words import METRICS
from testio_mcp.sandbox import World
from testio_mcp.sync.rollups import outdated, renew
from tests.sync.conftest import EVERYTHING, Account

SPLITS: tuple[tuple[str, ...], ...] = (
    (),
    ("month",),
    ("quarter",),
    ("product",),
    ("product", "month"),
    ("testing_type",),
    ("severity", "bug_status"),
    ("kind", "known", "quarter"),
)
NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture
def world() -> World:
    """An account whose tests end over more than a year."""
    return World(seed=7, products=2, tests_per_product=40, bugs_per_test=2)


def _questions(zone: ZoneInfo) -> list[Question]:
    now = datetime.now(UTC)
    spans = ((None, None), (now - timedelta(days=200), now - timedelta(days=40)), (now - timedelta(days=90), None))
    metrics = {by: tuple(name for name in METRICS if _has_meaning(Question((name,), by))) for by in SPLITS}
    return [Question(metrics[by], by, start=start, end=end, zone=zone) for by in SPLITS for start, end in spans]


def _has_meaning(question: Question) -> bool:
    try:
        question.check()
    except BadInput:
        return False
    return True


def _cells(conn: Connection) -> set[tuple[int, datetime]]:
    cell = table_of(RollupCell).c
    return {(row[0], row[1]) for row in conn.execute(select(cell.product_id, cell.starts_at))}


def _answers(conn: Connection, zone: ZoneInfo, *, use_rollups: bool) -> list[tuple[Question, Measured]]:
    return [(question, measure(conn, question, use_rollups=use_rollups)) for question in _questions(zone)]


async def _agree(account: Account, zone: ZoneInfo = ZoneInfo("UTC")) -> dict[tuple[Key, ...], Any]:  # noqa: B008
    kept = await account.store.read(lambda conn: _answers(conn, zone, use_rollups=True))
    counted = await account.store.read(lambda conn: _answers(conn, zone, use_rollups=False))
    for (question, one), (_, other) in zip(kept, counted, strict=True):
        assert one == other, question
    return kept[0][1].rows


async def test_kept_counts_are_those_of_the_records_after_every_change(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    cells = await account.store.read(_cells)
    assert any(product == EVERY for product, _ in cells)
    assert any(knows(question, "bugs") for question in _questions(ZoneInfo("UTC")))
    before = await _agree(account)

    world = account.world
    first, second = (world.test_ids(product) for product in world.product_ids)
    world.update_test(first[12], end_at=(datetime.now(UTC) - timedelta(days=400)).isoformat())
    world.delete_test(first[20])
    for test_id in (first[9], second[15]):
        world.add_bug(test_id, severity="critical")
    for bug in [*world.open_bugs(world.product_ids[0])[:3]]:
        world.update_bug(bug.id, status="rejected")
    await account.sync(full=True, accept_deletions=True, only=EVERYTHING)

    assert await _agree(account) != before
    assert await account.store.read(_cells)


async def test_a_change_removes_the_cells_that_it_makes_wrong(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    cells = await account.store.read(_cells)
    test_id = account.world.test_ids(account.world.product_ids[0])[12]
    (test,) = await account.rows("test", id=test_id)
    (bug, *_) = await account.rows("bug", test_id=test_id)

    def change(conn: Connection) -> None:
        table = table_of(Bug)
        with outdated(conn, table, [bug["id"]]):
            conn.execute(table.update().where(table.c.id == bug["id"]).values(status="rejected", level="critical"))

    await account.store.write(change)
    gone = cells - await account.store.read(_cells)
    assert {product for product, _ in gone} == {test["product_id"], EVERY}
    assert len({starts for _, starts in gone}) == 1
    await _agree(account)

    await _renewed(account, ZoneInfo("UTC"))
    assert await account.store.read(_cells) == cells
    await _agree(account)


async def test_another_time_zone_makes_other_months(account: Account) -> None:
    await account.sync(only=EVERYTHING)
    cells = await account.store.read(_cells)
    await _agree(account, NEW_YORK)

    await _renewed(account, NEW_YORK)

    moved = await account.store.read(_cells)
    assert moved.isdisjoint(cells)
    assert {starts.astimezone(NEW_YORK).hour for _, starts in moved} == {0}
    for table in ("rollup_count", "rollup_member"):  # nothing is left of the old ones
        assert {(row["product_id"], row["starts_at"]) for row in await account.rows(table)} <= moved
    await _agree(account, NEW_YORK)
    await _agree(account)


async def _renewed(account: Account, zone: ZoneInfo) -> None:
    while await account.store.write(lambda conn: renew(conn, zone)):
        pass
