"""Standard output that cannot be written, and standard error that nobody has, as a person meets them: in one line."""

import errno
import io
import os
import sys
from typing import TYPE_CHECKING

from testio_mcp.errors import OutputFailed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDOUT, STDERR = 1, 2


class StandardOutput(io.FileIO):
    """Standard output whose failures are told apart from those of files: as `OutputFailed`.

    A reader of a pipe that has seen enough stays a `BrokenPipeError`. `failure` is the first that was raised.
    """

    failure: OutputFailed | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write a part of the data, and return how much. Raises `OutputFailed`."""
        try:
            return super().write(data)  # standard output blocks: it never writes nothing
        except BrokenPipeError:
            raise
        except OSError as error:
            self.failure = _failure(error)
            raise self.failure from None

    def as_text(self, encoding: str = "utf-8", errors: str = "strict") -> io.TextIOWrapper:
        """The stream of text that ends here."""
        return io.TextIOWrapper(io.BufferedWriter(self), encoding, errors, line_buffering=self.isatty())


def _failure(error: OSError) -> OutputFailed:
    why = "it is closed" if error.errno == errno.EBADF else (error.strerror or "it is no longer there")
    return OutputFailed(
        f"Standard output cannot be written: {why}.",
        "Send it where there is room, and run the command again; what is printed may be cut off.",
    )


def guard_standard_output() -> None:
    """Have writes to standard output raise `OutputFailed` where it is full or closed, from here on.

    Descriptors that were closed before the start are taken, so that no file is opened as one of them.
    """
    if (
        sys.platform == "win32" or sys.stdout is not sys.__stdout__
    ):  # a console of its own, or a program around this one
        return
    if sys.stderr is None:
        _open_null_device(STDERR, os.O_WRONLY)
        sys.stderr = open(STDERR, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    encoding, errors = "utf-8", "strict"
    if sys.stdout is None:
        _open_null_device(STDOUT, os.O_RDONLY)
    else:
        encoding, errors = sys.stdout.encoding, sys.stdout.errors or errors
    sys.stdout = StandardOutput(STDOUT, "w", closefd=False).as_text(encoding, errors)


def claim_standard_output() -> StandardOutput | None:
    """Standard output for one protocol alone: what others print goes to standard error from here on.

    None where it is not the process's own, which leaves the claim to the protocol's library.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        if sys.stdout.fileno() != STDOUT:
            return None
        own = fcntl.fcntl(STDOUT, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)
        os.dup2(STDERR, STDOUT)
    except (OSError, ValueError):
        return None
    return StandardOutput(own, "w", closefd=False)


def _open_null_device(descriptor: int, mode: int) -> None:
    """Open the null device as a descriptor that is closed."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, mode)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def discard_standard_output() -> None:
    """Let whatever is still to be written to standard output go nowhere, as at the end of the program."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STDOUT)
    os.close(null)
