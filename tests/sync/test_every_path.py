"""Every path of every payload, each broken in a record of its own in one account, and that account copied."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from testio_mcp.app import App
from testio_mcp.database.cache import PersistentCache
from testio_sandbox import Fault, World, serve_sandbox
from tests.conftest import SettingsFor
from tests.support.hasty import hasty_client
from tests.sync.conftest import CORE, Account

pytestmark = pytest.mark.slow

BUT_METRICS = CORE | {"environments", "templates", "executions"}
_UNSEEN = re.compile(r"test_environment|crowd_score\.|priority_hint\.|thumbnail_urls\.")
"""Where secrets are, only known names are kept; and inside of what is unknown, or names nothing, nothing is noted."""
ODD: tuple[Any, ...] = (True, -1, 2**60, "text", "", [], {}, [[1]], {"name": 5}, 12.5)


@dataclass(frozen=True)
class List:
    """A list of the API: whose answers hold its records under `root`, the table and the resource they are kept as."""

    root: str
    table: str
    resource: str
    address: str


LISTS = (
    List("products", "product", "products", "products"),
    List("features", "feature", "features", "products/{product}/features?includes[]=user_stories"),
    List(
        "exploratory_tests",
        "test",
        "tests",
        "products/{product}/exploratory_tests?page=1&per_page=25&includes[]=user_stories",
    ),
    List("bugs", "bug", "bugs", "bugs?filter_product_ids={product}"),
    List(
        "user_story_version_executions",
        "execution",
        "executions",
        "user_story_version_executions?page={page}&per_page=100&order=desc",
    ),
    List("test_environments", "test_environment", "environments", "products/{product}/test_environments"),
    List("test_templates", "test_template", "templates", "test_templates?product_id={product}"),
)


def _paths(value: Any, prefix: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{prefix}.{name}"
            yield from _paths(item, f"{prefix}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item, f"{prefix}.*")


@dataclass(frozen=True)
class Held:
    """A record, and the address of the answer that holds it."""

    kind: List
    address: str
    record: dict[str, Any]

    @property
    def id(self) -> int:
        key: int = self.record["id"]
        return key

    def fault(self, what: Any, path: str, number: int) -> Fault:
        """The rule that breaks one of its paths."""
        where, _, query = self.address.partition("?")
        asked = dict(pair.split("=") for pair in query.split("&") if pair.startswith(("page", "product_id")))
        value = f"renamed_{number}" if what == "rename" else ODD[number % len(ODD)]
        return Fault(what, rf"^/{where}$", field=path, record_id=self.id, value=value, query=asked)


async def _held(url: str, token: str, world: World) -> list[Held]:
    """Every record of the account, as the API tells it."""
    found = []
    async with httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Token {token}"}) as client:
        for kind in LISTS:
            places = [{"product": product, "page": page} for page, product in enumerate(world.product_ids, 1)]
            for address in dict.fromkeys(kind.address.format(**place) for place in places):
                answer = (await client.get(address)).json()[kind.root]
                found += [Held(kind, address, record) for record in answer]
    return found


def _one_each(records: list[Held], world: World) -> dict[str, Held]:
    """A record for every path that occurs, each record for one path only; the rarest paths choose first.

    The product without an id and the product of the test without one are for these alone: much hangs on them.
    """
    *_, other, last = world.product_ids
    alone = {
        "products.*.id": ("products", last),
        "exploratory_tests.*.id": ("exploratory_tests", world.test_ids(other)[0]),
    }
    holders: dict[str, list[Held]] = {}
    for held in records:
        is_free = str(last) not in held.address and str(other) not in held.address and held.id not in (last, other)
        for path in dict.fromkeys(_paths(held.record, f"{held.kind.root}.*")):
            if alone[path] == (held.kind.root, held.id) if path in alone else is_free:
                holders.setdefault(path, []).append(held)
    chosen: dict[str, Held] = {}
    taken: set[tuple[str, int]] = set()
    for path, found in sorted(holders.items(), key=lambda item: len(item[1])):
        chosen[path] = next(held for held in found if (held.kind.root, held.id) not in taken)
        taken.add((chosen[path].kind.root, chosen[path].id))
    return chosen


def _note(path: str, name: str) -> str:
    """How drift tells that a field has another name."""
    *parents, _ = [step for step in path.split(".")[2:] if step != "*"]
    return "".join(f"{parent}." for parent in parents) + f"+{name}"


async def _stored(account: Account, kind: List) -> set[int]:
    return {row["id"] for row in await account.rows(kind.table) if row["content_hash"]}


def _dependent(held: Held, missing: set[tuple[str, int]]) -> bool:
    """Whether a record hangs on one that could not be read."""
    product = re.search(r"product(?:s/|_ids=|_id=)(\d+)", held.address)
    test = held.record.get("test")
    return (product is not None and ("product", int(product[1])) in missing) or (
        isinstance(test, dict) and ("test", test.get("id")) in missing
    )


@pytest.mark.parametrize("what", ["drop", "null", "rename", "retype"])
async def test_each_broken_record_is_accounted_for_and_all_others_are_copied(
    what: str, sqlite_file: Path, settings_for: SettingsFor, canary: str
) -> None:
    world = World(seed=3, products=24, tests_per_product=6, bugs_per_test=1.5)
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        records = await _held(sandbox.url, canary, world)
        broken = _one_each(records, world)
        faults = {path: held.fault(what, path, number) for number, (path, held) in enumerate(broken.items())}
        sandbox.faults.add(*faults.values())
        store = await closing.enter_async_context(PersistentCache(sqlite_file))
        settings = settings_for(customer_api_base_url=sandbox.url)
        account = Account(world, sandbox, App(settings, store, closing, client=hasty_client))

        assert (await account.sync(only=BUT_METRICS)).status == "incomplete"

        letters = Counter(row["resource"] for row in await account.rows("dead_letter"))
        notes = {row["note"] for row in await account.rows("drift")}
        missing: set[tuple[str, int]] = set()
        for kind in LISTS:
            stored = await _stored(account, kind)
            theirs = [held for held in records if held.kind is kind and not _dependent(held, missing)]
            lost = {held.id for held in theirs} - stored
            ours = {held.id: path for path, held in broken.items() if held.kind is kind}
            assert lost <= ours.keys(), kind.table
            assert letters[kind.resource] == len(lost), (kind.table, [ours[key] for key in lost])
            missing |= {(kind.table, key) for key in lost}
        assert [path for path, fault in faults.items() if not fault.hits] == []
        if what == "rename":
            lost_paths = {path for path, held in broken.items() if (held.kind.table, held.id) in missing}
            for path in broken.keys() - lost_paths:
                if not _UNSEEN.search(path):
                    assert _note(path, faults[path].value) in notes, path
        await closing.aclose()


@pytest.mark.parametrize("what", ["drop", "null", "rename", "retype"])
async def test_a_single_answer_that_is_broken_is_accounted_for(
    what: str, sqlite_file: Path, settings_for: SettingsFor, canary: str
) -> None:
    """Every path of a test's own answer, which tells its metrics; also when it is that of another test."""
    world = World(seed=3, products=5, tests_per_product=30, bugs_per_test=1)
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        everywhere = [test_id for product in world.product_ids for test_id in world.test_ids(product)]
        holders: dict[str, list[int]] = {}
        for test_id in everywhere:
            for path in dict.fromkeys(_paths(world.test(test_id), "exploratory_test")):
                holders.setdefault(path, []).append(test_id)
        broken: dict[int, str] = {}
        for path, found in sorted(holders.items(), key=lambda item: len(item[1])):
            broken[next(key for key in found if key not in broken)] = path
        for number, (test_id, path) in enumerate(broken.items()):
            value = f"renamed_{number}" if what == "rename" else 7 if path.endswith(".id") else ODD[number % len(ODD)]
            fault = Fault(what, rf"^/exploratory_tests/{test_id}$", field=path, value=value)  # type: ignore[arg-type]
            sandbox.faults.add(fault)
        store = await closing.enter_async_context(PersistentCache(sqlite_file))
        settings = settings_for(customer_api_base_url=sandbox.url)
        account = Account(world, sandbox, App(settings, store, closing, client=hasty_client))

        await account.sync(only=frozenset({"tests", "metrics"}))

        lost = {int(row["record_key"]) for row in await account.rows("dead_letter", resource="metrics")}
        assert lost == {test_id for test_id, path in broken.items() if path == "exploratory_test.id"}
        assert {row["id"] for row in await account.rows("test")} == set(everywhere)
        assert {row["id"] for row in await account.rows("test_metric")} == set(everywhere) - lost
        await closing.aclose()
