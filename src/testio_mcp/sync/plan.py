"""What a sync would do, told from the store alone."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, func, select

from testio_mcp.database.tables import Execution, Product, Test, table_of
from testio_mcp.database.tables.sync import ACCOUNT
from testio_mcp.errors import NotFound
from testio_mcp.sync import state
from testio_mcp.sync.bugs import TESTS_PER_REQUEST
from testio_mcp.sync.case_results import CASE_TEST
from testio_mcp.sync.executions import (
    EXECUTIONS_AT_ONCE,
    EXECUTIONS_PER_PAGE,
    VERSIONS_PER_REQUEST,
    versions_to_refresh,
)
from testio_mcp.sync.extras import is_due, reasons_are_due
from testio_mcp.sync.pages import PAGE
from testio_mcp.sync.resources import BUGS, EXECUTIONS, TESTS
from testio_mcp.sync.run import Entity, SyncOptions

_PRODUCT, _TEST = table_of(Product).c, table_of(Test).c
_EXECUTION = table_of(Execution).c


class Planned(BaseModel):
    """One step of a sync that is yet to run."""

    step: str
    product: str | None = None
    what: str
    requests: int = Field(description="About how many requests it takes.")


def plan(conn: Connection, options: SyncOptions, now: datetime) -> list[Planned]:
    """The steps of a sync with these options that starts now, as far as the store can tell.

    What the account has that the store does not know yet comes on top. Raises `NotFound` for a product that the store
    does not hold.
    """
    return list(_steps(conn, options, now))


def _steps(conn: Connection, options: SyncOptions, now: datetime) -> Iterator[Planned]:
    names = _products(conn, options)
    yield Planned(step="products", what="all products", requests=1)
    if not names:
        yield Planned(step="everything", what="nothing was copied yet: all that the account holds", requests=0)
        return
    for product_id, (name, tests) in names.items():
        if options.wants("features"):
            yield Planned(step="features", product=name, what="all features with user stories", requests=1)
        if options.wants("tests"):
            yield _tests(conn, options, product_id, name, tests)
        yield from _lists(conn, options, now, ("environments", "templates"), product_id, name)
    if reasons_are_due(options, state.checkpoint(conn, "reasons", ACCOUNT)):
        yield Planned(step="reasons", what="all reasons", requests=1)
    yield from _of_tests(conn, options, list(names))
    if options.wants("executions"):
        yield _executions(conn, options)


def _lists(
    conn: Connection,
    options: SyncOptions,
    now: datetime,
    entities: tuple[Entity, ...],
    product_id: int,
    name: str,
) -> Iterator[Planned]:
    """The lists that hardly ever change, where they are due."""
    for entity in entities:
        if is_due(options, entity, state.checkpoint(conn, entity, product_id), now):
            yield Planned(step=entity, product=name, what=f"all {entity}", requests=1)


def _of_tests(conn: Connection, options: SyncOptions, product_ids: list[int]) -> Iterator[Planned]:
    """Bugs, many tests at once, and metrics and case results, test by test."""
    if options.wants("bugs"):
        waiting = _waiting(conn, options, "bugs", product_ids)
        yield Planned(step=BUGS.name, what=f"of {len(waiting)} tests", requests=-(-len(waiting) // TESTS_PER_REQUEST))
    if options.wants("metrics"):
        waiting = _waiting(conn, options, "metrics", product_ids)
        yield Planned(step="metrics", what=f"of {len(waiting)} tests", requests=len(waiting))
    if options.wants("results"):
        cases = [row[0] for row in conn.execute(select(_TEST.id).where(_TEST.testing_type == CASE_TEST))]
        # Without the metrics, the test itself is asked for as well.
        part: state.Part
        part, each = ("metrics", 1) if options.wants("metrics") else ("results", 2)
        told = set(_waiting(conn, options, part, product_ids)).intersection(cases)
        yield Planned(step="results", what=f"of {len(told)} test-case tests", requests=each * len(told))


def _waiting(conn: Connection, options: SyncOptions, part: state.Part, product_ids: list[int]) -> list[int]:
    found = state.tests_awaiting(conn, part, product_ids, full=options.full, since=options.since)
    return [test_id for test_id, _ in found]


def _products(conn: Connection, options: SyncOptions) -> dict[int, tuple[str, int]]:
    statement = (
        select(_PRODUCT.id, _PRODUCT.name, func.count(_TEST.id))
        .outerjoin_from(
            table_of(Product), table_of(Test), (_TEST.product_id == _PRODUCT.id) & _TEST.gone_at.is_(None)
        )
        .where(_PRODUCT.gone_at.is_(None))
        .group_by(_PRODUCT.id, _PRODUCT.name)
        .order_by(_PRODUCT.name)
    )
    known = {row[0]: (row[1], row[2]) for row in conn.execute(statement)}
    for product_id in options.product_ids:
        if product_id not in known:
            raise NotFound(f"Product {product_id} is not in the store.", "list_products shows the ids.")
    return {key: known[key] for key in options.product_ids or known}


def _tests(conn: Connection, options: SyncOptions, product_id: int, name: str, tests: int) -> Planned:
    point = state.checkpoint(conn, TESTS.name, product_id)
    if point.completed_at is None or options.full:
        pages = max(1, -(-_since(conn, options, product_id, tests) // PAGE))
        return Planned(step="tests", product=name, what="the whole list", requests=pages if pages == 1 else 2 * pages)
    newest = set(conn.execute(_newest_tests(product_id)).scalars())
    others = {*state.mutable_tests(conn, product_id), *_numbers(state.letters(conn, TESTS.name, product_id))} - newest
    what = f"the newest, and {len(others)} known ones that can still change"
    return Planned(step="tests", product=name, what=what, requests=1 + len(others))


def _since(conn: Connection, options: SyncOptions, product_id: int, tests: int) -> int:
    """How many tests are listed up to the first that is left out."""
    if options.since is None:
        return tests
    late = select(func.count(_TEST.id)).where(_TEST.product_id == product_id, _TEST.sort_at >= options.since)
    found: int = conn.execute(late.where(_TEST.gone_at.is_(None))).scalar_one()
    return found


def _newest_tests(product_id: int) -> Select[tuple[int]]:
    listed = select(_TEST.id).where(_TEST.product_id == product_id, _TEST.gone_at.is_(None))
    return listed.order_by(_TEST.id.desc()).limit(PAGE)


def _numbers(keys: Iterable[str]) -> set[int]:
    return {int(key) for key in keys if key.isdigit()}


def _executions(conn: Connection, options: SyncOptions) -> Planned:
    point = state.checkpoint(conn, EXECUTIONS.name, ACCOUNT)
    if point.completed_at is None or options.full or state.letters(conn, EXECUTIONS.name, ACCOUNT):
        known: int = conn.execute(select(func.count(_EXECUTION.id))).scalar_one()
        pages = max(1, -(-known // EXECUTIONS_AT_ONCE))
        return Planned(step="executions", what="the whole list", requests=pages + 1)
    newest = select(_EXECUTION.id).order_by(_EXECUTION.id.desc()).limit(EXECUTIONS_PER_PAGE)
    seen = set(conn.execute(newest).scalars())
    unseen = [item for item in state.open_executions(conn) if item.id not in seen]
    versions = versions_to_refresh(conn, unseen, point.completed_at)
    what = f"the newest, and those of {len(versions)} user stories that may have changed"
    return Planned(step="executions", what=what, requests=1 - (-len(versions) // VERSIONS_PER_REQUEST))
