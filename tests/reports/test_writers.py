"""Every kind of file: the same bytes for the same report, and texts that stay texts."""

import csv
import io
import os
import re
import subprocess
import sys
import zipfile
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from pydantic import ValidationError

from testio_mcp.errors import BadInput
from testio_mcp.reports.links import Link
from testio_mcp.reports.model import Chart, Column, Definition, Report, Series, Table
from testio_mcp.reports.words import format_time, number, zone_of
from testio_mcp.reports.writers import FORMATS, format_of, write
from testio_mcp.texts import visible
from tests.reports.sample import FORMULAS, HOSTILE, sample

HIDDEN = "\u202e\u202c\u2066\u2069\u200b\ufeff\u00ad\x07\x00\r\u2028"
REPORT = sample()


def _unpacked(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        return {name: packed.read(name).decode() for name in packed.namelist()}


def _texts(content: bytes, kind: str) -> str:
    """All text of a file."""
    return "".join(_unpacked(content).values()) if kind in ("xlsx", "zip") else content.decode()


@pytest.mark.parametrize("kind", FORMATS)
def test_same_report_gives_the_same_bytes(kind: str) -> None:
    assert write(sample(), kind) == write(sample(), kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_another_process_at_another_time_and_place_gives_the_same_bytes(kind: str) -> None:
    program = (
        "import sys; from tests.reports.sample import sample; from testio_mcp.reports.writers import write;"
        f"sys.stdout.buffer.write(write(sample(), {kind!r}))"
    )
    environment = {**os.environ, "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "7", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert done.stdout == write(sample(), kind)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_nobody_sees_is_gone_and_what_people_wrote_is_there(kind: str) -> None:
    text = _texts(write(REPORT, kind), kind)
    assert [ascii(letter) for letter in HIDDEN if letter in text] == []
    for said in ("日本語のテスト", "👩‍🚀 👍🏽 🇩🇪", "עברית", "zerowidth", "W" * 120):
        assert said in text


def test_json_is_the_report_and_stays_so() -> None:
    content = write(REPORT, "json")
    back = Report.model_validate_json(content)
    assert write(back, "json") == content
    assert back.sections[2].tables[0].rows[1] == REPORT.sections[2].tables[0].rows[1]
    assert back.sections[3].tables[0].rows[0][0] == HOSTILE[0]
    assert back.sections[3].findings[8].text == visible(HOSTILE[8]) != HOSTILE[8]
    cells = {type(cell) for row in back.sections[2].tables[0].rows for cell in row}
    assert cells == {str, int, float, bool, type(None)}


def test_numbers_that_are_none_become_null() -> None:
    report = sample()
    report.sections[0].figures[0].value = float("nan")
    report.sections[1].charts[0].series[0].values[0] = float("inf")
    back = Report.model_validate_json(write(report, "json"))
    assert back.sections[0].figures[0].value is None
    assert back.sections[1].charts[0].series[0].values[0] is None
    for kind in FORMATS:
        assert write(report, kind) == write(back, kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "html"),
        ("A.B.HTML", "html"),
        ("2026/q3.md", "md"),
        ("q.xlsx", "xlsx"),
        ("q.zip", "zip"),
        ("q.json", "json"),
    ],
)
def test_name_tells_the_kind(name: str, kind: str) -> None:
    assert format_of(name) == kind


@pytest.mark.parametrize("name", ["a", "html", ".html", "a.pdf", "a.html.", "a.htm\u202el", ""])
def test_other_names_get_the_list_of_kinds(name: str) -> None:
    with pytest.raises(BadInput, match=r"\.html, \.md, \.xlsx, \.zip, \.json"):
        format_of(name)


def test_unknown_kind_gets_the_list() -> None:
    with pytest.raises(BadInput, match="Use one of html, md, xlsx, zip, json"):
        write(REPORT, "pdf")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)


def _text_of(link: Link) -> str:
    return str(link.arguments.get("text", link))


def test_markdown_is_headings_lists_and_tables_and_nothing_else() -> None:
    rendered = (
        MarkdownIt("commonmark", {"html": True})
        .enable(["table", "strikethrough"])
        .render(write(REPORT, "md", _text_of).decode())
    )
    found = _Tags()
    found.feed(rendered)
    assert found.tags == {"h1", "h2", "h3", "p", "br", "ul", "li", "strong", "code"} | {
        "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    for text in HOSTILE:
        shown = " ".join(visible(text).split())
        plain = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
        assert f"<td>{plain}</td>" in rendered, "a reader sees what was written"
        assert f"<code>{plain}</code>" in rendered
    assert 'style="text-align:right"' in rendered


def test_markdown_reads_well() -> None:
    lines = write(REPORT, "md").decode().splitlines()
    assert lines[0] == "# Quality of Aurora Banking, third quarter"
    assert "- **Period:** 1 Jul – 30 Sep 2026 (2026-Q3)" in lines
    assert "| Rejection rate | 22.8% | Warning | ▲ +3.8 points, from 19.0% |" in lines
    assert "| 2026-08 | 1 | – | 13 | 8 |".replace("–", "") in lines, "a section of charts is told as tables"


def test_archive_holds_every_table_and_the_three_lists() -> None:
    files = _unpacked(write(REPORT, "zip"))
    tables = [name for name in files if name.startswith("tables/")]
    assert {"report.csv", "figures.csv", "findings.csv", "definitions.csv"} == files.keys() - set(tables)
    assert tables[0] == "tables/trends-1-bugs-a-month.csv"
    assert "tables/edges-1-script-alert-x-script.csv" in tables
    for name, text in files.items():
        rows = list(csv.reader(io.StringIO(text)))
        assert len({len(row) for row in rows}) == 1, name
        assert [cell for row in rows for cell in row if cell[:1] in ("=", "@", "+", "＝", "\t")] == []
    records = list(csv.reader(io.StringIO(files["tables/records-1-open-bugs.csv"])))
    assert len(records) == 61
    assert records[2] == [
        "2400001", "The amount is lost after going back, variant 1", "high", "37", "0.75", repr(1 / 60),
        "2026-08-02", "2026-07-03T05:15:00Z", "false",
    ]  # fmt: skip
    figures = list(csv.DictReader(io.StringIO(files["figures.csv"])))
    assert [figure["value"] for figure in figures if figure["name"] == "story_coverage"] == [""]
    assert [figure["previous"] for figure in figures if figure["name"] == "odd"] == ["-5"], "numbers stay numbers"


def test_no_text_of_an_archive_is_a_formula_whatever_stands_before_its_sign() -> None:
    columns = [Column(key="text", label="=Text"), Column(key="number", label="Number", kind="count")]
    table = Table(title="Formulas", columns=columns, rows=[[text, -1] for text in FORMULAS])
    section = REPORT.sections[2].model_copy(update={"tables": [table]})
    files = _unpacked(write(REPORT.model_copy(update={"sections": [section]}), "zip"))
    heading, *rows = csv.reader(io.StringIO(files["tables/records-1-formulas.csv"]))
    assert heading == ["'=Text", "Number"]
    assert len(rows) == len(FORMULAS)
    assert [ascii(text) for text, _ in rows if not text.startswith("'")] == []
    assert {number for _, number in rows} == {"-1"}


def test_archive_is_as_old_as_the_report() -> None:
    with zipfile.ZipFile(io.BytesIO(write(REPORT, "zip"))) as packed:
        assert {info.date_time for info in packed.infolist()} == {(2026, 10, 5, 6, 30, 0)}
        assert {info.external_attr >> 16 for info in packed.infolist()} == {0o600}


def test_report_of_nothing_can_be_written() -> None:
    empty = REPORT.model_copy(update={"sections": [], "definitions": [], "filters": {}, "previous": None})
    for kind in FORMATS:
        assert write(empty, kind)


def test_zone_that_the_machine_does_not_know_is_utc() -> None:
    period = REPORT.period.model_copy(update={"time_zone": "Mars/Olympus_Mons"})
    report = REPORT.model_copy(update={"period": period, "generated_at": datetime(2026, 10, 5, 6, 30)})  # noqa: DTZ001
    assert zone_of(report).name == "UTC"
    assert format_time(report.generated_at, zone_of(report)) == "5 Oct 2026, 06:30 UTC"
    assert all(write(report, kind) for kind in FORMATS)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "share", "–"),
        (0, "share", "0.0%"),
        (0.0001, "share", "<0.1%"),
        (1, "share", "100.0%"),
        (1234567, "count", "1,234,567"),
        (-3, "count", "−3"),
        (2.5, "number", "2.50"),
        (0, "number", "0"),
    ],
)
def test_numbers_are_written_in_one_way(value: float | None, unit: str, shown: str) -> None:
    assert number(value, unit) == shown  # type: ignore[arg-type]


def test_model_refuses_what_no_writer_could_write() -> None:
    with pytest.raises(ValidationError, match="one value, or a null, for each label"):
        Chart(title="x", kind="bars", unit="count", labels=["a"], series=[Series(name="x", values=[])])
    with pytest.raises(ValidationError, match="one cell, or a null, for each column"):
        Table(title="x", columns=[Column(key="a", label="A")], rows=[["a", "b"]])
    with pytest.raises(ValidationError, match="an id of its own"):
        Report.model_validate({**REPORT.model_dump(), "sections": [REPORT.sections[0]] * 2})


def test_definitions_are_told_everywhere() -> None:
    report = REPORT.model_copy(update={"definitions": [Definition(name="Kestrel", text="A small falcon.")]})
    for kind in FORMATS:
        text = _texts(write(report, kind), kind)
        assert "Kestrel" in text
        assert "A small falcon." in text


def test_ids_of_sections_may_be_those_that_a_page_uses_itself() -> None:
    names = ["p1", "hatch", "definitions", "title", "A", "a"]
    sections = [section.model_copy(update={"id": name}) for name in names for section in REPORT.sections[3:]]
    report = REPORT.model_copy(update={"sections": sections})
    found = re.findall(r'\bid="([^"]+)"', write(report, "html").decode())
    assert len(set(found)) == len(found) > 50
    assert len(_unpacked(write(report, "zip"))) == 4 + 3 * len(names)
    assert write(report, "xlsx")
