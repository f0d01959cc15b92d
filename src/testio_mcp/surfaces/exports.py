"""Answers as other programs take them: CSV for spreadsheets, Markdown for tickets and wikis, tabs for pipes."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from testio_mcp.surfaces import plain
from testio_mcp.texts import is_formula

_ACTIVE = re.compile(r"([\\`*\[\]<>|])")
Answer = Mapping[str, Any]


def comma_separated(answer: Answer, columns: Sequence[str] = ()) -> str:
    """CSV with a heading. Text that a spreadsheet would take for a formula starts with an apostrophe."""
    names, rows = _table(answer.get("items", [answer]), columns)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([map(_harmless, names), *(map(_harmless, row) for row in rows)])
    return out.getvalue()


def tab_separated(answer: Answer, columns: Sequence[str] = ()) -> str:
    """A page as a table with tabs; a detail as plain text."""
    return plain.tsv(*_table(answer["items"], columns)) if "items" in answer else plain.text(answer)


def markdown(answer: Answer, columns: Sequence[str] = ()) -> str:
    """A page as one Markdown table; a detail as its facts and the tables in it."""
    if "items" in answer:
        return _markdown_table(*_table(answer["items"], columns))
    facts = plain.flat({name: value for name, value in answer.items() if not plain.is_table(value)})
    parts = [_markdown_table(["field", "value"], [[name, value] for name, value in facts.items() if _is_said(value)])]
    for name, value in answer.items():
        if plain.is_table(value):
            parts.append(f"## {name.replace('_', ' ')}\n\n{_markdown_table(*plain.table(value))}")
    return "\n\n".join(parts)


def _is_said(value: object) -> bool:
    return value not in (None, "", [], {})


def _table(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows; chosen columns stay also when they are empty."""
    names, rows = plain.table(records)
    if not columns:
        return names, rows
    wanted = [name for column in columns for name in _parts(column, names)]
    at = {name: place for place, name in enumerate(names)}
    return wanted, [[row[at[name]] if name in at else None for name in wanted] for row in rows]


def _parts(column: str, names: Sequence[str]) -> list[str]:
    """The column itself, or the columns that a record in it became."""
    return [name for name in names if name.startswith(f"{column}.")] or [column]


def _harmless(value: object) -> str:
    text = plain.cell(value)
    return f"'{text}" if not isinstance(value, int | float) and is_formula(text) else text


def _markdown_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [names, ["---"] * len(names), *([_inert(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _inert(value: object) -> str:
    """A cell in which nothing but text is left of pipes, markup, links and images."""
    return _ACTIVE.sub(r"\\\1", plain.cell(value))
