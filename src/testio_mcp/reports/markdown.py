"""A report as Markdown for tickets, wikis and chats: tables, no pictures, and texts that stay texts."""

import re
from collections.abc import Iterable, Sequence

from testio_mcp.reports import words
from testio_mcp.reports.model import Column, Figure, Finding, Report, Section, Table

# What means something inside a line, also to renderers that link addresses and people by themselves.
_ACTIVE = re.compile(r"([\\`*_{}\[\]<>#|~!$@&])")
_LINK = re.compile(r"\b([a-z][a-z0-9+.-]*):(?=\S)", re.IGNORECASE)
_WWW = re.compile(r"\bwww\.", re.IGNORECASE)
_BEGINNING = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+=:])")


def text(report: Report) -> str:
    """A report as Markdown."""
    zone = words.zone_of(report)
    lines = [f"# {inert(report.title)}"]
    if report.subtitle:
        lines.append(inert(report.subtitle))
    lines.append("\n".join(f"- **{inert(name)}:** {inert(value)}" for name, value in words.facts(report)))
    for section in report.sections:
        lines += _section(section, zone)
    if told := list(_definitions(report)):
        lines += ["## Definitions", "\n".join(told)]
    return "\n\n".join(lines) + "\n"


def inert(value: str) -> str:
    """A text on one line in which nothing but text is left of markup, links, images and formulas."""
    line = _ACTIVE.sub(r"\\\1", " ".join(value.split()))
    line = _WWW.sub(r"www\\.", _LINK.sub(r"\1\\:", line))
    return _BEGINNING.sub(lambda found: f"{found[1]}\\{found[2]}" if found[1] else f"\\{found[3]}", line)


def _section(section: Section, zone: words.Zone) -> Iterable[str]:
    yield f"## {inert(section.title)}"
    if section.text:
        yield "  \n".join(inert(line) for line in section.text.strip().splitlines() if line.strip())
    if section.findings:
        yield "\n".join(_finding(finding) for finding in section.findings)
    if section.figures:
        yield _table(["Figure", "Value", "Health", "Change"], [_figure(figure) for figure in section.figures], {1})
    for table in words.tables_of(section):
        yield from _records(table, zone)


def _finding(finding: Finding) -> str:
    health = f"**{words.HEALTH[finding.health]}:** " if finding.health else ""
    return f"- {health}{inert(finding.text)}{_query(finding.query)}"


def _figure(figure: Figure) -> list[str]:
    health = words.HEALTH[figure.health] if figure.health else ""
    value = words.number(figure.value, figure.unit)
    return [inert(figure.label), inert(value), health, inert(words.change(figure) or "")]


def _definitions(report: Report) -> Iterable[str]:
    """What the numbers mean, each once: those of the figures with their rules and the way to their records."""
    figures = {figure.name: figure for section in report.sections for figure in section.figures}
    yield from map(_meaning, figures.values())
    for word in report.definitions:
        if word.name not in figures:
            yield f"- **{inert(word.name)}:** {inert(word.text)}"


def _meaning(figure: Figure) -> str:
    rule = f" {inert(figure.threshold)}" if figure.threshold else ""
    return f"- **{inert(figure.label)}:** {inert(figure.definition)}{rule}{_query(figure.query)}"


def _query(query: str | None) -> str:
    """A question as code. Its fence is longer than any run of backticks in it."""
    if not query:
        return ""
    line = " ".join(query.split())
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    pad = " " if "`" in line else ""
    return f" ({fence}{pad}{line}{pad}{fence})"


def _records(table: Table, zone: words.Zone) -> Iterable[str]:
    yield f"### {inert(table.title)}"
    if table.rows:
        names = [inert(words.heading(column, zone)) for column in table.columns]
        rows = [_row(row, table.columns, zone) for row in table.rows]
        yield _table(names, rows, {at for at, column in enumerate(table.columns) if words.is_number(column)})
    else:
        yield "No records."
    if table.note or table.query:
        yield f"{inert(table.note or 'Records:')}{_query(table.query)}"


def _row(row: Sequence[str | int | float | bool | None], columns: Sequence[Column], zone: words.Zone) -> list[str]:
    return [inert(words.cell(value, column, zone)) for value, column in zip(row, columns, strict=True)]


def _table(names: Sequence[str], rows: Iterable[Sequence[str]], right: set[int]) -> str:
    """A table; the columns in `right` are aligned so."""
    rule = ["---:" if at in right else "---" for at in range(len(names))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [names, rule, *rows])
