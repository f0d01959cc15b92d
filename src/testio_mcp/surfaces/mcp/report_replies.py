"""Reports as tools answer them: Markdown and structured content, both of as much as one reply holds."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mcp_types import CallToolResult, TextContent

from testio_mcp.reports.markdown import text
from testio_mcp.surfaces.mcp.budget import REPLY_BYTES, shortened, size
from testio_mcp.surfaces.mcp.clean import cleaned
from testio_mcp.surfaces.mcp.replies import render_call, to_reply, within_fence
from testio_mcp.surfaces.report_files import read

Answer = Mapping[str, Any]


def reply(answer: Answer, way: str) -> CallToolResult:
    """A report within the budget of a reply; a notice says what of it was left out, and the way to the rest."""
    found: dict[str, Any] = {}
    told = ""
    for cut in _CUTS:
        found = cut(answer)
        if "notice" in found:
            found["notice"] += f"; {way}."
        if size(found) > 4 * REPLY_BYTES and cut is not _without_tables:
            continue  # No cleaning makes that fit.
        structured = to_reply(found)
        told = within_fence(text(read(cleaned(found)), render_call).rstrip(), structured)
        if size(structured) <= REPLY_BYTES and len(told.encode()) <= REPLY_BYTES:
            return _result(told, structured)
    structured = shortened(to_reply(found))
    return _result(_ended(told, structured), structured)


def _result(told: str, structured: dict[str, Any]) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=told)], structured_content=structured)


def _ended(told: str, structured: dict[str, Any]) -> str:
    """The beginning of a text that is too long even without tables, between its fences."""
    _, _, rest = told.partition("\n")
    records = rest.rpartition("\n[end ")[0].encode()
    if len(records) > REPLY_BYTES - 1024:
        records = records[: REPLY_BYTES - 1024].rpartition(b"\n")[0]
    return within_fence(records.decode(errors="ignore"), structured)


def _whole(answer: Answer) -> dict[str, Any]:
    return dict(answer)


def _with_rows(most: int, answer: Answer) -> dict[str, Any]:
    """A report with few rows of each table, and without what tables and figures say as well: charts, definitions."""
    sections = [
        {**section, "charts": [], "tables": [_few_rows(table, most) for table in section["tables"]]}
        for section in answer["sections"]
    ]
    rows = f"{most} rows of each table" if most else "no tables"
    notice = f"Shortened to fit into one reply: {rows}, no charts"
    return {**answer, "sections": sections, "definitions": [], "notice": notice}


def _few_rows(table: dict[str, Any], most: int) -> dict[str, Any]:
    left = len(table["rows"]) - most
    if left <= 0:
        return table
    note = " ".join(filter(None, [f"{left} more rows.", table["note"]]))
    return {**table, "rows": table["rows"][:most], "note": note}


def _without_tables(answer: Answer) -> dict[str, Any]:
    found = _with_rows(0, answer)
    found["sections"] = [{**section, "tables": []} for section in found["sections"]]
    return found


_CUTS: tuple[Callable[[Answer], dict[str, Any]], ...] = (
    _whole,
    *(partial(_with_rows, most) for most in (50, 20, 10, 5, 3)),
    _without_tables,
)
"""What is left out, from nothing on, until a report fits."""
