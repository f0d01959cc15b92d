"""What the doctor says of backups and of files put aside, and of a token that belongs to another store."""

import subprocess
from pathlib import Path

from testio_mcp.database.restore import KEEP_ASIDE, list_aside, repair
from testio_mcp.doctor.examination import examine
from testio_mcp.sandbox import World, serve_sandbox
from tests.conftest import SettingsFor
from tests.database.filled import fill
from tests.doctor.conftest import Run
from tests.doctor.test_command import checks
from tests.support.scripted import answer, scripted
from tests.surfaces.programs import command


def test_files_put_aside_are_told_and_can_be_removed_as_it_says(run: Run, sqlite_file: Path) -> None:
    for number in range(KEEP_ASIDE + 1):
        found = checks(run("doctor", "--json"))["backups"]
        assert found["state"] == "ok"
        assert ("put aside" in found["found"]) == (number > 0)
        fill(sqlite_file)
        sqlite_file.write_bytes(sqlite_file.read_bytes()[:-20_000])
        assert repair(sqlite_file) is not None
    fill(sqlite_file)
    found = checks(run("doctor", "--json"))["backups"]
    assert found["state"] == "warn"
    assert "MiB" in found["found"]
    newest = list_aside(sqlite_file)[:KEEP_ASIDE]
    subprocess.run(["/bin/sh", "-ec", found["fix"].partition(": ")[2]], check=True)
    assert list_aside(sqlite_file) == newest
    assert checks(run("doctor", "--json"))["backups"]["state"] == "ok"


async def test_a_token_of_another_account(canary: str, settings_for: SettingsFor, tmp_path: Path) -> None:
    settings_for()
    store = tmp_path / "store.db"
    world = World(seed=1, products=2, tests_per_product=1)
    theirs = answer({"products": [{"id": 900_001, "name": "Another"}]})
    async with serve_sandbox(world, token=canary) as sandbox, scripted(theirs) as other:
        given = {"TESTIO_DB_PATH": str(store), "TESTIO_CUSTOMER_API_TOKEN": canary}
        synced = await command({**given, "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url}, "sync", cwd=tmp_path)
        assert synced.code == 0, synced.err
        found = []
        for url in (sandbox.url, other.url):
            diagnosis = await examine(db_path=store, customer_api_token=canary, customer_api_base_url=url)
            found += [finding for finding in diagnosis.checks if finding.check == "token"]
    assert [finding.state for finding in found] == ["ok", "fail"]
    assert "none of the 2 products" in found[1].found
    assert "TESTIO_DB_PATH" in str(found[1].fix)
