"""Entity tags: which answers a client may keep, and when it is told that nothing has changed."""

import hashlib
import re
import time

from starlette.requests import Request

from testio_mcp import __version__
from testio_mcp.app import App
from testio_mcp.database.versions import data_version
from testio_mcp.operations.registry import Operation

CLOCK_SECONDS = 300
"""Some answers count from now (what is left until a bug is accepted): a tag is good for this long at most."""
_TAG = re.compile(r'(?:W/)?"([^"]*)"')


async def entity_tag(app: App, operation: Operation, request: Request, form: str = "") -> str | None:
    """The tag of the answer to a question, without asking it; None when the answer must not be kept.

    What is too old is refreshed first, as it is before every answer: a client that has the newest answer keeps the
    copy fresh like any other. The tag is weak: the same answer may travel compressed or not, and a report with the
    same numbers names another moment at which it was made. `form` is the kind of file that the client wants.
    """
    if not operation.idempotent:
        return None
    await app.refresh(operation.needs)
    version = await app.store.read(data_version)
    if version is None:
        return None
    clock = int(time.time() // CLOCK_SECONDS)
    settings = app.settings.model_dump_json()  # secrets are masked in it
    parts = (__version__, settings, version, str(clock), request.url.path, request.url.query, form)
    return f'W/"{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:32]}"'


def is_known(tag: str, given: str | None) -> bool:
    """Whether the client has the answer of that tag already, by its `If-None-Match`."""
    return given is not None and tag.removeprefix("W/").strip('"') in _TAG.findall(given)
