"""What the database says, as errors a person can act on."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError

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
        "Move the file away and sync again; backups are in the directory 'backups' beside it.",
    ),
    "SQLITE_NOTADB": (
        StoreCorrupt,
        "The file {place} is not a store.",
        "Set TESTIO_DB_PATH to another file, or move this one away.",
    ),
}


def _classify(error: BaseException, place: str) -> StoreError | None:
    name = getattr(error, "sqlite_errorname", "") or ""
    for prefix, (kind, message, next_step) in _SQLITE.items():
        if name.startswith(prefix):
            return kind(message.format(place=place), next_step)
    if type(error).__module__.startswith("asyncpg") or isinstance(error, OSError | InterfaceError):
        return StoreError(
            f"The database {place} did not answer as expected ({type(error).__name__}).",
            "Check TESTIO_DATABASE_URL and that the server runs and accepts this user.",
        )
    return None


@contextmanager
def store_errors(place: str) -> Iterator[None]:
    """Turn a failure of the database at `place` into a `StoreError`; defects of ours pass unchanged."""
    try:
        yield
    except DBAPIError as error:
        cause: BaseException = error.orig or error
        known = _classify(cause, place) or _classify(cause.__cause__ or cause, place)
        if known is None:
            raise
        raise known from error
    except (sqlite3.Error, OSError) as error:
        known = _classify(error, place)
        if known is None:
            raise
        raise known from error
