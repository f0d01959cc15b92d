"""What people open, read and redirect: files for spreadsheets, local times, names of files, output that fails."""

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import zipfile
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx2
import pytest

from testio_mcp.surfaces.cli.exports import comma_separated, markdown, tab_separated
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import INITIALIZE, PROGRAM, command, http_server, run_words, stdio, whole
from tests.surfaces.test_cli import on_terminal

BOM = b"\xef\xbb\xbf"
TURNS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


async def redirected(environment: dict[str, str], line: str, *, cwd: Path) -> tuple[int, bytes, bytes]:
    """The exit code, output and messages of a line of shell in which `testio` is the program."""
    script = f'testio() {{ {" ".join(PROGRAM)} "$@"; }}; {line}'
    return await run_words(whole(environment), "sh", "-c", script, cwd=cwd)


@pytest.mark.slow
async def test_csv_in_a_new_file_opens_in_excel(synced: Copy, tmp_path: Path) -> None:
    line = (
        "testio bugs list --limit 3 --csv >new.csv && testio bugs list --limit 3 --csv --no-bom >plain.csv && "
        "testio bugs list --limit 3 --csv >>plain.csv && testio bugs list --limit 3 >tabs.tsv && "
        "testio bugs list --limit 3 --json >data.json && testio bugs list --limit 3 --csv"
    )
    code, piped, err = await redirected(synced.environment, line, cwd=tmp_path)
    assert code == 0, err
    new, plain = (tmp_path / "new.csv").read_bytes(), (tmp_path / "plain.csv").read_bytes()
    assert new == BOM + piped
    assert plain == piped + piped, "no mark is asked for, and none stands in the middle of a file"
    assert not (tmp_path / "tabs.tsv").read_bytes().startswith(BOM)
    assert not (tmp_path / "data.json").read_bytes().startswith(BOM)
    assert next(csv.reader(io.StringIO(new.decode("utf-8-sig"))))[0] == "id"


@pytest.mark.slow
async def test_csv_in_archives_opens_in_excel_on_every_surface(synced: Copy, tmp_path: Path) -> None:
    question = ("report", "quality", "--period", "this year", "-o")
    assert (await command(synced.environment, *question, "marked.zip", cwd=tmp_path)).code == 0
    assert (await command(synced.environment, *question, "plain.zip", "--no-bom", cwd=tmp_path)).code == 0
    with http_server(synced.environment, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as web:
            answer = await web.get("/api/reports/quality", params={"period": "this year", "format": "zip"})
    (tmp_path / "web.zip").write_bytes(answer.content)
    settings = {**synced.environment, "TESTIO_EXPORT_DIR": str(tmp_path), "TESTIO_TOOLSETS": "all"}
    async with stdio(settings, tmp_path) as client:
        saved = await client.call_tool("save_report", {"kind": "quality", "name": "tool.zip", "period": "this year"})
        assert not saved.is_error, saved
    begins = {}
    for name in ("marked", "plain", "web", "tool"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as packed:
            begins[name] = {packed.read(entry).startswith(BOM) for entry in packed.namelist()}
    assert begins == {"marked": {True}, "plain": {False}, "web": {True}, "tool": {True}}


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns"])
async def test_times_on_a_terminal_are_local_and_name_their_zone_once(
    synced: Copy, tmp_path: Path, cli: Cli, zone: str
) -> None:
    environment = {**synced.environment, "TESTIO_TIME_ZONE": zone}
    question = ("bugs", "list", "--limit", "5", "--columns", "id,reported_at")
    answered = await cli(environment, *question, "--json")
    answer = json.loads(answered.out)
    local = [
        f"{datetime.fromisoformat(item['reported_at']).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"
        for item in answer["items"]
    ]
    seen = await on_terminal(environment, *question, cwd=tmp_path, width=120)
    assert re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d", seen) == local
    piped = await cli(environment, *question)
    assert all(item["reported_at"] in piped.out for item in answer["items"]), "programs read UTC"
    as_of = f"{datetime.fromisoformat(answer['as_of']).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"
    assert f"as of {as_of} {zone}" in piped.err
    detail = await on_terminal(environment, "tests", "show", str(synced.test_id), cwd=tmp_path, width=120)
    assert detail.count(zone) == 1
    assert f"{as_of} {zone}" in detail


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("{here}/q.json", "q.json"),
        ("{here}/deep/q.json", "deep/q.json"),
        ("deep/../q.json", "q.json"),
        ("../here/q.json", "q.json"),
        ("deep/./q.json", "deep/q.json"),
        ("inside/q.json", "real/q.json"),
        ("{linked}/q.json", "q.json"),
    ],
)
async def test_a_name_is_judged_by_where_it_leads(
    synced: Copy, tmp_path: Path, cli: Cli, name: str, place: str
) -> None:
    here = tmp_path / "here"
    (here / "real").mkdir(parents=True)
    (here / "inside").symlink_to(here / "real")
    (tmp_path / "linked").symlink_to(here)
    written = name.format(here=here, linked=tmp_path / "linked")
    for environment in ({"TESTIO_EXPORT_DIR": str(here)}, {"TESTIO_EXPORT_DIR": str(tmp_path / "linked")}):
        ended = await cli(synced.environment | environment, "report", "quality", "-o", written)
        assert ended.code == 0, ended.err
        assert (here / place).stat().st_size > 0
        (here / place).unlink()
    digest = await cli(synced.environment | environment, "digest", "-o", written.replace(".json", ".md"))
    assert digest.code == 0, digest.err
    assert (here / place).with_suffix(".md").read_text().startswith("# Digest of ")


@pytest.mark.parametrize(
    "name", ["out/q{}", "out/../q{}", "deep/../../q{}", "{}", "loop/q{}", "file-out{}", "/dev/full{}"]
)
@pytest.mark.parametrize("asked", [("report", "quality", ".json"), ("digest", ".md")], ids=["report", "digest"])
async def test_a_name_that_leads_out_is_refused_wherever_the_dots_and_links_stand(
    synced: Copy, tmp_path: Path, cli: Cli, name: str, asked: tuple[str, ...]
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere" / "below"
    here.mkdir()
    elsewhere.mkdir(parents=True)
    (here / "out").symlink_to(elsewhere)
    (here / "loop").symlink_to(here / "loop")
    *words, suffix = asked
    (here / f"file-out{suffix}").symlink_to(elsewhere / f"new{suffix}")
    written = name.format(suffix) if name != "{}" else f"{tmp_path}/q{suffix}"
    ended = await cli(synced.environment | {"TESTIO_EXPORT_DIR": str(here)}, *words, "-o", written)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".json", ".md")] == []


def test_nothing_turns_text_around() -> None:
    nasty = f"a{TURNS}gnp.exe"
    detail = {"id": 1, "text": f"{nasty}\n{nasty}", "parts": [{"name": nasty}], "link": [nasty]}
    for written in (
        write(answer)
        for write in (comma_separated, tab_separated, markdown)
        for answer in (detail, {"items": [detail]})
    ):
        assert not set(TURNS) & set(written)
        assert "agnp.exe" in written.replace("\\", "")


@pytest.mark.slow
@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",), ("--md",)])
async def test_nothing_turns_text_around_on_a_terminal(
    synced: Copy, tmp_path: Path, turned: dict[str, str], form: tuple[str, ...]
) -> None:
    seen = await on_terminal(turned, "products", "list", *form, cwd=tmp_path, width=160)
    assert "gnp.exe" in seen.replace("\\", "")
    assert not set(TURNS) & set(seen)


@pytest.fixture
def turned(synced: Copy, tmp_path: Path) -> dict[str, str]:
    """A copy in which the name of a product turns itself around."""
    import shutil
    import sqlite3

    shutil.copy(synced.path, tmp_path / "turned.db")
    with sqlite3.connect(tmp_path / "turned.db") as store:
        store.execute("UPDATE product SET name = ? || name", (f"\u202egnp.exe{TURNS}",))
    store.close()
    return {"TESTIO_DB_PATH": str(tmp_path / "turned.db")}


LINES = [
    "testio --version",
    "testio --help",
    "testio bugs list --csv --limit 100",
    "testio bugs list --json --limit 100",
    "testio report quality",
    "testio db stats",
]


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(
    ("target", "said"), [(">/dev/full", b"No space left on device"), (">&-", b"it is closed")], ids=["full", "closed"]
)
async def test_output_that_cannot_be_written_is_one_line_and_a_code_of_its_own(
    synced: Copy, tmp_path: Path, line: str, target: str, said: bytes
) -> None:
    code, _, err = await redirected(synced.environment, f"{line} {target}", cwd=tmp_path)
    last = err.splitlines()[-1]
    assert (code, b"Traceback" in err) == (6, False), err
    assert last.startswith(b"Standard output cannot be written: " + said)
    assert err.count(b"Standard output") == 1


@pytest.mark.slow
@pytest.mark.parametrize("line", ["testio bugs list", "testio tests show 0", "testio frob"])
async def test_without_standard_error_the_exit_code_still_says_it(synced: Copy, tmp_path: Path, line: str) -> None:
    expected = (await redirected(synced.environment, line, cwd=tmp_path))[:2]
    for target in ("2>&-", "2>/dev/full"):
        assert (await redirected(synced.environment, f"{line} {target}", cwd=tmp_path))[:2] == expected, target


@pytest.mark.slow
@pytest.mark.parametrize("words", ["", "serve"])
@pytest.mark.parametrize("target", [">/dev/full", ">&-"])
@pytest.mark.parametrize("stays_open", [True, False])
async def test_a_server_whose_output_fails_says_so_and_ends(
    synced: Copy, tmp_path: Path, words: str, target: str, stays_open: bool
) -> None:
    reading, writing = os.pipe()
    os.write(writing, json.dumps(INITIALIZE).encode() + b"\n")
    if not stays_open:
        os.close(writing)
    try:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", f"exec {' '.join(PROGRAM)} {words} {target}"),
            env=whole(synced.environment),
            cwd=tmp_path,
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        _, err = await process.communicate()
    finally:
        os.close(reading)
        if stays_open:
            os.close(writing)
    assert process.returncode == 6, err
    assert err.splitlines()[-1].startswith(b"Standard output cannot be written: ")
    assert b"Traceback" not in err
