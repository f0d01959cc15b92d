"""Files that people ask for: written whole, readable by their owner, and nowhere but below the export directory."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testio_mcp.errors import BadInput
from testio_mcp.texts import visible

_MOST_BYTES = 200
"""Bytes of one name; file systems take 255, and a temporary name is a little longer."""
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
# Names that mean a device on Windows, whatever follows the first dot.
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE | re.DOTALL)
_STEP = "Give a plain file name such as quality-2026-q3.html."
_ELSEWHERE = "Make the directory writable for this user, or set TESTIO_EXPORT_DIR to another one."


def save(content: bytes, name: str, directory: Path, *, allow_folders: bool = False) -> Path:
    """Write a file below `directory` and return its path; a file of that name is replaced.

    `allow_folders` lets `name` hold folders with "/" between them. The file is 0600 and appears as a whole or not at
    all; directories that are missing are made, 0700. Raises `BadInput` for a name that leads anywhere else, and for
    a directory that cannot be written.
    """
    parts = _parts(name, allow_folders=allow_folders)
    with _said_plainly(directory):
        _make(directory)
        root = directory.resolve(strict=True)
        folder = root
        for part in parts[:-1]:
            folder /= part
            _stays(folder, root, name)
            _make(folder)
        target = folder / parts[-1]
        _stays(target, root, name)
        if target.is_dir():
            raise BadInput(f"{_display_name(name)} is a directory.", _STEP)
        _replace(target, content)
    return target


def name_below(name: str, directory: Path) -> str:
    """The name below `directory` of the file that a path means, wherever its links and dots lead.

    An absolute path is taken as it is, another one as below the directory. Raises `BadInput` for one that leads out.
    """
    try:
        root = directory.resolve()
        path = (root / name).resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, or a name that no file can have
        path = root = directory
    if path == root or not path.is_relative_to(root):
        message = f"{_display_name(name)} leads out of the export directory, {directory}."
        raise BadInput(message, "Give a name below it, or set TESTIO_EXPORT_DIR to another directory.")
    return path.relative_to(root).as_posix()


def _display_name(name: str) -> str:
    return ascii(name[:80])


def _parts(name: str, *, allow_folders: bool) -> list[str]:
    """The folders and the file that a name means."""
    parts = name.split("/")
    if len(parts) > 1 and not allow_folders:
        raise BadInput(f"{_display_name(name)} is not only a name.", f"{_STEP} It goes to the export directory.")
    for part in parts:
        if why := _wrong(part):
            raise BadInput(f"{_display_name(name)} cannot be a file name: {why}.", _STEP)
    return parts


def _wrong(part: str) -> str | None:
    """Why a name cannot be one; None if it can."""
    if not part.strip():
        return "it is empty, or part of it is"
    if part.startswith("."):
        return "it starts with a dot"
    if part != part.strip() or part.endswith("."):
        return "it starts or ends with a space, or ends with a dot"
    if _FORBIDDEN.search(part) or visible(part) != part or not part.isprintable():
        return "it holds characters that not every system takes"
    if _RESERVED.fullmatch(part):
        return "it means a device"
    return "it is too long" if len(part.encode()) > _MOST_BYTES else None


def _stays(path: Path, root: Path, name: str) -> None:
    """Refuse a link that leads out of the directory."""
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        raise BadInput(
            f"{_display_name(name)} leads out of the export directory.", "Give another name, or remove the link."
        )


def _make(directory: Path) -> None:
    """A directory with those above it; what was there before keeps its mode."""
    if not directory.is_dir():
        if directory.parent != directory:
            _make(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


def _replace(target: Path, content: bytes) -> None:
    """Write beside the file, then take its place: whoever looks sees the old file or the new one."""
    descriptor, beside = tempfile.mkstemp(prefix=".", suffix=".partial", dir=target.parent)  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(target)
    finally:
        Path(beside).unlink(missing_ok=True)


@contextmanager
def _said_plainly(directory: Path) -> Iterator[None]:
    """What the system says about a directory, as an error with a next step."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead to each other
        why = error.strerror if isinstance(error, OSError) and error.strerror else "its links lead in a circle"
        raise BadInput(f"No file can be written below {directory}: {why}.", _ELSEWHERE) from None
