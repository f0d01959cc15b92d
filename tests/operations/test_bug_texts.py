"""Bugs with a text and another filter: those of the filter that have the text, in the filter's order."""

from collections import Counter
from typing import Any

import pytest

from testio_sandbox import World
from tests.operations.conftest import NOW, ask
from tests.sync.conftest import Account

FILTERS: tuple[dict[str, Any], ...] = (
    {"statuses": ["open"]},
    {"statuses": ["accepted", "auto_accepted", "rejected"]},
    {"kinds": ["functional", "visual"]},
    {"levels": ["high", "low"], "sort": "oldest"},
    {"device_category": "phone"},
    {"reported_from": "2020-01-01"},
    {"reported_from": "2020-01-01", "sort": "oldest", "statuses": ["accepted"]},
    {"end_from": "2020-01-01"},
)


@pytest.fixture
def world() -> World:
    """An account with bugs enough for several pages."""
    return World(seed=3, products=2, tests_per_product=30, bugs_per_test=5, now=NOW)


async def _all(account: Account, **arguments: Any) -> list[int]:
    found: list[int] = []
    totals = set()
    cursor = None
    while True:
        page = await ask(account, "list_bugs", limit=7, cursor=cursor, **arguments)
        found += [bug.id for bug in page.items]
        totals.add(page.total)
        if (cursor := page.next_cursor) is None:
            assert totals == {len(found)}
            return found


async def test_text_and_filter(account: Account) -> None:
    """For a word that many bugs have and one that a single bug has, page by page."""
    await account.sync()
    page = await ask(account, "list_bugs", limit=100)
    words = Counter(word for bug in page.items for word in {*bug.title.split()} if len(word) > 3 and word.isalpha())
    common, rare = words.most_common()[0][0], min(words, key=lambda word: (words[word], word))
    assert words[common] > 10
    for text in (common, rare, f"{common} {words.most_common()[1][0]}", "nothing9like"):
        having = await _all(account, text=text)
        assert len(having) == len(set(having))
        for filters in FILTERS:
            listed = await _all(account, **filters)
            assert len(listed) > 7
            chosen = [key for key in listed if key in set(having)]
            assert await _all(account, text=text, **filters) == chosen, (text, filters)
