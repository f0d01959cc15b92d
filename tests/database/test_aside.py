"""What a restore or a repair puts aside: the newest are kept, and so is all that may be the only copy."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from testio_mcp.database.backup import backup_directory, list_backups
from testio_mcp.database.examine import refuse_damaged
from testio_mcp.database.restore import KEEP_ASIDE, list_aside, repair, restore
from testio_mcp.errors import Conflict, NotFound
from tests.database.filled import PEOPLE, count_people, fill


def _damage(path: Path) -> None:
    with path.open("rb+") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 4)


def _give_products(path: Path, *ids: int) -> None:
    connection = sqlite3.connect(path)
    names = [row[1] for row in connection.execute("PRAGMA table_info(product)")]
    with connection:
        for number in ids:
            values = [number if name == "id" else "2026-01-01 00:00:00.000000" for name in names]
            marks = ", ".join("?" * len(names))
            connection.execute(f"INSERT INTO product VALUES ({marks})", values)
    connection.close()


def test_the_newest_are_kept_once_the_store_is_restored(sqlite_file: Path) -> None:
    fill(sqlite_file, backup=True)
    done = [restore(sqlite_file) for _ in range(KEEP_ASIDE + 2)]
    assert [path for one in done for path in one.removed] == [one.aside for one in done[:2]]
    assert list_aside(sqlite_file) == [one.aside for one in reversed(done[2:])]


def test_what_may_be_the_only_copy_is_kept(sqlite_file: Path) -> None:
    """Without a sound backup a repair starts afresh, and removes nothing."""
    kept = []
    for _ in range(KEEP_ASIDE + 2):
        fill(sqlite_file)
        _damage(sqlite_file)
        done = repair(sqlite_file)
        assert done is not None
        assert (done.backup, done.removed) == (None, ())
        kept.append(done.aside)
    assert list_aside(sqlite_file) == kept[::-1]


def test_what_belongs_to_others_is_left_alone(sqlite_file: Path) -> None:
    other = sqlite_file.with_name("another.db")
    shutil.copy(sqlite_file, other)
    fill(other, backup=True)
    others = [restore(other).aside for _ in range(KEEP_ASIDE)]
    fill(sqlite_file, backup=True)
    for name in ("notes", "20260101"):
        (sqlite_file.parent / "aside" / name).mkdir()
    for _ in range(KEEP_ASIDE + 2):
        restore(sqlite_file)
    assert list_aside(other) == others[::-1]
    assert len(list((sqlite_file.parent / "aside").iterdir())) == 2 * KEEP_ASIDE + 2


_KILLED = """
import os, shutil, sys
from pathlib import Path
from testio_mcp.database.restore import repair
number, code = 0, -9
while code:
    number += 1
    copy = Path(sys.argv[2]) / str(number)
    shutil.copytree(sys.argv[1], copy)
    os.environ["TESTIO_FAULT"] = f"restore.step:{number}:kill"
    if not (child := os.fork()):
        repair(copy / "store.db")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("has_backup", [True, False])
def test_a_repair_that_is_killed_can_be_run_again(
    sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory, has_backup: bool
) -> None:
    """At every moment the damaged bytes are there, in place or aside."""
    fill(sqlite_file, backup=has_backup)
    _damage(sqlite_file)
    damaged = sqlite_file.read_bytes()
    place = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", _KILLED, str(sqlite_file.parent), str(place)], check=True)
    left = sorted(place.iterdir())
    assert len(left) >= 4  # prepared, kept, replaced or removed; and the one that came through
    for directory in left:
        path = directory / "store.db"
        found = [file.read_bytes() for file in (path, *directory.glob("aside/*/store.db")) if file.exists()]
        assert damaged in found
        repair(path)
        assert count_people(path) == (PEOPLE if has_backup else 0)
        refuse_damaged(path)
        assert not path.with_name("store.db.restoring").exists()


def test_a_backup_of_another_account_is_not_restored(sqlite_file: Path) -> None:
    """No product of it is one of the store."""
    fill(sqlite_file, backup=True)
    _give_products(sqlite_file, 1, 2)
    (before_products,) = list_backups(sqlite_file)
    fill(sqlite_file, PEOPLE + 1, backup=True)
    strange, _ = list_backups(sqlite_file)
    _change_products(strange)
    before = sqlite_file.read_bytes()
    with pytest.raises(Conflict, match="another account"):
        restore(sqlite_file, strange.name)
    assert sqlite_file.read_bytes() == before
    done = restore(sqlite_file)
    assert (done.backup, done.unusable) == (before_products, (strange,))
    assert "another account" in done.reasons[0]
    sqlite_file.unlink()
    restore(sqlite_file, strange.name)
    assert count_people(sqlite_file) == 2 * PEOPLE


def _change_products(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE product SET id = id + 1000")
    connection.close()


def test_backups_of_a_newer_version_are_named_as_such(sqlite_file: Path) -> None:
    fill(sqlite_file, backup=True)
    (newer,) = list_backups(sqlite_file)
    connection = sqlite3.connect(newer)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(NotFound, match="db verify"):
        restore(sqlite_file)
    _damage(sqlite_file)
    done = repair(sqlite_file)
    assert done is not None
    assert done.backup is None
    assert "9999" in done.reasons[0]
    assert newer in backup_directory(sqlite_file).iterdir()
