"""Reading lists that break: a page that keeps failing is split until the bad record is alone."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from testio_mcp.api.client import CustomerApi
from testio_mcp.api.payloads import BugPayload, Page, Reject, TestPayload
from testio_mcp.errors import ApiUnavailable, BadPayload
from testio_mcp.sync.state import POSITION

T = TypeVar("T")
PAGE = 25
_SMALLER = {100: 20, 25: 5, 20: 4, 5: 1, 4: 1}
BROKEN = (ApiUnavailable, BadPayload)
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


async def read_tests(api: CustomerApi, product_id: int, number: int) -> Listed:
    """One page of a product's tests. Raises `ApiError` when the API as a whole does not answer."""

    async def fetch(page: int, size: int) -> Page[TestPayload]:
        return await api.list_tests(product_id, page, size)

    return Listed(number, await read_page(api, fetch, number, PAGE))


async def read_page(api: CustomerApi, fetch: Fetch[T], number: int, size: int, whole: int = 0) -> Page[T]:
    """One page of a list; a record that breaks it becomes a reject named by its position.

    `whole` is the size of the page that is being split. Raises `ApiError` when the API as a whole does not answer.
    """
    try:
        return await fetch(number, size)
    except BROKEN as error:
        await api.check()
        if size == 1:
            return Page([], [Reject(f"{POSITION}{number}", error.message, None)], 1)
        smaller = _SMALLER[size]
        first = (number - 1) * (size // smaller) + 1
        parts = [
            await read_page(api, fetch, n, smaller, whole or size) for n in range(first, first + size // smaller)
        ]
        if not whole and not any(part.records for part in parts):
            raise  # nothing on the page can be read: that is the API, not one bad record
        return joined(parts)


def joined(parts: Sequence[Page[T]]) -> Page[T]:
    """Several pages as one."""
    return Page(
        [record for part in parts for record in part.records],
        [reject for part in parts for reject in part.rejects],
        sum(part.count for part in parts),
    )


async def read_bugs(api: CustomerApi, test_ids: Sequence[int]) -> tuple[Page[BugPayload], list[int]]:
    """The bugs of several tests in one request, and the tests whose bugs could not be read.

    A request that keeps failing is halved until the bad test is alone.
    """
    try:
        return await api.list_bugs(test_ids), []
    except BROKEN:
        await api.check()
        if len(test_ids) == 1:
            return Page([], [], 0), list(test_ids)
        middle = len(test_ids) // 2
        left, lost_left = await read_bugs(api, test_ids[:middle])
        right, lost_right = await read_bugs(api, test_ids[middle:])
        return joined([left, right]), lost_left + lost_right
