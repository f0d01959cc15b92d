"""Simulated accounts, copied into stores by the product's own parsers and writer.

An account is copied when it is six days younger, and then once a day: so the change log holds what a sync finds.
Executions and metrics are those of each product's newest tests, as the API tells them one test at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from testio_mcp.api.payloads import (
    parse_bug,
    parse_environment,
    parse_execution,
    parse_feature,
    parse_product,
    parse_template,
    parse_test,
)
from testio_mcp.api.records import ProblemRecord, parse_records
from testio_mcp.database.cache import PersistentCache
from testio_mcp.database.dialect import upsert
from testio_mcp.database.tables import RejectReason, table_of
from testio_mcp.database.tables.sync import ACCOUNT
from testio_mcp.sync import state
from testio_mcp.sync.rows import (
    BUGS,
    ENVIRONMENTS,
    EXECUTIONS,
    FEATURES,
    METRICS,
    PRODUCTS,
    TEMPLATES,
    TESTS,
    Resource,
    Scope,
)
from testio_mcp.sync.writer import store_records
from testio_sandbox import World
from testio_sandbox.catalog import REJECT_REASONS
from testio_sandbox.test_payloads import execution_payload, runs_of

T = TypeVar("T")

PRODUCTS_EACH = 20
BUGS_PER_TEST = 3
NOW = datetime(2026, 11, 1, tzinfo=UTC)
"""The present of every simulated account, so that every build holds the same."""

_DAYS = 6
_BATCH = 500
_LIVE = 32
"""Of each product the newest tests are read again every day; older ones do not change."""
_RUN = 100
"""Of each product the newest tests have executions and metrics in the store."""
_LOST = 3


def world_of(tests: int, *, days: int = 0) -> World:
    """The simulated account that has so many tests at the present, some days before."""
    each = tests // PRODUCTS_EACH - days
    now = NOW - timedelta(days=days)
    return World(seed=1, products=PRODUCTS_EACH, tests_per_product=each, bugs_per_test=BUGS_PER_TEST, now=now)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`, without holding more than one of them."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def begin(conn: Connection, world: World) -> None:
    """Store what hangs on an account and its products, as a run that has begun."""
    now = world.now
    state.begin_run(conn, "full", now)
    reasons = [{name: reason[name] for name in ("key", "name", "default_comment")} for reason in REJECT_REASONS]
    upsert(conn, table_of(RejectReason), reasons)
    products = _parsed(world.iter_products(), parse_product)
    store_records(conn, PRODUCTS, products, Scope(0, now), 1, log_new=False)
    for product in products:
        held = world.product_state(product.id)
        listed: tuple[tuple[Resource, Iterable[dict[str, Any]], Callable[[dict[str, Any]], Any]], ...] = (
            (FEATURES, world.features(product.id, objects=True), parse_feature),
            (ENVIRONMENTS, held.environments.values(), parse_environment),
            (TEMPLATES, held.templates.values(), parse_template),
        )
        for resource, payloads, parse in listed:
            records = _parsed(payloads, parse)
            store_records(conn, resource, records, Scope(product.id, now), 1, log_new=False)
        for resource in (FEATURES, ENVIRONMENTS, TEMPLATES, TESTS):
            state.save_checkpoint(conn, resource.name, product.id, state.Point(None, NOW))


async def copy_account(tests: int, path: Path) -> None:
    """Build the store of an account with so many tests at the present."""
    days = min(_DAYS, tests // PRODUCTS_EACH - 1)
    world = world_of(tests, days=days)
    async with PersistentCache(path) as store:
        await store.write(lambda conn: begin(conn, world))
        for product_id in world.product_ids:
            for page in batches(world.iter_tests(product_id), _BATCH):
                await store.write(lambda conn, pid=product_id, page=page: _copy_page(conn, world, pid, page, 1))  # type: ignore[misc]
        await store.write(lambda conn: _end(conn, world, 1))
        for day in range(days):
            world.advance(1)
            _ask(world, day)
            await store.write(lambda conn: _next_run(conn, world))
        for product_id in world.product_ids:
            await store.write(lambda conn, pid=product_id: _copy_runs(conn, world, pid))  # type: ignore[misc]
        await store.write(lambda conn: _lose(conn, world))


def _parsed(payloads: Iterable[dict[str, Any]], parse: Callable[[dict[str, Any]], T]) -> list[T]:
    return parse_records(payloads, parse)[0]


def _copy_page(conn: Connection, world: World, product_id: int, page: Sequence[dict[str, Any]], run_id: int) -> None:
    """Store tests of a product with their bugs."""
    tests = _parsed(page, parse_test)
    ids = [test.id for test in tests]
    scope = Scope(product_id, world.now, dict.fromkeys(ids, product_id), state.reasons(conn))
    store_records(conn, TESTS, tests, scope, run_id, log_new=run_id > 1)
    bugs = _parsed((payload for test_id in ids for payload in world.bugs_of(test_id)), parse_bug)
    for batch in batches((bug for bug in bugs if bug.test_id is not None), _BATCH):
        store_records(conn, BUGS, batch, scope, run_id, log_new=run_id > 1)
    state.mark_bugs_read(conn, ids)


def _next_run(conn: Connection, world: World) -> None:
    """What a sync finds a day later."""
    run_id = state.begin_run(conn, "incremental", world.now)
    for product_id in world.product_ids:
        _copy_page(conn, world, product_id, list(islice(world.iter_tests(product_id), _LIVE)), run_id)
    _end(conn, world, run_id)


def _end(conn: Connection, world: World, run_id: int) -> None:
    for resource in (PRODUCTS, BUGS, EXECUTIONS):
        state.save_checkpoint(conn, resource.name, ACCOUNT, state.Point(None, world.now))
    state.end_run(conn, run_id, status="completed", finished_at=world.now)


def _ask(world: World, day: int) -> None:
    """Let the customer ask about some of the open bugs."""
    for product_id in world.product_ids:
        for test_id in islice(world.test_ids(product_id), _LIVE):
            for bug in world.visible_bugs(world.test_facts(test_id)):
                if (bug.id + day) % 17 == 0 and world.bug_status(bug) == "open":
                    world.update_bug(bug.id, status="question")


def _copy_runs(conn: Connection, world: World, product_id: int) -> None:
    """Store metrics and executions of the newest tests of a product."""
    scope = Scope(product_id, world.now)
    ids = world.test_ids(product_id)[:_RUN]
    metrics = _parsed((world.test(test_id, objects=True) for test_id in ids), parse_test)
    store_records(conn, METRICS, metrics, scope, 1, log_new=False)
    state.mark_metrics_read(conn, ids)
    facts = [world.test_facts(test_id) for test_id in ids]
    runs = (execution_payload(world, test, run) for test in facts for run in runs_of(world, test))
    for batch in batches(_parsed(runs, parse_execution), _BATCH):
        store_records(conn, EXECUTIONS, batch, scope, 1, log_new=False)


def _lose(conn: Connection, world: World) -> None:
    """Note records that could not be copied."""
    for product_id in world.product_ids:
        lost = [ProblemRecord(str(number), "id: is not a number", None) for number in range(_LOST)]
        state.save_problems(conn, BUGS.name, product_id, lost, world.now)
