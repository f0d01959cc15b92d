"""Backups put back, damaged stores repaired: what was there is kept byte by byte."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from testio_mcp.database.backup import backup_directory, list_backups
from testio_mcp.database.examine import files_of, refuse_damaged
from testio_mcp.database.restore import complaint, repair, restore
from testio_mcp.errors import (
    Conflict,
    NotFound,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreForeign,
    StoreTooNew,
)
from tests.database.filled import PEOPLE, count_people, fill

_HOLD_OPEN = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM person").fetchall()
print("open", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def filled(sqlite_file: Path) -> Path:
    """A store with a backup that lacks its newest rows."""
    fill(sqlite_file, backup=True)
    fill(sqlite_file, PEOPLE + 1)
    return sqlite_file


def _kept(aside: Path | None) -> dict[str, bytes]:
    assert aside is not None
    return {path.name: path.read_bytes() for path in aside.iterdir()}


def _files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in files_of(path)}


def _damage(path: Path) -> None:
    with path.open("rb+") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 4)


def test_restore_brings_the_newest_sound_backup_back(filled: Path) -> None:
    before = _files(filled)
    done = restore(filled)
    assert done.backup == list_backups(filled)[0]
    assert done.unusable == ()
    assert _kept(done.aside) == before
    assert count_people(filled) == PEOPLE


def test_restore_passes_over_a_damaged_backup(filled: Path) -> None:
    fill(filled, 2 * PEOPLE + 1, backup=True)
    newest, older = list_backups(filled)
    _damage(newest)
    done = restore(filled)
    assert (done.backup, done.unusable) == (older, (newest,))
    assert newest.exists(), "a damaged backup is kept as well"


def test_restore_of_a_named_backup(filled: Path) -> None:
    fill(filled, 2 * PEOPLE + 1, backup=True)
    newest, older = list_backups(filled)
    restore(filled, older.name)
    assert count_people(filled) == PEOPLE
    restore(filled, newest.name)
    assert count_people(filled) == 3 * PEOPLE
    assert len(list((filled.parent / "aside").iterdir())) == 2


@pytest.mark.parametrize("name", ["nothing.db", "../store.db", "/etc/passwd", ""])
def test_restore_takes_the_names_of_backups_alone(filled: Path, name: str) -> None:
    before = _files(filled)
    with pytest.raises(NotFound):
        restore(filled, name)
    assert _files(filled) == before
    assert not (filled.parent / "aside").exists()


def test_restore_of_a_damaged_backup_changes_nothing(filled: Path) -> None:
    (backup,) = list_backups(filled)
    _damage(backup)
    before = _files(filled)
    with pytest.raises(StoreCorrupt):
        restore(filled, backup.name)
    with pytest.raises(NotFound, match="no sound backup"):
        restore(filled)
    assert _files(filled) == before
    assert {path.name for path in filled.parent.iterdir()} == {filled.name, "backups", f"{filled.name}.sync-lock"}


def test_restore_where_the_store_is_gone(filled: Path) -> None:
    filled.unlink()
    assert restore(filled).aside is None
    assert count_people(filled) == PEOPLE


def test_nothing_is_restored_without_backups(sqlite_file: Path) -> None:
    with pytest.raises(NotFound):
        restore(sqlite_file)
    with pytest.raises(NotFound):
        restore(sqlite_file.parent / "nowhere" / "store.db")


@pytest.mark.parametrize("action", [restore, repair])
def test_nothing_moves_while_a_sync_runs(filled: Path, action: object) -> None:
    _damage(filled)
    before = _files(filled)
    with FileLock(f"{filled}.sync-lock"), pytest.raises(Conflict):
        action(filled)  # type: ignore[operator]
    assert _files(filled) == before


@pytest.mark.parametrize("damaged", [False, True])
def test_nothing_moves_while_another_process_has_the_store_open(filled: Path, damaged: bool) -> None:
    """A server would go on reading and writing the file that was put aside."""
    before = filled.read_bytes()
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLD_OPEN, str(filled)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        if damaged:
            _damage(filled)
            before = filled.read_bytes()
        with pytest.raises(StoreBusy, match="open"):
            (repair if damaged else restore)(filled)
        assert filled.read_bytes() == before
        child.stdin.close()
    assert (repair if damaged else restore)(filled) is not None
    assert count_people(filled) == PEOPLE


def test_repair_leaves_a_sound_store_alone(filled: Path) -> None:
    before = _files(filled)
    assert repair(filled) is None
    assert _files(filled)[filled.name] == before[filled.name]
    assert repair(filled.parent / "missing.db") is None


def test_repair_without_a_backup_starts_afresh(sqlite_file: Path) -> None:
    _damage(sqlite_file)
    before = _files(sqlite_file)
    done = repair(sqlite_file)
    assert done is not None
    assert done.backup is None
    assert _kept(done.aside).items() >= before.items()
    assert count_people(sqlite_file) == 0


def test_repair_does_not_touch_what_is_not_damage(sqlite_file: Path) -> None:
    with sqlite3.connect(sqlite_file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreTooNew):
        repair(sqlite_file)
    foreign = sqlite_file.with_name("foreign.db")
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE recipe (id INTEGER)")
    connection.close()
    with pytest.raises(StoreForeign):
        repair(foreign)
    assert not (sqlite_file.parent / "aside").exists()


def test_a_table_that_is_missing_is_damage(filled: Path) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("DROP TABLE dead_letter")
    connection.close()
    assert repair(filled) is not None
    refuse_damaged(filled)


def test_a_store_without_its_revision_is_damage(filled: Path) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("DELETE FROM alembic_version")
    connection.close()
    assert repair(filled) is not None
    assert count_people(filled) == PEOPLE


def test_all_that_is_made_is_private(filled: Path) -> None:
    before = os.umask(0o022)
    try:
        filled.chmod(0o644)
        restore(filled)
        _damage(filled)
        repair(filled)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in filled.parent.rglob("*")}
    assert {path.name: oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    assert (filled.parent / "aside") in modes
    assert backup_directory(filled) in modes


def test_where_hard_links_do_not_exist_the_files_are_copied(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    before = _files(filled)
    assert _kept(restore(filled).aside) == before
    assert count_people(filled) == PEOPLE


def test_a_disk_that_is_full_meanwhile_changes_nothing(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", str(filled))

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    before = _files(filled)
    with pytest.raises(StoreError, match="full"):
        restore(filled)
    assert _files(filled) == before
    assert not filled.with_name(f"{filled.name}.restoring").exists()


@given(data=st.data())
def test_any_damage_is_repaired(filled: Path, data: st.DataObject) -> None:
    """Header, page or length: a look changes nothing, a repair keeps every byte and leaves a sound store."""
    content = filled.read_bytes()
    damaged = bytearray(content)
    kind = data.draw(st.sampled_from(["header", "page", "truncated", "anything"]))
    if kind == "header":
        damaged[data.draw(st.integers(0, 99))] ^= data.draw(st.integers(1, 255))
    elif kind == "page":
        page = data.draw(st.integers(0, len(content) // 4096 - 1)) * 4096
        noise = data.draw(st.binary(min_size=1, max_size=64))
        at = page + data.draw(st.integers(0, 4096 - len(noise)))
        damaged[at : at + len(noise)] = noise
    elif kind == "truncated":
        del damaged[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        damaged = bytearray(data.draw(st.binary(max_size=200)))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        path.write_bytes(damaged)
        shutil.copytree(backup_directory(filled), backup_directory(path))
        found = complaint(path)
        assert path.read_bytes() == damaged
        try:
            done = repair(path)
        except (StoreTooNew, StoreForeign):
            assert path.read_bytes() == damaged  # the revision or the list of tables was hit: left to a person
            return
        if done is None:
            assert found is None or not damaged
        else:
            assert _kept(done.aside)[path.name] == damaged
            assert count_people(path) == PEOPLE
        refuse_damaged(path)


def _with_log(path: Path, first: int) -> Path:
    """A copy of a store that was copied while its log held rows."""
    copy = path.with_name(f"copied-{first}.db")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    with connection:
        connection.executemany(
            "INSERT INTO person (id, name) VALUES (?, ?)",
            [(number, f"person {number:05} {'y' * 300}") for number in range(first, first + 200)],
        )
    for file in files_of(path):
        if not file.name.endswith("-shm"):
            shutil.copy(file, copy.with_name(copy.name + file.name.removeprefix(path.name)))
    connection.close()
    return copy


def test_a_copy_without_its_log_is_an_older_store(filled: Path) -> None:
    copy = _with_log(filled, 10_000)
    copy.with_name(f"{copy.name}-wal").unlink()
    refuse_damaged(copy)
    assert count_people(copy) == 2 * PEOPLE


_KILLED = """
import os, shutil, sys
from pathlib import Path
from testio_mcp.database.restore import restore
number, code = 0, -9
while code:
    number += 1
    copy = Path(sys.argv[2]) / str(number)
    shutil.copytree(sys.argv[1], copy)
    os.environ["TESTIO_FAULT"] = f"restore.step:{number}:kill"
    if not (child := os.fork()):
        restore(copy / "store.db")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def test_a_restore_that_is_killed_can_be_run_again(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """At every moment the old bytes are there, in place or aside, and the store is the old one or the new one."""
    copy = _with_log(filled, 10_000)
    for file in files_of(copy):
        shutil.move(file, filled.with_name(filled.name + file.name.removeprefix(copy.name)))
    before = _files(filled)
    place = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", _KILLED, str(filled.parent), str(place)], check=True)
    left = sorted(place.iterdir())
    assert len(left) == 5  # prepared, kept, log gone, replaced; and the one that came through
    for directory in left:
        path = directory / "store.db"
        kept = [*directory.glob("aside/*"), directory]
        assert any(
            before.items() <= {file.name: file.read_bytes() for file in d.iterdir() if file.is_file()}.items()
            for d in kept
        )
        refuse_damaged(path)
        restore(path)
        assert count_people(path) == PEOPLE
        assert not path.with_name("store.db.restoring").exists()


@settings(max_examples=25)
@given(data=st.data())
def test_any_log_opens_an_older_store_or_is_repaired(filled: Path, data: st.DataObject) -> None:
    """A log cut off or overwritten ends at its last whole transaction."""
    if not (copy := filled.with_name("copied-10000.db")).exists():
        _with_log(filled, 10_000)
    log = copy.with_name(f"{copy.name}-wal").read_bytes()
    damaged = bytearray(log)
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(log))) :]
    else:
        noise = data.draw(st.binary(min_size=1, max_size=100))
        at = data.draw(st.integers(0, len(log) - len(noise)))
        damaged[at : at + len(noise)] = noise
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        shutil.copy(copy, path)
        path.with_name("store.db-wal").write_bytes(damaged)
        refuse_damaged(path)
        assert path.with_name("store.db-wal").read_bytes() == damaged, "a look does not use the log up"
        assert count_people(path) in (2 * PEOPLE, 2 * PEOPLE + 200)
        refuse_damaged(path)


def test_a_log_of_another_store_is_noticed_and_repaired(filled: Path, tmp_path: Path) -> None:
    """SQLite replays any log whose checksums are right: only the integrity check sees that it is a stranger's."""
    other = tmp_path / "other.db"
    shutil.copy(list_backups(filled)[0], other)
    fill(other, 50_000, 3 * PEOPLE)
    copy = _with_log(other, 20_000)
    shutil.copy(copy.with_name(f"{copy.name}-wal"), filled.with_name(f"{filled.name}-wal"))
    before = _files(filled)
    with pytest.raises(StoreCorrupt):
        refuse_damaged(filled)
    assert _files(filled).items() >= before.items()
    done = repair(filled)
    assert done is not None
    assert _kept(done.aside).items() >= before.items()
    assert count_people(filled) == PEOPLE
