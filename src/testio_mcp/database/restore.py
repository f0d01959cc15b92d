"""Putting another file in the place of a SQLite store. What was there is kept, byte by byte, in `aside`."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import Timeout
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from testio_mcp import crash_points
from testio_mcp.database.backup import announce, aside_directory, backup_directory, flush, list_backups
from testio_mcp.database.engine import sync_file_lock
from testio_mcp.database.examine import files_of, reading, refuse_damaged
from testio_mcp.database.faults import store_errors
from testio_mcp.database.tables import Product, table_of
from testio_mcp.errors import Conflict, NotFound, StoreBusy, StoreCorrupt, StoreError, StoreForeign, StoreReadOnly

# While a connection in WAL mode is open it holds a shared lock on these bytes of the main file.
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
KEEP_ASIDE = 3
_STAMP = re.compile(r"\d{8}T\d{12}Z")
_PRODUCTS = select(table_of(Product).c.id)


@dataclass(frozen=True)
class Restored:
    """What was done: the backup now in use (None for a fresh start), where the old files are, what was unusable.

    `reasons` say why; `removed` are older files that had been put aside.
    """

    backup: Path | None
    aside: Path | None
    unusable: tuple[Path, ...] = ()
    reasons: tuple[str, ...] = ()
    removed: tuple[Path, ...] = ()


@contextmanager
def without_syncs(db_path: Path) -> Iterator[None]:
    """Keep syncs out, on a damaged file as well. Raises `Conflict` while one runs."""
    lock = sync_file_lock(db_path)
    with store_errors(str(db_path)):
        if not db_path.parent.is_dir():
            raise NotFound(f"There is no directory {db_path.parent}.", "Correct TESTIO_DB_PATH.")
        if not os.access(db_path.parent, os.W_OK):
            raise StoreReadOnly(f"The directory {db_path.parent} cannot be written.", "Make it writable.")
        try:
            lock.acquire()
        except Timeout:
            raise Conflict(f"A sync of the store {db_path} is running.", "Wait until it ends.") from None
        try:
            yield
        finally:
            lock.release()


@contextmanager
def without_readers(db_path: Path) -> Iterator[None]:
    """Keep every process out that would have the store open while it is replaced. Raises `StoreBusy`.

    A server would go on with the old file unnoticed. The lock ends as soon as this process closes the file anywhere.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows moves no file that is open, so there is nothing to guard
        yield
        return
    if not db_path.is_file():
        yield
        return
    with db_path.open("rb+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
        except BlockingIOError:
            raise StoreBusy(
                f"Another process has the store {db_path} open.", "End it, such as a running server, and try again."
            ) from None
        yield


def verify_backup(path: Path) -> None:
    """Raise a `StoreError` unless the backup is a sound store of a revision that this build knows."""
    announce(path, f"Reading every page of {path}.")
    refuse_damaged(path, at_rest=True)


def complaint(path: Path) -> str | None:
    """What is wrong with a backup; None for a sound one."""
    try:
        verify_backup(path)
    except StoreError as error:
        return error.message
    return None


def find_backup(db_path: Path, name: str) -> Path:
    """The backup of that name. Raises `NotFound`."""
    for path in list_backups(db_path):
        if name == path.name:
            return path
    raise NotFound(f"There is no backup {name!r} of this store.", "'testio-mcp db backups' lists them.")


def newest_sound_backup(db_path: Path) -> tuple[Path | None, dict[Path, str]]:
    """The newest backup that passes its verification, and the newer ones that do not, each with what is wrong."""
    unusable: dict[Path, str] = {}
    for path in list_backups(db_path):
        try:
            verify_backup(path)
            _refuse_stranger(db_path, path)
        except (StoreError, Conflict) as error:
            unusable[path] = error.message
        else:
            return path, unusable
    return None, unusable


def _refuse_stranger(db_path: Path, backup: Path) -> None:
    """Raise `Conflict` when a backup shares no product with the store, as far as that can be read."""
    ours, theirs = _products(db_path), _products(backup)
    if ours and theirs and not ours & theirs:
        raise Conflict(
            f"The backup {backup} holds none of the store's products: it is another account's.",
            f"If it is the right one, move {db_path} away first.",
        )


def _products(path: Path) -> set[int]:
    try:
        # Without its log the store may be older, which does not matter here; and no file is made beside it.
        with reading(path, at_rest=True) as conn:
            return set(conn.execute(_PRODUCTS).scalars())
    except (StoreError, DBAPIError):  # missing, damaged, without tables: nothing to compare
        return set()


def list_aside(db_path: Path) -> list[Path]:
    """The directories of files of this store that a restore or a repair replaced, newest first."""
    place = aside_directory(db_path)
    found = sorted(place.iterdir(), reverse=True) if place.is_dir() else []
    return [path for path in found if _STAMP.fullmatch(path.name) and _holds_files_of(db_path, path)]


def _holds_files_of(db_path: Path, aside: Path) -> bool:
    """Stores of one directory share the place; a directory without files is what a killed removal left."""
    names = [path.name for path in aside.iterdir()]
    return not names or any(name.startswith(db_path.name) for name in names)


def _remove_old_asides(db_path: Path) -> tuple[Path, ...]:
    """Remove all but the newest files put aside, and return which; for a store that was restored from a backup."""
    old = list_aside(db_path)[KEEP_ASIDE:]
    for path in old:
        shutil.rmtree(path, ignore_errors=True)
    return tuple(old)


def restore(db_path: Path, name: str | None = None) -> Restored:
    """Put a backup in the place of the store; by default the newest that is sound.

    Raises `NotFound` without such a backup and a `StoreError` for a damaged one; nothing is changed then.
    """
    with without_syncs(db_path):
        if name is None:
            backup, unusable = newest_sound_backup(db_path)
        else:
            backup, unusable = find_backup(db_path, name), {}
            _refuse_stranger(db_path, backup)
        if backup is None:
            place = backup_directory(db_path)
            raise NotFound(
                f"There is no sound backup of this store in {place}.",
                "'testio-mcp db verify' says why; 'testio-mcp doctor --repair' starts a damaged store afresh.",
            )
        return _replace_store(db_path, backup, unusable)


def repair(db_path: Path) -> Restored | None:
    """Replace a damaged store by its newest sound backup, or by nothing; None when there is no damage.

    Raises the `StoreError` of a store that cannot be used for another reason: moving it would not help.
    """
    with without_syncs(db_path):
        if not db_path.exists() or not _is_damaged(db_path):
            return None
        return _replace_store(db_path, *newest_sound_backup(db_path))


def _replace_store(db_path: Path, backup: Path | None, unusable: dict[Path, str]) -> Restored:
    with without_readers(db_path):
        aside = _replace(db_path, backup)
    # After a fresh start, what was put aside may be the only copy of the data.
    removed = _remove_old_asides(db_path) if backup is not None else ()
    return Restored(backup, aside, tuple(unusable), tuple(unusable.values()), removed)


def _is_damaged(db_path: Path) -> bool:
    announce(db_path, f"Reading every page of {db_path}.")
    try:
        refuse_damaged(db_path)
    except StoreForeign:
        raise
    except StoreCorrupt:
        return True
    return False


def _replace(db_path: Path, backup: Path | None) -> Path | None:
    """Put a copy of `backup`, or nothing, in the place of the store; return where the old files are.

    Killed at any moment, it leaves the old store, the old store without its log, or the new one, and all old files
    in `aside` before the first of them goes.
    """
    fresh = db_path.with_name(f"{db_path.name}.restoring")
    fresh.unlink(missing_ok=True)
    try:
        if backup is not None:
            _copy(backup, fresh)
            verify_backup(fresh)
        crash_points.crash_point("restore.step")
        aside = _keep(db_path)
        crash_points.crash_point("restore.step")
        # The log goes first: beside another main file it would be replayed into it.
        for path in reversed(files_of(db_path)):
            if path != db_path or backup is None:
                path.unlink()
                crash_points.crash_point("restore.step")
        if backup is not None:
            fresh.replace(db_path)
        crash_points.crash_point("restore.step")
        flush(db_path.parent)
    finally:
        fresh.unlink(missing_ok=True)
    return aside


def _copy(source: Path, target: Path) -> None:
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
        shutil.copyfileobj(reading, writing)
        writing.flush()
        os.fsync(writing.fileno())


def _keep(db_path: Path) -> Path | None:
    """Give the store's files a second name, or where that is not possible a copy, in a directory of their own."""
    files = files_of(db_path)
    if not files:
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    aside = aside_directory(db_path) / stamp
    aside.parent.mkdir(mode=0o700, exist_ok=True)
    aside.mkdir(mode=0o700)
    for path in files:
        kept = aside / path.name
        with suppress(OSError):
            os.link(path, kept)
        if not kept.exists():
            shutil.copy2(path, kept)
            flush(kept)
        kept.chmod(0o600)
    flush(aside)
    return aside
