"""What the steps of one sync run share: the account, the run's number and moment, and how records are stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.payloads import Reject
from testio_mcp.app import App
from testio_mcp.sync import state
from testio_mcp.sync.progress import Progress, Report
from testio_mcp.sync.resources import Resource
from testio_mcp.sync.rows import Scope
from testio_mcp.sync.writer import Tally, store_records

T = TypeVar("T")


@dataclass(frozen=True)
class SyncOptions:
    """What to copy: all products or some, incrementally or every page again."""

    product_ids: tuple[int, ...] = ()
    full: bool = False


class Run:
    """One run of the sync."""

    def __init__(
        self, app: App, api: CustomerApi, options: SyncOptions, report: Report, run_id: int, now: datetime
    ) -> None:
        self.api = api
        self.options = options
        self.id = run_id
        self.started_at = now
        self.tally = Tally()
        self._app = app
        self._report = report

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Ask the store."""
        return await self._app.store.read(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Change the store in one transaction."""
        return await self._app.store.write(work)

    async def tell(self, resource: str, product: str, done: int, total: int | None = None) -> None:
        """Tell how far a step has come."""
        await self._report(Progress(resource, product, done, total))

    async def store(
        self,
        resource: Resource,
        product_id: int,
        records: Sequence[Any],
        rejects: Sequence[Reject] = (),
        *,
        point: state.Point | None = None,
        log_new: bool = False,
        tests: dict[int, int] | None = None,
        read_tests: Sequence[int] = (),
    ) -> Tally:
        """Store records, dead letters and checkpoint in one transaction.

        `tests` maps the tests of bugs to their products; `read_tests` are those whose bugs are complete with this.
        """
        scope = Scope(product_id, self.started_at, tests or {})

        def work(conn: Connection) -> Tally:
            tally = store_records(conn, resource, records, scope, self.id, log_new=log_new)
            state.clear_letters(conn, resource.name, product_id, [record.id for record in records])
            state.save_rejects(conn, resource.name, product_id, rejects, self.started_at)
            if read_tests:
                state.mark_bugs_read(conn, read_tests)
            if point is not None:
                state.save_checkpoint(conn, resource.name, product_id, point)
            return tally

        tally = await self.write(work)
        self.tally += tally
        return tally
