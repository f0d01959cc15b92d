"""One field of one record is missing, null, renamed or of another type: it is accounted for, the rest is copied."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from testio_mcp.app import App, silent
from testio_mcp.database.cache import PersistentCache
from testio_mcp.settings import load_settings
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_sandbox import Fault, World, serve_sandbox
from tests.support.hasty import hasty_client
from tests.sync.conftest import CORE, Account

pytestmark = pytest.mark.slow

WORLD = World(seed=3, products=1, tests_per_product=4, bugs_per_test=2, quirks=False)
PRODUCT = WORLD.product_ids[0]
ODD: list[Any] = [True, 7, -1, 2**60, "text", "", [], {}, [[1]], {"name": 5}]


def _paths(value: Any, prefix: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{prefix}.{name}"
            yield from _paths(item, f"{prefix}.{name}")
    elif isinstance(value, list):
        for item in value[:1]:
            yield from _paths(item, f"{prefix}.*")


def _fields() -> list[tuple[str, str, int]]:
    """Every path of every kind of payload: the table it fills, the path in the answer, and one record's id."""
    test_id = next(test_id for test_id in WORLD.test_ids(PRODUCT) if WORLD.bugs_of(test_id))
    records = {
        "product": ("products", WORLD.product(PRODUCT)),
        "feature": ("features", next(iter(WORLD.features(PRODUCT)))),
        "test": ("exploratory_tests", next(t for t in WORLD.iter_tests(PRODUCT) if t["id"] == test_id)),
        "bug": ("bugs", WORLD.bugs_of(test_id)[0]),
    }
    found = []
    for table, (root, record) in records.items():
        found += [(table, path, record["id"]) for path in dict.fromkeys(_paths(record, f"{root}.*"))]
    return found


FIELDS = _fields()


async def _sync_with(fault: Fault, store: Path) -> tuple[dict[str, set[int]], list[dict[str, Any]], int]:
    async with AsyncExitStack() as closing, serve_sandbox(WORLD, token="t") as sandbox:
        sandbox.faults.add(fault)
        cache = await closing.enter_async_context(PersistentCache(store))
        given_settings = load_settings(customer_api_base_url=sandbox.url, customer_api_token="t", db_path=store)
        app = App(given_settings, cache, closing, client=hasty_client)
        await run_sync(app, SyncOptions(only=CORE), silent)
        account = Account(WORLD, sandbox, app)
        stored = {}
        for table in ("product", "feature", "test", "bug"):
            stored[table] = {row["id"] for row in await account.rows(table) if row["content_hash"]}
        letters = await account.rows("dead_letter")
        drift = sum(row["records"] for row in await account.rows("drift"))
        await closing.aclose()
        return stored, letters, drift


@given(
    field=st.sampled_from(FIELDS),
    kind=st.sampled_from(["drop", "null", "rename", "retype"]),
    odd=st.sampled_from(ODD),
)
@example(field=("bug", "bugs.*.test.id", FIELDS[-1][2]), kind="retype", odd=7)
@example(field=("bug", "bugs.*.id", FIELDS[-1][2]), kind="retype", odd=True)
@settings(max_examples=25)
def test_whatever_happens_to_a_field_the_rest_is_copied(
    field: tuple[str, str, int], kind: Any, odd: Any, _migrated_file: Path, tmp_path: Path
) -> None:
    table, path, record_id = field
    store = tmp_path / "mutated.db"
    store.unlink(missing_ok=True)
    shutil.copy(_migrated_file, store)
    fault = Fault(kind, field=path, record_id=record_id, value="renamed" if kind == "rename" else odd)

    stored, letters, _drift = asyncio.run(_sync_with(fault, store))

    bugs = {bug["id"] for test_id in WORLD.test_ids(PRODUCT) for bug in WORLD.bugs_of(test_id)}
    truth = {
        "product": {PRODUCT},
        "feature": {feature["id"] for feature in WORLD.features(PRODUCT)},
        "test": set(WORLD.test_ids(PRODUCT)),
        "bug": bugs,
    }
    broken = {record_id} if letters else set()
    if table == "product" and letters:
        return  # a product that cannot be read takes everything that hangs on it along
    if table == "test":  # what belongs to a test that cannot be read is asked for once it can
        truth["bug"] -= {bug["id"] for bug in WORLD.bugs_of(record_id)} if letters else set()
        stored["bug"] &= truth["bug"]
    for name, ids in truth.items():
        assert ids - broken <= stored[name], (name, letters)
    changed_id = path.count(".") == 2 and path.endswith(".id")
    assert broken or record_id in stored[table] or changed_id, letters
