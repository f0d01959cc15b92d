"""Secrets of test environments, wherever the API tells them, are in no file that a sync leaves behind."""

from pathlib import Path
from typing import Any

import pytest

from testio_sandbox import World
from tests.conftest import ON_SQLITE
from tests.sync.conftest import EVERYTHING, Account

pytestmark = ON_SQLITE

SECRETS = ("hunter2-canary", "pin-4711-canary", "pw-canary", "tok-canary", "note-canary", "nested-canary", "s3cret")
ENVIRONMENT: dict[str, Any] = {
    "id": 990_001,
    "title": "Staging of the shop",
    "url": "https://anna:pw-canary@staging.example.com/start?token=tok-canary&page=1",
    "password": "hunter2-canary",
    "login": {"name": "anna", "password": "nested-canary"},
    "environment_test_information": {"data_type": "custom", "description": "pin-4711-canary"},
    "notes": "note-canary",
}


@pytest.fixture
def world() -> World:
    """A product with one environment, which its tests and bugs repeat."""
    world = World(seed=5, products=1, tests_per_product=12, bugs_per_test=2)
    environments = world.product_state(world.product_ids[0]).environments
    environments.clear()
    environments[990_001] = ENVIRONMENT
    return world


async def test_no_secret_of_an_environment_is_in_any_file(account: Account, tmp_path: Path) -> None:
    sent = repr([account.world.test(key) for key in account.world.test_ids(account.world.product_ids[0])])
    assert "hunter2-canary" in sent

    await account.sync(only=EVERYTHING)
    await account.sync(only=EVERYTHING, full=True)

    stored = repr([await account.rows(table) for table in ("test_environment", "test", "bug", "execution")])
    assert "Staging of the shop" in stored and "staging.example.com/start" in stored
    assert [secret for secret in SECRETS if secret in stored] == []
    if account.store.connection is None:
        return  # the files of a server are its own
    copy = await account.store.backup()
    files = [path for path in {*tmp_path.rglob("*"), *Path(copy).parent.iterdir()} if path.is_file()]
    assert {path.name.partition(".db")[2] for path in files} >= {"", "-wal", "-shm"}
    for path in files:
        content = path.read_bytes()
        assert [secret for secret in SECRETS if secret.encode() in content] == [], path.name
