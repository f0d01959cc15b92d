"""Bursts of 502 and 503: the copy is complete, and hardly more is asked than on a good day."""

import shutil
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from testio_mcp.app import App
from testio_mcp.database.cache import PersistentCache
from testio_mcp.errors import ApiError, ApiUnreachable
from testio_sandbox import Fault, World, serve_sandbox
from tests.conftest import SettingsFor
from tests.support.hasty import hasty_client
from tests.sync.conftest import EVERYTHING, Account
from tests.sync.test_killed import BAD_THIRD

pytestmark = pytest.mark.slow


def _burst(skip: int, times: int, status: int) -> Fault:
    return Fault("error", status=status, skip=skip, times=times)


BURSTS = {
    "short ones": [_burst(skip, 3, 502 + skip % 2) for skip in range(11, 110, 20)],
    "one that rests the API": [_burst(40, 10, 503)],
}


async def _sync(world: World, store: Path, settings_for: SettingsFor, canary: str, faults: list[Fault]) -> int:
    async with AsyncExitStack() as closing, serve_sandbox(world, token=canary) as sandbox:
        sandbox.faults.add(*faults)
        cache = await closing.enter_async_context(PersistentCache(store))
        settings = settings_for(customer_api_base_url=sandbox.url)
        account = Account(world, sandbox, App(settings, cache, closing, client=hasty_client))
        summary = await account.sync()
        assert (summary.status, summary.problems) == ("completed", 0)
        assert await account.counts() == account.truth()
        assert summary.requests == len(sandbox.requests)
        await closing.aclose()
        return summary.requests


async def test_bursts_cost_few_requests(
    _migrated_file: Path, tmp_path: Path, settings_for: SettingsFor, canary: str
) -> None:
    world = World(seed=4, products=4, tests_per_product=270, bugs_per_test=0.1)

    async def asked(faults: list[Fault]) -> int:
        store = tmp_path / "store.db"
        store.unlink(missing_ok=True)
        shutil.copy(_migrated_file, store)
        return await _sync(world, store, settings_for, canary, faults)

    pages = await asked([])
    assert pages > 105, "a burst that hits two calls five times each costs ten more and the parts of two pages"
    for name, bursts in BURSTS.items():
        assert pages < await asked(bursts) <= 1.2 * pages, name


async def test_a_record_that_no_gateway_waits_for_is_isolated(account: Account) -> None:
    """504 looks like an outage: with little else to ask for, the API rests now and then, and the copy goes on."""
    product = account.world.product_ids[0]
    broken = account.world.test_ids(product)[17]
    for page, per_page in ((1, 25), (4, 5), (18, 1)):
        query = {"page": str(page), "per_page": str(per_page)}
        account.break_with("error", rf"products/{product}/exploratory_tests$", status=504, query=query)

    summary = await account.sync(product_ids=(product,))

    assert (summary.status, summary.problems) == ("incomplete", 1)
    stored = {row["id"] for row in await account.rows("test")}
    assert set(account.world.test_ids(product)) - stored == {broken}


async def test_an_api_that_goes_down_for_good_ends_the_run_and_the_next_one_goes_on(account: Account) -> None:
    account.break_with("error", status=503, skip=4)
    with pytest.raises(ApiUnreachable):
        await account.sync()
    asked = len(account.sandbox.requests)
    assert asked < 40
    assert [row["status"] for row in await account.rows("sync_run")] == ["failed"]

    account.sandbox.faults.clear()
    assert (await account.sync()).status == "completed"
    assert await account.counts() == account.truth()


async def test_a_third_of_bad_answers_is_ridden_out(account: Account) -> None:
    """Every call has its five attempts; a run that is unlucky five times in a row is finished by the next one."""
    account.sandbox.faults.add(*(replace(fault, seen=0, hits=0) for fault in BAD_THIRD))
    for _ in range(5):
        with suppress(ApiError):
            summary = await account.sync(only=EVERYTHING)
            if summary.status == "completed":
                break

    bad = sum(fault.hits for fault in account.sandbox.faults)
    assert len(account.sandbox.requests) / 5 < bad
    assert (summary.status, summary.problems) == ("completed", 0)
    assert await account.counts() == account.truth()
