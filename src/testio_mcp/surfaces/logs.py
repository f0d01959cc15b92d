"""Logging: to stderr, and never a secret."""

import logging
import os
import secrets
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from testio_mcp.settings import Settings

_SECRETS = ("customer_api_token", "http_token", "database_url", "alert_webhook", "alert_webhook_secret")
_SHORTEST_PART = 6
"""Parts of an address that are shorter are no secrets, and hiding them would hide ordinary words."""
_secrets: set[str] = set()
logger = logging.getLogger(__name__)


class Redacted(logging.Formatter):
    """Log lines and tracebacks in which known secrets are replaced."""

    def format(self, record: logging.LogRecord) -> str:
        """The line as it may be seen."""
        line = super().format(record)
        for secret in sorted(_secrets, key=len, reverse=True):
            line = line.replace(secret, "***")
        return line


def log_to_stderr() -> None:
    """Send all logging to stderr; stdout belongs to data."""
    for name in _SECRETS:
        _hide(os.environ.get(f"TESTIO_{name.upper()}") or "")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _hide(secret: str) -> None:
    """Hide a secret from now on; of an address, also its path and its password, since clients write it anew."""
    parts = [secret.strip()]
    try:
        url = urlsplit(secret)
        if url.netloc:
            parts += [url.path, url.query, url.password or ""]
    except ValueError:  # not an address
        pass
    _secrets.update(part for part in parts if part and (part == secret.strip() or len(part) >= _SHORTEST_PART))


def apply_log_settings(settings: "Settings") -> None:
    """Use the level of the settings, and hide the secrets they hold."""
    for name in _SECRETS:
        if (secret := getattr(settings, name)) is not None:
            _hide(secret.get_secret_value())
    logging.getLogger().setLevel(settings.log_level)


def masked(what: str, error: Exception) -> str:
    """Log a defect and return what may be said of it: a reference that finds it in the log."""
    reference = secrets.token_hex(3)
    logger.error("%s failed (reference %s)", what, reference, exc_info=error)
    return f"Something went wrong inside testio-mcp (reference {reference})."
