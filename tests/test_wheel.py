"""What users get: the wheel, in an environment of its own, started from anywhere."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

import pytest
from filelock import FileLock
from mcp import Client, StdioServerParameters
from packaging.requirements import Requirement

from tests.installed import closure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src"


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "-qq", "--no-input", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A directory of all test processes of this run: the first one fills it."""
    base = tmp_path_factory.getbasetemp()
    directory = (base if worker_id == "master" else base.parent) / "wheel"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="module")
def wheel(shared: Path) -> Path:
    """The built wheel."""
    with FileLock(shared / "lock"):
        if not list(shared.glob("testio_mcp-*.whl")):
            _pip("wheel", "--no-deps", "--wheel-dir", str(shared), str(ROOT))
    (built,) = shared.glob("testio_mcp-*.whl")
    return built


def _requirements(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    requirements = map(Requirement, metadata.get_all("Requires-Dist", []))
    return [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]


@pytest.fixture(scope="module")
def program(wheel: Path) -> Path:
    """The command, in an environment that holds the wheel and what its metadata asks for, and nothing else.

    The dependencies are copied from this environment: that is quick, and needs no network.
    """
    home = wheel.parent / "environment"
    command = home / "bin" / "testio-mcp"
    with FileLock(wheel.parent / "lock"):
        if not home.exists():
            _fill(home, wheel)
    return command


def _fill(home: Path, wheel: Path) -> None:
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    _pip("--python", str(python), "install", "--no-deps", str(wheel))
    (packages,) = home.glob("lib/python*/site-packages")
    for name in closure(_requirements(wheel)):
        for file in distribution(name).files or ():
            if ".." not in file.parts:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(Path(str(file.locate())), packages / file)  # with its time, so that bytecode fits


def test_wheel_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        path.relative_to(SOURCES).as_posix()
        for package in ("testio_mcp", "testio_sandbox")
        for path in (SOURCES / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == expected
    migrations = "testio_mcp/database/migrations"
    assert {"testio_mcp/py.typed", f"{migrations}/env.py", f"{migrations}/script.py.mako"} <= held
    assert any(name.startswith(f"{migrations}/versions/0001") for name in held)


async def test_installed_wheel_answers_from_anywhere(program: Path, tmp_path: Path) -> None:
    server = StdioServerParameters(command=str(program), env={"HOME": str(tmp_path), "PATH": os.defpath}, cwd="/")
    async with Client(server) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        answer = await client.call_tool("list_tests", {})
    assert {"list_products", "list_tests", "get_status"} <= tools
    assert not answer.is_error, answer.content
    assert [path.name for path in tmp_path.rglob("store.db")] == ["store.db"]


def test_installed_command_tells_its_version(program: Path, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": os.defpath}
    done = subprocess.run(
        [program, "--version"], cwd="/", env=environment, capture_output=True, text=True, check=True
    )
    assert distribution("testio-mcp").version in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(("command", "extra"), [("demo", "demo"), ("sandbox", "demo")])
def test_missing_extra_is_one_clear_line(program: Path, tmp_path: Path, command: str, extra: str) -> None:
    environment = {"HOME": str(tmp_path), "PATH": os.defpath}
    done = subprocess.run(
        [program, command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert f"testio-mcp[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr
