"""Posting to the address of `TESTIO_ALERT_WEBHOOK`: signed, bounded, and not taken elsewhere."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import httpx2

from testio_mcp import __version__
from testio_mcp.api.transport import tls_context
from testio_mcp.errors import BadInput, WebhookFailed
from testio_mcp.settings import LOOPBACK, Settings

SIGNATURE = "X-Testio-Signature"
"""Header with `sha256=` and the HMAC of the body, in hexadecimal, when there is a secret."""
_SECONDS = 10.0
_WAITS = (0.5, 2.0)
"""Seconds before each further attempt."""
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


async def post(settings: Settings, message: Mapping[str, Any]) -> None:
    """Post a message as JSON, with a few attempts.

    Raises `WebhookFailed` unless the address answers with a status from 200 to 299, which is all that is read of
    the answer, and `BadInput` without an address.
    """
    if settings.alert_webhook is None:
        raise BadInput("There is no webhook.", "Set TESTIO_ALERT_WEBHOOK to the address to post to.")
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    why = ""
    async with _client(settings) as client:
        for wait in (*_WAITS, None):
            status = await _attempt(client, settings, body)
            if isinstance(status, int) and 200 <= status < 300:
                return
            why = f"answered {status}" if isinstance(status, int) else status
            if wait is None or (isinstance(status, int) and status not in _AGAIN):
                break
            await asyncio.sleep(wait)
    raise WebhookFailed(
        f"The webhook {why}.", "Check TESTIO_ALERT_WEBHOOK and its receiver; the next run tries again."
    )


async def _attempt(client: httpx2.AsyncClient, settings: Settings, body: bytes) -> int | str:
    """The status of the answer, or what went wrong."""
    address = settings.alert_webhook.get_secret_value() if settings.alert_webhook else ""
    headers = {"Content-Type": "application/json", "User-Agent": f"testio-mcp/{__version__}"}
    if settings.alert_webhook_secret is not None:
        secret = settings.alert_webhook_secret.get_secret_value().encode()
        headers[SIGNATURE] = f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
    try:
        async with (
            asyncio.timeout(_SECONDS),
            client.stream("POST", address, content=body, headers=headers) as response,
        ):
            return response.status_code
    except TimeoutError:
        return f"did not answer within {_SECONDS:.0f} seconds"
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return "cannot be reached"


def _client(settings: Settings) -> httpx2.AsyncClient:
    """Connections that believe nothing of the environment and follow no redirect."""
    address = httpx2.URL(settings.alert_webhook.get_secret_value() if settings.alert_webhook else "")
    try:
        return httpx2.AsyncClient(
            verify=tls_context(settings, str(address)),
            proxy=None if address.host in LOOPBACK else settings.proxy,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(_SECONDS),
        )
    except (ValueError, ImportError, httpx2.InvalidURL):
        raise BadInput("TESTIO_PROXY: not the address of a proxy.", "Write it as http://host:port.") from None
