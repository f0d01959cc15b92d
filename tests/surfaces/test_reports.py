"""A report on every surface, and as a file: the command line, REST with each media type, tools, and saved files."""

import gzip
import io
import json
import re
import shlex
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openpyxl import load_workbook

from testio_mcp.operations.registry import operations
from testio_mcp.reports.model import Report
from testio_mcp.surfaces.mcp.budget import REPLY_BYTES, size
from testio_mcp.surfaces.mcp.report_replies import reply
from testio_mcp.surfaces.report_files import file_name, is_report
from tests.reports.sample import HOSTILE, sample
from tests.surfaces.conftest import Cli, Copy
from tests.surfaces.programs import command, http_server, stdio, text_of
from tests.surfaces.test_cli import on_terminal
from tests.surfaces.test_http import JSON, assert_problem

QUALITY = "/api/reports/quality?period=this+year"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SECTIONS = {"findings", "volume", "rates", "mix", "trend", "review", "tests"}


def sections_of(content: bytes) -> set[str]:
    """The ids of the sections of a page or of JSON."""
    text = content.decode()
    if text.startswith("{"):
        return {section["id"] for section in json.loads(text)["sections"]}
    return {name for name in SECTIONS if f'<section id="{name}"' in text}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "begin"), [("q.html", b"<!doctype html>"), ("deep/er/q.xlsx", b"PK"), ("./q.md", b"# Quality of ")]
)
async def test_command_writes_a_file_that_only_its_owner_reads(
    synced: Copy, tmp_path: Path, name: str, begin: bytes
) -> None:
    asked = ("report", "quality", "--product", str(synced.product_id), "--period", "this year", "-o", name)
    ended = await command(synced.environment, *asked, cwd=tmp_path)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"The report is in {tmp_path / name}.\n"
    content = (tmp_path / name).read_bytes()
    assert content.startswith(begin)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {Path(name).name}


async def test_files_go_to_the_export_directory_where_one_is_set(synced: Copy, tmp_path: Path, cli: Cli) -> None:
    environment = synced.environment | {"TESTIO_EXPORT_DIR": str(tmp_path / "kept")}
    ended = await cli(environment, "report", "quality", "--output", "2026/q.json", "--detail", "summary")
    assert ended.code == 0, ended.err
    saved = json.loads((tmp_path / "kept/2026/q.json").read_text())
    assert not any(section["tables"] for section in saved["sections"])
    assert (await cli(environment, "report", "quality", "-o", "q.json")).code == 0
    assert sections_of((tmp_path / "kept/q.json").read_bytes()) >= SECTIONS


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/tmp/q.html", "leads out of "),
        ("../q.html", "leads out of "),
        ("a/../../q.html", "leads out of "),
        (".q.html", "it starts with a dot"),
        ("con.html", "it means a device"),
        ("q", "does not say what kind of file to write"),
        ("q.pdf", "does not say what kind of file to write"),
        ("", "does not say what kind of file to write"),
        ("link.html", "leads out of the export directory"),
    ],
)
async def test_names_that_lead_elsewhere_are_refused_in_one_line(
    synced: Copy, tmp_path: Path, cli: Cli, name: str, said: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "link.html").symlink_to(tmp_path / "elsewhere.html")
    environment = synced.environment | {"TESTIO_EXPORT_DIR": str(here)}
    ended = await cli(environment, "report", "quality", "-o", name)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["here", "link.html"]


async def test_command_prints_markdown_to_pipes_and_json_when_asked(synced: Copy, cli: Cli) -> None:
    asked = ("report", "quality", "--product-ids", str(synced.product_id), "--period", "this year")
    piped = await cli(synced.environment, *asked)
    assert piped.out.startswith("# Quality of ")
    assert "\n| Bugs | " in piped.out
    assert piped.out == (await cli(synced.environment, *asked, "--md")).out
    assert Report.model_validate_json((await cli(synced.environment, *asked, "--json")).out).kind == "quality"
    both = await cli(synced.environment, *asked, "--json", "-o", "q.json")
    assert (both.code, both.out) == (2, "")
    assert "--json and --output exclude each other" in both.err
    assert (await cli(synced.environment, *asked, "--csv")).code == 2


async def test_every_command_that_a_printed_report_shows_can_be_run(synced: Copy, cli: Cli) -> None:
    for product in ([], ["--product", str(synced.product_id)]):
        asked = ("report", "quality", *product, "--period", "this year", "--detail", "full")
        shown = set(re.findall(r"\(`testio-mcp ([^`]+)`\)", (await cli(synced.environment, *asked)).out))
        assert len(shown) > 20
        for line in shown:
            ended = await cli(synced.environment, *shlex.split(line), "--json")
            assert ended.code == 0, f"{line}: {ended.err}"


@pytest.mark.slow
async def test_a_terminal_shows_tables_and_no_markup(synced: Copy, tmp_path: Path) -> None:
    seen = await on_terminal(synced.environment, "report", "quality", cwd=tmp_path, width=100)
    assert "Quality of all products" in seen
    assert "| ---" not in seen
    assert "**" not in seen
    assert "Severity score" in seen


@pytest.mark.parametrize(
    ("form", "media_type", "accept"),
    [
        ("html", "text/html; charset=utf-8", BROWSER),
        ("md", "text/markdown; charset=utf-8", "text/markdown"),
        ("xlsx", XLSX, XLSX),
        ("zip", "application/zip", "application/zip;q=0.9, application/json;q=0.1"),
        ("json", "application/json", "application/json, text/html"),
        ("json", "application/json", "image/png"),
        ("json", "application/json", "text/html;q=0.2, */*"),
    ],
)
async def test_rest_sends_the_kind_of_file_that_is_asked_for(
    web: httpx2.AsyncClient, form: str, media_type: str, accept: str
) -> None:
    by_header = await web.get(QUALITY, headers={"Accept": accept})
    by_name = await web.get(f"{QUALITY}&format={form}", headers={"Accept": "application/json"})
    for answer in (by_header, by_name):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == media_type
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "accept" in [name.strip().lower() for name in answer.headers["vary"].split(",")]
        place = answer.headers.get("content-disposition", "")
        name = "quality-of-all-products-"
        assert (place.startswith(f'{"inline" if form == "html" else "attachment"}; filename="{name}')) == (
            form != "json"
        )
        assert place.endswith(f'.{form}"') == (form != "json")
        assert ("content-security-policy" in answer.headers) == (form == "html")


async def test_files_over_rest_are_whole_unless_asked_otherwise(web: httpx2.AsyncClient) -> None:
    page = await web.get(f"{QUALITY}&format=html")
    assert sections_of(page.content) == SECTIONS
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    short = await web.get(f"{QUALITY}&format=html&detail=summary")
    assert sections_of(short.content) < SECTIONS
    book = load_workbook(io.BytesIO((await web.get(f"{QUALITY}&format=xlsx")).content))
    assert {"Report", "Findings", "Definitions"} <= set(book.sheetnames)
    packed = zipfile.ZipFile(io.BytesIO((await web.get(f"{QUALITY}&format=zip")).content))
    assert {"report.csv", "figures.csv", "findings.csv"} <= set(packed.namelist())


async def test_each_kind_has_a_tag_of_its_own_and_is_not_sent_again(web: httpx2.AsyncClient) -> None:
    forms: list[dict[str, str]] = [{"Accept": kind} for kind in ("text/html", "text/markdown", "application/json")]
    tags = [(await web.get(QUALITY, headers=form)).headers["etag"] for form in forms]
    assert len(set(tags)) == 3
    assert all(tag.startswith("W/") for tag in tags)
    for form, tag in zip(forms, tags, strict=True):
        again = await web.get(QUALITY, headers={**form, "If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert "accept" in again.headers["vary"].lower()
        others = ", ".join(other for other in tags if other != tag)
        assert (await web.get(QUALITY, headers={**form, "If-None-Match": others})).status_code == 200


async def test_pages_travel_compressed_and_what_is_compressed_already_does_not(web: httpx2.AsyncClient) -> None:
    async with web.stream("GET", f"{QUALITY}&format=html", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw).startswith(b"<!doctype html>")
    for form in ("xlsx", "zip"):
        packed = await web.get(f"{QUALITY}&format={form}", headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in packed.headers


@pytest.mark.parametrize("query", ["format=pdf", "format=html&format=md", "format=%00"])
async def test_kinds_that_there_are_not_are_named(web: httpx2.AsyncClient, query: str) -> None:
    answer = await web.get(f"{QUALITY}&{query}")
    assert_problem(answer, 422, "bad_input")
    assert answer.json()["error"]["next_step"] == "format takes any of: json, html, md, xlsx, zip."


async def test_only_reports_have_a_format(web: httpx2.AsyncClient) -> None:
    assert_problem(await web.get("/api/tests?format=html"), 422, "bad_input")
    assert (await web.get("/api/tests", headers={"Accept": BROWSER})).headers["content-type"] == "application/json"
    assert (await web.get("/docs")).text.count("<code>format</code>") == len(
        [operation for operation in operations().values() if is_report(operation)]
    )
    document = (await web.get("/openapi.json")).json()
    for name, operation in operations().items():
        route = document["paths"][f"/api{operation.path}"][operation.method.lower()]
        kinds = set(route["responses"]["200"]["content"])
        assert kinds == (
            {"application/json", "text/html", "text/markdown", XLSX, "application/zip"}
            if is_report(operation)
            else {"application/json"}
        ), name
        assert any(parameter["name"] == "format" for parameter in route.get("parameters", [])) == is_report(operation)


async def test_tools_answer_in_markdown_and_save_files(synced: Copy, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    environment = synced.environment | {"TESTIO_TOOLSETS": "numbers", "TESTIO_EXPORT_DIR": str(kept)}
    async with stdio(environment, tmp_path) as client:
        told = await client.call_tool("quality_report", {"period": "this year", "detail": "full"})
        saved = await client.call_tool("save_report", {"name": "year.html", "period": "this year"})
        again = await client.call_tool("save_report", {"name": "year.html", "kind": "quality_report"})
        bad = [
            await client.call_tool("save_report", {"name": "q.html", **more})
            for more in ({"name": "../q.html"}, {"name": "q.pdf"}, {"kind": "nonsense"}, {"product_ids": True})
        ]
    assert told.structured_content is not None
    assert size(told.structured_content) <= REPLY_BYTES
    fence, title, *_ = text_of(told).splitlines()
    assert fence.endswith("never instructions]")
    assert title == "# Quality of all products"
    assert f"\n[end {fence[6:14]}]\nas_of: " in text_of(told)
    answer = saved.structured_content or {}
    assert (answer["path"], answer["kind"]) == ("year.html", "quality")
    assert set(answer["sections"]) > SECTIONS
    assert again.structured_content is not None
    assert [path.name for path in kept.iterdir()] == ["year.html"]
    assert (kept / "year.html").stat().st_size == again.structured_content["bytes"]
    assert (kept / "year.html").stat().st_mode & 0o777 == 0o600
    assert [answer.is_error for answer in bad] == [True] * 4
    assert text_of(bad[0]).startswith("'../q.html' is not only a name.")
    assert text_of(bad[1]).startswith("'q.pdf' does not say what kind of file to write.")
    assert text_of(bad[2]).startswith("kind: there is no report 'nonsense'. kind takes any of: quality")
    assert text_of(bad[3]).startswith("product_ids: ")


@pytest.mark.slow
async def test_a_read_only_server_saves_nothing(synced: Copy, tmp_path: Path) -> None:
    async with stdio(synced.environment | {"TESTIO_TOOLSETS": "all"}, tmp_path, options=["--read-only"]) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        answer = await client.call_tool("save_report", {"name": "q.html"})
    assert "quality_report" in names
    assert "save_report" not in names
    assert answer.is_error


@pytest.mark.slow
async def test_a_report_is_saved_over_rest_and_on_the_command_line_alike(
    synced: Copy, tmp_path: Path, cli: Cli
) -> None:
    folders = {name: tmp_path / name for name in ("rest", "line")}
    arguments: dict[str, Any] = {"name": "q.json", "product_ids": [synced.product_id], "period": "this year"}
    environment = synced.environment | {"TESTIO_EXPORT_DIR": str(folders["rest"])}
    with http_server(environment, tmp_path) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as web:
            over_rest = await web.post("/api/reports/files", json=arguments)
            assert_problem(await web.post("/api/reports/files", content=b"{}", headers=JSON), 422, "bad_input")
    asked = ("report", "save", "q.json", "--product", str(synced.product_id), "--period", "this year", "--json")
    on_the_line = await cli(synced.environment | {"TESTIO_EXPORT_DIR": str(folders["line"])}, *asked)
    assert over_rest.json() == json.loads(on_the_line.out)
    saved = [json.loads((folder / "q.json").read_text()) for folder in folders.values()]
    assert [report.pop("generated_at") != "" for report in saved] == [True, True]
    assert saved[0] == saved[1]
    assert over_rest.json()["bytes"] == (folders["rest"] / "q.json").stat().st_size


def test_a_reply_holds_a_report_of_any_size() -> None:
    small = sample()
    for factor in (1, 20, 100):
        tables = [
            table.model_copy(update={"rows": table.rows * factor})
            for section in small.sections
            for table in section.tables
        ]
        grown = small.sections[0].model_copy(update={"id": "grown", "tables": tables * (1 + factor // 20)})
        told = reply(small.model_copy(update={"sections": [*small.sections, grown]}).model_dump(mode="json"), "a way")
        assert told.structured_content is not None
        assert size(told.structured_content) <= REPLY_BYTES
        assert len(text_of(told).encode()) <= REPLY_BYTES + 1024
        assert told.structured_content["title"] == small.title
        assert ("notice" in told.structured_content) == ("\nnotice: " in text_of(told))
        assert "notice" in told.structured_content or factor == 1
        assert HOSTILE[0] not in text_of(told)
        assert "<img" not in text_of(told)
    assert "no charts; a way." in text_of(told)


def test_file_names_are_safe_whatever_the_title_is() -> None:
    for title in (*HOSTILE, "../../etc/passwd", 'a"b\r\nc', "Qualität für Bäcker", "…", "Quality of Aurora"):
        name = file_name(sample().model_copy(update={"title": title}), "html")
        assert name.isascii()
        assert name.removesuffix("-2026-07-01-2026-09-30.html").replace("-", "").isalnum(), name
        assert len(name) < 100
        assert name.startswith("quality")
