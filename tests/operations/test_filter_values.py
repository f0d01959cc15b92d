"""A value that nothing has is said, and a system may be said with its version; lists and metrics agree on both."""

from collections import Counter
from typing import Any

import pytest

from testio_mcp.api.payloads import BugPayload, parse_bug
from testio_mcp.operations.registry import operations
from testio_sandbox import World
from testio_sandbox.test_payloads import execution_payload, runs_of
from tests.operations import truth
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import EVERYTHING, Account


@pytest.fixture
def world() -> World:
    """Two products with tests over some months."""
    return World(seed=3, products=2, tests_per_product=24, bugs_per_test=3, now=NOW)


@pytest.fixture
async def filled(account: Account) -> Account:
    """An account that is copied whole."""
    await account.sync(only=EVERYTHING)
    return account


def _bugs(world: World) -> list[BugPayload]:
    """The bugs of tests that ran."""
    tests = {test_id: test for pid in world.product_ids for test_id, test in truth.tests_of(world, pid).items()}
    return [parse_bug(bug) for bug in truth.all_bugs(world) if truth.has_run(tests[bug["test"]["id"]])]


def _system(device: Any) -> str | None:
    parts = device.operating_system, device.operating_system_version
    return " ".join(part for part in parts if part) or None


async def _count(account: Account, metric: str = "bug_count", **filters: str) -> Any:
    written = [f"{name}={value}" for name, value in filters.items()]
    return (await ask(account, "query_metrics", metrics=metric, filters=written)).totals[metric]


async def test_a_system_is_found_with_and_without_its_version(filled: Account) -> None:
    bugs = _bugs(filled.world)
    systems = {system for bug in bugs for device in bug.devices if (system := _system(device))}
    names = {device.operating_system for bug in bugs for device in bug.devices} - {None}
    assert any(" " in system.removeprefix(name or "") for system in systems for name in names)

    table = await ask(filled, "query_metrics", metrics="bug_count", by="operating_system_version", limit=100)
    wanted = Counter(system for bug in bugs for system in {_system(device) for device in bug.devices} or {None})
    assert {row.root["operating_system_version"]: row.root["bug_count"] for row in table.items} == wanted
    for said in (*systems, *names):
        mine = [b for b in bugs if any(said in (_system(d), d.operating_system) for d in b.devices)]
        assert await _count(filled, operating_system=said or "") == len(mine)
        listed = await ask(filled, "list_bugs", operating_system=said, scope="ran", total_only=True)
        assert listed.total == sum(any((said or "") in (_system(d) or "") for d in b.devices) for b in bugs) > 0


async def test_system_version_browser_and_device_are_those_of_one_device(filled: Account) -> None:
    bugs = _bugs(filled.world)
    lines = [(d.name, _system(d), d.category) for bug in bugs for d in bug.devices]
    devices, systems = {name for name, _, _ in lines if name}, {system for _, system, _ in lines if system}
    for device in sorted(devices):
        for system in sorted(systems):
            mine = [b for b in bugs if any((d.name, _system(d)) == (device, system) for d in b.devices)]
            assert await _count(filled, device=device, operating_system=system) == len(mine)
            assert await _count(filled, device=device, operating_system_version=system) == len(mine)
    name, version, category = next(line for line in lines if all(line))
    listed = await ask(filled, "list_bugs", device=name, operating_system=version, device_category=category)
    assert listed.total and not listed.notes


async def test_executions_are_found_by_system_and_version(filled: Account) -> None:
    world = filled.world
    lines = []
    for test_id in world.test_ids(world.product_ids[0]):
        facts = world.test_facts(test_id)
        lines += [execution_payload(world, facts, run)["device_reports"][0] for run in runs_of(world, facts)]
    found = await ask(filled, "list_executions", product_id=world.product_ids[0], limit=100)
    systems = Counter(item.operating_system for item in found.items)
    assert systems
    device = lines[0]
    system = device["operating_system"]["name"], device["operating_system"].get("version")
    said = " ".join(part for part in system if part)
    page = await ask(filled, "list_executions", operating_system=said, device=device["device"]["name"])
    assert page.total and {item.operating_system for item in page.items} == {system[0]}
    assert (await _count(filled, "executions", operating_system=said)) > 0


LISTS: list[tuple[str, dict[str, Any], str]] = [
    ("list_bugs", {"device": "Pixel 99"}, "No bug has the device 'Pixel 99'; similar: Pixel "),
    (
        "list_bugs",
        {"operating_system": "Windows 99"},
        "No bug has the operating system 'Windows 99'; similar: Windows",
    ),
    ("list_bugs", {"device_category": "fridge"}, "No bug has the device category 'fridge'; there are: "),
    ("list_bugs", {"browser": "Netscape"}, "No bug has the browser 'Netscape'"),
    ("list_bugs", {"rejection_reason": "zzz"}, "No bug has the rejection reason 'zzz'"),
    ("list_bugs", {"reporters": "Nobody"}, "No bug has the reporter 'Nobody'"),
    ("list_bugs", {"kinds": "unknown", "device": "Pixel 99"}, "No bug has the kind 'unknown'; there are: "),
    ("triage_queue", {"reporters": "Nobody"}, "No bug has the reporter 'Nobody'"),
    ("list_tests", {"contacts": "Nobody"}, "No test has the contact 'Nobody'"),
    ("list_executions", {"testers": "Nobody"}, "No execution has the tester 'Nobody'"),
    ("list_executions", {"device": "Pixel 99"}, "No execution has the device 'Pixel 99'; similar: Pixel "),
    ("list_executions", {"browser": "Netscape"}, "No execution has the browser 'Netscape'"),
    ("list_features", {"text": "zzz"}, "No feature has the title 'zzz'"),
    ("list_features", {"untested_on": "zzz"}, "No bug or execution has the operating system 'zzz'"),
    ("list_user_stories", {"text": "zzz"}, "No user story has the title 'zzz'"),
    ("list_people", {"text": "zzz"}, "No person has the name 'zzz'"),
    ("list_test_environments", {"text": "zzz"}, "No test environment has the title 'zzz'"),
]


@pytest.mark.parametrize(("name", "arguments", "note"), LISTS, ids=[f"{name} {given}" for name, given, _ in LISTS])
async def test_a_list_says_which_value_nothing_has(
    filled: Account, name: str, arguments: dict[str, Any], note: str
) -> None:
    page = await ask(filled, name, **arguments)
    assert any(said.startswith(note) and said.endswith(".") for said in page.notes), page.notes
    assert (await ask(filled, name, cursor=None)).notes == []


async def test_one_of_several_people_who_is_not_there_is_said(filled: Account) -> None:
    known = (await ask(filled, "list_bugs", limit=1)).items[0].reporter
    page = await ask(filled, "list_bugs", reporters=[known, f"{known}x"])
    assert page.total
    assert page.notes == [f"No bug has the reporter '{known}x'; similar: {known}."]


@pytest.mark.parametrize(
    ("metric", "filters", "note"),
    [
        ("bug_count", "device=Pixel 99", "No bug has the device 'Pixel 99'; similar: Pixel "),
        (
            "bug_count",
            "operating_system=windows 12",
            "No bug has the operating system 'windows 12'; similar: Windows",
        ),
        ("bug_count", "operating_system_version=zzz", "No bug has the operating system with version 'zzz'"),
        ("bug_count", "severity=criticl,high", "No bug has the severity 'criticl'; similar: critical."),
        ("test_count", "browser=Netscape", "No bug has the browser 'Netscape'"),
        ("executions", "device_category=fridge", "No execution has the device category 'fridge'; there are: "),
        ("bugs_per_test", "testing_type=rapd", "No test has the testing type 'rapd'; similar: rapid."),
        ("bug_count", "rejection_reason=zzz", "No bug has the rejection reason 'zzz'"),
        ("bug_count", "test_status=finished", "No test has the test status 'finished'"),
        ("bug_count", "kind=visul", "No bug has the kind 'visul'; similar: visual."),
    ],
)
async def test_metrics_say_which_value_nothing_has(filled: Account, metric: str, filters: str, note: str) -> None:
    table = await ask(filled, "query_metrics", metrics=metric, filters=filters)
    assert len(table.notes) == 1
    assert table.notes[0].startswith(note)


async def test_a_zero_that_is_true_is_no_mistake(filled: Account) -> None:
    world = filled.world
    device = next(d.name for bug in _bugs(world) for d in bug.devices if d.name)
    table = await ask(
        filled, "query_metrics", metrics="bug_count", filters=f"device={device}", period="1999-01-01 to 1999-01-31"
    )
    assert (table.totals, table.notes) == ({"bug_count": 0}, [])
    page = await ask(filled, "list_bugs", device=device, reported_to="1999-01-01")
    assert (page.items, page.notes) == ([], [])


async def test_notes_reach_the_answer_of_every_surface(filled: Account) -> None:
    answer = await operations()["list_bugs"].answer(filled.app, {"device": "Pixel 99", "fields": "title"})
    assert answer["notes"][0].startswith("No bug has the device 'Pixel 99'; similar: ")
