"""A report as a workbook: what it is about, a sheet for each section, and the definitions.

Numbers, shares, days and moments are cells of those types. Texts are always texts, and stay so when somebody edits
a cell.
"""

import io
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any
from unicodedata import east_asian_width

import xlsxwriter

from testio_mcp.reports import words
from testio_mcp.reports.links import Link, Render
from testio_mcp.reports.model import Cell, Column, Figure, Finding, Health, Report, Section, Table
from testio_mcp.texts import is_formula

_MOST_LETTERS = 32_000
"""UTF-16 units of a cell; Excel takes 32,767."""
_NAME = 31
_LINE, _HIGHEST = 15, 405
_WIDEST, _NARROWEST = 60, 9
_FORBIDDEN = re.compile(r"[\[\]:*?/\\]")
_FORMATS = {
    "count": "#,##0",
    "number": "#,##0.00",
    "share": "0.0%",
    "day": "yyyy-mm-dd",
    "moment": "yyyy-mm-dd hh:mm",
}
_HEALTH = {"good": "#18703A", "warning": "#8A5A00", "critical": "#B3222B"}
_RIGHT = {"align": "right", "indent": 0}
_FIGURE = ("Figure", "Health", ("Value", _RIGHT), ("Previous", _RIGHT), "Change", "Rule", "Definition", "Records")
_FINDING = ("Finding", "Health", "Records")


def workbook(report: Report, render: Render = str) -> bytes:
    """A report as XLSX; `render` writes the links."""
    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    book = xlsxwriter.Workbook(out, options)
    created = report.generated_at.astimezone(UTC).replace(tzinfo=None)
    book.set_properties({"title": report.title[:250], "created": created, "author": "testio-mcp"})
    writing = _Writing(book, words.zone_of(report), render)
    _write_title(writing, report)
    for section in report.sections:
        _section(writing, section)
    if report.definitions:
        sheet = writing.sheet("Definitions")
        sheet.table(("Word", "Definition"), [(word.name, word.text) for word in report.definitions])
        sheet.close()
    book.close()
    return out.getvalue()


class _Writing:
    """A workbook under way: its formats and the names of its sheets."""

    def __init__(self, book: Any, zone: words.Zone, render: Render) -> None:
        self.book = book
        self.zone = zone
        self._render = render
        self._formats: dict[tuple[tuple[str, Any], ...], Any] = {}
        self._names: set[str] = {"history"}  # Excel keeps this one for itself.

    def format(self, **properties: Any) -> Any:
        """A cell format; the same object for the same properties."""
        key = tuple(sorted(properties.items()))
        if key not in self._formats:
            self._formats[key] = self.book.add_format({"valign": "top", **properties})
        return self._formats[key]

    def written(self, link: Link | None) -> str | None:
        """A link as text."""
        return self._render(link) if link else None

    def sheet(self, title: str, *, freezes: bool = True) -> "_Sheet":
        """A new sheet whose name is as near to `title` as Excel allows; `freezes` as for `_Sheet`."""
        wanted = " ".join(_FORBIDDEN.sub(" ", title).split()).strip("' ") or "Sheet"
        name, number = _cut(wanted, _NAME).rstrip("' "), 1
        while name.lower() in self._names:
            number += 1
            name = f"{_cut(wanted, _NAME - 4)} {number}"
        self._names.add(name.lower())
        return _Sheet(self, self.book.add_worksheet(name), freezes=freezes)


def _wide(text: str) -> int:
    """The width of a text in letters; those of East Asia are two wide."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _cut(text: str, units: int) -> str:
    """The beginning of a text, in UTF-16 units."""
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore")


class _Sheet:
    """A sheet that grows downwards.

    A sheet with one table (`freezes`) keeps its heading in sight and can be filtered, others keep their first line.
    """

    def __init__(self, writing: _Writing, sheet: Any, *, freezes: bool) -> None:
        self._writing = writing
        self._sheet = sheet
        self._row = 0
        self._widths: dict[int, int] = {}
        self._wrapped: dict[int, list[tuple[int, str]]] = {}
        self._freezes = freezes
        if not freezes:
            sheet.freeze_panes(1, 0)
        sheet.hide_gridlines(2)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)

    def line(self, text: str, **properties: Any) -> None:
        """A text in a row of its own, which does not make the first column wider."""
        self._text(self._row, 0, text, **properties)
        self._row += 1

    def skip(self) -> None:
        """An empty row."""
        self._row += 1

    def table(self, heading: Sequence[Any], rows: Iterable[Sequence[Any]]) -> None:
        """Rows below a heading. A cell of either is a value, or a pair of a value and its format's properties."""
        begin = self._row
        self._fill_row(begin, heading, {"bold": True, "bottom": 1, "bg_color": "#EEF1F4"})
        for row in rows:
            self._row += 1
            self._fill_row(self._row, row, {})
        if self._freezes and heading:
            self._sheet.freeze_panes(begin + 1, 0)
            self._sheet.repeat_rows(begin)
            self._sheet.autofilter(begin, 0, self._row, len(heading) - 1)
        self._row += 2

    def close(self) -> None:
        """Give the columns the widths, and the rows the heights, of what is in them."""
        widths = {at: min(max(width + 2, _NARROWEST), _WIDEST) for at, width in self._widths.items()}
        for at, width in widths.items():
            self._sheet.set_column(at, at, width)
        for row, texts in self._wrapped.items():
            lines = max(
                sum(-(-_wide(line) // (widths[at] - 2)) or 1 for line in text.split("\n")) for at, text in texts
            )
            if lines > 1:
                self._sheet.set_row(row, min(_LINE * lines, _HIGHEST))

    def _fill_row(self, row: int, cells: Sequence[Any], shared: dict[str, Any]) -> None:
        for at, cell in enumerate(cells):
            value, properties = cell if isinstance(cell, tuple) else (cell, {})
            self._fill(row, at, value, {**shared, **properties})

    def _fill(self, row: int, at: int, value: object, properties: dict[str, Any]) -> None:
        if isinstance(value, int | float):
            shown = len(f"{value:,.2f}")
        else:
            shown = 14 if isinstance(value, datetime) else max(map(_wide, str(value).split("\n")))
        if properties.get("text_wrap", True):
            self._widths[at] = max(self._widths.get(at, 0), shown)
            if isinstance(value, str):
                self._wrapped.setdefault(row, []).append((at, value))
        match value:
            case None | "":
                return
            case bool():
                self._sheet.write_boolean(row, at, value, self._writing.format(align="left", **properties))
            case int() | float():
                self._sheet.write_number(row, at, value, self._writing.format(**properties))
            case date():
                shape = self._writing.format(align="left", indent=1, **properties)
                self._sheet.write_datetime(row, at, value, shape)
            case _:
                # Texts keep away from the numbers to their left.
                place = {"align": "left", "indent": 1} if at else {}
                self._text(row, at, str(value), **{"text_wrap": True, **place, **properties})

    def _text(self, row: int, at: int, text: str, **properties: Any) -> None:
        kept = _cut(text, _MOST_LETTERS)
        if len(kept) < len(text):
            kept += "…"
        if is_formula(kept):
            properties["quote_prefix"] = True
        self._sheet.write_string(row, at, kept, self._writing.format(**properties))


def _write_title(writing: _Writing, report: Report) -> None:
    sheet = writing.sheet("Report")
    sheet.line(report.title, bold=True, font_size=16)
    if report.subtitle:
        sheet.line(report.subtitle, font_color="#565F6B")
    sheet.skip()
    about = [*words.facts(report), ("Kind", report.kind), ("Schema version", report.schema_version)]
    sheet.table(("About", "Value"), about)
    sheet.close()


def _section(writing: _Writing, section: Section) -> None:
    tables = words.tables_of(section)
    alone = bool(section.figures) + bool(section.findings) + len(tables) == 1
    sheet = writing.sheet(section.title, freezes=alone)
    sheet.line(section.title, bold=True, font_size=14)
    if section.text:
        sheet.line(" ".join(section.text.split()))
    sheet.skip()
    if section.figures:
        sheet.table(_FIGURE, [_figure(writing, figure) for figure in section.figures])
    if section.findings:
        sheet.table(_FINDING, [_finding(writing, finding) for finding in section.findings])
    for table in tables:
        _records(writing, sheet, table)
    sheet.close()


def _health(health: Health | None) -> object:
    return (words.HEALTH[health], {"bold": True, "font_color": _HEALTH[health]}) if health else None


def _figure(writing: _Writing, figure: Figure) -> list[object]:
    shape = {"num_format": _FORMATS[figure.unit]}
    value = words.of_few(figure.part, figure.whole) or figure.value
    before = words.of_few(figure.previous_part, figure.previous_whole) or figure.previous
    numbers = [(value, {"bold": True, **shape}), (before, shape)]
    change = figure.direction.capitalize() if figure.direction else None
    return [
        figure.label,
        _health(figure.health),
        *numbers,
        change,
        figure.threshold,
        figure.definition,
        writing.written(figure.link),
    ]


def _finding(writing: _Writing, finding: Finding) -> list[object]:
    # The link may reach over the columns of the figures above it.
    return [finding.text, _health(finding.health), (writing.written(finding.link), {"text_wrap": False})]


def _records(writing: _Writing, sheet: _Sheet, table: Table) -> None:
    sheet.line(table.title, bold=True, font_size=12)
    rows = (
        [_typed(value, column, writing.zone) for value, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    )
    heading = [
        (words.heading(column, writing.zone), _RIGHT if words.is_number(column) else {}) for column in table.columns
    ]
    sheet.table(heading, rows)
    for text in filter(None, [table.note, f"Records: {writing.written(table.link)}" if table.link else None]):
        sheet.line(text, font_color="#565F6B", italic=True)
    sheet.skip()


def _typed(value: Cell, column: Column, zone: words.Zone) -> object:
    """A cell's value and format; a day or a moment that is none stays a text."""
    shape = {"num_format": _FORMATS[column.kind]} if column.kind in _FORMATS else {}
    if isinstance(value, str) and column.kind in ("day", "moment"):
        found = words.moment_of(value, zone) if column.kind == "moment" else words.day_of(value)
        return (found, shape) if found and found.year >= 1900 else value
    return (value, shape) if isinstance(value, int | float) and not isinstance(value, bool) else value
