"""The doctor as people call it, and a search for the token in all that it leaves behind."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from testio_mcp.surfaces.cli import main as cli
from tests.support.canary import holders
from tests.surfaces.programs import PROGRAM, Finished, whole

Run = Callable[..., Finished]
UNREACHABLE = "http://127.0.0.1:9/customer/v2/"
"""The discard port: nothing listens there."""


def _environment(tmp_path: Path, canary: str, given: Mapping[str, str] | None, *, token: bool) -> dict[str, str]:
    usual = {"TESTIO_DB_PATH": str(tmp_path / "store.db"), "TESTIO_CUSTOMER_API_BASE_URL": UNREACHABLE}
    return usual | ({"TESTIO_CUSTOMER_API_TOKEN": canary} if token else {}) | dict(given or {})


def _checked(done: Finished, canary: str) -> Finished:
    assert "Traceback" not in done.out + done.err
    assert canary not in done.out + done.err
    return done


@pytest.fixture
def run(tmp_path: Path, canary: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process, with a token and an API that nobody serves."""

    def call(*arguments: str, environment: Mapping[str, str] | None = None, token: bool = True) -> Finished:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name, value in _environment(tmp_path, canary, environment, token=token).items():
                patch.setenv(name, value)
            code = cli.run(list(arguments))
        said = capfd.readouterr()
        return _checked(Finished(code, said.out, said.err), canary)

    return call


@pytest.fixture
def run_program(tmp_path: Path, canary: str) -> Run:
    """The same as a process of its own."""

    def call(*arguments: str, environment: Mapping[str, str] | None = None, token: bool = True) -> Finished:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            env=whole(_environment(tmp_path, canary, environment, token=token)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return _checked(Finished(done.returncode, done.stdout, done.stderr), canary)

    return call


@pytest.fixture(autouse=True)
def _no_file_holds_the_token(tmp_path: Path, canary: str) -> Iterator[None]:
    yield
    assert holders(tmp_path, canary) == []


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    """The umask under which a careless program makes files that everybody may read."""
    before = os.umask(0o022)
    yield
    os.umask(before)
