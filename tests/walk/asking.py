"""How a question is asked: an MCP client calls the default tools, and each reply is weighed as a model sees it."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from mcp.client import Client

from tests.surfaces.programs import text_of
from tests.walk.account import Walked

Json = dict[str, Any]
Said = Mapping[str, Any]
BYTES_PER_TOKEN = 4
MOST_CALLS, MOST_TOKENS = 3, 3_000


@dataclass(frozen=True)
class Call:
    """One call, and what its reply costs: its text and its structured content, both."""

    tool: str
    arguments: Json
    tokens: int


class Ask:
    """Asks tools, and remembers what that took."""

    def __init__(self, client: Client, today: date) -> None:
        self._client = client
        self.today = today
        self.calls: list[Call] = []

    async def __call__(self, tool: str, /, **arguments: Any) -> Json:
        """The structured content of a tool's reply."""
        result = await self._client.call_tool(tool, arguments)
        assert not result.is_error, text_of(result)
        assert result.structured_content is not None
        reply: Json = result.structured_content
        seen = text_of(result) + json.dumps(reply, ensure_ascii=False, separators=(",", ":"))
        self.calls.append(Call(tool, arguments, -(-len(seen.encode()) // BYTES_PER_TOKEN)))
        return reply

    async def items(self, tool: str, /, **arguments: Any) -> list[Json]:
        """The records of a list that has to fit on its first page."""
        page = await self(tool, **arguments)
        assert "next_cursor" not in page, f"{tool} has more than one page"
        records: list[Json] = page["items"]
        return records

    async def product(self, words: str) -> int:
        """The id of the product whose name holds these words."""
        [found] = [item["id"] for item in await self.items("list_products") if words in item["name"]]
        return int(found)


@dataclass(frozen=True)
class Question:
    """What somebody asks, how it is answered, and how the answer is checked.

    `said` picks the names and numbers that stand in the question; `steps` may know these, the day, and what replies
    say. `truth` is computed from the account itself.
    """

    who: str
    text: str
    steps: Callable[[Ask, Said], Awaitable[Any]]
    truth: Callable[[Walked, Said], Any]
    said: Callable[[Walked], Said] = lambda _: {}


def monday(today: date) -> date:
    """The first day of the week."""
    return today - timedelta(days=today.weekday())


def last_month(today: date) -> tuple[date, date]:
    """The first and the last day of the month before."""
    last = today.replace(day=1) - timedelta(days=1)
    return last.replace(day=1), last
