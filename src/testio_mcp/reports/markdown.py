"""A report as Markdown for tickets, wikis and chats: tables, no pictures, and texts that stay texts."""

import re
from collections.abc import Iterable, Sequence

from testio_mcp.reports import words
from testio_mcp.reports.links import Link, Render
from testio_mcp.reports.model import Column, Figure, Finding, Report, Section, Table
from testio_mcp.texts import escape_markdown


def text(report: Report, render: Render = str) -> str:
    """A report as Markdown; `render` writes the links."""
    zone = words.zone_of(report)
    lines = [f"# {escape_markdown(report.title)}"]
    if report.subtitle:
        lines.append(escape_markdown(report.subtitle))
    lines.append(
        "\n".join(f"- **{escape_markdown(name)}:** {escape_markdown(value)}" for name, value in words.facts(report))
    )
    for section in report.sections:
        lines += _section(section, zone, render)
    if told := list(_definitions(report, render)):
        lines += ["## Definitions", "\n".join(told)]
    return "\n\n".join(lines) + "\n"


def _section(section: Section, zone: words.Zone, render: Render) -> Iterable[str]:
    yield f"## {escape_markdown(section.title)}"
    if section.text:
        yield "  \n".join(escape_markdown(line) for line in section.text.strip().splitlines() if line.strip())
    if section.findings:
        yield "\n".join(_finding(finding, render) for finding in section.findings)
    if section.figures:
        yield _table(["Figure", "Value", "Health", "Change"], [_figure(figure) for figure in section.figures], {1})
    for table in words.tables_of(section):
        yield from _records(table, zone, render)


def _finding(finding: Finding, render: Render) -> str:
    health = f"**{words.HEALTH[finding.health]}:** " if finding.health else ""
    return f"- {health}{escape_markdown(finding.text)}{_code(finding.link, render)}"


def _figure(figure: Figure) -> list[str]:
    health = words.HEALTH[figure.health] if figure.health else ""
    return [
        escape_markdown(figure.label),
        escape_markdown(words.value(figure)),
        health,
        escape_markdown(words.change(figure) or ""),
    ]


def _definitions(report: Report, render: Render) -> Iterable[str]:
    """What the numbers mean, each once: those of the figures with their rules and the way to their records."""
    figures = {figure.name: figure for section in report.sections for figure in section.figures}
    yield from (_meaning(figure, render) for figure in figures.values() if figure.definition)
    for word in report.definitions:
        if word.name not in figures:
            yield f"- **{escape_markdown(word.name)}:** {escape_markdown(word.text)}"


def _meaning(figure: Figure, render: Render) -> str:
    rule = f" {escape_markdown(figure.threshold)}" if figure.threshold else ""
    definition = escape_markdown(figure.definition or "")
    return f"- **{escape_markdown(figure.label)}:** {definition}{rule}{_code(figure.link, render)}"


def _code(link: Link | None, render: Render) -> str:
    """A link as code. Its fence is longer than any run of backticks in it."""
    if not link:
        return ""
    line = " ".join(render(link).splitlines())
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f" ({fence}{pad}{line}{pad}{fence})"


def _records(table: Table, zone: words.Zone, render: Render) -> Iterable[str]:
    yield f"### {escape_markdown(table.title)}"
    if table.rows:
        names = [escape_markdown(words.heading(column, zone)) for column in table.columns]
        rows = [_row(row, table.columns, zone) for row in table.rows]
        yield _table(names, rows, {at for at, column in enumerate(table.columns) if words.is_number(column)})
    else:
        yield "No records."
    if table.note or table.link:
        yield f"{escape_markdown(table.note or 'Records:')}{_code(table.link, render)}"


def _row(row: Sequence[str | int | float | bool | None], columns: Sequence[Column], zone: words.Zone) -> list[str]:
    return [escape_markdown(words.cell(value, column, zone)) for value, column in zip(row, columns, strict=True)]


def _table(names: Sequence[str], rows: Iterable[Sequence[str]], right: set[int]) -> str:
    """A table; the columns in `right` are aligned so."""
    rule = ["---:" if at in right else "---" for at in range(len(names))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [names, rule, *rows])
