"""A report as CSV files in a zip archive: every table, and the figures, findings and definitions in one file each."""

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence

from testio_mcp.reports import words
from testio_mcp.reports.links import Render
from testio_mcp.reports.model import Cell, Report
from testio_mcp.texts import disarm_formula

_EARLIEST = (1980, 1, 1, 0, 0, 0)
Rows = Iterable[Sequence[Cell]]


def archive(report: Report, render: Render = str, *, has_bom: bool = False) -> bytes:
    """A report as a zip archive; `render` writes the links, and with `has_bom` Excel reads the files as UTF-8.

    Files carry the moment of the report, so that equal reports give equal bytes.
    """
    out = io.BytesIO()
    made = words.local(report.generated_at).timetuple()[:6]
    with zipfile.ZipFile(out, "w") as packed:
        for name, heading, rows in _tables(report, render):
            info = zipfile.ZipInfo(name, max(made, _EARLIEST))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # The same on every system, and with it the mode that follows.
            info.external_attr = 0o600 << 16
            packed.writestr(info, _csv([heading, *rows]).encode("utf-8-sig" if has_bom else "utf-8"))
    return out.getvalue()


def _csv(rows: Rows) -> str:
    """CSV in which a text that a spreadsheet would take for a formula starts with an apostrophe."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([map(_harmless, row) for row in rows])
    return out.getvalue()


def _harmless(value: Cell) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return disarm_formula(value)
    return "" if value is None else repr(value)


def _tables(report: Report, render: Render) -> Iterator[tuple[str, Sequence[str], Rows]]:
    """Each file's name, heading and rows."""
    about = [("Title", report.title), ("Kind", report.kind), ("Schema version", report.schema_version)]
    yield "report.csv", ("name", "value"), [*about, *words.facts(report)]
    yield "figures.csv", _FIGURE, _figures(report, render)
    yield "findings.csv", ("section", "name", "health", "text", "value", "link"), _findings(report, render)
    yield "definitions.csv", ("name", "text"), [(word.name, word.text) for word in report.definitions]
    for section in report.sections:
        for number, table in enumerate(words.tables_of(section), 1):
            name = "-".join(filter(None, [section.id, str(number), _slug(table.title)]))
            yield f"tables/{name}.csv", [column.label for column in table.columns], table.rows


_FIGURE = (
    *("section", "name", "label", "unit", "value", "part", "whole", "previous", "direction"),
    *("health", "threshold", "definition", "link"),
)


def _figures(report: Report, render: Render) -> Rows:
    for section in report.sections:
        for f in section.figures:
            rule = f.health, f.threshold, f.definition, render(f.link) if f.link else None
            yield section.id, f.name, f.label, f.unit, f.value, f.part, f.whole, f.previous, f.direction, *rule


def _findings(report: Report, render: Render) -> Rows:
    for section in report.sections:
        for finding in section.findings:
            about = section.id, finding.name, finding.health, finding.text, finding.value
            yield *about, render(finding.link) if finding.link else None


def _slug(title: str) -> str:
    """The letters and digits of a title that every file system takes."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower())[:40].strip("-")
