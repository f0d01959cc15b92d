"""Ask a server for a gzip bomb of 200 MB; print by how many bytes the peak of the memory grew."""

import asyncio
import resource
import sys
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from testio_mcp.api.client import CustomerApi
from testio_mcp.errors import BadPayload
from testio_mcp.settings import load_settings
from tests.support.scripted import respond, scripted


def _bomb() -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(200)) + packer.flush()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def _main(directory: Path) -> None:
    step = respond(200, _bomb(), content_type="application/json", content_encoding="gzip")
    async with scripted(step) as server:
        settings = load_settings(
            customer_api_token="x", customer_api_base_url=server.url, db_path=directory / "store.db"
        )
        async with CustomerApi(settings) as api:
            before = _peak()
            try:
                await api.list_products()
            except BadPayload:
                sys.stdout.write(str(_peak() - before))


if __name__ == "__main__":
    with TemporaryDirectory() as directory:
        asyncio.run(_main(Path(directory)))
