"""Filters find a text whatever its case and its accents, alike on SQLite and on PostgreSQL with the locale C."""

from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, update

from testio_mcp.database.tables import (
    Bug,
    BugDevice,
    Execution,
    ExecutionDevice,
    Feature,
    Person,
    Test,
    TestEnvironment,
    TestTemplate,
    UserStory,
    table_of,
)
from testio_mcp.domain import person_id
from tests.operations.conftest import ask
from tests.sync.conftest import EVERYTHING, Account

SPELLINGS = (
    ("ÉCRAN Größe 7", "ecran GROSSE 7"),
    ("Ωμέγα Pro", "ΩΜΕΓΑ pro"),
    ("Планшет Ёлка", "планшет ЕЛКА"),
    ("Łódź 50 %", "lodz 50 %"),
    ("ΟΔΟΣ", "οδος"),
    ("İstanbul", "istanbul"),
    ("Ｆｕｌｌ width", "full WIDTH"),
)
"""A name as the account has it, and as people write it."""
WAYS = [*SPELLINGS, *((written, name) for name, written in SPELLINGS)]


@pytest.fixture
async def filled(account: Account) -> Account:
    """An account that is copied whole."""
    await account.sync(only=EVERYTHING)
    return account


async def _set_device(account: Account, **values: str) -> None:
    def work(conn: Connection) -> None:
        for devices in (BugDevice, ExecutionDevice):
            conn.execute(update(table_of(devices)).values(**values))

    await account.app.store.write(work)


@pytest.mark.parametrize(("name", "written"), WAYS)
async def test_devices_in_lists_and_metrics(filled: Account, name: str, written: str) -> None:
    await _set_device(
        filled,
        name=name,
        category=name,
        operating_system=name,
        browsers=f"{name}, Other",
        operating_system_version="",
    )
    bugs = (await ask(filled, "list_bugs", device=name, scope="ran", total_only=True)).total
    runs = (await ask(filled, "list_executions", device=name, total_only=True)).total
    assert bugs and runs
    for argument in ("device", "device_category", "operating_system", "browser"):
        assert (await ask(filled, "list_bugs", **{argument: written}, scope="ran", total_only=True)).total == bugs
        assert (await ask(filled, "list_executions", **{argument: written}, total_only=True)).total == runs
        part = written[1:-1]
        assert (await ask(filled, "list_bugs", **{argument: part}, scope="ran", total_only=True)).total == bugs
        table = await ask(filled, "query_metrics", metrics="bug_count", filters=[f"{argument}={written}"])
        assert table.totals["bug_count"] == bugs and not table.notes
        part_only = await ask(filled, "query_metrics", metrics="bug_count", filters=[f"{argument}={part}"])
        assert part_only.totals["bug_count"] == 0 and part_only.notes
    await _set_device(filled, operating_system=name, operating_system_version="X")
    for argument in ("operating_system", "operating_system_version"):
        table = await ask(filled, "query_metrics", metrics="bug_count", filters=[f"{argument}={written} x"])
        assert table.totals["bug_count"] == bugs and not table.notes


@pytest.mark.parametrize(("name", "written"), WAYS)
async def test_titles_of_everything_that_is_listed(filled: Account, name: str, written: str) -> None:
    def work(conn: Connection) -> None:
        for table in (Feature, UserStory, TestEnvironment, TestTemplate):
            conn.execute(update(table_of(table)).values(title=f"Before {name} behind"))

    await filled.app.store.write(work)
    for operation in ("list_features", "list_user_stories", "list_test_environments", "list_test_templates"):
        page = await ask(filled, operation, text=written)
        assert page.total == (await ask(filled, operation)).total > 0
        assert not page.notes
    await _set_device(filled, operating_system=name)
    everywhere = await ask(filled, "list_features", untested_on=written, total_only=True)
    never = await ask(filled, "list_features", untested_on=name, total_only=True)
    assert everywhere.total == never.total < (await ask(filled, "list_features", total_only=True)).total


@pytest.mark.parametrize(("name", "written"), WAYS)
async def test_people_as_reporters_testers_and_contacts(filled: Account, name: str, written: str) -> None:
    key = person_id(name)

    def work(conn: Connection) -> None:
        if not conn.execute(select(table_of(Person).c.id).where(table_of(Person).c.id == key)).first():
            conn.execute(insert(table_of(Person)).values(id=key, name=name))
        conn.execute(update(table_of(Bug)).values(author_id=key))
        conn.execute(update(table_of(Execution)).values(executed_by_id=key))
        conn.execute(update(table_of(Test)).values(created_by_id=key))

    await filled.app.store.write(work)
    assert (await ask(filled, "list_people", text=written)).total == 1
    lists: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("list_bugs", "reporters", {}),
        ("triage_queue", "reporters", {}),
        ("list_executions", "testers", {}),
        ("list_tests", "contacts", {}),
    )
    for operation, argument, others in lists:
        page = await ask(filled, operation, **{argument: [written]}, **others)
        assert page.total == (await ask(filled, operation, **others)).total > 0
        assert not page.notes
    for name_of_filter, metric in (("tester", "bug_count"), ("contact", "test_count")):
        table = await ask(filled, "query_metrics", metrics=metric, filters=[f"{name_of_filter}={written}"])
        assert table.totals[metric] == (await ask(filled, "query_metrics", metrics=metric)).totals[metric] > 0


async def test_a_name_that_is_exactly_somebodys_is_theirs_alone(filled: Account) -> None:
    def work(conn: Connection) -> None:
        conn.execute(insert(table_of(Person)), [{"id": person_id(name), "name": name} for name in ("Zoë Q", "ZOE Q")])
        ids = conn.execute(select(table_of(Bug).c.id).order_by(table_of(Bug).c.id).limit(3)).scalars().all()
        conn.execute(update(table_of(Bug)).where(table_of(Bug).c.id == ids[0]).values(author_id=person_id("Zoë Q")))
        conn.execute(
            update(table_of(Bug)).where(table_of(Bug).c.id.in_(ids[1:])).values(author_id=person_id("ZOE Q"))
        )

    await filled.app.store.write(work)
    found = {
        name: (await ask(filled, "list_bugs", reporters=[name], total_only=True)).total
        for name in ("Zoë Q", "ZOE Q", "zoe q")
    }
    assert found == {"Zoë Q": 1, "ZOE Q": 2, "zoe q": 3}


async def test_words_of_a_metric_filter_in_any_case(filled: Account) -> None:
    for written in ("severity=critical", "bug_status=accepted", "testing_type=coverage", "kind=functional"):
        lower = await ask(filled, "query_metrics", metrics="bug_count", filters=[written])
        name, value = written.split("=")
        upper = await ask(filled, "query_metrics", metrics="bug_count", filters=[f"{name}={value.upper()}"])
        assert upper.totals == lower.totals
        assert not upper.notes


async def test_a_text_with_the_signs_of_patterns_is_no_pattern(filled: Account) -> None:
    await _set_device(filled, name="100%_\\ *Ä*")
    everything = (await ask(filled, "list_bugs", device="100", total_only=True)).total
    for part in ("0%_", "_\\", "*ä*", "%"):
        assert (await ask(filled, "list_bugs", device=part, total_only=True)).total == everything > 0
    for part in ("1%0", "%%", "?"):
        assert (await ask(filled, "list_bugs", device=part, total_only=True)).total == 0
