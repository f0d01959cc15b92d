"""Answers as other programs take them: CSV for spreadsheets, Markdown for tickets and wikis, tabs for pipes."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from testio_mcp.surfaces.mcp import plain
from testio_mcp.texts import disarm_formula, escape_markdown

Answer = Mapping[str, Any]
_OWN_NAME = re.compile(r"[a-z_]+(\.[a-z_]+)*")
"""The name of a column as this program writes it: no renderer makes anything of it."""


def comma_separated(answer: Answer, columns: Sequence[str] = ()) -> str:
    """CSV with a heading. Text that a spreadsheet would take for a formula starts with an apostrophe."""
    names, rows = _table(answer, columns)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([map(_spreadsheet_cell, names), *(map(_spreadsheet_cell, row) for row in rows)])
    return out.getvalue()


def tab_separated(answer: Answer, columns: Sequence[str] = ()) -> str:
    """A page as a table with tabs; a detail as plain text. Formulas are disarmed as in CSV: people paste tables."""
    if "items" in answer:
        return plain.tsv(*_table(answer, columns), _spreadsheet_cell)
    return plain.text(answer, render=_spreadsheet_cell)


def markdown(answer: Answer, columns: Sequence[str] = ()) -> str:
    """A page as one Markdown table; a detail as its facts and the tables in it."""
    if "items" in answer:
        return _markdown_table(*_table(answer, columns))
    plain_fields = {name: value for name, value in answer.items() if not plain.is_table(value)}
    facts = plain.flat({name: value for name, value in plain_fields.items() if not plain.says_nothing(name, value)})
    shown = {name: value for name, value in facts.items() if not plain.says_nothing(name, value)}
    parts = [_draw_table(["field", "value"], [[_heading(name), _markdown_cell(shown[name])] for name in shown])]
    for name, value in answer.items():
        if plain.is_table(value):
            parts.append(f"## {escape_markdown(name.replace('_', ' '))}\n\n{_markdown_table(*plain.table(value))}")
    return "\n\n".join(parts)


def _table(answer: Answer, columns: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a list or of one record; chosen columns stay also when they are empty."""
    names, rows = plain.table(answer.get("items", [answer]), plain.requested_columns(answer))
    if not columns:
        return names, rows
    wanted = [name for column in columns for name in _parts(column, names)]
    at = {name: place for place, name in enumerate(names)}
    return wanted, [[row[at[name]] if name in at else None for name in wanted] for row in rows]


def _parts(column: str, names: Sequence[str]) -> list[str]:
    """The column itself, or the columns that a record in it became."""
    return [name for name in names if name.startswith(f"{column}.")] or [column]


def _spreadsheet_cell(value: object) -> str:
    text = plain.cell(value)
    return text if isinstance(value, int | float) else disarm_formula(text)


def _markdown_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return _draw_table(map(_heading, names), [map(_markdown_cell, row) for row in rows])


def _draw_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(headings)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def _heading(name: str) -> str:
    return name if _OWN_NAME.fullmatch(name) else _markdown_cell(name)


def _markdown_cell(value: object) -> str:
    return escape_markdown(plain.cell(value))
