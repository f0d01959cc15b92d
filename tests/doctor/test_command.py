"""The doctor on installations in every state: a screen, an exit code, never a traceback, never the token."""

import asyncio
import json
import os
import pty
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from testio_mcp.database.examine import files_of
from testio_mcp.doctor.examination import CHECKS, WITHOUT_SETTINGS
from testio_sandbox import World, serve_sandbox
from tests.database.filled import PEOPLE, count_people, fill
from tests.doctor.conftest import UNREACHABLE, Run
from tests.surfaces.programs import PROGRAM, Finished, whole

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
REPORTS = ("report.html", "report.md", "report.xlsx", "report.zip", "report.json")
NAMES = [name for name, _ in (*WITHOUT_SETTINGS, *CHECKS)]


def checks(done: Finished) -> dict[str, dict[str, Any]]:
    """The answer of `doctor --json` by name of the check."""
    answer = json.loads(done.out)
    found = {check["check"]: check for check in answer["checks"]}
    assert answer["status"] == ("fail" if done.code else answer["status"])
    assert done.code == int(any(check["state"] == "fail" for check in answer["checks"]))
    for check in found.values():
        assert check["found"]
        assert (check["fix"] is not None) == (check["state"] in ("warn", "fail"))
    return found


def states(done: Finished) -> dict[str, str]:
    """The states by name of the check."""
    return {name: check["state"] for name, check in checks(done).items()}


def test_missing_store_and_no_token(run_program: Run, tmp_path: Path) -> None:
    done = run_program("doctor", "--json", token=False)
    found = states(done)
    assert list(found) == NAMES
    assert (found["store"], found["integrity"], found["sync"], found["token"]) == ("warn", "skip", "skip", "fail")
    assert list(tmp_path.iterdir()) == [], "the doctor makes nothing"


def test_sound_store_and_unreachable_api(run: Run, sqlite_file: Path) -> None:
    before = sqlite_file.read_bytes()
    found = checks(run("doctor", "--json"))
    assert {name: found[name]["state"] for name in ("store", "integrity", "schema", "sync")} == {
        "store": "ok",
        "integrity": "ok",
        "schema": "ok",
        "sync": "warn",
    }
    assert found["API"]["found"].startswith("TCP connect: 127.0.0.1:9 refuses the connection.")
    assert (found["API"]["state"], found["token"]["state"], found["clock"]["state"]) == ("fail", "skip", "skip")
    assert sqlite_file.read_bytes() == before
    assert [path.name for path in sqlite_file.parent.iterdir()] == ["store.db"], "nothing is left beside it"


@pytest.mark.parametrize("content", [b"", b"This is a letter.\n" * 300, None, b"\0" * 5000])
def test_damaged_store(run: Run, sqlite_file: Path, content: bytes | None) -> None:
    """An empty file is a store that has no schema yet; the rest is damage."""
    damaged = sqlite_file.read_bytes()[:6000] if content is None else content
    sqlite_file.write_bytes(damaged)
    found = states(run("doctor", "--json"))
    assert (found["store"], found["schema"]) == (("fail", "skip") if damaged else ("ok", "warn"))
    assert sqlite_file.read_bytes() == damaged


def test_repair_on_the_command_line(run_program: Run, run: Run, sqlite_file: Path) -> None:
    backup = fill(sqlite_file, backup=True)
    assert backup is not None
    damaged = sqlite_file.read_bytes()[:-9000] + b"\xff" * 9000
    sqlite_file.write_bytes(damaged)
    done = run_program("doctor", "--repair", "--json")
    assert states(done)["integrity"] == "ok"
    assert backup.name in done.err
    assert "testio-mcp sync" in done.err
    (kept,) = (sqlite_file.parent / "aside").glob("*/store.db")
    assert kept.read_bytes() == damaged
    assert count_people(sqlite_file) == PEOPLE
    assert "needs no repair" in run("doctor", "--repair").err


def test_newer_store(run: Run, sqlite_file: Path) -> None:
    with sqlite3.connect(sqlite_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = sqlite_file.read_bytes()
    found = checks(run("doctor", "--json"))
    assert (found["store"]["state"], found["schema"]["state"]) == ("fail", "fail")
    assert "Upgrade testio-mcp" in found["schema"]["fix"]
    done = run("doctor", "--repair")
    assert (done.code, done.out) == (1, "")
    assert "9999" in done.err
    assert sqlite_file.read_bytes() == before


def test_settings_that_cannot_be(run: Run) -> None:
    secret = {"TESTIO_CUSTOMER_API_BASE_URL": "http://user:canary-password@api.example/"}
    done = run("doctor", "--json", environment=secret)
    found = checks(done)
    assert found["settings"]["state"] == "fail"
    assert "base_url" in found["settings"]["found"].lower()
    assert set(NAMES) < set(found)
    assert "canary-password" not in done.out


@pytest.mark.parametrize("url", ["https://", "https://host:99999/", "https://[::1", "https://host:x/"])
def test_addresses_that_cannot_be(run: Run, url: str) -> None:
    assert states(run("doctor", "--json", environment={"TESTIO_CUSTOMER_API_BASE_URL": url}))["settings"] == "fail"


def test_a_token_in_the_wrong_place_is_hidden(run: Run, canary: str) -> None:
    done = run("doctor", environment={"TESTIO_PROXY": f"http://me:{canary}@proxy.invalid:8080"})
    assert "http://proxy.invalid:8080" in done.out
    done = run("doctor", environment={"TESTIO_CA_FILE": f"/{canary}.pem"})
    assert "/***.pem" in done.out


def test_postgresql_has_tools_of_its_own(run: Run, canary: str) -> None:
    server = {"TESTIO_DATABASE_URL": f"postgresql+asyncpg://me:{canary}@127.0.0.1:9/data"}
    for arguments in (("doctor", "--repair"), ("db", "restore"), ("db", "verify"), ("db", "backups")):
        done = run(*arguments, environment=server)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    found = checks(run("doctor", "--json", environment=server))
    assert (found["store"]["state"], found["disk space"]["state"]) == ("fail", "skip")


@pytest.mark.slow
async def test_postgresql_is_examined(run_program: Run, postgres_url: str) -> None:
    found = states(run_program("doctor", "--json", environment={"TESTIO_DATABASE_URL": postgres_url}))
    assert (found["store"], found["schema"], found["integrity"], found["sync"]) == ("ok", "ok", "ok", "warn")


def test_backups_on_the_command_line(run: Run, sqlite_file: Path) -> None:
    assert "no backup" in run("db", "backups").err
    first, second = fill(sqlite_file, backup=True), fill(sqlite_file, PEOPLE + 1, backup=True)
    assert first is not None
    assert second is not None
    listed = run("db", "backups")
    assert [line.split("\t")[0] for line in listed.out.splitlines()[2:]] == [second.name, first.name]
    assert run("db", "verify").code == 0
    second.write_bytes(second.read_bytes()[:-5000])
    done = run("db", "verify")
    assert done.code == 1
    assert "sound" in next(line for line in done.out.splitlines() if first.name in line)
    assert "damaged" in next(line for line in done.out.splitlines() if second.name in line)
    assert run("db", "verify", first.name).code == 0
    assert run("db", "restore", second.name).code == 1
    done = run("db", "restore")
    assert (done.code, done.out) == (0, "")
    assert f"{second.name} is damaged" in done.err
    assert count_people(sqlite_file) == PEOPLE
    assert run("db", "restore", "frob").code == 1


@pytest.mark.slow
async def test_every_file_of_a_working_life_is_private(
    run: Run, run_program: Run, tmp_path: Path, canary: str, request: pytest.FixtureRequest
) -> None:
    """Sync, backup, restore, reports and digest under the umask 022; the token is in none of the files."""
    before = os.umask(0o022)
    request.addfinalizer(lambda: os.umask(before))
    async with serve_sandbox(World(seed=1, products=1, tests_per_product=2), token=canary) as api:
        given = {"TESTIO_CUSTOMER_API_BASE_URL": api.url, "TESTIO_DB_PATH": str(tmp_path / "data" / "store.db")}
        assert (await asyncio.to_thread(run_program, "sync", environment=given)).code == 0
        given["TESTIO_EXPORT_DIR"] = str(tmp_path / "data" / "exports")
        for words in (
            *(("report", "quality", "--period", "all time", "-o", f"deep/{name}") for name in REPORTS),
            ("digest", "--to", "file"),
            ("db", "backup"),
            ("db", "restore"),
            ("doctor", "--repair", "--json"),
        ):
            done = await asyncio.to_thread(run, *words, environment=given)
            assert done.code == 0, done
    assert states(done)["file modes"] == "ok"
    files = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").rglob("*")}
    assert {path.name for path in files} >= {"aside", "backups", "store.db", "store.db.sync-lock", *REPORTS}
    assert [path for path in files if path.name.startswith("digest-")]
    assert {path: mode for path, mode in files.items() if mode & 0o077} == {}


def test_file_modes(run: Run, sqlite_file: Path) -> None:
    sqlite_file.chmod(0o644)
    assert states(run("doctor", "--json"))["file modes"] == "warn", "0644, but in a directory of 0700"
    for file in files_of(sqlite_file):
        file.chmod(0o600)
    assert states(run("doctor", "--json"))["file modes"] == "ok"
    sqlite_file.parent.chmod(0o755)
    assert states(run("doctor", "--json"))["file modes"] == "warn"
    sqlite_file.chmod(0o644)
    found = checks(run("doctor", "--json"))["file modes"]
    sqlite_file.parent.chmod(0o700)
    assert found["state"] == "fail"
    assert f"chmod 600 {sqlite_file} " in found["fix"] + " "


_AS_NOBODY = """
import os, sys, tempfile
from testio_mcp.surfaces.cli.main import run
commands, path = (["doctor"], ["db", "restore"], ["doctor", "--repair"]), os.environ["TESTIO_DB_PATH"]
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
    print("exit", run(arguments), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_store_that_another_user_may_only_read(sqlite_file: Path) -> None:
    """Neither the doctor nor a restore writes; root itself may write everywhere, so nobody asks."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "store.db"
        shutil.copy(sqlite_file, path)
        path.chmod(0o444)
        path.parent.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY],
            env=whole({"TESTIO_DB_PATH": str(path), "TESTIO_CUSTOMER_API_BASE_URL": UNREACHABLE}),
            cwd=path.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert [file.name for file in path.parent.iterdir()] == ["store.db"]
    *_, examined, restored, repaired = done.stdout.split("=====\n")
    assert "read-only" in examined
    assert "integrity\tok" in examined
    assert "cannot be written" in restored
    assert "cannot be written" in repaired
    assert [said.splitlines()[-1] for said in (examined, restored, repaired)] == ["exit 1"] * 3
    assert "Traceback" not in done.stdout


def _screen(store: Path, columns: int, lines: int, **environment: str) -> tuple[int, list[str]]:
    """The exit code, and the lines that a terminal of that size shows."""
    ours, theirs = pty.openpty()
    environment |= {"TESTIO_DB_PATH": str(store), "TESTIO_CUSTOMER_API_BASE_URL": UNREACHABLE}
    environment |= {"COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm"}
    with subprocess.Popen(
        [*PROGRAM, "doctor"],
        env=whole(environment),
        cwd=store.parent,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        stdin=theirs,
    ) as child:
        os.close(theirs)
        seen = bytearray()
        try:
            while part := os.read(ours, 65536):
                seen += part
        except OSError:
            pass  # Linux reports the other side's end as an error.
        os.close(ours)
    return child.returncode, _ESCAPES.sub("", seen.decode()).splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 80])
def test_screen(sqlite_file: Path, width: int) -> None:
    """On a terminal every line fits, and the names stand in one column."""
    code, lines = _screen(sqlite_file, width, 100)
    assert code == 1
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if line.startswith(("ok ", "warn ", "fail ", "skip "))]
    assert len(rows) == len(NAMES)
    assert [row[6:].startswith(name) for row, name in zip(rows, NAMES, strict=True)] == [True] * len(NAMES)
    assert lines[-1].endswith("warn.")
    assert "2 fail" in lines[-1]


@pytest.mark.slow
def test_what_is_wrong_fits_on_a_small_screen(sqlite_file: Path) -> None:
    """What is well shares a line where not all has room; what fails comes last, next to the prompt."""
    code, lines = _screen(sqlite_file, 80, 24, https_proxy="x", SSL_CERT_FILE="x", SSL_CERT_DIR="x")
    assert code == 1
    assert len(lines) <= 22
    said = " ".join(" ".join(lines).split())
    assert [name for name in NAMES if name not in said] == []
    starts = [line.split()[0] for line in lines if line[:1] not in ("", " ")]
    assert starts[:-1] == sorted(starts[:-1], key=["ok", "skip", "warn", "fail"].index)
    assert starts[-1] == "2"


def test_piped_output_is_tab_separated(run: Run) -> None:
    done = run("doctor")
    lines = done.out.splitlines()
    assert lines[0] == "status: fail"
    assert [line.split("\t")[0] for line in lines[4:]] == NAMES
    assert {len(line.split("\t")) for line in lines[3:]} == {4}
