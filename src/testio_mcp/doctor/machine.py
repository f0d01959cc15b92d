"""Checks of the machine: versions, files, disk."""

import os
import platform
import shlex
import shutil
import sqlite3
import stat
import sys
from pathlib import Path

from testio_mcp.database.backup import aside_directory, backup_directory, list_backups
from testio_mcp.database.examine import files_of
from testio_mcp.database.mounts import ELSEWHERE, NETWORK, SHARED, file_system_of
from testio_mcp.directories import user_env_file
from testio_mcp.doctor.case import Case
from testio_mcp.doctor.findings import Verdict, fail, mebibytes, ok, skip, warn
from testio_mcp.settings import env_files

NEEDED_PYTHON = (3, 11)
NEEDED_SQLITE = (3, 35, 0)
WAL_RESET_BUG = ((3, 7, 0), (3, 51, 2))
_FIXED_EARLIER = frozenset({(3, 44, 6), (3, 50, 7)})
_MIB = 2**20
_TIGHT, _ROOMY = 20 * _MIB, 100 * _MIB


def check_python(_: Case | None = None) -> Verdict:
    """The interpreter."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < NEEDED_PYTHON:
        return fail(found, "Install Python 3.11 or newer.")
    return ok(found)


def check_sqlite(_: Case | None = None) -> Verdict:
    """The library that Python was built with."""
    return judge_sqlite(sqlite3.sqlite_version_info)


def judge_sqlite(version: tuple[int, ...]) -> Verdict:
    """What is known of a version of SQLite."""
    found = ".".join(map(str, version))
    if version < NEEDED_SQLITE:
        return fail(found, "Install a Python that is built with SQLite 3.35 or newer.")
    first, last = WAL_RESET_BUG
    if first <= version <= last and version not in _FIXED_EARLIER:
        return warn(
            f"{found} has the WAL-reset bug; harmless with our one writer",
            "Nothing urgent: it is mended in SQLite 3.51.3.",
        )
    return ok(found)


def check_disk(case: Case) -> Verdict:
    """Room for the store to grow, and for the backup before a migration."""
    if case.settings.database_url is not None:
        return skip("the store is on a server")
    free = shutil.disk_usage(_existing(case.settings.db_path.parent)).free
    size = sum(path.stat().st_size for path in files_of(case.settings.db_path))
    found = f"{mebibytes(free)} free, the store takes {mebibytes(size)}"
    if free < _TIGHT:
        return fail(found, "Free some space: a sync fails when the disk is full.")
    if free < 2 * size + _ROOMY:
        return warn(found, "Free some space: a backup needs as much as the store.")
    return ok(found)


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.is_dir())


_LEADING = ("db_path", "database_url", "alert_webhook", "alert_rules", "proxy", "ca_file")
"""Settings that lead data or their reader somewhere, beside the address of the API."""


def check_settings(case: Case) -> Verdict:
    """Which files of settings are read, which of them lead anywhere, and which file here is not read."""
    read = ", ".join(map(str, env_files())) or "the environment alone"
    api = f"; API {case.settings.unusual_api}" if case.settings.unusual_api else ""
    # Not what they say: an address may hold a secret, and the paths and the proxy have checks of their own.
    leading = [name for name in _LEADING if case.settings.source_of(name) != "the defaults"]
    api += "".join(f"; TESTIO_{name.upper()} from {case.settings.source_of(name)}" for name in leading)
    stray = Path(".env")
    if stray.is_file() and stray.absolute() not in [path.absolute() for path in env_files()]:
        try:
            holds_settings = b"TESTIO_" in stray.read_bytes()[:65536]
        except OSError:
            holds_settings = False
        if holds_settings:
            step = f"Name it with --env-file .env, or move its lines to {user_env_file()}."
            return warn(f"{read}{api}; the .env of this directory is not read", step)
    return ok(f"{read}{api}")


def check_modes(case: Case) -> Verdict:
    """Only the owner may read the store, its backups, and files of settings."""
    if sys.platform == "win32":
        return skip("this system has no file modes")
    open_files = [path for path in _private_files(case) if _mode(path) & 0o077]
    open_directories = [path for path in _private_directories(case) if _mode(path) & 0o077]
    closable = [path for path in open_directories if not _is_shared(path)]
    fixes = [
        shlex.join(["chmod", mode, *map(str, paths)])
        for mode, paths in (("600", open_files), ("700", closable))
        if paths
    ]
    advice = [" && ".join(fixes)] if fixes else []
    if len(closable) < len(open_directories):
        advice.append("move the store to a directory of its own, and set TESTIO_DB_PATH")
    if not advice:
        return ok("only this user may read the store" if case.settings.database_url is None else "no file to read")
    found = "; ".join(f"{path.name} is {_mode(path):04o}" for path in (*open_files, *open_directories))
    # Behind a closed directory an open file cannot be reached, and an open directory shows names alone.
    is_exposed = any(_mode(path.parent) & 0o011 for path in open_files)
    return (fail if is_exposed else warn)(f"others may look: {found}", "; ".join(advice))


def _private_files(case: Case) -> list[Path]:
    settings = [path.absolute() for path in env_files() if path.is_file()]
    if case.settings.database_url is not None:
        return settings
    store = case.settings.db_path
    files = [path for path in files_of(store) if path.is_file()]
    return [*files, *list_backups(store), *settings]


def _private_directories(case: Case) -> list[Path]:
    if case.settings.database_url is not None:
        return []
    store = case.settings.db_path
    return [path for path in (store.parent, backup_directory(store), aside_directory(store)) if path.is_dir()]


def _is_shared(directory: Path) -> bool:
    """Whether others need the directory too, such as /tmp: closing it would do harm, or cannot be done."""
    info = directory.stat()
    return bool(info.st_mode & stat.S_ISVTX) or os.geteuid() not in (0, info.st_uid)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def check_file_system(case: Case) -> Verdict:
    """A store lives on a local disk."""
    if case.settings.database_url is not None:
        return skip("the store is on a server")
    return judge_file_system(file_system_of(case.settings.db_path))


def judge_file_system(kind: str | None) -> Verdict:
    """Whether a store may live on a file system of that kind."""
    if kind is None:
        return skip("this system does not tell the kind of a file system")
    if kind in NETWORK:
        return fail(f"{kind}: a network file system, on which no store is opened", ELSEWHERE)
    if kind in SHARED:
        return warn(f"{kind}: shared with another machine", "Use the store from one machine only, or a local disk.")
    return ok(f"{kind}: local")
