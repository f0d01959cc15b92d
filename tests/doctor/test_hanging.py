"""The doctor comes to an end, whatever hangs or may not be looked at, and says what to do."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import pytest

from testio_mcp.database.migrate import HEAD
from testio_mcp.doctor import evidence, examination
from tests.conftest import SettingsFor
from tests.database.filled import fill
from tests.doctor.conftest import UNREACHABLE, Run
from tests.doctor.test_command import checks
from tests.postgres import SCHEMA, PostgresServer
from tests.surfaces.programs import whole


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_store_that_is_no_file(run: Run, tmp_path: Path, make: object) -> None:
    """To open a pipe is to wait for its other end."""
    make(tmp_path / "store.db")  # type: ignore[operator]
    found = checks(run("doctor", "--json"))
    assert (found["store"]["state"], found["integrity"]["state"]) == ("fail", "skip")
    assert "TESTIO_DB_PATH" in found["store"]["fix"]
    assert "store.db" not in found["file modes"]["found"]


def test_a_ca_file_that_never_ends(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "LONGEST_CHECK", 0.5)
    os.mkfifo(tmp_path / "ca.pem")
    found = checks(run("doctor", "--json", environment={"TESTIO_CA_FILE": str(tmp_path / "ca.pem")}))
    assert (found["CA file"]["state"], found["CA file"]["found"]) == ("fail", "there was no answer in time")
    (tmp_path / "ca.pem").write_text("")  # the thread that waits for it ends


def test_a_store_that_takes_too_long_to_read(run: Run, sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(sqlite_file)
    monkeypatch.setattr(evidence, "LONGEST_SCAN", 0.0)
    found = checks(run("doctor", "--json"))
    assert {name: found[name]["state"] for name in ("store", "integrity", "schema", "sync")} == {
        "store": "ok",
        "integrity": "skip",
        "schema": "ok",
        "sync": "warn",
    }
    assert "db check" in found["integrity"]["found"]


async def test_a_server_whose_tables_are_locked(
    settings_for: SettingsFor, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "LONGEST_SCAN", 1.0)
    settings_for()
    holder = await asyncpg.connect(postgres_url.replace("+asyncpg", ""))
    try:
        async with holder.transaction():
            await holder.execute(f"LOCK TABLE {SCHEMA}.sync_run IN ACCESS EXCLUSIVE MODE")
            diagnosis = await examination.examine(database_url=postgres_url, customer_api_base_url=UNREACHABLE)
    finally:
        await holder.close()
    found = {finding.check: finding for finding in diagnosis.checks}
    assert (found["store"].state, found["sync"].state) == ("fail", "skip")
    assert "does not answer" in found["store"].found
    assert found["schema"].found == f"revision {HEAD}, the newest"


async def test_a_user_who_may_not_write(
    settings_for: SettingsFor, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To such a user a full schema looks like an empty one, and a sync would not help."""
    settings_for()
    owner = await asyncpg.connect(empty_postgres_url.replace("+asyncpg", ""))
    try:
        await owner.execute(f"CREATE SCHEMA {SCHEMA}; CREATE ROLE guest LOGIN")
        diagnosis = await examination.examine(
            database_url=empty_postgres_url.replace("postgres@", "guest@"), customer_api_base_url=UNREACHABLE
        )
    finally:
        await owner.execute("DROP ROLE guest")
        await owner.close()
    found = {finding.check: finding for finding in diagnosis.checks}
    assert (found["store"].state, found["schema"].state) == ("fail", "skip")
    assert "grant" in str(found["store"].fix)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("postgresql+asyncpg://me:secret@127.0.0.1:9/d", "connection refused"),
        ("postgresql+asyncpg://me:secret@nowhere.invalid/d", "name of the server is unknown"),
        ("missing", "no such database"),
        ("unknown user", "wrong user or password"),
    ],
)
async def test_a_server_that_does_not_let_in(
    settings_for: SettingsFor, postgres_server: PostgresServer, server: str, said: str
) -> None:
    settings_for()
    of_ours = {
        "missing": postgres_server.url("missing"),
        "unknown user": postgres_server.url("postgres").replace("postgres@", "nobody@"),
    }
    url = of_ours.get(server, server)
    diagnosis = await examination.examine(database_url=url, customer_api_base_url=UNREACHABLE)
    found = {finding.check: finding for finding in diagnosis.checks}
    assert found["store"].state == "fail"
    assert said in found["store"].found
    assert "secret" not in diagnosis.model_dump_json()


_AS_NOBODY = """
import os, sys, tempfile
from testio_mcp.surfaces.account import registry
from testio_mcp.surfaces.cli.main import run
registry()
commands, path = (["doctor"], ["db", "verify"], ["db", "backups"]), os.environ["TESTIO_DB_PATH"]
with tempfile.TemporaryDirectory() as directory:
    os.environ["TESTIO_DB_PATH"] = directory + "/store.db"
    for arguments in commands:
        run(arguments)  # imports everything: another user may not be able to read this installation
os.environ["TESTIO_DB_PATH"] = path
os.setgid(65534)
os.setuid(65534)
for arguments in commands:
    sys.stdout.flush()
    print("=====", flush=True)
    code = run(arguments)
    sys.stdout.flush()
    print("exit", code, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_store_in_a_closed_directory(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # 0700
        path = Path(name) / "store.db"
        path.touch()
        (path.parent / "backups").mkdir()
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY],
            env=whole({"TESTIO_DB_PATH": str(path), "TESTIO_CUSTOMER_API_BASE_URL": UNREACHABLE}),
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    *_, examined, verified, listed = done.stdout.split("=====\n")
    for check in ("store", "backups", "file modes", "disk space"):
        assert f"\n{check}\tfail\t" in examined, examined
    assert "went wrong" not in done.stdout
    for said in (verified, listed):
        assert "cannot be read" in said
        assert said.endswith("exit 1\n")


def test_a_directory_that_others_need_is_not_to_be_closed(run: Run, sqlite_file: Path) -> None:
    """Such as /tmp; names are quoted for the shell."""
    try:
        sqlite_file.parent.chmod(0o1777)
        sqlite_file.chmod(0o644)
        found = checks(run("doctor", "--json"))["file modes"]
    finally:
        sqlite_file.parent.chmod(0o700)
    assert found["state"] == "fail"
    assert "chmod 700" not in found["fix"]
    assert "TESTIO_DB_PATH" in found["fix"]
    place = sqlite_file.parent / "my data"
    place.mkdir(mode=0o700)
    moved = sqlite_file.rename(place / "store.db")
    place.chmod(0o755)
    found = checks(run("doctor", "--json", environment={"TESTIO_DB_PATH": str(moved)}))["file modes"]
    subprocess.run(["/bin/sh", "-ec", found["fix"]], check=True)
    assert checks(run("doctor", "--json", environment={"TESTIO_DB_PATH": str(moved)}))["file modes"]["state"] == "ok"


def test_what_hangs_keeps_no_program_from_ending() -> None:
    program = """
import asyncio, threading
from testio_mcp.timeouts import run_with_timeout
try:
    asyncio.run(run_with_timeout(0.01, threading.Event().wait))
except TimeoutError:
    print("given up")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("given up\n", "")
