"""The kinds of files that a report becomes, and the one way to them."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from testio_mcp.errors import BadInput
from testio_mcp.reports.links import Render
from testio_mcp.reports.model import Report
from testio_mcp.texts import visible

Writer = Callable[[Report, Render, bool], bytes]


def write(
    report: Report,
    format: str,  # noqa: A002 - the name that people use
    render: Render = str,
    *,
    has_bom: bool = False,
) -> bytes:
    """A report as the content of a file; the same report gives the same bytes.

    `format` is a name of `FORMATS`. Texts lose what nobody sees in them and what turns them around, and numbers that
    are none become null, before any writer reads them. `render` writes the links. With `has_bom`, CSV begins with a
    byte order mark, without which Excel takes it for the code page of the machine.
    """
    if format not in FORMATS:
        raise BadInput(f"{format[:40]!a} is no kind of file.", f"Use one of {', '.join(FORMATS)}.")
    return FORMATS[format](Report.model_validate(_harmless(report.model_dump())), render, has_bom)


def format_of(file_name: str) -> str:
    """The kind of file that the end of a name means."""
    suffix = PurePath(file_name).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise BadInput(
            f"{file_name[:80]!a} does not say what kind of file to write.", f"End it with one of {endings}."
        )
    return suffix


def _harmless(value: Any) -> Any:
    """A value of the model, with everything in it."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {visible(name): _harmless(item) for name, item in value.items()}
    return [_harmless(item) for item in value] if isinstance(value, list) else value


# Each writer loads what it needs when it is first used: most programs never write a report.
def _html(report: Report, render: Render, _: bool) -> bytes:
    from testio_mcp.reports.html import page

    return page(report, render).encode()


def _markdown(report: Report, render: Render, _: bool) -> bytes:
    from testio_mcp.reports.markdown import text

    return text(report, render).encode()


def _xlsx(report: Report, render: Render, _: bool) -> bytes:
    from testio_mcp.reports.xlsx import workbook

    return workbook(report, render)


def _zip(report: Report, render: Render, has_bom: bool) -> bytes:
    from testio_mcp.reports.archive import archive

    return archive(report, render, has_bom=has_bom)


def _json(report: Report, _: Render, __: bool) -> bytes:
    return (json.dumps(report.model_dump(mode="json"), ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()


FORMATS: Mapping[str, Writer] = {"html": _html, "md": _markdown, "xlsx": _xlsx, "zip": _zip, "json": _json}
"""Each kind of file by the end of its name."""
