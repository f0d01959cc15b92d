"""Copying the account's executions, newest first, and asking again for those that can still change."""

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from functools import partial

from sqlalchemy import Connection

from testio_mcp.api.payloads import ExecutionPayload, Page, Reject
from testio_mcp.errors import ApiError, ApiForbidden, ApiNotFound, ApiUnreachable
from testio_mcp.sync import state
from testio_mcp.sync.pages import at_once, read_ahead, read_page
from testio_mcp.sync.places import Read, still_broken
from testio_mcp.sync.removal import missing
from testio_mcp.sync.resources import EXECUTIONS
from testio_mcp.sync.run import Run
from testio_mcp.sync.walk import FATAL
from testio_mcp.sync.writer import Tally

EXECUTIONS_PER_PAGE = 100
EXECUTIONS_AT_ONCE = 500
"""How many executions one answer holds where the whole list is read: a megabyte or less."""
VERSIONS_PER_REQUEST = 50
"""How many user story versions are asked about at once: few enough for a short address."""
_AT_A_TIME = 6
_PASSES = 3
_LIST = "list of executions"


def is_first_copy(conn: Connection) -> bool:
    """Whether the list of executions was never read to its end."""
    return state.checkpoint(conn, EXECUTIONS.name, state.ACCOUNT).completed_at is None


async def copy_executions(run: Run, still_open: Sequence[state.OpenExecution]) -> None:
    """Copy the executions up to the first page that holds nothing new, and those that were open when the run began.

    Of an execution that could not be read only the place in the list is known, so the list is read again. Raises
    `ApiError` when the API as a whole does not answer.
    """
    if not run.options.wants("executions"):
        return
    try:
        await _copy(run, still_open)
    except (*FATAL, ApiUnreachable):
        raise
    except (ApiNotFound, ApiForbidden):
        return  # the account has no such list
    except ApiError as error:
        await run.store(EXECUTIONS, state.ACCOUNT, (), [Reject(_LIST, error.message, None)])


async def _copy(run: Run, still_open: Sequence[state.OpenExecution]) -> None:
    point, letters = await run.read(
        lambda conn: (
            state.checkpoint(conn, EXECUTIONS.name, state.ACCOUNT),
            state.letters(conn, EXECUTIONS.name, state.ACCOUNT),
        )
    )
    unknown = [key for key in letters if key != _LIST and not key.startswith(state.POSITION)]
    walk = _Walk(run, point)
    if point.completed_at is None or run.options.full or unknown or not await walk.newest(letters):
        await walk.everything()
    else:
        await _refresh(run, [item for item in still_open if item.id not in walk.seen])

    def finish(conn: Connection) -> None:
        state.clear_letters(conn, EXECUTIONS.name, state.ACCOUNT, [_LIST])
        state.save_checkpoint(conn, EXECUTIONS.name, state.ACCOUNT, state.Point(None, run.started_at))

    await run.write(finish)
    await run.tell(EXECUTIONS.name, "", walk.done, walk.done)


class _Walk:
    """The list of executions in one run, newest first."""

    def __init__(self, run: Run, point: state.Point) -> None:
        self._run = run
        self._point = point
        self._new = 0
        self._rejected: set[str] = set()
        self.done = 0
        self.seen: set[int] = set()

    async def newest(self, letters: Iterable[str]) -> bool:
        """Read up to the first page that holds nothing new; False when the whole list has to be read again.

        That is where something can be read now at the place of a dead letter.
        """
        number, is_last = 1, False
        while not is_last:
            page = await self._read(number, EXECUTIONS_PER_PAGE)
            tally = await self._store(page)
            is_last = page.count != EXECUTIONS_PER_PAGE or not (tally.new or tally.changed)
            number += 1
        places = [key for key in letters if key.startswith(state.POSITION)]
        read = Read((number - 1) * EXECUTIONS_PER_PAGE, self._new, self._rejected)
        return await still_broken(self._run, EXECUTIONS, state.ACCOUNT, self._run.api.list_executions, places, read)

    async def everything(self) -> None:
        """Read the whole list, again when it changed meanwhile: then pages shift, and records slip from page to page.

        Executions that a complete reading did not meet are gone.
        """
        resumed = self._point.next_page or 1
        for _ in range(_PASSES):
            self.seen.clear()
            self._rejected.clear()
            before = await self._pages(resumed)
            after = _told(await self._read(1, 1))
            if before == after and resumed == 1:
                await self._run.write(partial(self._conclude, total=after[0]))
                return
            resumed = 1

    async def _pages(self, resumed: int) -> tuple[int | None, list[int]]:
        """Copy all pages, from one of a hundred on; what the list told of itself.

        An API that gives smaller pages than were asked for is asked for pages of that size.
        """
        first, size = await self._read(1, EXECUTIONS_AT_ONCE), EXECUTIONS_AT_ONCE
        total = first.record_count or 0
        if 0 < first.count < min(size, total):
            size = first.count
        start = (resumed - 1) * EXECUTIONS_PER_PAGE // size + 1
        if start == 1:
            await self._store(first, size)
        if first.count == size:
            await self._more(max(2, start), size, -(-total // size))
        return _told(first)

    async def _more(self, start: int, size: int, last: int) -> None:
        """Copy the pages of a size from `start` on, up to the last one, where it is known, or the end of the list."""

        async def fetch(numbers: range) -> list[tuple[int, Page[ExecutionPayload]]]:
            return list(zip(numbers, await at_once(self._read(n, size) for n in numbers), strict=True))

        def width(number: int, _: object) -> int:
            return max(1, min(_AT_A_TIME, last - number + 1))

        if 0 < last < start:
            return
        previous = [0]
        async with aclosing(read_ahead(fetch, start, width, lambda pages: pages[-1][0] < last)) as pages:
            async for number, page in pages:
                ids = [record.id for record in page.records]
                if not page.count or ids == previous != []:
                    return
                previous = ids
                await self._store(page, number * size)
                if page.count < size or number == last:
                    return

    async def _read(self, number: int, size: int) -> Page[ExecutionPayload]:
        return await read_page(self._run.api, self._run.api.list_executions, number, size)

    async def _store(self, page: Page[ExecutionPayload], place: int | None = None) -> Tally:
        """Store a page that ends at a place of the list; without one the reading is not one to be resumed."""
        point = place and state.Point(place // EXECUTIONS_PER_PAGE + 1, self._point.completed_at)
        tally = await _store(self._run, page, point or None, is_first=self._point.completed_at is None)
        self._new += tally.new
        self._rejected.update(reject.key for reject in page.rejects)
        self.seen.update(record.id for record in page.records)
        self.done += page.count
        await self._run.tell(EXECUTIONS.name, "", self.done, page.record_count if place else None)
        return tally

    def _conclude(self, conn: Connection, total: int | None) -> None:
        run = self._run
        state.clear_old_letters(conn, EXECUTIONS.name, state.ACCOUNT, run.started_at)
        if len(self.seen) == total:
            run.remove(conn, EXECUTIONS, state.ACCOUNT, missing(conn, EXECUTIONS, self.seen), "all executions")


def _told(page: Page[ExecutionPayload]) -> tuple[int | None, list[int]]:
    """How many executions there are, and the newest: both change with the list, but for a rare coincidence."""
    return page.record_count, [record.id for record in page.records][:1]


async def _store(
    run: Run, page: Page[ExecutionPayload], point: state.Point | None = None, *, is_first: bool = False
) -> Tally:
    """Store a page, and have the metrics of the tests whose executions changed read again."""
    tests = sorted({record.test_id for record in page.records if record.test_id is not None})
    products = {} if is_first else await run.read(lambda conn: state.products_of(conn, tests))

    def forget(conn: Connection) -> None:
        state.forget_metrics(conn, "executions", tests, run.started_at)

    return await run.store(
        EXECUTIONS,
        state.ACCOUNT,
        page.records,
        page.rejects,
        point=point,
        log_new=not is_first,
        tests=products,
        also=forget,
    )


async def _refresh(run: Run, unseen: Sequence[state.OpenExecution]) -> None:
    """Read again those of tests that have begun, by their user story versions, many at once."""
    ran = await run.read(lambda conn: state.tests_that_ran(conn, {item.test_id for item in unseen}))
    versions = list(dict.fromkeys(item.version_id for item in unseen if item.test_id in ran))
    for n in range(0, len(versions), VERSIONS_PER_REQUEST):
        batch = versions[n : n + VERSIONS_PER_REQUEST]

        async def fetch(page: int, size: int, batch: Sequence[int] = batch) -> Page[ExecutionPayload]:
            return await run.api.list_executions(page, size, version_ids=batch)

        number, is_last = 1, False
        while not is_last:
            page = await read_page(run.api, fetch, number, EXECUTIONS_PER_PAGE)
            await _store(run, page)
            # A server that ignores the filter would send everything.
            is_asked = any(record.user_story_version_id in batch for record in page.records)
            is_last = page.count != EXECUTIONS_PER_PAGE or not is_asked
            number += 1
