"""Walking a product's list of tests, newest first, and storing page after page.

A page and the checkpoint after it are one transaction, so a killed walk resumes where it was. A list that was read
to its end before is left at the first page that holds nothing new: new tests come first, and known tests that can
still change are asked for by id.
"""

from collections.abc import Collection, Iterable, Sequence
from contextlib import aclosing
from functools import partial

from sqlalchemy import Connection

from testio_mcp.api.payloads import TestPayload
from testio_mcp.api.records import Page, ProblemRecord
from testio_mcp.database.tables import Test, table_of
from testio_mcp.database.tables.sync import ALL_TESTS, NO_LONGER_KNOWN
from testio_mcp.errors import (
    ApiError,
    ApiNotFound,
    ApiUnavailable,
    BadPayload,
)
from testio_mcp.sync import state
from testio_mcp.sync.rows import TESTS, Scope
from testio_mcp.sync.run import Run
from testio_mcp.sync.walk import FATAL, PAGE, Listed, Read, at_once, read_ahead, read_tests, still_broken
from testio_mcp.sync.writer import Tally, mark_gone, missing

# A first walk reads ahead, a few more pages each time, until the list ends.
_WINDOWS = (1, 2, 3, 3, 4, 8, 10)
_PASSES = 3
_FEW = 10
"""How many tests that the list passes over are asked for by id."""
_TEST = table_of(Test).c


class Walk:
    """One product's list of tests in one run."""

    def __init__(self, run: Run, product_id: int, name: str) -> None:
        self._run = run
        self._product_id = product_id
        self._name = name
        self._seen: set[int] = set()
        self._rejected: set[str] = set()
        self._new = 0
        self._end: list[int] = []
        self._read: list[int] = []
        self._is_read_to_end = False

    async def walk(self) -> None:
        """Bring the product's tests up to date. Raises `ApiError` when the API does not answer."""
        point, mutable, problems = await self._run.read(
            lambda conn: (
                state.checkpoint(conn, TESTS.name, self._product_id),
                state.mutable_tests(conn, self._product_id),
                state.problem_reasons(conn, TESTS.name, self._product_id),
            )
        )
        if f"product {self._product_id}" in problems:
            point = state.Point(None, point.completed_at)  # where a walk found no way on, it would not again
        is_whole = point.completed_at is None or self._run.options.full
        if is_whole or not await self._newest(point, problems):
            await self._everything(point)
        else:
            lost = [int(key) for key in problems if key.isdigit()]
            passed_over = await self._run.read(self._passed_over)
            unseen = [key for key in dict.fromkeys((*mutable, *passed_over, *lost)) if key not in self._seen]
            denied = [key for key in lost if problems[str(key)] == NO_LONGER_KNOWN]
            await self._refresh(unseen, {*denied, *passed_over})
        if self._run.options.since is None:
            done = state.Point(None, self._run.started_at)
            await self._run.write(lambda conn: state.save_checkpoint(conn, TESTS.name, self._product_id, done))
        await self._run.tell(TESTS.name, self._name, len(self._seen), len(self._seen))

    async def _newest(self, point: state.Point, problems: Iterable[str]) -> bool:
        """Read the newest pages; False when a problem without an id wants the whole list to be read again."""
        unnamed = [key for key in problems if not key.isdigit() and key != f"product {self._product_id}"]
        if not all(key.startswith(state.POSITION) for key in unnamed):
            return False
        pages = await self._pages(point, 1, stop_early=True)
        fetch = partial(self._run.api.list_tests, self._product_id)
        read = Read(pages * PAGE, self._new, self._rejected)
        return await still_broken(self._run, TESTS, self._product_id, fetch, unnamed, read)

    async def _everything(self, point: state.Point) -> None:
        """Read the whole list, again while a pass over several pages still finds new tests.

        When a test is deleted during the walk, all later ones move up, and the first of the next page is missed.
        Tests that a complete walk did not meet are gone.
        """
        await self._passes(point, point.next_page or 1)
        if self._run.options.since is None:
            await self._run.write(self._conclude)

    def _conclude(self, conn: Connection) -> None:
        state.clear_old_problems(conn, TESTS.name, self._product_id, self._run.started_at)
        done = state.Point(None, self._run.started_at)
        state.save_checkpoint(conn, ALL_TESTS, self._product_id, done)
        if all(key.isdigit() for key in self._rejected):
            gone = missing(conn, TESTS, self._seen, _TEST.product_id == self._product_id)
            self._run.remove(conn, TESTS, self._product_id, gone, f"product {self._product_id}")

    async def _passes(self, point: state.Point, start: int) -> None:
        pages = await self._pages(point, start, stop_early=False)
        for _ in range(_PASSES - 1):
            known = len(self._seen)
            if pages == 1 and start == 1:
                return
            pages, start = await self._pages(point, 1, stop_early=False, expected=start + pages - 1), 1
            if len(self._seen) == known:
                return

    async def _pages(self, point: state.Point, start: int, *, stop_early: bool, expected: int = 0) -> int:
        """Read and store pages from `start` until the list ends; how many there were.

        `expected` is how many pages there were before. They are read without those past them, which are read only if
        the end of the list has changed.
        """
        windows = iter(_WINDOWS if not expected else _WINDOWS[-1:])
        widest = _WINDOWS[-1]

        def width(number: int, _: object) -> int:
            return 1 if stop_early else max(1, min(next(windows, widest), (expected or 2**31) - number + 1))

        def goes_on(pages: Sequence[Listed | ApiError]) -> bool:
            is_full = all(isinstance(listed, Listed) and not listed.is_last for listed in pages)
            is_end = isinstance(pages[-1], Listed) and pages[-1].number == expected
            return is_full and not (is_end or stop_early) and self._run.options.since is None

        number, previous = start - 1, [0]
        async with aclosing(read_ahead(self._fetch, start, width, goes_on)) as pages:
            async for listed in pages:
                if isinstance(listed, ApiError):
                    raise listed
                if not listed.page.count or listed.ids == previous != []:
                    break
                number, previous = listed.number, listed.ids
                tally = await self._store(listed.page, state.Point(number + 1, point.completed_at))
                self._read += listed.ids
                self._is_read_to_end = listed.is_last
                if listed.is_last or self._is_past(listed.page) or (stop_early and not (tally.new or tally.changed)):
                    break
                if number == expected and previous == self._end:
                    break
        self._end = previous
        return number - start + 1

    def _is_past(self, page: Page[TestPayload]) -> bool:
        """Whether every test of the page ended before the moment that the run starts at."""
        since = self._run.options.since
        ends = [record.end_at for record in page.records]
        return since is not None and all(end is not None and end < since for end in ends)

    async def _fetch(self, numbers: Iterable[int]) -> list[Listed | ApiError]:
        """Several pages at a time; one that cannot be read is an error in its place, and those before it count."""
        return await at_once(self._page(number) for number in numbers)

    async def _page(self, number: int) -> Listed | ApiError:
        try:
            return await read_tests(self._run.api, self._product_id, number)
        except (ApiUnavailable, BadPayload) as error:
            return error

    async def _store(self, page: Page[TestPayload], point: state.Point) -> Tally:
        log_new = point.completed_at is not None
        tally = await self._run.store(
            TESTS, self._product_id, page.records, page.problems, point=point, log_new=log_new
        )
        self._seen.update(record.id for record in page.records)
        self._seen.update(int(problem.key) for problem in page.problems if problem.key.isdigit())
        self._rejected.update(problem.key for problem in page.problems)
        self._new += tally.new
        if tally.new or tally.changed:
            await self._run.on_tests(self._product_id, [record.id for record in page.records])
        await self._run.tell(TESTS.name, self._name, len(self._seen))
        return tally

    def _passed_over(self, conn: Connection) -> list[int]:
        """Known tests that the pages read pass over, where these are in the order of ids.

        Where there are more than a few, the API rather forgets some than that so many were deleted at once.
        """
        if not self._read or self._rejected or self._read != sorted(self._read, reverse=True):
            return []
        known = state.living_tests_from(conn, self._product_id, 0 if self._is_read_to_end else self._read[-1])
        found = [key for key in known if key not in self._seen]
        return found if len(found) <= _FEW else []

    async def _refresh(self, test_ids: list[int], denied: Collection[int]) -> None:
        """Read tests by id; one that is broken is noted and the rest goes on.

        A test that the API does not know is gone if something else says so as well: `denied` names those that the
        last run was told so, or that the list passes over. For the others, the page is read that would list them.
        """
        found = await at_once(self._get(test_id) for test_id in test_ids)
        records = [item for item in found if isinstance(item, TestPayload)]
        problems = [item for item in found if isinstance(item, ProblemRecord)]
        unknown = [int(item.key) for item in problems if item.reason == NO_LONGER_KNOWN]
        gone = [key for key in unknown if key in denied or await self._is_unlisted(key)]
        problems = [item for item in problems if not (item.key.isdigit() and int(item.key) in gone)]

        def remove(conn: Connection) -> None:
            state.clear_problems(conn, TESTS.name, self._product_id, gone)
            mark_gone(conn, TESTS, gone, Scope(self._product_id, self._run.started_at), self._run.id)

        if found:
            await self._run.store(TESTS, self._product_id, records, problems, log_new=True, also=remove)

    async def _is_unlisted(self, test_id: int) -> bool:
        """Whether the page of the list on which the test would be shows those around it, and not the test."""
        known = await self._run.read(lambda conn: state.living_tests_from(conn, self._product_id, test_id))
        number = (len(known) - 1) // PAGE + 1
        listed = await self._page(number)
        if isinstance(listed, ApiError) or listed.page.problems or listed.ids != sorted(listed.ids, reverse=True):
            return False
        is_around = listed.ids[:1] > [test_id] and (listed.is_last or listed.ids[-1] < test_id)
        return is_around and test_id not in listed.ids

    async def _get(self, test_id: int) -> TestPayload | ProblemRecord:
        try:
            return await self._run.api.get_test(test_id)
        except ApiNotFound:
            return ProblemRecord(str(test_id), NO_LONGER_KNOWN, None)
        except FATAL:
            raise
        except ApiError as error:
            await self._run.api.check(error)
            return ProblemRecord(str(test_id), error.message, None)
