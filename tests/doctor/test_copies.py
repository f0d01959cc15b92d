"""What the doctor says of backups and of files put aside, and of a token that belongs to another store."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from testio_mcp.database.restore import KEEP_ASIDE, list_aside, repair
from testio_mcp.doctor.examination import examine
from testio_sandbox import World, serve_sandbox
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


def test_a_restore_that_was_cut_off(run: Run, sqlite_file: Path) -> None:
    fill(sqlite_file, backup=True)
    sqlite_file.with_name("store.db.restoring").write_bytes(b"the beginning of a copy")
    found = checks(run("doctor", "--json"))["backups"]
    assert (found["state"], found["fix"]) == ("warn", "testio-mcp db restore")
    assert run(*found["fix"].split()[1:]).code == 0
    assert checks(run("doctor", "--json"))["backups"]["state"] == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
@pytest.mark.parametrize(("size", "state"), [("8m", "fail"), ("60m", "warn"), ("300m", "ok")])
def test_a_disk_with_little_room(run: Run, sqlite_file: Path, tmp_path: Path, size: str, state: str) -> None:
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        shutil.copy(sqlite_file, place / "store.db")
        found = checks(run("doctor", "--json", environment={"TESTIO_DB_PATH": str(place / "store.db")}))
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert found["disk space"]["state"] == state
    assert found["file system"]["found"] == "tmpfs: local"
