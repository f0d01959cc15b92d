"""Text that not every store, file or protocol takes, in every text of an account: each output has it and is sound."""

import csv
import io
import json
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import openpyxl
import pytest

from testio_mcp.scrub import repair_text
from testio_sandbox import Fault, World, serve_sandbox
from tests.support.scripted import respond, scripted
from tests.surfaces.conftest import Cli
from tests.surfaces.programs import http_server, stdio, text_of

pytestmark = pytest.mark.slow

ODD = (
    "lone \ud800, nul \0, bell \x07, escape \x1b[31m \x9b31m"
    ", bidi \u202e, emoji \U0001f600, line \u2028, tag \U000e0041 end"
)
KEPT = repair_text(ODD)
PLAIN = ("emoji \U0001f600", "lone \ufffd", " end")
"""What is left of it wherever it is shown."""
_RULES = '[[rule]]\nname = "new"\nkind = "new_bug"\nlevels = ["critical", "high", "low", "none"]\n'


def steers(text: str) -> str:
    """The characters of a text that a terminal would obey."""
    return "".join(char for char in text if unicodedata.category(char) == "Cc" and char not in "\n\t")


def shows(text: str) -> bool:
    """Whether a text holds it, as far as it can be shown; a text that cannot be written as UTF-8 is a mistake."""
    assert "\0" not in text
    text.encode()
    return all(part in text for part in PLAIN)


@pytest.fixture
async def environment(tmp_path: Path, canary: str, cli: Cli) -> Any:
    """A copy of an account whose every text ends so."""
    world = World(seed=2, products=1, tests_per_product=6, bugs_per_test=3)
    (tmp_path / "rules.toml").write_text(_RULES)
    async with serve_sandbox(world, token=canary) as sandbox:
        given = {
            "TESTIO_CUSTOMER_API_BASE_URL": sandbox.url,
            "TESTIO_CUSTOMER_API_TOKEN": canary,
            "TESTIO_DB_PATH": str(tmp_path / "store.db"),
            "TESTIO_EXPORT_DIR": str(tmp_path / "exports"),
            "TESTIO_ALERT_RULES": str(tmp_path / "rules.toml"),
        }
        assert (await cli(given, "sync")).code == 0
        sandbox.faults.add(Fault("plant", value=[ODD]))
        test_id = next(
            test for test in world.iter_tests(world.product_ids[0]) if test["status"] in ("running", "locked")
        )
        world.add_bug(test_id["id"], severity="critical", status="forwarded", title="New")
        async with scripted(respond(200)) as receiver:
            hook = {"TESTIO_ALERT_WEBHOOK": f"http://127.0.0.1:{receiver.port}/"}
            ended = await cli({**given, **hook}, "sync", "--full")
        assert ended.code == 0, ended
        assert shows(ended.err), "the alert on standard error"
        assert "\u202e" not in ended.err
        assert steers(ended.out + ended.err) == ""
        (seen,) = receiver.seen
        assert shows(json.loads(seen.body)["alerts"][0]["text"])
        yield given


async def test_the_command_line_and_its_files(environment: dict[str, str], cli: Cli, tmp_path: Path) -> None:
    bugs = json.loads((await cli(environment, "bugs", "list", "--json")).out)["items"]
    assert bugs and all(bug["title"].endswith(KEPT) for bug in bugs)
    rows = list(csv.DictReader(io.StringIO((await cli(environment, "bugs", "list", "--csv")).out)))
    assert len(rows) == len(bugs)
    assert all(shows(row["title"]) for row in rows)
    shown = json.loads((await cli(environment, "bugs", "show", str(bugs[0]["id"]), "--json")).out)
    assert shown["actual_result"].endswith(KEPT)
    assert steers((await cli(environment, "bugs", "list", "--json")).out) == ""
    for words in (("bugs", "list"), ("bugs", "show", str(bugs[0]["id"])), ("changes",), ("search", "emoji")):
        for form in ([], ["--csv"], ["--md"]):
            ended = await cli(environment, *words, *form)
            assert (ended.code, shows(ended.out), steers(ended.out + ended.err)) == (0, True, ""), (words, form)
    for kind in ("html", "md", "json", "xlsx", "zip"):
        ended = await cli(environment, "report", "quality", "--period", "all time", "-o", f"report.{kind}")
        assert ended.code == 0, ended
    assert (await cli(environment, "digest", "--to", "file", "-o", "digest.md")).code == 0
    files = tmp_path / "exports"
    for file in ("report.html", "report.md", "report.json", "digest.md"):
        text = (files / file).read_text(encoding="utf-8")
        assert shows(json.dumps(json.loads(text), ensure_ascii=False) if file.endswith("json") else text), file
    with zipfile.ZipFile(files / "report.zip") as archive:
        assert shows("".join(archive.read(name).decode() for name in archive.namelist()))
    book = openpyxl.load_workbook(files / "report.xlsx")
    assert shows("\n".join(str(cell.value) for sheet in book for row in sheet.iter_rows() for cell in row))


async def test_rest_and_mcp(environment: dict[str, str], tmp_path: Path) -> None:
    with http_server(environment, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web:
            bugs = (await web.get("/api/bugs")).json()["items"]
            assert bugs and all(bug["title"].endswith(KEPT) for bug in bugs)
            assert (await web.get(f"/api/bugs/{bugs[0]['id']}")).json()["steps"].endswith(KEPT)
    async with stdio(environment, tmp_path) as client:
        answer = await client.call_tool("get", {"kind": "bug", "id": bugs[0]["id"]})
        assert shows(text_of(answer))
        assert shows((answer.structured_content or {})["title"])
