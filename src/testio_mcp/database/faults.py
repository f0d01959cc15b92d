"""What the database says, as errors a person can act on."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from testio_mcp.errors import StoreBusy, StoreCorrupt, StoreError, StoreFull, StoreReadOnly

_SQLITE: dict[str, tuple[type[StoreError], str, str]] = {
    "SQLITE_BUSY": (
        StoreBusy,
        "Another process is writing to the store {place}.",
        "Try again in a moment, or end the other process.",
    ),
    "SQLITE_FULL": (StoreFull, "The disk of the store {place} is full.", "Free some space and try again."),
    "SQLITE_IOERR": (
        StoreFull,
        "The store {place} cannot be read or written: the disk is full or failing.",
        "Check the space and the health of the disk, then try again.",
    ),
    "SQLITE_READONLY": (
        StoreReadOnly,
        "The store {place} or its directory cannot be written.",
        "Make both writable for this user, or set TESTIO_DB_PATH to another place.",
    ),
    "SQLITE_CANTOPEN": (
        StoreReadOnly,
        "The store {place} cannot be opened.",
        "Make the file and its directory readable and writable for this user, or set TESTIO_DB_PATH.",
    ),
    "SQLITE_CORRUPT": (
        StoreCorrupt,
        "The store {place} is damaged.",
        "Run 'testio-mcp doctor --repair': it keeps the file, and restores the newest sound backup.",
    ),
    "SQLITE_NOTADB": (
        StoreCorrupt,
        "The file {place} is not a store.",
        "Set TESTIO_DB_PATH to another file, or move this one away.",
    ),
}


_BUSY, _FULL, _READONLY = _SQLITE["SQLITE_BUSY"], _SQLITE["SQLITE_FULL"], _SQLITE["SQLITE_READONLY"]
_SERVER = (
    StoreError,
    "The database {place} did not answer as expected: {trouble}.",
    "Check TESTIO_DATABASE_URL and that the server runs and accepts this user.",
)
_TROUBLE = {
    "ConnectionRefusedError": "connection refused",
    "gaierror": "the name of the server is unknown",
    "TimeoutError": "no answer in time",
    "InvalidCatalogNameError": "there is no such database",
    "InvalidPasswordError": "wrong user or password",
    "InvalidAuthorizationSpecificationError": "wrong user or password",
}
_POOLER = (
    StoreError,
    "A pooler before the database {place} gives each transaction another connection, and loses its settings.",
    "Set TESTIO_DATABASE_URL to the database itself, or to the pooler's session mode.",
)
# SQLSTATE, or its first characters. Any other state is a defect of a statement, not of the server.
_POSTGRESQL: dict[str, tuple[type[StoreError], str, str]] = {
    "08P01": _POOLER,
    "26000": _POOLER,
    "42P05": _POOLER,
    "08": _SERVER,
    "28": _SERVER,
    "3D": _SERVER,
    "57P": _SERVER,
    "53300": _SERVER,
    "53100": _FULL,
    "40": _BUSY,
    "55P03": _BUSY,
    "25006": _READONLY,
    "42501": (
        StoreReadOnly,
        "The database {place} does not let this user do that.",
        "Grant the user all rights on the schema, and the right to create it.",
    ),
}
# Damage that SQLite reports without a code of its own.
_UNREADABLE = ("unsupported file format", "malformed database schema", "Could not decode to UTF-8")
_FILE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _READONLY,
    errno.EPERM: _READONLY,
    errno.EROFS: _READONLY,
}


def _classify(error: BaseException, place: str) -> StoreError | None:
    found = _classify_by_code(error)
    if found is None:
        return None
    kind, message, next_step = found
    name = type(error).__name__
    trouble = _TROUBLE.get(name, name)
    return kind(message.format(place=place, trouble=trouble), next_step)


def _classify_by_code(error: BaseException) -> tuple[type[StoreError], str, str] | None:
    if isinstance(error, OSError):
        # Only a failure on a file names one; the others are failures to reach a server.
        return _FILE.get(error.errno or 0, _FULL) if error.filename else _SERVER
    if isinstance(error, PoolTimeout):
        return _BUSY
    if type(error).__name__ == "InterfaceError":  # the connection is gone
        return _SERVER
    if isinstance(error, UnicodeDecodeError) or str(error).startswith(_UNREADABLE):
        return _SQLITE["SQLITE_CORRUPT"]
    state, table = (
        (getattr(error, "sqlite_errorname", None), _SQLITE)
        if isinstance(error, sqlite3.Error)
        else (getattr(error, "sqlstate", None), _POSTGRESQL)
    )
    return next((found for prefix, found in table.items() if str(state).startswith(prefix)), None)


@contextmanager
def store_errors(place: str) -> Iterator[None]:
    """Turn a failure of the database at `place` into a `StoreError`; defects of ours pass unchanged."""
    try:
        yield
    except (DBAPIError, PoolTimeout, sqlite3.Error, OSError, UnicodeDecodeError) as error:
        cause: BaseException = error.orig or error if isinstance(error, DBAPIError) else error
        known = _classify(cause.__cause__, place) if cause.__cause__ else None
        known = known or _classify(cause, place)
        if known is None:
            raise
        raise known from error
