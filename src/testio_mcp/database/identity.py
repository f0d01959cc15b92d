"""Which file a SQLite store is, and whether its path still leads to it.

An open connection goes on with a file that was deleted or replaced, as if nothing had happened. So each use first
compares what the path leads to with what was opened, which takes a microsecond.
"""

import os
from pathlib import Path

from testio_mcp.errors import StoreBusy, StoreGone


class FileIdentity:
    """The file that a store was opened as: device and inode, and how large it has been.

    A store only grows, so a smaller one was cut short or overwritten in its place.
    """

    def __init__(self, db_path: Path) -> None:
        """Remember the file that the path leads to now. Raises `OSError` without one."""
        self._path = db_path
        found = db_path.stat()
        self._file = found.st_dev, found.st_ino
        self._size = found.st_size
        self._beside: dict[Path, tuple[int, int]] = {}

    def is_same(self) -> bool:
        """Whether the path still leads to this file, whole; then what lies beside it is remembered, too."""
        if self.is_replaced():
            return False
        size = self._path.stat().st_size
        if size < self._size:
            return False
        self._size = size
        if len(self._beside) < 2:
            self._beside = {path: file for path in _logs(self._path) if (file := _file_at(path))}
        return True

    def is_replaced(self) -> bool:
        """Whether the path leads to another file, or to none."""
        return _file_at(self._path) != self._file

    def refuse_missing(self) -> None:
        """Raise `StoreGone` when the path leads to no file."""
        if _file_at(self._path) is None:
            raise StoreGone(
                f"The store {self._path} was deleted or moved away while it was open.",
                "Put it back, or run 'testio-mcp db restore' for the newest backup; "
                "to start a new one, start testio-mcp again.",
            )

    def remove_logs(self) -> None:
        """Remove the log of the file that is gone: SQLite would replay it into the one that took its place.

        A log that another process uses with the new file, or that came with it, stays.
        """
        from testio_mcp.database.restore import without_readers

        try:
            with without_readers(self._path):
                for path, file in self._beside.items():
                    if _file_at(path) == file:
                        path.unlink()
        except StoreBusy:
            return


def _logs(db_path: Path) -> list[Path]:
    return [db_path.with_name(f"{db_path.name}{suffix}") for suffix in ("-wal", "-shm")]


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - twice as quick as Path.stat, before every question
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
