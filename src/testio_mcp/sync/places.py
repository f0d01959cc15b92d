"""Dead letters of which only the place in a list is known: one request each tells whether they still break it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from testio_mcp.sync import state
from testio_mcp.sync.pages import BROKEN, Fetch
from testio_mcp.sync.resources import Resource
from testio_mcp.sync.run import Run


@dataclass(frozen=True)
class Read:
    """What a run has read of a list, newest first: up to which place, how many new records and what was broken."""

    places: int
    new: int
    rejected: Collection[str]


async def still_broken(
    run: Run, resource: Resource, product_id: int, fetch: Fetch[Any], letters: Iterable[str], read: Read
) -> bool:
    """Whether at each of these places still nothing can be read; places move on with each new record.

    Where something can be read, a record has healed or moved, and the list has to be read again to find out which.
    Raises `ApiError` when the API as a whole does not answer.
    """
    moves: list[tuple[str, str]] = []
    for place in sorted((int(key.removeprefix(state.POSITION)) for key in letters), reverse=True):
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
        await run.write(lambda conn: state.move_letters(conn, resource.name, product_id, moves, run.started_at))
    return True


async def _is_broken(run: Run, fetch: Fetch[Any], place: int) -> bool:
    try:
        await fetch(place, 1)
    except BROKEN as error:
        await run.api.check(error)
        return True
    return False
