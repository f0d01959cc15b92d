"""How a running sync tells what it is doing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One step forward: `done` of `total` records of a resource (`total` is None while unknown)."""

    resource: str
    product: str
    done: int
    total: int | None = None


Report = Callable[[Progress], Awaitable[None]]


async def silent(progress: Progress) -> None:
    """Tell nobody."""
