"""Reading lists that break: what cannot be read as a whole is split until the bad record is alone.

Of some problems only the position in a list is known: one request each tells whether it still breaks the list.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.payloads import BugPayload, TestPayload
from testio_mcp.api.records import Page, ProblemRecord
from testio_mcp.errors import (
    ApiError,
    ApiForbidden,
    ApiNotFound,
    ApiRejected,
    ApiUnavailable,
    ApiUnreachable,
    AuthFailed,
    BadPayload,
    RateLimited,
    TokenMissing,
)
from testio_mcp.sync import state
from testio_mcp.sync.rows import Resource
from testio_mcp.sync.run import Run
from testio_mcp.sync.state import POSITION

T = TypeVar("T")
P = TypeVar("P")
PAGE = 25
_SMALLER = {500: 100, 100: 20, 25: 5, 20: 4, 5: 1, 4: 1}
BROKEN = (ApiUnavailable, ApiUnreachable, BadPayload)
FATAL = (AuthFailed, TokenMissing, RateLimited)
"""What ends a run: every other request would fail the same way."""
_REFUSED = (ApiForbidden, ApiNotFound, ApiRejected)
Fetch = Callable[[int, int], Awaitable[Page[T]]]
"""Reads a page of a list: its number from 1, and how many records a page has."""


@dataclass(frozen=True)
class Listed:
    """A page of tests, with its number from 1."""

    number: int
    page: Page[TestPayload]

    @property
    def is_last(self) -> bool:
        """Whether the list ends here: a short page, or a server that ignores paging and sends everything."""
        return self.page.count != PAGE

    @property
    def ids(self) -> list[int]:
        """The ids on the page, in the order of the list."""
        return [record.id for record in self.page.records]


@dataclass
class _Parts(Generic[P, T]):
    """What can be read of something, part by part, and the smallest parts that cannot."""

    api: CustomerApi
    read: Callable[[P], Awaitable[T]]
    split: Callable[[P], Sequence[P]]
    failures: tuple[type[ApiError], ...] = BROKEN
    good: list[T] = field(default_factory=list)
    bad: list[tuple[P, ApiError]] = field(default_factory=list)

    async def take(self, parts: Sequence[P]) -> None:
        """Read these parts, and what fails in smaller parts.

        Raises `ApiError` when one is bad down to its smallest parts and nothing beside it can be read: that is the
        API, not one bad record, and asking for the rest would be a hundred requests in vain.
        """
        failed = []
        for part in parts:
            try:
                self.good.append(await self.read(part))
            except self.failures as error:
                await self.api.check(error)
                failed.append((part, error))
        for part, failure in failed:
            if smaller := self.split(part):
                await self.take(smaller)
                if not self.good:
                    raise _alone(failure)
            else:
                self.bad.append((part, failure))


def _alone(error: ApiError) -> ApiError:
    """The failure of one list of an API that answers."""
    return ApiUnavailable(error.message, error.next_step) if isinstance(error, ApiUnreachable) else error


def _smaller(part: tuple[int, int]) -> list[tuple[int, int]]:
    """The pages, each a number and a size, that a page consists of."""
    number, size = part
    smaller = _SMALLER.get(size, size)
    first = (number - 1) * (size // smaller) + 1
    return [(n, smaller) for n in range(first, first + size // smaller)] if smaller < size else []


def _halves(test_ids: Sequence[int]) -> list[Sequence[int]]:
    middle = len(test_ids) // 2
    return [test_ids[:middle], test_ids[middle:]] if middle else []


async def read_tests(api: CustomerApi, product_id: int, number: int) -> Listed:
    """One page of a product's tests. Raises `ApiError` when the API as a whole does not answer."""

    async def fetch(page: int, size: int) -> Page[TestPayload]:
        return await api.list_tests(product_id, page, size)

    return Listed(number, await read_page(api, fetch, number, PAGE))


async def read_page(api: CustomerApi, fetch: Fetch[T], number: int, size: int) -> Page[T]:
    """One page of a list; a record that breaks it becomes a problem named by its position.

    Raises `ApiError` when the API as a whole does not answer, or nothing of this page and of the next one.
    """

    async def read(part: tuple[int, int]) -> Page[T]:
        return await fetch(*part)

    parts = _Parts(api, read, _smaller)
    try:
        await parts.take([(number, size)])
    except (ApiUnavailable, BadPayload):
        beside = _Parts(api, read, _smaller)
        await beside.take([(number + 1, size)])
        # The list can be read there, so it is the records of this page that break it, each of them.
        parts = _Parts(api, read, _smaller, good=[Page([], [], 0)])
        await parts.take([(number, size)])
    problems = [ProblemRecord(f"{POSITION}{place}", error.message, None) for (place, _), error in parts.bad]
    return joined([*parts.good, Page([], problems, len(problems))])


async def at_once(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of several calls under way at the same time; a failure ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(call) for call in calls]
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    return [task.result() for task in made]


async def read_ahead(
    fetch: Callable[[range], Coroutine[Any, Any, Sequence[T]]],
    start: int,
    width: Callable[[int, Sequence[T]], int],
    goes_on: Callable[[Sequence[T]], bool],
) -> AsyncGenerator[T, None]:
    """The pages of a list from the number `start`, several at a time, without an end.

    `width` says how many pages to read from a number on, given those before. Where these say that the list
    `goes_on`, the next ones are on their way while the caller works. Close it when enough is read.
    """
    number = start
    count = width(number, ())
    coming = asyncio.create_task(fetch(range(number, number + count)))
    try:
        while True:
            pages = await coming
            number += count
            count = width(number, pages)
            is_ahead = goes_on(pages)
            if is_ahead:
                coming = asyncio.create_task(fetch(range(number, number + count)))
            for page in pages:
                yield page
            if not is_ahead:
                coming = asyncio.create_task(fetch(range(number, number + count)))
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def joined(parts: Sequence[Page[T]]) -> Page[T]:
    """Several pages as one; the total that a list tells is that of the first."""
    return Page(
        [record for part in parts for record in part.records],
        [problem for part in parts for problem in part.problems],
        sum(part.count for part in parts),
        parts[0].record_count if parts else None,
    )


async def read_bugs(api: CustomerApi, test_ids: Sequence[int]) -> tuple[Page[BugPayload], list[int]]:
    """The bugs of several tests in one request, and the tests whose bugs could not be read.

    A request that keeps failing is halved until the bad test is alone.
    """
    parts = _Parts(api, api.list_bugs, _halves, (*BROKEN, *_REFUSED))
    await parts.take([test_ids])
    return joined(parts.good), [test_id for part, _ in parts.bad for test_id in part]


@dataclass(frozen=True)
class Read:
    """What a run has read of a list, newest first: up to which place, how many new records and what was broken."""

    places: int
    new: int
    rejected: Collection[str]


async def still_broken(
    run: Run, resource: Resource, product_id: int, fetch: Fetch[Any], problems: Iterable[str], read: Read
) -> bool:
    """Whether at each of these places still nothing can be read; places move on with each new record.

    Where something can be read, a record has healed or moved, and the list has to be read again to find out which.
    Raises `ApiError` when the API as a whole does not answer.
    """
    moves: list[tuple[str, str]] = []
    for place in sorted((int(key.removeprefix(state.POSITION)) for key in problems), reverse=True):
        old, new = (f"{state.POSITION}{n}" for n in (place, place + read.new))
        if place + read.new > read.places:
            if not await _is_broken(run, fetch, place + read.new):
                return False
            moves.append((old, new))
        elif new not in read.rejected:
            return False
        elif new != old:
            moves.append((old, new))
    if moves:
        await run.write(lambda conn: state.move_problems(conn, resource.name, product_id, moves, run.started_at))
    return True


async def _is_broken(run: Run, fetch: Fetch[Any], place: int) -> bool:
    try:
        await fetch(place, 1)
    except BROKEN as error:
        await run.api.check(error)
        return True
    return False
