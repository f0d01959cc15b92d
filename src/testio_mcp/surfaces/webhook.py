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
from testio_mcp.texts import quote_line

SIGNATURE = "X-Testio-Signature"
"""Header with `sha256=` and the HMAC of the body, in hexadecimal, when there is a secret."""
_SECONDS = 10.0
_WAITS = (0.5, 2.0)
"""Seconds before each further attempt."""
_MOST_SAID = 2048
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


async def post(settings: Settings, message: Mapping[str, Any]) -> None:
    """Post a message as JSON, with a few attempts.

    Raises `WebhookFailed` unless the address answers with a status from 200 to 299; it repeats the first line of the
    answer, short and in quotes. Raises `BadInput` without an address.
    """
    if settings.alert_webhook is None:
        raise BadInput("There is no webhook.", "Set TESTIO_ALERT_WEBHOOK to the address to post to.")
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    why = ""
    async with _client(settings) as client:
        for wait in (*_WAITS, None):
            status, said = await _attempt(client, settings, body)
            if isinstance(status, int) and 200 <= status < 300:
                return
            why = f"answered {status}" if isinstance(status, int) else status
            if said:
                why += f': "{said}"'
            if wait is None or (isinstance(status, int) and status not in _AGAIN):
                break
            await asyncio.sleep(wait)
    raise WebhookFailed(
        f"The webhook {why}.", "Check TESTIO_ALERT_WEBHOOK and its receiver; the next run tries again."
    )


async def _attempt(client: httpx2.AsyncClient, settings: Settings, body: bytes) -> tuple[int | str, str]:
    """The status of the answer, or what went wrong, and the first line of the answer."""
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
            return response.status_code, await _first_line(response, settings)
    except TimeoutError:
        return f"did not answer within {_SECONDS:.0f} seconds", ""
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        is_of_proxy = settings.proxy and httpx2.URL(address).host not in LOOPBACK
        if is_of_proxy and isinstance(error, httpx2.ProxyError | httpx2.ConnectError | httpx2.ConnectTimeout):
            return f"cannot be reached through the proxy {httpx2.URL(settings.proxy or '').netloc.decode()}", ""
        return "cannot be reached", ""


async def _first_line(response: httpx2.Response, settings: Settings) -> str:
    """The first line of what a receiver says of its failure; nothing of a web page, and never a secret of ours."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.is_success or kind not in ("", "text/plain", "application/json", "application/problem+json"):
        return ""
    data = b""
    try:
        async for piece in response.aiter_bytes():
            data += piece
            if len(data) >= _MOST_SAID:
                break
    except httpx2.HTTPError:  # the status is known
        return ""
    text = data[:_MOST_SAID].decode(errors="replace")
    for secret in (settings.alert_webhook, settings.alert_webhook_secret, settings.customer_api_token):
        text = text.replace(secret.get_secret_value(), "***") if secret else text
    return quote_line(text)


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
