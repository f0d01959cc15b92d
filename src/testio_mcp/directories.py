"""Directories of the user's own: for the store, for settings and for the token."""

import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_config_path, user_data_path

from testio_mcp.errors import BadInput

_GIVE_HOME = "Set HOME to a directory of this user's, or remove what is there."


def _own_directory(find: Callable[..., Path], kind: str) -> Path:
    """A directory of the user's own; below the temporary directory for a user of whom the system knows no home."""
    try:
        return find("testio-mcp", appauthor=False)
    except RuntimeError:
        return _temporary_directory() / kind


def _temporary_directory() -> Path:
    """A directory among the temporary files. Raises `BadInput` where somebody else made it, or may look into it."""
    if sys.platform == "win32":
        return Path(tempfile.gettempdir()) / "testio-mcp-user"
    path = Path(tempfile.gettempdir()) / f"testio-mcp-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        info = path.lstat()
    except OSError:
        raise BadInput(f"This user has no home directory, and {path} cannot be made.", _GIVE_HOME) from None
    # One that waits there may be a stranger's trap: it would hold settings that count as this user's own.
    if not stat.S_ISDIR(info.st_mode) or info.st_uid not in (os.getuid(), os.geteuid()) or info.st_mode & 0o077:
        raise BadInput(f"This user has no home directory, and {path} is not this user's alone.", _GIVE_HOME)
    return path


def data_directory() -> Path:
    """Where the store and exports live unless the settings say otherwise."""
    return _own_directory(user_data_path, "data")


def config_directory() -> Path:
    """Where the user's own `settings.env` and token file are."""
    return _own_directory(user_config_path, "config")


def default_token_file() -> Path:
    """Where the token may lie unless `TESTIO_CUSTOMER_API_TOKEN_FILE` says otherwise."""
    return config_directory() / "token"


def user_env_file() -> Path:
    """The file of settings that is read without being named."""
    return config_directory() / "settings.env"
