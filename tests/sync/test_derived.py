"""Derived data: whatever is wrong in them is found and mended, and those of another version answer nothing."""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, select, update

from testio_mcp.app import App
from testio_mcp.database import derived, search
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.tables import (
    Bug,
    BugDevice,
    Derived,
    Execution,
    Feature,
    Product,
    SearchSlice,
    Test,
    TestEnvironment,
    TestMetric,
    TestPlatform,
    TestTemplate,
    table_of,
)
from testio_mcp.database.tables.search import ALWAYS
from testio_mcp.doctor.examination import examine
from testio_mcp.errors import StoreOutdated, StoreTooNew
from testio_mcp.operations.registry import operations
from testio_mcp.operations.work.search import search as find_text
from testio_mcp.sync.derived import DEFINITIONS, first_differences, rebuild
from testio_sandbox import Sandbox, World, serve_sandbox
from tests.conftest import SettingsFor
from tests.postgres import SCHEMA
from tests.support.hasty import hasty_client
from tests.surfaces.programs import stdio
from tests.sync.conftest import EVERYTHING, Account

Corrupt = Callable[[Connection], object]


@pytest.fixture
def world() -> World:
    """A small account with all that is derived."""
    return World(seed=7, products=2, tests_per_product=6, bugs_per_test=2)


@pytest.fixture
async def copied(account: Account) -> Account:
    """The account with everything copied, and a bug rejected in it."""
    product = account.world.product_ids[0]
    account.world.update_bug(account.world.open_bugs(product)[0].id, status="rejected")
    await account.sync(only=EVERYTHING)
    return account


def _set(model: type, **values: object) -> Corrupt:
    """Change columns of the first copied record."""

    def corrupt(conn: Connection) -> None:
        table = table_of(model)
        first = select(func.min(table.c.id)).where(table.c.content_hash != "").scalar_subquery()
        assert conn.execute(update(table).where(table.c.id == first).values(values)).rowcount == 1

    return corrupt


def _unindex(kind: search.Kind) -> Corrupt:
    """Take the first record out of the search index."""

    def corrupt(conn: Connection) -> None:
        index = search.index_table(conn.dialect.name, kind)
        search.remove_documents(conn, kind, [conn.execute(select(func.min(index.c.id))).scalar_one()])

    return corrupt


def _misword(kind: search.Kind) -> Corrupt:
    """Have the index know records by other words than their own."""

    def corrupt(conn: Connection) -> None:
        ids = DEFINITIONS["search of bugs"].records(conn)[:1]
        document = search.documents_of(conn, kind, ids)[0]
        search.store_documents(conn, kind, [document._replace(title="")])

    return corrupt


def _stray(conn: Connection) -> None:
    document = search.documents_of(conn, "bug", DEFINITIONS["search of bugs"].records(conn)[:1])[0]
    search.store_documents(conn, "bug", [document._replace(id=2**40)])


_BUG_TABLE = table_of(Bug)
CORRUPTIONS: list[tuple[str, Corrupt, str]] = [
    ("products", _set(Product, name="Wrong"), "name"),
    ("features", _set(Feature, howtofind="Nowhere"), "howtofind"),
    ("environments", _set(TestEnvironment, title="Wrong"), "title"),
    ("templates", _set(TestTemplate, title="Wrong"), "title"),
    ("tests", _set(Test, sort_at=ALWAYS), "sort_at"),
    ("tests", lambda conn: conn.execute(delete(table_of(TestPlatform))), "test_platform"),
    ("metrics", _set(TestMetric, total_bugs=9_999), "total_bugs"),
    ("bugs", _set(Bug, level="none", kind="custom"), "kind"),
    ("bugs", _set(Bug, comment_count=99), "comment_count"),
    ("bugs", _set(Bug, author_id=None), "author_id"),
    ("bugs", _set(Bug, feature_id=None), "feature_id"),
    ("bugs", lambda conn: conn.execute(delete(table_of(BugDevice))), "bug_device"),
    (
        "bugs",
        lambda conn: conn.execute(
            update(_BUG_TABLE).where(_BUG_TABLE.c.status == "rejected").values(rejection_reason="Wrong")
        ),
        "rejection_reason",
    ),
    ("executions", _set(Execution, status="strange"), "status"),
    ("search of products", _unindex("product"), "is not in the search index"),
    ("search of features", _unindex("feature"), "is not in the search index"),
    ("search of user stories", _unindex("user_story"), "is not in the search index"),
    ("search of tests", _unindex("test"), "is not in the search index"),
    ("search of bugs", _unindex("bug"), "is not in the search index"),
    ("search of bugs", _misword("bug"), "other words than its own"),
    ("search of bugs", lambda conn: conn.execute(delete(table_of(SearchSlice))), "left out by searches"),
    ("search of bugs", _stray, "is not in the store"),
]


def test_everything_derived_is_corrupted_here() -> None:
    assert {name for name, *_ in CORRUPTIONS} == DEFINITIONS.keys() == derived.VERSIONS.keys()


async def test_a_fresh_copy_and_one_that_changed_have_no_differences(copied: Account) -> None:
    assert await copied.store.read(lambda conn: first_differences(conn, deep=True)) == []
    copied.world.advance(days=20)
    copied.world.delete_test(copied.world.test_ids(copied.world.product_ids[0])[1])
    await copied.sync(only=EVERYTHING)
    assert await copied.store.read(lambda conn: first_differences(conn, deep=True)) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "corrupt", "words"), CORRUPTIONS, ids=[f"{n}: {w}" for n, _, w in CORRUPTIONS])
async def test_what_is_wrong_is_found_and_mended_by_a_full_sync(
    copied: Account, name: str, corrupt: Corrupt, words: str
) -> None:
    await copied.store.write(corrupt)
    found = await copied.store.read(lambda conn: first_differences(conn, deep=False))
    assert any(line.startswith(f"{name}: ") and words in line for line in found)

    await copied.sync(only=EVERYTHING, full=True)
    assert await copied.store.read(lambda conn: first_differences(conn, deep=True)) == []


async def test_data_of_another_definition_answer_nothing(copied: Account) -> None:
    """A server goes on while another version opens its store: it says so, and answers nothing."""
    versions = table_of(Derived)
    arguments = {"query": "the"}
    assert await operations()["search"].run(copied.app, arguments)
    await copied.store.write(lambda conn: conn.execute(update(versions).values(version=0)))
    for name, given in (("search", arguments), ("list_bugs", {}), ("list_changes", {})):
        with pytest.raises(StoreOutdated, match="not up to date"):
            await operations()[name].run(copied.app, given)

    await copied.store.write(lambda conn: conn.execute(update(versions).values(version=99)))
    with pytest.raises(StoreTooNew, match="newer version"):
        await operations()["list_bugs"].run(copied.app, {})
    await copied.store.write(lambda conn: conn.execute(update(versions).values(version=0)))
    await copied.sync()  # whoever writes computes them again
    assert await operations()["search"].run(copied.app, arguments)


@pytest.fixture
async def file_account(
    world: World, sqlite_file: Path, settings_for: SettingsFor, canary: str
) -> AsyncIterator[tuple[Account, Sandbox]]:
    """An account copied into a file, with the sandbox still running."""
    async with AsyncExitStack() as stack, serve_sandbox(world, token=canary) as sandbox:
        store = await stack.enter_async_context(PersistentCache(sqlite_file))
        settings = settings_for(customer_api_base_url=sandbox.url, db_path=sqlite_file)
        account = Account(world, sandbox, App(settings, store, stack, client=hasty_client))
        await account.sync(only=EVERYTHING)
        yield account, sandbox
        await stack.aclose()


async def test_a_store_of_an_older_definition_is_computed_again_before_it_answers(
    file_account: tuple[Account, Sandbox], sqlite_file: Path, settings_for: SettingsFor
) -> None:
    account, _ = file_account
    title = (await account.rows("bug"))[0]["title"]
    before = await account.store.read(lambda conn: find_text(conn, settings_for(), title))

    def make_older(conn: Connection) -> None:
        """What a build left that indexed no bugs and knew one level."""
        search.remove_documents(conn, "bug", DEFINITIONS["search of bugs"].records(conn))
        conn.execute(update(_BUG_TABLE).values(level="low"))
        conn.execute(update(table_of(Derived)).values(version=0))

    await account.store.write(make_older)
    async with PersistentCache(sqlite_file) as store:
        assert await store.read(lambda conn: find_text(conn, settings_for(), title)) == before
        assert await store.read(lambda conn: first_differences(conn, deep=True)) == []


def _stop_at(kind: str) -> Callable[[str], None]:
    def stop(name: str) -> None:
        if name == kind:
            raise InterruptedError

    return stop


async def test_a_rebuild_that_was_stopped_goes_on_with_the_kinds_that_were_not_done(copied: Account) -> None:
    await copied.store.write(lambda conn: derived.forget_versions(conn, tuple(derived.VERSIONS)))
    with pytest.raises(InterruptedError):
        await rebuild(copied.store.write, told=_stop_at("bugs"))
    names = list(derived.VERSIONS)
    assert await copied.store.read(derived.find_outdated) == names[names.index("bugs") :]


async def test_a_full_sync_computes_again_what_it_did_not_write_itself(copied: Account) -> None:
    world = copied.world
    bug_id = world.open_bugs(world.product_ids[1])[0].id
    world.update_bug(bug_id, status="question")
    started_at = (await copied.sync(only=EVERYTHING, full=True)).started_at
    ids = await copied.store.read(DEFINITIONS["bugs"].records)
    older = await copied.store.read(lambda conn: DEFINITIONS["bugs"].records(conn, started_at))
    assert bug_id not in older
    assert set(older) < set(ids)
    assert len(older) > len(ids) / 2


async def test_a_rebuild_of_a_sound_store_writes_nothing(file_account: tuple[Account, Sandbox]) -> None:
    account, _ = file_account
    written = 0

    async def write(work: Callable[[Connection], Any]) -> Any:
        def counted(conn: Connection) -> Any:
            nonlocal written
            driver: Any = conn.connection.driver_connection
            before = driver.total_changes
            result = work(conn)
            written += driver.total_changes - before
            return result

        return await account.store.write(counted)

    await rebuild(write)
    assert written == len(derived.VERSIONS)


@pytest.mark.slow
async def test_a_server_answers_at_once_and_says_that_the_data_are_being_rebuilt(
    file_account: tuple[Account, Sandbox], sqlite_file: Path, tmp_path: Path
) -> None:
    account, _ = file_account
    await account.store.write(lambda conn: conn.execute(update(table_of(Derived)).values(version=0)))
    environment = {"TESTIO_DB_PATH": str(sqlite_file), "TESTIO_REFRESH_BUDGET_SECONDS": "1"}
    with closing(sqlite3.connect(sqlite_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # the rebuild cannot begin before this ends
        async with stdio(environment, tmp_path) as client:
            assert (await client.list_tools()).tools
            for tool in ("list_bugs", "search", "sync_data"):
                refused = await client.call_tool(tool, {"query": "the"} if tool == "search" else {})
                assert refused.is_error
                assert "is being rebuilt after an upgrade" in str(refused.content)
                assert "Ask again in a minute" in str(refused.content)
            other.execute("ROLLBACK")
            while (answer := await client.call_tool("list_bugs")).is_error:
                assert "is being rebuilt" in str(answer.content)
    assert answer.structured_content is not None
    assert answer.structured_content["total"] > 0


@pytest.mark.slow
async def test_the_commands_name_each_kind_that_is_wrong_and_mend_it(
    copied: Account, request: pytest.FixtureRequest
) -> None:
    place: dict[str, str] = {"db_path": str(copied.store.db_path)}
    if copied.store.connection is None:
        place = {"database_url": request.getfixturevalue("postgres_url"), "database_schema": SCHEMA}
    place["customer_api_base_url"] = copied.sandbox.url
    environment = {f"TESTIO_{name.upper()}": value for name, value in place.items()}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "testio_mcp", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run("db", "check").returncode == 0
    first = {name: (corrupt, words) for name, corrupt, words in reversed(CORRUPTIONS)}
    for corrupt, _ in first.values():
        await copied.store.write(corrupt)
    for words in (("db", "check"), ("db", "check", "--deep")):
        checked = run(*words)
        assert checked.returncode == 1
        lines = dict(line.split(": ", 1) for line in checked.stdout.splitlines())
        assert lines.keys() == first.keys()
        assert all(first[name][1] in lines[name] for name in first)
        assert "testio-mcp db rebuild" in checked.stderr
    verdict = next(f for f in (await examine(**place)).checks if f.check == "derived data")
    assert (verdict.state, verdict.fix) == ("fail", "testio-mcp db rebuild")
    assert "name: 'Wrong' is stored" in verdict.found
    assert f"(and {len(first) - 1} more kinds)" in verdict.found

    assert run("db", "rebuild").returncode == 0
    assert run("db", "check", "--deep").returncode == 0
    verdict = next(f for f in (await examine(**place)).checks if f.check == "derived data")
    assert verdict.state == "ok"
