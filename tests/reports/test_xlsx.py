"""The workbook, read back by another library."""

import io
from datetime import datetime
from typing import Any

import pytest
from openpyxl import load_workbook

from testio_mcp.reports.model import Column, Section, Table
from testio_mcp.reports.writers import write
from testio_mcp.texts import is_formula, visible
from tests.reports.sample import FORMULAS, HOSTILE, sample

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")


def _read(content: bytes) -> Any:
    return load_workbook(io.BytesIO(content))


@pytest.fixture(scope="module")
def book() -> Any:
    return _read(write(sample(), "xlsx"))


def _cells(sheet: Any) -> list[Any]:
    return [cell for row in sheet.iter_rows() for cell in row if cell.value is not None]


def _at(sheet: Any, text: str) -> Any:
    return next(cell for cell in _cells(sheet) if cell.value == text)


def test_there_is_a_sheet_for_each_section_and_one_for_the_definitions(book: Any) -> None:
    sections = ["Summary", "Trends", "Bugs that wait for a decision", "<b>Hostile< b> & odd text"]
    assert book.sheetnames == ["Report", *sections, "Definitions"]
    assert book.properties.created == datetime(2026, 10, 5, 6, 30)  # noqa: DTZ001
    assert book.properties.title == "Quality of Aurora Banking, third quarter"


def test_cells_have_the_types_and_formats_of_their_columns(book: Any) -> None:
    sheet = book["Bugs that wait for a decision"]
    heading = _at(sheet, "Bug").row
    first, second = heading + 1, heading + 2
    assert sheet.freeze_panes == f"A{first}"
    assert sheet.auto_filter.ref == f"A{heading}:I{heading + 60}"
    cells = [sheet.cell(second, at) for at in range(1, 10)]
    assert [cell.value for cell in cells] == [
        "2400001", "The amount is lost after going back, variant 1", "high", 37, 0.75, pytest.approx(1 / 60),
        datetime(2026, 8, 2), datetime(2026, 7, 3, 7, 15), False,  # noqa: DTZ001
    ]  # fmt: skip
    assert [cell.data_type for cell in cells] == ["s", "s", "s", "n", "n", "n", "d", "d", "b"]
    formats = ["General"] * 3 + ["#,##0", "#,##0.00", "0.0%", "yyyy-mm-dd", "yyyy-mm-dd hh:mm", "General"]
    assert [cell.number_format for cell in cells] == formats
    assert sheet.cell(first, 6).value is None
    assert sheet.cell(heading, 8).value == "Reported (Europe/Berlin)"
    assert sheet.cell(heading, 1).font.bold
    assert 9 <= sheet.column_dimensions["A"].width < 20
    assert 50 <= sheet.column_dimensions["B"].width <= 61


def test_rows_are_as_high_as_the_lines_in_them(book: Any) -> None:
    sheet = book["Bugs that wait for a decision"]
    high = {
        cell.row
        for cell in sheet["B"]
        if isinstance(cell.value, str) and (len(cell.value) > 60 or "\n" in cell.value)
    }
    assert {row for row in sheet.row_dimensions if sheet.row_dimensions[row].height} == high
    three = _at(sheet, "first line\nsecond line\nthird line").row
    assert sheet.row_dimensions[three].height == 45


def test_figures_are_numbers_with_their_previous_ones(book: Any) -> None:
    sheet = book["Summary"]
    row = _at(sheet, "Rejection rate").row
    health, value, previous = (sheet.cell(row, at) for at in (2, 3, 4))
    assert (value.value, previous.value, health.value) == (0.228, 0.19, "Warning")
    assert {value.number_format, previous.number_format} == {"0.0%"}
    coverage = _at(sheet, "Story coverage").row
    assert sheet.cell(coverage, 3).value is None
    assert sheet.cell(_at(sheet, "Severity score").row, 3).value == 0


def test_no_text_is_a_formula_or_a_link(book: Any) -> None:
    hostile = 0
    for sheet in book:
        for cell in _cells(sheet):
            assert cell.data_type != "f", cell
            assert cell.hyperlink is None
            if isinstance(cell.value, str) and is_formula(cell.value):
                hostile += 1
                assert cell.quotePrefix, "it stays a text when somebody edits it"
    assert hostile > 8
    assert book.defined_names == {}


def test_a_text_stays_one_whatever_stands_before_the_sign_of_a_formula() -> None:
    report = sample()
    table = Table(title="Formulas", columns=[Column(key="text", label="=Text")], rows=[[text] for text in FORMULAS])
    report.sections = [report.sections[2].model_copy(update={"tables": [table]})]
    sheet = _read(write(report, "xlsx")).worksheets[1]
    wanted = {visible(text) for text in FORMULAS}
    cells = [cell for cell in _cells(sheet) if cell.value in wanted]
    assert {cell.value for cell in cells} == wanted
    assert [ascii(cell.value) for cell in cells if cell.data_type == "f" or not cell.quotePrefix] == []


def test_texts_come_back_as_they_were(book: Any) -> None:
    sheet = book[book.sheetnames[4]]
    held = {cell.value for cell in _cells(sheet)}
    assert {HOSTILE[at] for at in (0, 2, 3, 4, 11, 12, 13, 17)} <= held
    assert {"not a day", "not a moment", "2026-02-30"} <= held
    assert datetime(2026, 9, 1, 12) in held  # noqa: DTZ001


@pytest.mark.parametrize(
    ("titles", "names"),
    [
        (["Report", "report", "Definitions"], ["Report", "Report 2", "report 3", "Definitions", "Definitions 2"]),
        (["'", "[]:*?/\\", "History"], ["Report", "Sheet", "Sheet 2", "History 2", "Definitions"]),
        (["x" * 40, "x" * 41], ["Report", "x" * 31, "x" * 27 + " 2", "Definitions"]),
        (["😀" * 20, "😀" * 20], ["Report", "😀" * 15, "😀" * 13 + " 2", "Definitions"]),
    ],
)
def test_sheets_have_names_that_excel_takes(titles: list[str], names: list[str]) -> None:
    sections = [Section(id=f"s{at}", title=title) for at, title in enumerate(titles)]
    book = _read(write(sample().model_copy(update={"sections": sections}), "xlsx"))
    assert book.sheetnames == names


def test_text_longer_than_a_cell_is_cut_with_a_mark() -> None:
    section = Section(id="long", title="Long", text="😀" * 40_000)
    book = _read(write(sample().model_copy(update={"sections": [section]}), "xlsx"))
    text = book["Long"]["A2"].value
    assert text == "😀" * 16_000 + "…"
