"""Reports as files below the export directory."""

import asyncio
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field
from pydantic.config import JsonDict

from testio_mcp.app import App
from testio_mcp.errors import BadInput
from testio_mcp.operations.arguments import AsList, Ids
from testio_mcp.operations.links import command_line
from testio_mcp.operations.registry import Operation, operation, operations
from testio_mcp.reports.files import save
from testio_mcp.reports.model import Report
from testio_mcp.reports.writers import format_of, write

# Said to those who call; `save` says what is wrong with a name in words.
_PLAIN: JsonDict = {"pattern": r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,90}\.(html|md|xlsx|zip|json)$"}


class SavedReport(BaseModel):
    """A report that became a file."""

    path: str = Field(description="The file, below the export directory.")
    bytes: int
    kind: str
    sections: list[str] = Field(description="Ids of the sections in it.")
    as_of: datetime | None


@operation(
    "/reports/files",
    command="report save",
    toolset="numbers",
    safety="write",
    open_world=False,
    by_default=False,
    examples=({"name": "quality-this-year.html", "period": "this year"},),
)
async def save_report(
    app: App,
    name: Annotated[
        str,
        Field(
            description="A file name ending with .html, .md, .xlsx, .zip (CSV) or .json.", json_schema_extra=_PLAIN
        ),
    ],
    kind: Annotated[str, Field(description="What to report: quality, or the name of another report.")] = "quality",
    product_ids: Annotated[Ids, Field(description="These products; all when left out.")] = [],  # noqa: B006
    period: Annotated[str | None, Field(description="Such as this quarter, 2026-Q3, YTD, all time.")] = None,
    filters: Annotated[list[str], AsList, Field(description="As in query_metrics: severity=critical.")] = [],  # noqa: B006
    test_ids: Annotated[Ids, Field(description="Only these tests, whenever they ended.")] = [],  # noqa: B006
    exclude_test_ids: Annotated[Ids, Field(description="Without these tests.")] = [],  # noqa: B006
) -> SavedReport:
    """Write a report with all its tables, charts and definitions to a file in the export directory.

    Use it when somebody wants a page, a workbook or data to pass on; quality_report answers in the conversation. A
    file of the same name is replaced.
    """
    asked = _report_of(kind)
    form = format_of(name)
    given = {
        "product_ids": product_ids,
        "period": period,
        "filters": filters,
        "test_ids": test_ids,
        "exclude_test_ids": exclude_test_ids,
        "detail": "full" if "detail" in asked.arguments.model_fields else None,
    }
    answer = await asked.run(app, {name: value for name, value in given.items() if value not in (None, [])})
    report = Report.model_validate(answer)
    content = await asyncio.to_thread(write, report, form, command_line, has_bom=True)
    path = await asyncio.to_thread(save, content, name, app.settings.export_dir)
    return SavedReport(
        path=path.name,
        bytes=len(content),
        kind=report.kind,
        sections=[section.id for section in report.sections],
        as_of=report.as_of,
    )


def _report_of(kind: str) -> Operation:
    """The operation that answers with a report of that kind."""
    known = {name: each for name, each in operations().items() if issubclass(each.result, Report)}
    short = {name.removesuffix("_report"): each for name, each in known.items()}
    found = known.get(kind) or short.get(kind)
    if found is None:
        raise BadInput(f"kind: there is no report {kind[:60]!a}.", f"kind takes any of: {', '.join(short)}.")
    return found
