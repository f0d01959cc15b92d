"""The execution matrix against the account's runs: cells, columns, totals, flakiness, what only a bug made fail."""

import re
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, update

from testio_mcp.database.dialect import upsert
from testio_mcp.database.tables import Execution, ExecutionDevice, Test, UserStory, table_of
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.reports.cells import COLUMNS, OTHER, UNKNOWN
from testio_sandbox import World
from testio_sandbox.test_payloads import execution_payload, runs_of
from tests.operations import truth
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import Account

_COPIED = frozenset({"features", "tests", "bugs", "metrics", "executions"})
_ENDED = ("passed", "failed", "blocked")
_WORDS = (*_ENDED, "not_tested")
_PART = re.compile(r"(\d+) (passed|failed|blocked|not tested)")


class Run(NamedTuple):
    """A run as the account tells it."""

    id: int
    story: int
    status: str
    at: datetime | None
    test: int
    column: dict[str, str]

    @property
    def word(self) -> str:
        return self.status if self.status in _ENDED else "not_tested"


@pytest.fixture
def world() -> World:
    """An account with more tests than a matrix has columns."""
    return World(seed=4, products=2, tests_per_product=19, bugs_per_test=2, now=NOW)


@pytest.fixture
async def filled(account: Account) -> Account:
    """An account that is copied with its runs."""
    await account.sync(only=_COPIED)
    return account


def _runs(account: Account, product: int) -> list[Run]:
    """The runs in tests that ran."""
    world, found = account.world, []
    for test_id in world.test_ids(product):
        facts, test = world.test_facts(test_id), world.test(test_id)
        if not truth.has_run(test):
            continue
        for run in runs_of(world, facts):
            told = execution_payload(world, facts, run)
            device, at = told["device_reports"][0], told["executed_at"]
            column = {
                "device": device["device"]["name"],
                "operating_system": device["operating_system"]["name"],
                "environment": (test["test_environment"] or {"title": UNKNOWN})["title"],
                "test": str(test_id),
            }
            moment = datetime.fromisoformat(at).astimezone(UTC) if at else None
            if told["user_story"]:
                story = told["user_story"]["id"]
                found.append(Run(told["id"], story, told["status"], moment, test_id, column))
    return found


def _stories(account: Account, product: int) -> list[tuple[int, int]]:
    """The user stories of a product: their features and ids."""
    features = account.world.features(product, objects=True)
    return sorted((feature["id"], story["id"]) for feature in features for story in feature["user_stories"])


def _counts(runs: list[Run]) -> dict[str, int]:
    words = Counter(run.word for run in runs)
    return {word: words[word] for word in _WORDS}


def _last(runs: list[Run]) -> str:
    ended = [run for run in runs if run.status in _ENDED]
    worst = ("failed", "blocked", "passed")
    newest = sorted(ended, key=lambda run: (run.at, -worst.index(run.status)))
    return newest[-1].status if ended else "not_tested"


def _cell(runs: list[Run]) -> str:
    counts = _counts(runs)
    said = ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in counts.items() if count)
    return f"{said} (last {_last(runs)})" if sum(counts[word] > 0 for word in _ENDED) > 1 else said


async def _rows(account: Account, **arguments: Any) -> tuple[list[Any], Any]:
    """All rows of all pages, and the first page."""
    first = page = await ask(account, "execution_matrix", **arguments)
    rows = [*page.items]
    while page.next_cursor:
        page = await ask(account, "execution_matrix", cursor=page.next_cursor, **arguments)
        rows += page.items
    return rows, first


def _read(cell: str) -> Counter[str]:
    return Counter({word.replace(" ", "_"): int(count) for count, word in _PART.findall(cell)})


@pytest.mark.parametrize("by", ["device", "operating_system", "environment", "test"])
async def test_cells_hold_the_runs_of_the_account(filled: Account, by: str) -> None:
    product = filled.world.product_ids[0]
    runs = _runs(filled, product)

    rows, page = await _rows(filled, product_id=product, by=by, limit=4)

    assert [(row.feature_id, row.id) for row in rows] == _stories(filled, product)
    assert page.total == len(rows)
    used = Counter(run.column[by] for run in runs)
    shown = {column.name: column for column in page.columns if column.name != OTHER}
    assert len(shown) == min(COLUMNS, len(used))
    assert [used[name] for name in shown] == sorted(used.values(), reverse=True)[:COLUMNS]
    for name, column in shown.items():
        mine = [run for run in runs if run.column[by] == name]
        assert (column.executions, column.model_dump(include=set(_WORDS))) == (len(mine), _counts(mine))
    for row in rows:
        of_story: dict[str, list[Run]] = defaultdict(list)
        for run in (run for run in runs if run.story == row.id):
            of_story[run.column[by] if run.column[by] in shown else OTHER].append(run)
        assert {name: cell for name, cell in row.cells.items() if cell} == {
            name: _cell(cell) for name, cell in of_story.items()
        }
        everything = [run for cell in of_story.values() for run in cell]
        assert row.model_dump(include=set(_WORDS)) == _counts(everything)
        assert row.latest == _last(everything)


async def test_more_columns_than_are_shown_are_one_more(filled: Account) -> None:
    product = filled.world.product_ids[0]

    page = await ask(filled, "execution_matrix", product_id=product)

    tests = {run.test for run in _runs(filled, product)}
    *shown, others = page.columns
    assert (len(shown), others.name, others.title) == (COLUMNS, OTHER, f"{len(tests) - COLUMNS} more")
    assert [column.id for column in shown] == sorted(tests, reverse=True)[:COLUMNS]
    assert shown[0].title == filled.world.test_title(filled.world.test_facts(shown[0].id))
    assert page.scope == "tests that ran (started, and not initialized, waiting or cancelled)"


@given(
    by=st.sampled_from(["device", "operating_system", "environment", "test"]),
    days=st.none() | st.tuples(st.integers(0, 300), st.integers(0, 300)),
    limit=st.integers(4, 50),
)
@settings(max_examples=8)
async def test_cells_sum_to_columns_and_totals(
    filled: Account, by: str, days: tuple[int, int] | None, limit: int
) -> None:
    product = filled.world.product_ids[1]
    today = filled.world.now.date()
    period: dict[str, Any] = {}
    runs = _runs(filled, product)
    if days:
        first, last = (today - timedelta(days=day) for day in (max(days), min(days)))
        period = {"date_from": first, "date_to": last}
        runs = [run for run in runs if run.at and first <= run.at.date() <= last]

    rows, page = await _rows(filled, product_id=product, by=by, limit=limit, **period)

    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for name, cell in row.cells.items():
            sums[name] += _read(cell)
        whole = sum((_read(cell) for cell in row.cells.values()), Counter[str]())
        assert {word: whole[word] for word in _WORDS} == row.model_dump(include=set(_WORDS))
    assert {column.name: Counter(column.model_dump(include=set(_WORDS))) for column in page.columns} == sums
    totals = page.totals
    assert totals.model_dump(include=set(_WORDS)) == _counts(runs)
    assert totals.executions == sum(column.executions for column in page.columns) + totals.without_story
    ended = [run for run in runs if run.status in _ENDED]
    passed = [run for run in ended if run.status == "passed"]
    assert totals.pass_rate == (round(len(passed) / len(ended), 4) if ended else None)
    stories = _stories(filled, product)
    assert (totals.stories_tested, totals.stories) == (
        len({run.story for run in runs} & {story for _, story in stories}),
        len(stories),
    )
    assert totals.story_coverage == round(totals.stories_tested / totals.stories, 4)


async def test_a_test_shows_its_stories_and_what_only_a_bug_made_fail(filled: Account) -> None:
    world, product = filled.world, filled.world.product_ids[0]
    runs = _runs(filled, product)
    by_bug = 0
    for test_id in sorted({run.test for run in runs}):
        told = [s for feature in world.test(test_id, objects=True)["features"] for s in feature["user_stories"]]

        rows, page = await _rows(filled, test_id=test_id, by="operating_system")

        assert page.scope == f"test {test_id}"
        assert {row.id for row in rows} == {story["id"] for story in told}
        for row in rows:
            mine = [run for run in runs if run.test == test_id and run.story == row.id]
            is_failed = any(run.status == "failed" for run in mine)
            (rollup,) = (story for story in told if story["id"] == row.id)
            expected = rollup["execution_status"] == "failed" and rollup["bugs_found"] > 0 and not is_failed
            assert (row.tests, row.failed_only_by_bug) == (1, int(expected))
            assert row.model_dump(include=set(_WORDS)) == _counts(mine)
            by_bug += row.failed_only_by_bug
    whole, _ = await _rows(filled, product_id=product)
    assert by_bug == sum(row.failed_only_by_bug for row in whole) > 0


async def test_flaky_is_what_passed_and_failed_on_one_column(filled: Account) -> None:
    product = filled.world.product_ids[0]
    seen = set()
    for run in _runs(filled, product):
        seen.add((run.story, run.column["test"], run.status))

    rows, _ = await _rows(filled, product_id=product, limit=50)

    expected = {
        (story, test) for story, test, status in seen if status == "passed" and (story, test, "failed") in seen
    }
    assert {(row.id, test) for row in rows for test in row.flaky_on} == expected != set()


async def test_filters_pick_what_they_say(filled: Account) -> None:
    product = filled.world.product_ids[0]
    stories = _stories(filled, product)
    everything, _ = await _rows(filled, product_id=product)
    feature = stories[-1][0]

    problems, _ = await _rows(filled, product_id=product, only="problems", limit=3)
    untested, _ = await _rows(filled, product_id=product, only="untested")
    of_feature, page = await _rows(filled, product_id=product, feature_id=feature)
    quiet, nothing = await _rows(filled, product_id=product, date_to="1999-01-01", only="untested")

    assert [row.id for row in problems] == [
        row.id for row in everything if row.failed or row.blocked or row.failed_only_by_bug
    ]
    assert [row.id for row in untested] == [row.id for row in everything if row.latest == "not_tested"]
    assert [row.id for row in of_feature] == [story for fid, story in stories if fid == feature]
    assert page.totals.stories == len(of_feature)
    assert page.totals.executions == sum(column.executions for column in page.columns)
    assert page.totals.without_story == 0
    assert [row.id for row in quiet] == [story for _, story in stories]
    assert (nothing.columns, nothing.totals.pass_rate, nothing.totals.story_coverage) == ([], None, 0)


async def _store(account: Account, executions: list[dict[str, Any]], devices: list[dict[str, Any]]) -> None:
    about = {"content_hash": "x", "synced_at": datetime.now(UTC), "raw": "{}"}
    blank = dict.fromkeys(("comment", "executed_at", "gone_at", "user_story_id"))

    def write(conn: Connection) -> None:
        upsert(conn, table_of(Execution), [blank | about | execution for execution in executions])
        upsert(conn, table_of(ExecutionDevice), devices)

    await account.store.write(write)


async def test_what_executions_can_lack(account: Account) -> None:
    """Unknown statuses, no device, no date, no story, a story that is not there; and comments of what was blocked."""
    await account.sync(only=frozenset({"features", "tests"}))
    product = account.world.product_ids[0]
    test, (_, story) = account.world.add_test(product, status="running")["id"], _stories(account, product)[0]
    await account.sync(only=frozenset({"tests"}))
    day = datetime(2026, 3, 1, tzinfo=UTC)
    about = {"test_id": test, "user_story_id": story}
    blocked = [
        {"id": 20 + n, **about, "status": "blocked", "comment": comment, "executed_at": day + timedelta(hours=n)}
        for n, comment in enumerate(["No account", "x" * 300, "No account", "Site down", "Too early", None])
    ]
    executions = [
        {"id": 1, **about, "status": "exploded"},
        {"id": 2, **about, "status": "passed"},
        {"id": 3, **about, "status": "failed", "executed_at": day},
        {"id": 4, "test_id": test, "status": "passed", "executed_at": day},
        {"id": 5, "test_id": test, "user_story_id": 1, "status": "failed", "executed_at": day},
        {"id": 6, **about, "status": "passed", "gone_at": day},
        {"id": 7, **about, "test_id": None, "status": "passed"},
        *blocked,
    ]
    await _store(account, executions, [{"execution_id": 3, "position": n, "name": f"Phone {n}"} for n in (0, 1)])

    (row,), page = await _rows(account, test_id=test, by="device")
    _, of_day = await _rows(account, test_id=test, by="device", date_from=date(2026, 3, 1), date_to="2026-03-01")

    # A run counts once, with its first device.
    assert row.cells == {UNKNOWN: "1 passed, 6 blocked, 1 not tested (last blocked)", "Phone 0": "1 failed"}
    assert row.blocked_reasons == ["Too early", "Site down", "No account"]
    assert (row.latest, row.flaky_on, row.tests) == ("blocked", [], 0)
    assert (page.totals.executions, page.totals.without_story, page.totals.pass_rate) == (11, 2, 0.2)
    assert (of_day.totals.executions, of_day.totals.not_tested) == (9, 0)


async def test_what_is_gone_is_in_no_cell(filled: Account) -> None:
    product = filled.world.product_ids[0]
    run = next(run for run in _runs(filled, product) if run.status == "passed")
    before = await ask(filled, "execution_matrix", product_id=product, limit=50)
    gone = {"gone_at": datetime.now(UTC)}

    def write(conn: Connection) -> None:
        test, story = table_of(Test), table_of(UserStory)
        conn.execute(update(test).where(test.c.id == run.test).values(**gone))
        conn.execute(update(story).where(story.c.id == run.story).values(**gone))

    await filled.store.write(write)
    after = await ask(filled, "execution_matrix", product_id=product, limit=50)

    left = [other for other in _runs(filled, product) if other.test != run.test]
    assert run.story not in {row.id for row in after.items}
    assert after.total == after.totals.stories == before.total - 1
    assert after.totals.executions == len(left)
    assert after.totals.without_story == sum(other.story == run.story for other in left)
    assert str(run.test) not in {column.name for column in after.columns}
    assert (await ask(filled, "execution_matrix", test_id=run.test)).totals.executions == 0


async def test_environments_of_one_name_are_told_apart(filled: Account) -> None:
    product = filled.world.product_ids[0]
    rows = await filled.rows("test_environment", product_id=product)
    assert len(rows) > 1
    same = [row | {"title": "Staging"} for row in rows]
    await filled.store.write(lambda conn: upsert(conn, Test.metadata.tables["test_environment"], same))

    page = await ask(filled, "execution_matrix", product_id=product, by="environment")

    named = [column for column in page.columns if column.id]
    assert len(named) > 1
    assert [column.name for column in named] == [f"Staging ({column.id})" for column in named]


async def test_a_product_without_stories_has_no_rows(filled: Account) -> None:
    product = filled.world.add_product(name="Empty")["id"]
    await filled.sync(only=_COPIED)

    page = await ask(filled, "execution_matrix", product_id=product)

    assert (page.items, page.columns, page.total) == ([], [], 0)
    assert (page.totals.executions, page.totals.pass_rate, page.totals.story_coverage) == (0, None, None)


async def test_wrong_questions_say_what_to_do(filled: Account) -> None:
    first, second = filled.world.product_ids
    test = filled.world.test_ids(second)[0]

    for arguments, error, text in (
        ({}, BadInput, r"product_id: it is required unless test_id is given\. list_products"),
        ({"product_id": 1}, NotFound, r"Product 1 is not in the store\. list_products"),
        ({"test_id": 1}, NotFound, r"Test 1 is not in the store\. list_tests"),
        ({"product_id": first, "feature_id": 1}, NotFound, r"Feature 1 is not in the store\. list_features"),
        ({"product_id": first, "test_id": test}, BadInput, f"test {test} is one of product {second}"),
        ({"product_id": first, "cursor": "bm9uc2Vuc2U"}, BadInput, "cursor: is not one"),
    ):
        with pytest.raises(error, match=text):
            await ask(filled, "execution_matrix", **arguments)
    page = await ask(filled, "execution_matrix", product_id=second, test_id=test)
    assert not truth.has_run(filled.world.test(test))
    assert (page.scope, page.totals.executions) == (f"test {test}, which did not run: nothing of it counts", 0)
