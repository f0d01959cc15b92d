"""A synced store, made once, and the programs that answer from it."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import pytest

from testio_mcp.app import open_app, silent
from testio_mcp.settings import Settings
from testio_mcp.surfaces.cli.main import run
from testio_mcp.sync.engine import SyncOptions, run_sync
from testio_sandbox import World, serve_sandbox
from tests.support.canary import holders
from tests.surfaces.programs import Finished, HttpServer, http_server

Cli = Callable[..., Awaitable[Finished]]


@dataclass(frozen=True)
class Copy:
    """A synced store and the ids of some records in it."""

    path: Path
    product_id: int
    test_id: int
    bug_id: int
    feature_id: int
    user_story_id: int
    person_id: int

    @property
    def known(self) -> dict[str, object]:
        """The ids under the names of the arguments that take one or several of them."""
        ids = {name: value for name, value in vars(self).items() if name.endswith("_id")}
        return ids | {f"{name}s": [value] for name, value in ids.items()}

    @property
    def environment(self) -> dict[str, str]:
        """How a program is told to answer from it as it is: there is no API behind it to refresh it from."""
        return {"TESTIO_DB_PATH": str(self.path), "TESTIO_REFRESH_AFTER_MINUTES": "0"}


# A bug with a feature that has user stories, and what belongs to it.
_KNOWN = """
SELECT (SELECT max(id) FROM test), bug.id, bug.feature_id, min(user_story.id), bug.author_id
FROM bug JOIN user_story ON user_story.feature_id = bug.feature_id
WHERE bug.author_id IS NOT NULL GROUP BY bug.id ORDER BY bug.id DESC LIMIT 1
"""


async def _synced(path: Path, token: str) -> Copy:
    world = World(seed=5, products=2, tests_per_product=60, bugs_per_test=2)
    async with serve_sandbox(world, token=token) as sandbox:
        settings = Settings(customer_api_base_url=sandbox.url, customer_api_token=sandbox.token, db_path=path)
        async with open_app(settings) as app:
            await run_sync(app, SyncOptions(), silent)
            found = await app.store.read(lambda conn: conn.exec_driver_sql(_KNOWN).one())
    return Copy(path, world.product_ids[0], *found)


@pytest.fixture(scope="session")
def synced(tmp_path_factory: pytest.TempPathFactory, canary: str) -> Iterator[Copy]:
    """A store with two products; nobody writes to it, and it does not hold the token that it was made with."""
    folder = tmp_path_factory.mktemp("synced")
    yield asyncio.run(_synced(folder / "store.db", canary))
    assert holders(folder, canary) == []


@pytest.fixture
def own_copy(synced: Copy, tmp_path: Path) -> Copy:
    """The synced store in a file of the test's own."""
    path = tmp_path / "own.db"
    shutil.copy(synced.path, path)
    return replace(synced, path=path)


@pytest.fixture(scope="session")
def server(synced: Copy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """An HTTP server on the synced store, with every operation as a tool."""
    environment = {**synced.environment, "TESTIO_TOOLSETS": "all"}
    with http_server(environment, tmp_path_factory.mktemp("http")) as running:
        yield running


@pytest.fixture
async def web(server: HttpServer) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of that server."""
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command line in this process, for all that does not depend on how a process starts and ends."""

    async def call(environment: Mapping[str, str], *arguments: str) -> Finished:
        monkeypatch.chdir(tmp_path)
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            capfd.readouterr()
            code = await asyncio.to_thread(run, list(arguments))
        out, err = capfd.readouterr()
        return Finished(code, out, err)

    return call
