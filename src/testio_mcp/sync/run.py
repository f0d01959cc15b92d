"""What the steps of one sync run share: the account, the run's number and moment, and how records are stored."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar, get_args

from sqlalchemy import Connection

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.records import ProblemRecord
from testio_mcp.app import App, Progress, Report
from testio_mcp.crash_points import crash_point
from testio_mcp.database.tables.sync import LACKS
from testio_mcp.errors import StoreBusy
from testio_mcp.rejections import Reason
from testio_mcp.sync import state
from testio_mcp.sync.lock import Lease
from testio_mcp.sync.rows import TESTS, Resource, Scope
from testio_mcp.sync.writer import Missing, Tally, mark_gone, store_records
from testio_mcp.texts import visible

T = TypeVar("T")
_BUSY_WAITS = 11
"""How often a page waits for the write lock before its last try: about a minute in all."""


Entity = Literal[
    "features", "tests", "bugs", "executions", "metrics", "environments", "templates", "reasons", "results"
]
ENTITIES: frozenset[Entity] = frozenset(get_args(Entity))


@dataclass(frozen=True)
class SyncOptions:
    """What to copy.

    `full` reads every page again, `since` leaves out tests that ended before that moment, `only` names the entities
    to copy (products always are), and `accept_deletions` believes a listing that lost suspiciously many records.
    """

    product_ids: tuple[int, ...] = ()
    full: bool = False
    since: datetime | None = None
    only: frozenset[Entity] = frozenset()
    accept_deletions: bool = False

    def wants(self, entity: Entity) -> bool:
        """Whether this entity is to be copied."""
        return not self.only or entity in self.only


OnTests = Callable[[int, Collection[int]], Awaitable[None]]
"""What is done with tests of a product that were just stored and are new or changed."""


async def _nothing(product_id: int, test_ids: Collection[int]) -> None:
    pass


class Run:
    """One run of the sync."""

    def __init__(
        self,
        app: App,
        api: CustomerApi,
        options: SyncOptions,
        report: Report,
        run_id: int,
        now: datetime,
        lease: Lease,
    ) -> None:
        self.api = api
        self.options = options
        self.id = run_id
        self.started_at = now
        self.zone = app.settings.zone
        self.tally = Tally()
        self.reasons: tuple[Reason, ...] = ()
        self.on_tests: OnTests = _nothing
        self._app = app
        self._report = report
        self._lease = lease

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Ask the store."""
        return await self._app.store.read(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Change the store in one transaction; while another process holds the write lock, wait for it.

        Raises `Conflict` when another process has taken over the sync, `StoreBusy` when the lock stays taken.
        """

        def confirmed(conn: Connection) -> T:
            self._lease.confirm(conn)
            crash_point("page-begun")
            done = work(conn)
            crash_point("page-written")
            return done

        waits = 0
        while True:
            try:
                done = await self._app.store.write(confirmed)
            except StoreBusy:  # each try waits as long as the busy time-out
                waits += 1
                if waits > _BUSY_WAITS:
                    raise
            else:
                crash_point("page-committed")
                return done

    async def tell(self, resource: str, product: str, done: int, total: int | None = None) -> None:
        """Tell how far a step has come; a product's name is text by strangers, and told on one line."""
        await self._report(Progress(resource, " ".join(visible(product).split()), done, total))

    async def store(
        self,
        resource: Resource,
        product_id: int,
        records: Sequence[Any],
        problems: Sequence[ProblemRecord] = (),
        *,
        point: state.Point | None = None,
        log_new: bool = False,
        tests: dict[int, int] | None = None,
        also: Callable[[Connection], None] | None = None,
    ) -> Tally:
        """Store records, problems and checkpoint in one transaction, and whatever `also` does.

        `tests` maps the tests of bugs to their products.
        """

        def work(conn: Connection) -> Tally:
            tally = self.put(conn, resource, product_id, records, problems, log_new=log_new, tests=tests)
            if also is not None:
                also(conn)
            if point is not None:
                state.save_checkpoint(conn, resource.name, product_id, point)
            return tally

        tally = await self.write(work)
        self.tally += tally
        return tally

    def put(
        self,
        conn: Connection,
        resource: Resource,
        product_id: int,
        records: Sequence[Any],
        problems: Sequence[ProblemRecord] = (),
        *,
        log_new: bool = False,
        tests: dict[int, int] | None = None,
    ) -> Tally:
        """Store records and problems inside a transaction; the caller adds the tally once it is committed."""
        scope = Scope(product_id, self.started_at, tests or {}, self.reasons)
        tally = store_records(conn, resource, records, scope, self.id, log_new=log_new)
        if resource is TESTS and tally.changed:
            state.forget_parts(conn, [record.id for record in records], self.started_at)
        state.clear_problems(conn, resource.name, product_id, [record.id for record in records])
        state.save_problems(conn, resource.name, product_id, problems, self.started_at)
        return tally

    def remove(
        self, conn: Connection, resource: Resource, product_id: int, gone: Missing, scope: str
    ) -> ProblemRecord | None:
        """Note that records are gone; None, or the reason why the listing of `scope` is not believed."""
        if gone.is_suspicious and not self.options.accept_deletions:
            reason = f"{LACKS}{len(gone.ids)} of {gone.known} known records; nothing was removed"
            problem = ProblemRecord(f"list of {scope}", reason, None)
            state.save_problems(conn, resource.name, product_id, [problem], self.started_at)
            return problem
        state.clear_problems(conn, resource.name, product_id, [f"list of {scope}"])
        mark_gone(conn, resource, gone.ids, Scope(product_id, self.started_at), self.id)
        return None
