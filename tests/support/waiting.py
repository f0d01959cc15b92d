"""Tasks that are watched while they wait: to cancel one at exactly its n-th wait, whatever the machine's speed."""

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any


async def cancelled_at(work: Coroutine[Any, Any, object], wait: int) -> int | None:
    """Cancel `work` at the `wait`-th time that it, or a task that it started, waits.

    Returns None when it was cancelled, else how often it waited before it ended.
    """
    waits = 0

    def count() -> None:
        nonlocal waits
        waits += 1
        if waits == wait:
            root.cancel()

    with _watching(count) as start:
        root = start(work)
        try:
            await root
        except asyncio.CancelledError:
            return None
    return waits


@contextmanager
def _watching(note: Callable[[], None]) -> Generator[Callable[[Coroutine[Any, Any, object]], "asyncio.Task[Any]"]]:
    """Have `note` called whenever a task waits that is started here, or by one of these."""
    loop = asyncio.get_running_loop()
    family: set[asyncio.Task[Any] | None] = set()

    def start(work: Coroutine[Any, Any, object], **named: Any) -> "asyncio.Task[Any]":
        task = asyncio.Task(_watched(work, note), loop=loop, **named)
        family.add(task)
        return task

    def make(_: object, work: Any, **named: Any) -> "asyncio.Task[Any]":
        is_ours = asyncio.current_task() in family
        return start(work, **named) if is_ours else asyncio.Task(work, loop=loop, **named)

    loop.set_task_factory(make)
    try:
        yield start
    finally:
        loop.set_task_factory(None)


async def _watched(work: Coroutine[Any, Any, object], note: Callable[[], None]) -> object:
    return await _steps(work, note)


@types.coroutine
def _steps(work: Coroutine[Any, Any, object], note: Callable[[], None]) -> Generator[Any, Any, object]:
    """Hand everything on between a coroutine and the loop."""
    go: Callable[[], Any] = partial(work.send, None)
    while True:
        try:
            future = go()
        except StopIteration as done:
            return done.value
        note()
        try:
            yield future
        except BaseException as error:  # noqa: BLE001 - it belongs to the coroutine, which is to have it
            go = partial(work.throw, error)
        else:
            go = partial(work.send, None)
