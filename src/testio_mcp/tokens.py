"""Where the API token is when no variable holds it: in the system's keyring, or in a file of the user's own."""

import stat
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from platformdirs import user_config_path

from testio_mcp.errors import BadInput

SERVICE = "testio-mcp"
"""The name of the service in the keyring; the name of the user there is the host of the API."""
_MOST_BYTES = 4096


def default_token_file() -> Path:
    """Where the token may lie unless `TESTIO_CUSTOMER_API_TOKEN_FILE` says otherwise."""
    return user_config_path("testio-mcp", appauthor=False) / "token"


def find_token(api_url: str, file: Path) -> str | None:
    """The token for the API at that address: from the keyring, else from the file; None if neither has one.

    Raises `BadInput` for a file that others may read or replace, or that cannot be read.
    """
    return _from_keyring(urlsplit(api_url).netloc) or _from_file(file)


def _from_keyring(host: str) -> str | None:
    if find_spec("keyring") is None:
        return None
    import keyring
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(SERVICE, host)
    except KeyringError:  # there is none on this machine, or its owner keeps it locked
        return None


def _from_file(file: Path) -> str | None:
    try:
        if not file.is_file():
            return None
        _refuse_open(file)
        with file.open("rb") as opened:
            return opened.read(_MOST_BYTES).decode("utf-8", "replace").strip() or None
    except OSError:
        raise BadInput(f"The token file {file} cannot be read.", "Make it readable for this user alone.") from None


def _refuse_open(file: Path) -> None:
    """A token that others may read is no secret, and one that they may replace is not ours."""
    if sys.platform == "win32":
        return
    for path, mode in ((file, 600), (file.parent, 700)):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise BadInput(
                f"The token file {file} is not used: others may look into {path}.", f"Run chmod {mode} '{path}'."
            )
