"""Run as a program: sync into a new store and ask, once per zone, and leave in files what came out.

    python -m tests.surfaces.zoned FOLDER QUESTION... -- ZONE...

Each zone has a process of its own, forked from this one, which spares it the imports. In its directory below FOLDER
it leaves `store.db`, `printed` by the command line, `answers` of REST to the questions, and its `offset` of now.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from fastapi import FastAPI

from testio_mcp.surfaces.account import Account
from testio_mcp.surfaces.cli.main import run
from testio_mcp.surfaces.http.rest import rest_app

NOON = 1_795_348_800
"""2026-11-22 12:00 UTC."""


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


async def _ask(questions: list[str]) -> list[str]:
    account = Account()
    transport = httpx2.ASGITransport(rest_app(account, _lifespan))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as web:
        answers = [(await web.get(question)).text for question in questions]
    await account.close()
    return answers


def _print_to(path: Path) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _in_zone(zone: str, folder: Path, questions: list[str]) -> None:
    os.environ["TZ"] = zone
    time.tzset()
    folder.mkdir(parents=True)
    os.environ["TESTIO_DB_PATH"] = str(folder / "store.db")
    (folder / "offset").write_text(str(time.localtime(NOON).tm_gmtoff))
    _print_to(folder / "printed")
    for line in (
        "sync --json",
        "tests list --limit 100 --json",
        "tests list --limit 100",
        "changes --since 2026-01-01",
    ):
        if run(line.split()):
            raise SystemExit(line)
    sys.stdout.flush()
    (folder / "answers").write_text(json.dumps(asyncio.run(_ask(questions))))


def main(folder: Path, questions: list[str], zones: list[str]) -> int:
    """Do it in each zone; 0 when all of them came to their end."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ["TESTIO_DB_PATH"] = str(Path(directory) / "imports-everything.db")
        asyncio.run(_ask(["/api/status"]))
    for zone in zones:
        child = os.fork()
        if not child:
            _in_zone(zone, folder / zone, questions)
            return 0
        if os.waitpid(child, 0)[1]:
            return 1
    return 0


if __name__ == "__main__":
    _folder, *_rest = sys.argv[1:]
    _cut = _rest.index("--")
    sys.exit(main(Path(_folder), _rest[:_cut], _rest[_cut + 1 :]))
