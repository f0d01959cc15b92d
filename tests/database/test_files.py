"""What happens to files: their modes, damage, and places that cannot be written."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from testio_mcp.database.backup import KEEP, back_up, backup_directory, list_backups
from testio_mcp.database.cache import PersistentCache
from testio_mcp.errors import StoreCorrupt, StoreError, StoreFull, StoreReadOnly
from tests.database.as_nobody import read_all

ROOT = Path(__file__).parents[2]


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """The umask under which a careless program makes files that everybody may read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.mark.usefixtures("usual_umask")
async def test_only_the_owner_may_read(tmp_path: Path) -> None:
    path = tmp_path / "data" / "deep" / "store.db"
    async with PersistentCache(path) as store:
        await store.write(lambda c: c.execute(text("INSERT INTO person (id, name) VALUES (1, 'Ada')")))
        await store.backup()
        files = [found for found in path.parent.rglob("*") if found.is_file()]
        names = {found.suffix for found in files}
        assert names == {".db", ".db-wal", ".db-shm"}
        assert {found.name: oct(_mode(found)) for found in files} == {found.name: "0o600" for found in files}
        assert len(list_backups(path)) == 1
        assert _mode(path.parent) == _mode(backup_directory(path)) == 0o700


@pytest.mark.parametrize(
    ("first", "last"),
    [(b"This is a letter to the editor.\n" * 40, b""), (b"\x00" * 4096, b""), (b"", b"\xff" * 3000)],
    ids=["text", "zeros", "broken schema page"],
)
async def test_damaged_file_is_refused_and_kept(sqlite_file: Path, first: bytes, last: bytes) -> None:
    content = sqlite_file.read_bytes()
    page = content[:100] + last + content[100 + len(last) :]
    sqlite_file.write_bytes(first + page[len(first) :] if first else page)
    before = _contents(sqlite_file.parent)
    with pytest.raises(StoreCorrupt) as caught:
        await read_all(sqlite_file)
    assert str(sqlite_file) in caught.value.message
    assert _contents(sqlite_file.parent) == before


async def test_truncated_file_is_refused_and_kept(sqlite_file: Path) -> None:
    sqlite_file.write_bytes(sqlite_file.read_bytes()[:6000])
    before = _contents(sqlite_file.parent)
    with pytest.raises(StoreCorrupt):
        await read_all(sqlite_file)
    assert _contents(sqlite_file.parent) == before


@given(data=st.data())
async def test_any_flipped_byte_is_survived(sqlite_file: Path, data: st.DataObject) -> None:
    """Damage that shows is a `StoreError`, never anything else, and reading does not make it worse."""
    content = sqlite_file.read_bytes()
    # Half of the damage goes to the header, where every byte has a meaning.
    place = data.draw(st.one_of(st.integers(0, 99), st.integers(0, len(content) - 1)))
    damaged = bytearray(content)
    damaged[place] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        path.write_bytes(damaged)
        try:
            await read_all(path)
        except StoreError:
            assert path.read_bytes() == damaged
        except OperationalError as error:
            assert "no such" in str(error)  # the byte belongs to a name: only an integrity check can tell


async def test_integrity_check_finds_damage_that_reading_does_not(sqlite_file: Path) -> None:
    async with PersistentCache(sqlite_file) as store:
        await store.write(lambda c: c.execute(text("INSERT INTO person (id, name) VALUES (1, 'Ada')")))
        assert await store.check() == []
    content = sqlite_file.read_bytes()
    at = content.index(b"Ada")
    sqlite_file.write_bytes(content[:at] + b"Ida" + content[at + 3 :])
    async with PersistentCache(sqlite_file) as store:
        assert any("uq_person_name" in line or "autoindex_person" in line for line in await store.check())


def _as_nobody(path: Path) -> str:
    """What opening `path` says to an ordinary user."""
    command = [sys.executable, "-m", "tests.database.as_nobody", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout or done.stderr


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every user reaches; pytest's own belong to the user of the tests."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
        path.chmod(0o755)


@pytest.mark.slow
def test_read_only_directory(sqlite_file: Path, public_directory: Path) -> None:
    path = public_directory / "store.db"
    shutil.copy(sqlite_file, path)
    path.chmod(0o666)
    public_directory.chmod(0o555)
    before = _contents(public_directory)
    said = _as_nobody(path)
    assert said.startswith(f"StoreReadOnly: The store {path} cannot be written.")
    assert "TESTIO_DB_PATH" in said
    assert _contents(public_directory) == before


@pytest.mark.slow
def test_read_only_file(sqlite_file: Path, public_directory: Path) -> None:
    path = public_directory / "store.db"
    shutil.copy(sqlite_file, path)
    path.chmod(0o444)
    public_directory.chmod(0o777)
    assert _as_nobody(path).startswith(f"StoreReadOnly: The store {path} cannot be written.")


@pytest.mark.slow
def test_directory_that_cannot_be_made(public_directory: Path) -> None:
    public_directory.chmod(0o555)
    path = public_directory / "data" / "store.db"
    assert _as_nobody(path).startswith(f"StoreReadOnly: The store {path} cannot be written.")


@pytest.mark.slow
def test_an_ordinary_user_opens_a_store_of_his_own(public_directory: Path) -> None:
    public_directory.chmod(0o777)
    assert _as_nobody(public_directory / "store.db") == "opened"


async def test_path_is_a_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreReadOnly, match="cannot be written"):
        await PersistentCache(tmp_path).initialize()


async def test_five_backups_are_kept(sqlite_file: Path) -> None:
    async with PersistentCache(sqlite_file) as store:
        made = [await store.backup() for _ in range(KEEP + 2)]
    assert list_backups(sqlite_file) == made[: -KEEP - 1 : -1]
    assert sorted(path.name for path in backup_directory(sqlite_file).iterdir()) == sorted(
        path.name for path in made[-KEEP:]
    )


async def test_the_newest_backup_is_the_last_one_whatever_the_clock_said(sqlite_file: Path) -> None:
    async with PersistentCache(sqlite_file) as store:
        for day in range(KEEP):  # made while the clock was a century ahead
            copy = await store.backup()
            copy.rename(copy.with_name(f"{sqlite_file.stem}-2126010{day + 1}T120000000000Z.db"))
        backup_directory(sqlite_file).joinpath(f"{sqlite_file.stem}-20000231T120000000000Z.db").touch()
        for _ in range(2):
            copy = await store.backup()
            assert list_backups(sqlite_file)[0] == copy
    assert len(list_backups(sqlite_file)) == KEEP


async def test_backups_of_a_store_with_a_longer_name_are_left_alone(sqlite_file: Path) -> None:
    other = sqlite_file.with_name("store-2.db")
    shutil.copy(sqlite_file, other)
    async with PersistentCache(other) as store:
        others = [await store.backup() for _ in range(KEEP)]
    async with PersistentCache(sqlite_file) as store:
        ours = [await store.backup() for _ in range(2)]
    assert sorted(list_backups(other)) == others
    assert sorted(list_backups(sqlite_file)) == ours


async def test_backup_is_a_store(sqlite_file: Path) -> None:
    async with PersistentCache(sqlite_file) as store:
        await store.write(lambda c: c.execute(text("INSERT INTO person (id, name) VALUES (1, 'Ada')")))
        copy = await store.backup()
    async with PersistentCache(copy) as store:
        assert await store.read(lambda c: c.execute(text("SELECT name FROM person")).scalar()) == "Ada"


async def test_backup_that_lacks_rows_is_discarded(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from testio_mcp.database import backup

    async with PersistentCache(sqlite_file) as store:
        original = backup._contents
        answers = [{"person": 7}]
        monkeypatch.setattr(backup, "_contents", lambda c: _next(answers) if answers else original(c))
        with pytest.raises(StoreCorrupt, match="discarded"):
            await store.backup()
        assert list(backup_directory(sqlite_file).iterdir()) == []


async def _next(answers: list[dict[str, int]]) -> dict[str, int]:
    return answers.pop()


async def test_backup_of_a_store_that_changes_meanwhile(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from testio_mcp.database import backup

    async with PersistentCache(sqlite_file) as store:
        original = backup._contents

        async def write_first(connection: object) -> dict[str, int]:
            monkeypatch.setattr(backup, "_contents", original)
            await store.write(lambda c: c.execute(text("INSERT INTO person (id, name) VALUES (1, 'Ada')")))
            return await original(connection)  # type: ignore[arg-type]

        monkeypatch.setattr(backup, "_contents", write_first)
        copy = await store.backup()
    assert list_backups(sqlite_file) == [copy]


@pytest.mark.parametrize(
    ("failure", "kind"), [(OSError(28, "full", "x"), StoreFull), (PermissionError(13, "no", "x"), StoreReadOnly)]
)
async def test_backup_that_fails_leaves_nothing(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError, kind: type[StoreError]
) -> None:
    from testio_mcp.database import backup

    def fail(_: Path) -> None:
        raise failure

    async with PersistentCache(sqlite_file) as store:
        monkeypatch.setattr(backup, "flush", fail)
        assert store.connection is not None
        with pytest.raises(kind):
            await back_up(store.connection, sqlite_file)
    assert list(backup_directory(sqlite_file).iterdir()) == []
