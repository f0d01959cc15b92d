"""Threads of a SQLite store: a whole unit of work runs in one hop to a thread that keeps its connection open.

The stock async driver changes threads four times per statement; a list of tests with its counts costs a third
of that when the function moves to the thread instead of every statement, and a page of a sync half.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

T = TypeVar("T")
_Job = tuple["asyncio.Future[Any]", Callable[[Connection], Any]]


Transact = Callable[[Connection, Callable[[Connection], Any]], Any]
"""Runs a unit of work on a connection, as a transaction of some kind."""


class Workers:
    """A few threads, each with one connection of an engine."""

    def __init__(self, engine: Engine, count: int, transact: Transact) -> None:
        """Start `count` threads; connections open with the first unit of work."""
        self._engine = engine
        self._transact = transact
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"store-{transact.__name__}-{n}", daemon=True)
            for n in range(count)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a thread's connection.

        Work that has begun is finished also when the caller no longer waits for it.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, work))
        return await future

    async def close(self) -> None:
        """Finish what is queued, then end the threads and close their connections."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._threads = []
        self._engine.dispose()

    def _serve(self) -> None:
        connection: Connection | None = None
        while (job := self._jobs.get()) is not None:
            future, work = job
            if future.cancelled():
                continue
            try:
                connection = connection or self._engine.connect()
                result = self._transact(connection, work)
            except BaseException as error:  # noqa: BLE001 - the caller's task receives it
                _deliver(future, _fail, error)
            else:
                _deliver(future, _finish, result)
        if connection is not None:
            connection.close()


def in_transaction(connection: Connection, work: Callable[[Connection], T]) -> T:
    """Commit what `work` does, or none of it."""
    with connection.begin():
        return work(connection)


def in_snapshot(connection: Connection, work: Callable[[Connection], T]) -> T:
    """Run `work` on a consistent view of the store."""
    driver: Any = connection.connection.driver_connection
    driver.execute("BEGIN")
    try:
        return work(connection)
    finally:
        # Nothing was written. Unlike COMMIT this cannot fail, and so cannot leave the thread in an old snapshot.
        driver.rollback()


def _deliver(future: "asyncio.Future[Any]", setter: Callable[..., None], value: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
        future.get_loop().call_soon_threadsafe(setter, future, value)


def _finish(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if isinstance(error, StopIteration):  # a future refuses it, and the caller would wait for ever
        error = RuntimeError("StopIteration left the function that read the store")
    if not future.done():
        future.set_exception(error)
