"""Where the API token is when no variable holds it: in the system's keyring, or in a file of the user's own."""

import stat
import sys
from importlib.util import find_spec
from pathlib import Path

from testio_mcp.errors import BadInput

SERVICE = "testio-mcp"
"""The name of the service in the keyring; the name of the user there is the host of the API."""
_MOST_BYTES = 4096


def find_token_in_keyring(host: str) -> str | None:
    """The token that the system's keyring keeps for that host of the API; None without one."""
    if find_spec("keyring") is None:
        return None
    import keyring
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(SERVICE, host)
    except KeyringError:  # there is none on this machine, or its owner keeps it locked
        return None


def find_token_in_file(file: Path) -> str | None:
    """The token in the file; None without one.

    Raises `BadInput` for a file that others may read or replace, or that cannot be read.
    """
    try:
        if not file.is_file():
            return None
        refuse_readable(file)
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES)
        return decode_file(data, "replace").strip() or None
    except OSError:
        raise BadInput(f"The token file {file} cannot be read.", "Make it readable for this user alone.") from None


def decode_file(data: bytes, errors: str = "strict") -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark, as programs on Windows write both."""
    is_wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-16" if is_wide else "utf-8-sig", errors)


def refuse_readable(file: Path, *, directory: bool = True) -> None:
    """A secret that others may read is none, and in a `directory` of others they may replace it.

    Raises `BadInput`.
    """
    if sys.platform == "win32":
        return
    for path, mode in ((file, 600), (file.parent, 700))[: 1 + directory]:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise BadInput(
                f"The file {file} holds a secret and is not used: others may look into {path}.",
                f"Run chmod {mode} '{path}'.",
            )
