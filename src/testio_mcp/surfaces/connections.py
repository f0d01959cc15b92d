"""Connections of the HTTP server: slow clients are bounded in every stage, and errors have the shape of all errors.

Above them, the gate bounds how long a body may take. What uvicorn does not bound is the time that the head of a
request takes, and how long a client may leave an answer unread.
"""

import asyncio
import logging

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from testio_mcp.surfaces.problems import problem

MAX_CONNECTIONS = 1000
_RETRY_SECONDS = "1"


async def _all_taken(scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem(
        503,
        "too_many_connections",
        f"The server has {MAX_CONNECTIONS} connections already.",
        "Try again in a moment, or close what is not used.",
        {"Retry-After": _RETRY_SECONDS, "Connection": "close"},
    )
    await answer(scope, receive, send)


class PatientConnection(H11Protocol):
    """A connection that waits `patience` seconds for the head of a request and for the reading of an answer."""

    patience = 10.0
    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self.app = _all_taken
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Read on; a request whose head is whole is no longer waited for."""
        self._wait()
        super().data_received(data)
        if self._is_answering():
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave no timer behind."""
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

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


def patient(seconds: float) -> type[PatientConnection]:
    """Connections with that much patience; what uvicorn refuses by itself is not worth a line each."""
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.getMessage() not in _NO_NEWS)
    return type("Connection", (PatientConnection,), {"patience": seconds})


_NO_NEWS = frozenset({"Invalid HTTP request received.", "Unsupported upgrade request."})
