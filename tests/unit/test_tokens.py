"""Where the token comes from: a variable, the keyring, a private file, in this order; and from no open file."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked

from testio_mcp.errors import BadInput
from testio_mcp.settings import load_settings
from testio_mcp.tokens import SERVICE

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="this system has no file modes")


class Remembered(KeyringBackend):
    """A keyring that lasts as long as a test."""

    priority = 1.0
    is_locked = False
    kept: dict[tuple[str, str], str]

    def get_password(self, service: str, username: str) -> str | None:
        if self.is_locked:
            raise KeyringLocked("The owner said no.")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture
def ring() -> Iterator[Remembered]:
    """The keyring of this machine, empty."""
    before = keyring.get_keyring()
    ring: Remembered = Remembered()  # type: ignore[no-untyped-call]
    ring.kept = {}
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private file for the token, in a private directory, that is yet to be written."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TESTIO_CUSTOMER_API_TOKEN_FILE", str(folder / "token"))
    return folder / "token"


def _write(file: Path, content: str, mode: int = 0o600) -> None:
    file.write_text(content)
    file.chmod(mode)


def _found() -> str | None:
    token = load_settings().customer_api_token
    return token.get_secret_value() if token else None


def test_the_variable_wins_over_the_keyring_and_the_keyring_over_the_file(
    ring: Remembered, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _found() is None
    _write(file, "of the file\n")
    assert _found() == "of the file"
    keyring.set_password(SERVICE, "api.test.io", "of the keyring")
    assert _found() == "of the keyring"
    monkeypatch.setenv("TESTIO_CUSTOMER_API_TOKEN", "of the variable")
    assert _found() == "of the variable"
    assert "of the" not in repr(load_settings())
    assert load_settings(customer_api_token=None).customer_api_token is None


def test_a_token_in_the_keyring_is_that_of_one_host(ring: Remembered, file: Path) -> None:
    keyring.set_password(SERVICE, "127.0.0.1:8766", "of the sandbox")
    assert _found() is None
    assert load_settings(customer_api_base_url="http://127.0.0.1:8766/").customer_api_token is not None


def test_a_locked_keyring_is_none(ring: Remembered, file: Path) -> None:
    ring.is_locked = True
    assert _found() is None
    _write(file, "of the file")
    assert _found() == "of the file"


@POSIX
@pytest.mark.parametrize(("mode", "of_folder"), [(0o640, 0o700), (0o604, 0o700), (0o600, 0o750), (0o600, 0o701)])
def test_a_file_into_which_others_may_look_is_refused(file: Path, mode: int, of_folder: int) -> None:
    _write(file, "of the file", mode)
    file.parent.chmod(of_folder)
    with pytest.raises(BadInput, match="others may look") as caught:
        load_settings()
    open_one = file if mode != 0o600 else file.parent
    assert caught.value.next_step.endswith(f"chmod {'600' if open_one == file else '700'} '{open_one}'.")
    assert "of the file" not in str(caught.value)
    open_one.chmod(0o700 if open_one.is_dir() else 0o600)
    assert _found() == "of the file"


@POSIX
def test_a_file_that_cannot_be_read_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTIO_CUSTOMER_API_TOKEN_FILE", str(file.parent / ("x" * 300)))
    with pytest.raises(BadInput, match="cannot be read"):
        load_settings()


@pytest.mark.parametrize("content", ["", " \n", None])
def test_an_empty_file_holds_no_token(file: Path, content: str | None) -> None:
    if content is None:
        file.mkdir()
    else:
        _write(file, content)
    assert _found() is None
    assert os.path.lexists(file)
    assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 or content is None
