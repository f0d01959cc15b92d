"""Copying the account's executions, newest first, and asking again for those that can still change."""

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial

import orjson
from sqlalchemy import Connection, bindparam, exists, select

from testio_mcp.api.payloads import ExecutionPayload, parse_execution
from testio_mcp.api.records import Page, ProblemRecord
from testio_mcp.database.tables.sync import ACCOUNT, ALL_EXECUTIONS
from testio_mcp.errors import ApiError, ApiForbidden, ApiNotFound, ApiUnreachable
from testio_mcp.fields import StoredPayload
from testio_mcp.sync import state
from testio_mcp.sync.rows import EXECUTIONS, STORIES, Scope, execution_record
from testio_mcp.sync.run import Run
from testio_mcp.sync.walk import FATAL, Read, at_once, read_ahead, read_page, still_broken
from testio_mcp.sync.writer import Tally, mark_gone, missing, store_references

EXECUTIONS_PER_PAGE = 100
EXECUTIONS_AT_ONCE = 500
"""How many executions one answer holds where the whole list is read: a megabyte or less."""
VERSIONS_PER_REQUEST = 50
"""How many user story versions are asked about at once: few enough for a short address."""
_AT_A_TIME = 6
_execution, _story = EXECUTIONS.table.c, STORIES.table.c
_UNNAMED = (
    select(_execution.id, _execution.test_id, _execution.raw)
    .where(
        _execution.id > bindparam("after"),
        _execution.synced_at >= bindparam("since", type_=_execution.synced_at.type),
        _execution.gone_at.is_(None),
        ~exists().where(_story.id == _execution.user_story_id),
    )
    .order_by(_execution.id)
    .limit(500)
)
"""Executions, as they were copied since a moment, whose user story has no name yet."""
_PASSES = 3
_LIST = "list of executions"


def is_first_copy(conn: Connection) -> bool:
    """Whether the list of executions was never read to its end."""
    return state.checkpoint(conn, EXECUTIONS.name, ACCOUNT).completed_at is None


async def copy_executions(run: Run, still_open: Sequence[state.OpenExecution]) -> None:
    """Copy the executions up to the first page that holds nothing new, and known ones that may have changed.

    Those were open when the run began, or are of a test whose status changed or that came back. Where the API counts
    fewer than the copy holds, some were deleted: they are looked for in tests that have not ended, then in the whole
    list. Of an execution that could not be read only the place in the list is known, so the list is read again.
    Raises `ApiError` when the API as a whole does not answer.
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
        await run.store(EXECUTIONS, ACCOUNT, (), [ProblemRecord(_LIST, error.message, None)])


async def _copy(run: Run, still_open: Sequence[state.OpenExecution]) -> None:
    point, problems = await run.read(
        lambda conn: (
            state.checkpoint(conn, EXECUTIONS.name, ACCOUNT),
            state.problem_reasons(conn, EXECUTIONS.name, ACCOUNT),
        )
    )
    unknown = [key for key in problems if key != _LIST and not key.startswith(state.POSITION)]
    walk = _Walk(run, point)
    since = None if run.options.full or unknown else point.completed_at
    if since is None or not await walk.newest(problems) or not await _refresh_known(run, walk, still_open, since):
        await walk.everything()

    def finish(conn: Connection) -> None:
        state.clear_problems(conn, EXECUTIONS.name, ACCOUNT, [_LIST])
        state.save_checkpoint(conn, EXECUTIONS.name, ACCOUNT, state.Point(None, run.started_at))

    await run.write(finish)
    await run.tell(EXECUTIONS.name, "", walk.done, walk.done)


async def _refresh_known(run: Run, walk: "_Walk", still_open: Sequence[state.OpenExecution], since: datetime) -> bool:
    """Read known executions again that may have changed; False where only the whole list tells which were deleted."""
    unseen = [item for item in still_open if item.id not in walk.seen]
    versions, accepted = await run.read(
        lambda conn: (
            versions_to_refresh(conn, unseen, since),
            state.checkpoint(conn, ALL_EXECUTIONS, ACCOUNT).next_page or 0,
        )
    )
    if not await _refresh(run, versions):
        return False
    if await run.read(lambda conn: state.surplus_executions(conn, walk.total)) <= accepted:
        return True
    others = await run.read(lambda conn: state.versions_of(conn, state.unfinished_tests(conn)))
    if not await _refresh(run, [version for version in others if version not in versions]):
        return False
    return await run.read(lambda conn: state.surplus_executions(conn, walk.total)) <= accepted


def versions_to_refresh(conn: Connection, unseen: Sequence[state.OpenExecution], since: datetime) -> list[int]:
    """The user story versions whose executions may have changed since that moment.

    They have an execution without an outcome in a test that has begun, or their test has another status than then.
    """
    ran = state.tests_that_ran(conn, {item.test_id for item in unseen})
    waiting = [item.version_id for item in unseen if item.test_id in ran]
    return list(dict.fromkeys((*waiting, *state.versions_of(conn, state.tests_of_another_status(conn, since)))))


async def name_executed_stories(run: Run, *, is_first: bool) -> None:
    """Store the names of user stories that only executions give: those copied first came before their tests."""
    since = datetime.min.replace(tzinfo=UTC) if is_first else run.started_at
    after: int | None = -1
    while after is not None:
        after = await run.write(partial(_name_some, since=since, after=after, now=run.started_at))


def _name_some(conn: Connection, since: datetime, after: int, now: datetime) -> int | None:
    """Name the stories of some executions with an id above `after`; the last id, or None after the last."""
    rows = conn.execute(_UNNAMED, {"since": since, "after": after}).all()
    products = state.products_of(conn, {row.test_id for row in rows if row.test_id is not None})
    parsed = [parse_execution(StoredPayload(orjson.loads(row.raw))) for row in rows]
    scope = Scope(ACCOUNT, now, products)
    store_references(conn, (execution_record(payload, scope).needs for payload in parsed))
    return rows[-1].id if rows else None


class _Walk:
    """The list of executions in one run, newest first."""

    def __init__(self, run: Run, point: state.Point) -> None:
        self._run = run
        self._point = point
        self._new = 0
        self._rejected: set[str] = set()
        self.done = 0
        self.total: int | None = None
        self.seen: set[int] = set()

    async def newest(self, problems: Iterable[str]) -> bool:
        """Read up to the first page that holds nothing new; False when the whole list has to be read again.

        That is where something can be read now at the place of a problem.
        """
        number, is_last = 1, False
        while not is_last:
            page = await self._read(number, EXECUTIONS_PER_PAGE)
            tally = await self._store(page)
            self.total = page.record_count
            is_last = page.count != EXECUTIONS_PER_PAGE or not (tally.new or tally.changed)
            number += 1
        places = [key for key in problems if key.startswith(state.POSITION)]
        read = Read((number - 1) * EXECUTIONS_PER_PAGE, self._new, self._rejected)
        return await still_broken(self._run, EXECUTIONS, ACCOUNT, self._run.api.list_executions, places, read)

    async def everything(self) -> None:
        """Read the whole list, again when it changed meanwhile: then pages shift, and records slip from page to page.

        Executions that a complete reading did not meet are gone.
        """
        resumed = self._point.next_page or 1
        for _ in range(_PASSES):
            self.seen.clear()
            self._rejected.clear()
            before = await self._pages(resumed)
            after = _fingerprint(await self._read(1, 1))
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
        return _fingerprint(first)

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
        self._rejected.update(problem.key for problem in page.problems)
        self.seen.update(record.id for record in page.records)
        self.done += page.count
        await self._run.tell(EXECUTIONS.name, "", self.done, page.record_count if place else None)
        return tally

    def _conclude(self, conn: Connection, total: int | None) -> None:
        run = self._run
        state.clear_old_problems(conn, EXECUTIONS.name, ACCOUNT, run.started_at)
        if len(self.seen) == total:
            gone = missing(conn, EXECUTIONS, self.seen)
            if run.remove(conn, EXECUTIONS, ACCOUNT, gone, "all executions") is None:
                _forget_metrics(conn, run, gone.ids)
        point = state.Point(state.surplus_executions(conn, total), run.started_at)
        state.save_checkpoint(conn, ALL_EXECUTIONS, ACCOUNT, point)


def _fingerprint(page: Page[ExecutionPayload]) -> tuple[int | None, list[int]]:
    """How many executions there are, and the newest: both change with the list, but for a rare coincidence."""
    return page.record_count, [record.id for record in page.records][:1]


def _forget_metrics(conn: Connection, run: Run, execution_ids: Sequence[int]) -> None:
    tests = state.tests_of_executions(conn, execution_ids)
    state.forget_metrics(conn, "executions", tests, run.started_at, is_first=False)


async def _store(
    run: Run, page: Page[ExecutionPayload], point: state.Point | None = None, *, is_first: bool = False
) -> Tally:
    """Store a page, and have the metrics of the tests whose executions changed read again.

    Executions of a test that is gone are gone with it, whatever the list says.
    """
    tests = sorted({record.test_id for record in page.records if record.test_id is not None})
    products, gone = (
        ({}, set())
        if is_first
        else await run.read(lambda conn: (state.products_of(conn, tests), state.gone_tests(conn, tests)))
    )

    def forget(conn: Connection) -> None:
        state.forget_metrics(conn, "executions", tests, run.started_at, is_first=is_first)

    return await run.store(
        EXECUTIONS,
        ACCOUNT,
        [record for record in page.records if record.test_id not in gone],
        page.problems,
        point=point,
        log_new=not is_first,
        tests=products,
        also=forget,
    )


async def _refresh(run: Run, versions: Sequence[int]) -> bool:
    """Read the executions of these user story versions again, many at once; those no longer listed are gone.

    False when so many are missing that the list itself is the likelier fault.
    """
    for n in range(0, len(versions), VERSIONS_PER_REQUEST):
        batch = versions[n : n + VERSIONS_PER_REQUEST]

        async def fetch(page: int, size: int, batch: Sequence[int] = batch) -> Page[ExecutionPayload]:
            return await run.api.list_executions(page, size, version_ids=batch)

        number, is_last, is_whole = 1, False, True
        seen: set[int] = set()
        while not is_last:
            page = await read_page(run.api, fetch, number, EXECUTIONS_PER_PAGE)
            await _store(run, page)
            seen.update(record.id for record in page.records)
            of_others = [record for record in page.records if record.user_story_version_id not in batch]
            is_whole = is_whole and not (page.problems or of_others)
            # A server that ignores the filter would send everything.
            is_last = page.count != EXECUTIONS_PER_PAGE or len(of_others) == len(page.records)
            number += 1
        if is_whole and not await run.write(partial(_remove_unlisted, run=run, batch=batch, seen=seen)):
            return False
    return True


def _remove_unlisted(conn: Connection, run: Run, batch: Sequence[int], seen: set[int]) -> bool:
    gone = missing(conn, EXECUTIONS, seen, EXECUTIONS.table.c.user_story_version_id.in_(batch))
    if gone.is_suspicious:
        return False
    mark_gone(conn, EXECUTIONS, gone.ids, Scope(ACCOUNT, run.started_at), run.id)
    _forget_metrics(conn, run, gone.ids)
    return True
