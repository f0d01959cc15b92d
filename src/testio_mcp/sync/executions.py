"""Copying the account's executions, newest first, and asking again for those that can still change."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection

from testio_mcp.api.payloads import ExecutionPayload, Page, Reject
from testio_mcp.errors import ApiError, ApiForbidden, ApiNotFound, ApiUnreachable
from testio_mcp.sync import state
from testio_mcp.sync.pages import at_once, read_page
from testio_mcp.sync.resources import EXECUTIONS
from testio_mcp.sync.run import Run
from testio_mcp.sync.walk import FATAL
from testio_mcp.sync.writer import Tally

EXECUTIONS_PER_PAGE = 100
VERSIONS_PER_REQUEST = 50
"""How many user story versions are asked about at once: few enough for a short address."""
_WORKERS = 10
_SKEW = timedelta(hours=1)
"""How far the clocks of the API and of this machine may be apart."""
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
    start = point.next_page or 1
    is_whole = point.completed_at is None or run.options.full or any(key != _LIST for key in letters)
    done = 0
    if is_whole:
        done, _ = await _pages(run, point, start, stop_early=False)
    if start > 1 or not is_whole:
        newest, seen = await _pages(run, point, 1, stop_early=True)
        done += newest
        unseen = [item for item in still_open if item.id not in seen]
        await _refresh(run, [] if is_whole else unseen)

    def finish(conn: Connection) -> None:
        if is_whole and start == 1:
            state.clear_old_letters(conn, EXECUTIONS.name, state.ACCOUNT, run.started_at)
        state.clear_letters(conn, EXECUTIONS.name, state.ACCOUNT, [_LIST])
        state.save_checkpoint(conn, EXECUTIONS.name, state.ACCOUNT, state.Point(None, run.started_at))

    await run.write(finish)
    await run.tell(EXECUTIONS.name, "", done, done)


async def _pages(run: Run, point: state.Point, number: int, *, stop_early: bool) -> tuple[int, set[int]]:
    """Copy pages from `number` on; the total that comes with each page says how many may be read at a time.

    Returns how many executions there were. With `stop_early` it reads up to the first page that holds nothing new,
    and returns their ids as well.
    """
    done, width, previous = 0, 1, [0]
    seen: set[int] = set()
    while True:
        numbers = range(number, number + width)
        fetch = run.api.list_executions
        for place, page in zip(
            numbers,
            await at_once(read_page(run.api, fetch, n, EXECUTIONS_PER_PAGE) for n in numbers),
            strict=True,
        ):
            ids = [record.id for record in page.records]
            if not page.count or ids == previous != []:
                return done, seen
            after = None if stop_early else state.Point(place + 1, point.completed_at)
            tally = await _store(run, page, after, is_first=point.completed_at is None)
            done += page.count
            await run.tell(EXECUTIONS.name, "", done, None if stop_early else page.record_count)
            seen.update(ids if stop_early else ())
            if page.count != EXECUTIONS_PER_PAGE or (stop_early and not (tally.new or tally.changed)):
                return done, seen
            previous, total = ids, page.record_count or 0
        number += width
        width = 1 if stop_early else max(1, min(_WORKERS, -(-total // EXECUTIONS_PER_PAGE) - number + 1))


async def _store(
    run: Run, page: Page[ExecutionPayload], point: state.Point | None = None, *, is_first: bool = False
) -> Tally:
    """Store a page, and have the metrics of the tests whose executions changed read again.

    A first copy goes on beside that of the metrics: there, only what happened meanwhile makes them old.
    """
    tests = sorted({record.test_id for record in page.records if record.test_id is not None})
    products = {} if is_first else await run.read(lambda conn: state.products_of(conn, tests))

    since = run.started_at - _SKEW
    meanwhile = {item.test_id for item in page.records if item.executed_at is not None and item.executed_at >= since}
    touched = [test_id for test_id in tests if test_id in meanwhile] if is_first else tests

    def forget(conn: Connection) -> None:
        state.forget_metrics(conn, "executions", touched, run.started_at)

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
