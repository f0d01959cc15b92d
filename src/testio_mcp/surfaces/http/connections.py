"""Connections of the HTTP server: as many as the process can hold, slow clients bounded in every stage.

Above them, the gate bounds how long a body may take. What uvicorn does not bound is the number of connections on
which nothing is asked, the time that the head of a request takes, and how long a client may leave an answer unread.
"""

import asyncio
import errno
import logging
import os
import sys
import time
from contextlib import suppress
from socket import socket
from typing import Any, NoReturn

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from testio_mcp.surfaces.http.problems import problem

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 1000
_OTHER_DESCRIPTORS = 128
"""Room for the store, the connections to the API, and files: some 30 are in use as a rule."""
_QUIET_SECONDS = 60.0
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def raise_descriptor_limit() -> int:
    """Let the process open as many files as it is allowed to.

    Returns how many connections it can then hold beside its other files.
    """
    if sys.platform == "win32":  # sockets take no descriptors there
        return MAX_CONNECTIONS
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        wanted = max(soft, MAX_CONNECTIONS + _OTHER_DESCRIPTORS) if hard == resource.RLIM_INFINITY else hard
        with suppress(ValueError, OSError):  # some systems refuse what they name as the limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, soft - min(_OTHER_DESCRIPTORS, soft // 2)))


class OpenConnections:
    """The connections on which the server waits for a client, in the order in which that began."""

    def __init__(self) -> None:
        self.size = 0
        """How many connections there are, those included for which the server works."""
        self._waiting: dict[PatientConnection, None] = {}

    def add(self, connection: "PatientConnection") -> None:
        """Take a new connection."""
        self.size += 1
        self._waiting[connection] = None
        if self.size > MAX_CONNECTIONS:  # accepted by an event loop that does not ask the listener: Windows
            self.close_oldest()

    def discard(self, connection: "PatientConnection") -> None:
        """A connection has ended."""
        self.size -= 1
        self.remove(connection)

    def move_to_end(self, connection: "PatientConnection") -> None:
        """From now on the server waits for this client."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def remove(self, connection: "PatientConnection") -> None:
        """The server works for this client, or it has gone."""
        self._waiting.pop(connection, None)

    def close_oldest(self) -> bool:
        """Close the connection that has asked for nothing for longest, if there is one."""
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        self.remove(oldest)
        oldest.transport.abort()
        return True


class Listener(socket):
    """A listening socket that accepts no more connections at once than the process can hold.

    asyncio accepts all that wait before it hands any of them over, and logs a traceback for each that finds no
    descriptor. So the count is kept here: for a new connection that is too much, the longest idle one is closed, and
    where none is idle the new one, at once.
    """

    def __init__(self, family: int, kind: int, protocol: int, connections: OpenConnections) -> None:
        super().__init__(family, kind, protocol)
        self._connections = connections
        self._most = raise_descriptor_limit()
        self._accepted: set[socket] = set()
        self._spare = -1
        self._closed = 0
        self._logged_at = -_QUIET_SECONDS

    def accept(self) -> tuple[socket, Any]:
        """Accept a connection. Raises `BlockingIOError` if none waits, or there is no room for it yet."""
        if len(self._accepted) >= self._most:
            self._accepted = {accepted for accepted in self._accepted if accepted.fileno() >= 0}
            if len(self._accepted) >= self._most:
                self._make_room()
        try:
            if self._spare < 0:
                self._spare = os.open(os.devnull, os.O_RDONLY)
            accepted, address = super().accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._make_room()
            raise
        self._accepted.add(accepted)
        return accepted, address

    def close(self) -> None:
        """Listen no more."""
        super().close()
        self._close_spare()

    def _make_room(self) -> NoReturn:
        """Close one connection; what is closed is gone when the event loop comes back to accept."""
        if self._connections.close_oldest():
            self._log_closed()
        elif self._connections.size >= len(self._accepted):  # all are handed over: none will be idle in a moment
            self._close_spare()  # the descriptor with which the new one is accepted
            with suppress(OSError):
                super().accept()[0].close()
                self._log_closed()
        raise BlockingIOError

    def _close_spare(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _log_closed(self) -> None:
        self._closed += 1
        now = time.monotonic()
        if now - self._logged_at >= _QUIET_SECONDS:
            logger.warning(
                "Closed %d idle connection(s): the server holds at most %d at once.", self._closed, self._most
            )
            self._logged_at, self._closed = now, 0


class PatientConnection(H11Protocol):
    """A connection that waits `patience` seconds for the head of a request and for the reading of an answer."""

    patience = 10.0
    open_connections: OpenConnections
    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()
        self.open_connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Read on; a request whose head is whole is no longer waited for."""
        self._wait()
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()
            if not self.cycle.more_body:
                self.open_connections.remove(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer behind."""
        self._stop_waiting()
        self.open_connections.discard(self)
        self.resume_writing()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it is here already."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self._is_answering():
            self.open_connections.move_to_end(self)

    def pause_writing(self) -> None:
        """Give a client that does not read its answer some time; then the connection is cut."""
        super().pause_writing()
        self._unread = self._unread or self.loop.call_later(self.patience, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the shape of all errors."""
        self._refuse(400, "bad_request", "The request is not HTTP/1.1.", "Send a well-formed request.")

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        if self._waiting is None and not self._is_answering():
            self._waiting = self.loop.call_later(self.patience, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if self.transport.is_closing() or self._is_answering():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            message = f"The head of the request did not arrive within {self.patience:g} seconds."
            self._refuse(408, "too_slow", message, "Send it again.")
        self.transport.close()

    def _refuse(self, status: int, code: str, message: str, next_step: str) -> None:
        answer = problem(status, code, message, next_step, {"Connection": "close"})
        head = h11.Response(status_code=status, headers=answer.raw_headers, reason=STATUS_PHRASES[status])
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def make_connection_class(seconds: float, connections: OpenConnections) -> type[PatientConnection]:
    """Connections with that much patience; what uvicorn refuses by itself is not worth a line each."""
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.getMessage() not in _NO_NEWS)
    return type("Connection", (PatientConnection,), {"patience": seconds, "open_connections": connections})


_NO_NEWS = frozenset({"Invalid HTTP request received.", "Unsupported upgrade request."})
