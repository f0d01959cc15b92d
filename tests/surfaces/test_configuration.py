"""Where settings come from, and where the token goes: real programs in directories of strangers."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from testio_sandbox import World, serve_sandbox
from tests.surfaces.programs import PROGRAM, Finished, command, run_words, stdio, whole

pytestmark = pytest.mark.slow

Environment = dict[str, str]


class Listener(asyncio.Protocol):
    """Notes whatever reaches it."""

    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard

    def data_received(self, data: bytes) -> None:
        self._heard.append(data)


@pytest.fixture
async def stranger() -> AsyncIterator[tuple[str, list[bytes]]]:
    """The address of a server that notes all it gets."""
    heard: list[bytes] = []
    server = await asyncio.get_running_loop().create_server(lambda: Listener(heard), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", heard
    server.close()


@pytest.fixture
def home(tmp_path: Path) -> Environment:
    """A user with a home directory, and nothing configured."""
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return {"HOME": str(path), "TESTIO_DB_PATH": str(tmp_path / "store.db")}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


def own_file(home: Environment, text: str) -> Path:
    path = Path(home["HOME"]) / ".config" / "testio-mcp" / "settings.env"
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text(text)
    path.chmod(0o600)
    return path


LEADING = ["CUSTOMER_API_BASE_URL={}/v2/", "PROXY={}", "ALERT_WEBHOOK={}/hook"]


LINES = [*LEADING, "DB_PATH={}.db", "ALERT_RULES=rules.toml", "CA_FILE=ca.pem"]


@pytest.mark.parametrize(
    ("line", "asked"), [*((line, "sync") for line in LINES), (LEADING[0], "stdio"), (LEADING[0], "doctor")]
)
async def test_no_file_of_the_working_directory_is_read(
    home: Environment, project: Path, stranger: tuple[str, list[bytes]], canary: str, line: str, asked: str
) -> None:
    url, heard = stranger
    (project / ".env").write_text(f"TESTIO_{line.format(url)}\nTESTIO_REFRESH_AFTER_MINUTES=0\n")
    world = World(seed=1, products=1, tests_per_product=2, bugs_per_test=1)
    async with serve_sandbox(world, token=canary) as sandbox:
        given = {**home, "TESTIO_CUSTOMER_API_TOKEN": canary}
        if not line.startswith("CUSTOMER"):  # where the line would lead elsewhere, the rest is sound
            given["TESTIO_CUSTOMER_API_BASE_URL"] = sandbox.url
        else:
            given["TESTIO_CUSTOMER_API_BASE_URL"] = ""
            given["TESTIO_PROXY"] = "http://127.0.0.1:9"  # nothing leaves this machine
        if asked == "stdio":
            async with stdio(given, project) as client:
                await client.call_tool("sync_data", {})
        else:
            await command(given, asked, cwd=project)

    assert heard == []
    assert not list(project.glob("*.db*"))


async def test_a_named_file_leads_its_own_token_and_no_other(
    home: Environment, project: Path, stranger: tuple[str, list[bytes]], canary: str
) -> None:
    url, heard = stranger
    for line in ("CUSTOMER_API_BASE_URL={}/v2/", "PROXY={}"):
        (project / "named.env").write_text(f"TESTIO_{line.format(url)}\n")
        given = {**home, "TESTIO_CUSTOMER_API_TOKEN": canary}
        done = await command(given, "--env-file", "named.env", "sync", cwd=project)
        assert done.code == 2, done.err
        assert "named.env" in done.err
        assert line.split("=")[0] in done.err
        assert "not sent there" in done.err
    assert heard == []

    world = World(seed=1, products=1, tests_per_product=2, bugs_per_test=1)
    async with serve_sandbox(world, token=canary) as sandbox:
        lines = f"TESTIO_CUSTOMER_API_BASE_URL={sandbox.url}\nTESTIO_CUSTOMER_API_TOKEN={canary}\n"
        (project / ".env").write_text(lines)
        (project / ".env").chmod(0o600)
        done = await command(home, "sync", "--env-file", ".env", "--json", cwd=project)
        by_variable = await command({**home, "TESTIO_ENV_FILE": ".env"}, "status", cwd=project)
        doctor = await command(home, "--env-file=.env", "doctor", cwd=project)
    assert done.code == 0, done.err
    for told in (done.out, by_variable.out, doctor.out):
        assert sandbox.url.split("/")[2] in told, told
        assert ".env" in told


async def test_the_users_own_file_is_read(home: Environment, project: Path, canary: str) -> None:
    world = World(seed=1, products=1, tests_per_product=2, bugs_per_test=1)
    async with serve_sandbox(world, token=canary) as sandbox:
        path = own_file(home, f"TESTIO_CUSTOMER_API_BASE_URL={sandbox.url}\nTESTIO_CUSTOMER_API_TOKEN={canary}\n")
        done = await command(home, "sync", cwd=project)
        path.chmod(0o644)
        open_file = await command(home, "sync", cwd=project)
    assert done.code == 0, done.err
    assert open_file.code == 2
    assert f"chmod 600 '{path}'" in open_file.err


async def test_the_doctor_tells_of_a_file_that_is_not_read(home: Environment, project: Path) -> None:
    (project / ".env").write_text("TESTIO_TIME_ZONE=Nowhere\n")
    done = await command(home, "doctor", cwd=project)
    assert "the .env of this directory is not read" in done.out


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("TESTIO_TIME_ZONE=Europe/Berlin\n".encode("utf-16"), None),
        ("TESTIO_TIME_ZONE=Europe/Berlin\n".encode("utf-8-sig"), None),
        ("# für uns\nTESTIO_TIME_ZONE=Europe/Berlin\n".encode("cp1252"), "UTF-8"),
        ("TESTIO_TIME_ZONE=Europe/Berlin\n".encode("utf-16-le"), "UTF-8"),
        (b"\x00\x01", "UTF-8"),
    ],
)
async def test_files_of_other_encodings_are_read_or_named(
    home: Environment, project: Path, data: bytes, said: str | None
) -> None:
    (project / "my.env").write_bytes(data)
    done = await command(home, "--env-file", "my.env", "status", cwd=project)
    if said is None:
        assert done.code == 0, done.err
    else:
        assert_one_line(done, "my.env", said)


def assert_one_line(done: Finished, *parts: str) -> None:
    assert done.code == 2, done
    assert len(done.err.strip().splitlines()) == 1, done.err
    for part in parts:
        assert part in done.err
    assert "went wrong inside" not in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("kind", ["fifo", "directory", "missing", "device"])
async def test_what_is_no_file_of_settings_is_named(home: Environment, project: Path, kind: str) -> None:
    path = {"device": Path("/dev/zero")}.get(kind, project / "my.env")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    async with asyncio.timeout(30):
        done = await command(home, "--env-file", str(path), "status", cwd=project)
    assert_one_line(done, str(path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("words", [[], ["serve"], ["status"]])
def test_a_signal_ends_the_program_at_any_moment_of_its_start(
    home: Environment, project: Path, words: list[str], number: signal.Signals
) -> None:
    pipe = subprocess.PIPE
    for _ in range(6):
        environment = whole(home)
        with subprocess.Popen(
            [*PROGRAM, *words], env=environment, cwd=project, stdin=pipe, stdout=pipe, stderr=pipe
        ) as process:
            process.send_signal(number)
            process.wait(10)


EMPTY = ["", "  ", '""', "''"]
BY_DEFAULT = [
    *("CUSTOMER_API_TOKEN", "CUSTOMER_API_BASE_URL", "EXPORT_DIR", "DATABASE_URL", "DATABASE_SCHEMA"),
    *("SKIP_MIGRATIONS", "MAX_REQUESTS_IN_FLIGHT", "REFRESH_AFTER_MINUTES", "REFRESH_BUDGET_SECONDS", "TIME_ZONE"),
    *("ALERT_RULES", "ALERT_WEBHOOK", "HEALTH", "READINESS", "WEB_URL", "CA_FILE", "PROXY", "HTTP_TOKEN"),
    *("HTTP_REQUESTS_PER_MINUTE", "LOG_LEVEL", "TOOLSETS", "TOOLS", "EXCLUDE_TOOLS", "READ_ONLY", "ENV_FILE"),
]


@pytest.mark.parametrize("empty", EMPTY)
async def test_every_empty_setting_is_as_if_left_out(home: Environment, project: Path, empty: str) -> None:
    given = {f"TESTIO_{name}": empty for name in BY_DEFAULT if not (name == "ENV_FILE" and empty.strip())}
    plain = await command(home, "status", "--json", cwd=project)
    done = await command({**home, **given}, "status", "--json", cwd=project)
    assert done == plain
    assert sorted(path.name for path in project.iterdir()) == []


@pytest.mark.parametrize("place", ["~/kept/s.db", "$HOME/kept/s.db", "${HOME}/kept/s.db", "%HOME%/kept/s.db"])
async def test_paths_are_expanded(home: Environment, project: Path, place: str) -> None:
    done = await command({**home, "TESTIO_DB_PATH": f" {place} "}, "status", cwd=project)
    assert done.code == 0, done.err
    assert (Path(home["HOME"]) / "kept" / "s.db").is_file()
    assert list(project.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PATH", "$NOWHERE/x.db"),
        ("DB_PATH", "${env:HOME}/x.db"),
        ("DB_PATH", "%APPDATA%\\x.db"),
        ("DB_PATH", "~nobody-of-that-name/x.db"),
        ("DB_PATH", ":memory:"),
        ("DB_PATH", "file:x.db"),
        ("DB_PATH", "sqlite:///x.db"),
        ("EXPORT_DIR", "${workspaceFolder}/out"),
        ("CA_FILE", "$CERTS/ca.pem"),
        ("CUSTOMER_API_TOKEN", "${TESTIO_TOKEN}"),
        ("CUSTOMER_API_TOKEN", "undefined"),
        ("CUSTOMER_API_BASE_URL", "${input:url}"),
        ("HTTP_TOKEN", "%TOKEN%"),
        ("DATABASE_SCHEMA", "pg_temp"),
        ("DATABASE_SCHEMA", "PG_CATALOG"),
        ("DATABASE_URL", "postgresql+asyncpg://u:p@127.0.0.1:99999/d"),
        ("DATABASE_URL", "postgresql+asyncpg://u:p@127.0.0.1:0/d"),
        ("DATABASE_URL", "postgresql://u:p@127.0.0.1:9/d?sslmode=sometimes"),
        ("DATABASE_URL", "postgresql://u:p@127.0.0.1:9/d?no_such=1"),
        ("DATABASE_URL", "postgresql://u:p@127.0.0.1:9/d?connect_timeout=soon"),
        ("DATABASE_URL", "mysql://u:p@127.0.0.1/d"),
    ],
)
async def test_what_cannot_be_is_named(home: Environment, project: Path, name: str, value: str) -> None:
    done = await command({**home, f"TESTIO_{name}": value}, "status", cwd=project)
    assert_one_line(done, f"TESTIO_{name}")
    assert list(project.iterdir()) == []


async def test_a_path_that_is_no_utf8_is_named(home: Environment, project: Path) -> None:
    given = {**whole(home), "TESTIO_DB_PATH": os.fsdecode(os.fsencode(project) + b"/caf\xe9.db")}
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "status", env=given, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"TESTIO_DB_PATH: must be a path in UTF-8" in err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOG_LEVEL", "warning"),
        ("LOG_LEVEL", " Error "),
        ("TOOLSETS", "ALL"),
        ("TOOLS", "List_Bugs"),
        ("READ_ONLY", "True"),
        ("TIME_ZONE", "europe/berlin"),
        ("DATABASE_SCHEMA", "TestIO"),
        ("HEALTH", "Rejection-Rate=0.1/0.2"),
        ("READINESS", "MAX_OPEN=3"),
        ("CUSTOMER_API_BASE_URL", "  https://api.test.io/customer/v2/ "),
        ("DB_PATH", "/{}/twice.db"),
    ],
)
async def test_words_match_whatever_their_case(home: Environment, project: Path, name: str, value: str) -> None:
    given = {**home, f"TESTIO_{name}": value.format(project)}
    done = await command(given, "status", cwd=project)
    async with stdio(given, project) as client:
        tools = await client.list_tools()
    assert done.code == 0, done.err
    assert tools.tools


_AS_NOBODY = """
import os
os.setreuid(54321, 0)  # the system knows no such user; the files of this interpreter are still ours to read
from testio_mcp.settings import load_settings
settings = load_settings()
print(settings.db_path, settings.customer_api_token_file)
"""


async def run_as_nobody(script: str, folder: Path, temporary: Path) -> tuple[int, bytes, bytes]:
    """Run a script as a user without a home; the temporary directory is another one."""
    environment = {name: value for name, value in whole({}).items() if name != "HOME"}
    return await run_words({**environment, "TMPDIR": str(temporary)}, PROGRAM[0], "-c", script, cwd=folder)


async def test_a_user_without_home_or_name_has_a_store_of_their_own(project: Path, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become a user that the system does not know")
    _, out, err = await run_as_nobody(_AS_NOBODY, project, tmp_path)
    own = tmp_path / "testio-mcp-54321"
    assert out.decode().strip() == f"{own}/data/store.db {own}/config/token", err


MODULES = ("keyring", "asyncpg", "dotenv", "platformdirs", "typer", "filelock")


@pytest.mark.parametrize("words", [["status"], ["doctor"], ["sync"]])
async def test_no_module_of_the_working_directory_is_imported(
    home: Environment, project: Path, words: list[str]
) -> None:
    """A program that is started with `python -m` has that directory first in its path."""
    for name in MODULES:
        (project / f"{name}.py").write_text("raise SystemExit('a stranger runs')")
    done = await command(home, *words, cwd=project)
    assert "a stranger runs" not in done.out + done.err
    async with stdio(home, project) as client:
        assert (await client.call_tool("sync_data")).is_error


async def test_the_demo_reads_no_file_of_the_user(home: Environment, project: Path) -> None:
    own_file(home, "TESTIO_DATABASE_URL=postgresql://u:p@127.0.0.1:9/theirs\nTESTIO_EXCLUDE_TOOLS=list_products\n")
    shown = await command({"HOME": home["HOME"]}, "demo", cwd=project)
    assert shown.code == 0, shown.err
    assert "What do we test?" in shown.out
    assert "theirs" not in shown.out


@pytest.mark.parametrize("mode", [0o777, 0o755])
async def test_a_directory_that_waits_for_a_user_without_home_is_a_trap(
    project: Path, tmp_path: Path, mode: int
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become a user that the system does not know")
    trap = tmp_path / "testio-mcp-54321"
    (trap / "config").mkdir(parents=True)
    (trap / "config" / "settings.env").write_text("TESTIO_CUSTOMER_API_BASE_URL=https://stranger.example/\n")
    trap.chmod(mode)
    _, out, err = await run_as_nobody(_AS_NOBODY.replace("db_path", "customer_api_base_url"), project, tmp_path)
    assert b"stranger.example" not in out
    assert b"is not this user's alone" in err


async def test_a_file_that_everybody_may_change_is_refused(home: Environment, project: Path) -> None:
    own_file(home, "TESTIO_CUSTOMER_API_BASE_URL=https://stranger.example/\n").chmod(0o646)
    assert_one_line(await command(home, "status", cwd=project), "everybody may change it", "chmod o-w")


@pytest.mark.parametrize(
    "value",
    [
        "https://api.example:99999/v2/",
        "https://api.example:0/",
        "https://[::1/",
        "ftp://api.example/",
        "https://${HOST}/v2/",
        "https://api.example/${env:VERSION}/",
    ],
)
@pytest.mark.parametrize("place", ["the environment", "named.env"])
async def test_an_address_that_cannot_be_names_its_setting_and_its_place(
    home: Environment, project: Path, value: str, place: str
) -> None:
    line = {"TESTIO_CUSTOMER_API_BASE_URL": value}
    (project / "named.env").write_text(f"TESTIO_CUSTOMER_API_BASE_URL={value}\n")
    given = line if place == "the environment" else {"TESTIO_ENV_FILE": "named.env"}
    done = await command({**home, **given}, "status", cwd=project)
    assert_one_line(done, "TESTIO_CUSTOMER_API_BASE_URL", place)


async def test_a_path_in_a_file_begins_at_the_file(home: Environment, project: Path) -> None:
    """Wherever the program runs: a store in the project that is open would be a stranger's."""
    file = own_file(home, "TESTIO_DB_PATH=kept/store.db\n")
    done = await command({"HOME": home["HOME"]}, "status", cwd=project)
    assert done.code == 0, done.err
    assert (file.parent / "kept" / "store.db").is_file()
    assert list(project.iterdir()) == []


async def test_the_doctor_tells_what_leads_somewhere(home: Environment, project: Path, canary: str) -> None:
    (project / "my.env").write_text(f"TESTIO_ALERT_WEBHOOK=http://127.0.0.1:9/{canary}\nTESTIO_ALERT_RULES=r.toml\n")
    (project / "my.env").chmod(0o600)
    done = await command({**home, "TESTIO_ENV_FILE": "my.env"}, "doctor", cwd=project)
    [line] = [line for line in done.out.splitlines() if line.startswith("configuration")]
    for name, source in (("DB_PATH", "the environment"), ("ALERT_WEBHOOK", "my.env"), ("ALERT_RULES", "my.env")):
        assert f"TESTIO_{name} from {source if ' ' in source else project / source}" in line
    assert canary not in done.out


_HANGING = """
import sys, time
from keyring.backend import KeyringBackend

class Hanging(KeyringBackend):
    priority = 1
    def get_password(self, service, username):
        print("asked", file=sys.stderr, flush=True)
        while True:
            time.sleep(1)
    def set_password(self, *_): ...
    def delete_password(self, *_): ...
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("words", [["status"], ["db", "stats"], ["serve", "--transport", "http", "--port", "0"]])
def test_a_signal_ends_a_program_whose_keyring_hangs(
    home: Environment, project: Path, tmp_path: Path, words: list[str], number: signal.Signals
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "hanging_keyring.py").write_text(_HANGING)
    paths = os.pathsep.join(filter(None, (str(tmp_path / "modules"), os.environ.get("PYTHONPATH"))))
    backend = {"PYTHON_KEYRING_BACKEND": "hanging_keyring.Hanging", "PYTHONPATH": paths}
    with subprocess.Popen(
        [*PROGRAM, *words],
        env=whole({**home, **backend}),
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"asked\n"
        process.send_signal(number)
        try:
            process.wait(8)
        finally:
            process.kill()
        assert b"Traceback" not in process.stderr.read()
