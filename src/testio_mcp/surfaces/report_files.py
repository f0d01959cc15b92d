"""Reports as files: which operations answer with one, and what a file is called and sent as."""

import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testio_mcp.errors import BadInput
from testio_mcp.texts import visible

if TYPE_CHECKING:
    from testio_mcp.operations.registry import Operation
    from testio_mcp.reports.model import Report

JSON = "json"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MEDIA_TYPES: Mapping[str, str] = {
    JSON: "application/json",
    "html": "text/html",
    "md": "text/markdown",
    "xlsx": XLSX,
    "zip": "application/zip",
}
"""How each kind of file is called over HTTP. The first is what clients get that ask for none of them."""
FORMAT = f"Any of {', '.join(MEDIA_TYPES)}; without it, the Accept header says which. Files have all details."
"""What the argument `format` of a report means."""
# The page needs its own styles and nothing else; nothing in it runs, is sent or is framed.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "sandbox"
)
_MOST_LETTERS = 60


def is_report(operation: "Operation") -> bool:
    """Whether an operation answers with a report, which can also be a file."""
    from testio_mcp.reports.model import Report

    return issubclass(operation.result, Report)


def read(answer: Mapping[str, Any]) -> "Report":
    """The report that an operation answered with."""
    from testio_mcp.reports.model import Report

    return Report.model_validate(answer)


def whole(operation: "Operation", arguments: Mapping[str, object]) -> dict[str, object]:
    """The arguments of a report that becomes a file: with everything in it, unless they say otherwise."""
    has_detail = "detail" in operation.arguments.model_fields
    return {**({"detail": "full"} if has_detail else {}), **operation.normalize(arguments)}


def written(answer: Mapping[str, Any], form: str, *, has_bom: bool = True) -> bytes:
    """A report as the content of a file of that kind, with links as commands; `has_bom` is as for `write`."""
    from testio_mcp.operations.links import command_line
    from testio_mcp.reports.writers import write

    return write(read(answer), form, command_line, has_bom=has_bom)


def place_of(name: str) -> tuple[str, Path]:
    """The file that a name on the command line means, and the directory below which it is.

    That is the export directory if one was set, else the current directory. Raises `BadInput` for a name that leads
    anywhere else, or does not say what kind of file it is.
    """
    from testio_mcp.reports.files import name_below
    from testio_mcp.reports.writers import format_of
    from testio_mcp.settings import load_settings

    settings = load_settings()
    directory = settings.export_dir if "export_dir" in settings.model_fields_set else Path.cwd()
    format_of(name)
    return name_below(name, directory), directory


def keep(answer: Mapping[str, Any], name: str, directory: Path, *, has_bom: bool = True) -> Path:
    """Write a report to the file that `place_of` found, and return its path; `has_bom` is as for `write`."""
    from testio_mcp.reports.files import save
    from testio_mcp.reports.writers import format_of

    return save(written(answer, format_of(name), has_bom=has_bom), name, directory, allow_folders=True)


def asked_for(arguments: MutableMapping[str, object], accept: str | None) -> str:
    """Take the kind of file that a request wants out of its arguments: by `format`, else by its Accept header."""
    given = arguments.pop("format", None)
    given = given.strip().lower() if isinstance(given, str) else given
    if not given:
        return _accepted(accept or "")
    if not isinstance(given, str) or given not in MEDIA_TYPES:
        raise BadInput(
            f"format: {visible(str(given))[:40]!a} is not one of its words.",
            f"format takes any of: {', '.join(MEDIA_TYPES)}.",
        )
    return given


def _accepted(accept: str) -> str:
    """The kind that a client likes best; JSON where it names none of them."""
    liked: dict[str, float] = {}
    for part in accept.lower().split(","):
        kind, _, rest = part.partition(";")
        weight = re.search(r"(?:^|;)\s*q\s*=\s*(\d(?:\.\d{0,3})?)\s*(?:;|$)", rest)
        liked.setdefault(kind.strip(), float(weight[1]) if weight else 1.0)
    weights = {form: liked.get(media, 0.0) for form, media in MEDIA_TYPES.items()}
    best = max(weights, key=weights.__getitem__)
    return best if weights[best] > liked.get("*/*", 0.0) or weights[best] == 1.0 else JSON


def headers(answer: Mapping[str, Any], form: str) -> dict[str, str]:
    """What goes with a file over HTTP: a browser shows the page, and keeps the others under a name that is safe."""
    place = "inline" if form == "html" else "attachment"
    text = "; charset=utf-8" if MEDIA_TYPES[form].startswith("text/") else ""
    found = {
        "Content-Type": MEDIA_TYPES[form] + text,
        "Content-Disposition": f'{place}; filename="{file_name(read(answer), form)}"',
    }
    return found | ({"Content-Security-Policy": _POLICY} if form == "html" else {})


def file_name(report: "Report", form: str) -> str:
    """A name that says what a report is about, in letters that every system takes."""
    title = re.sub(r"[^a-z0-9]+", "-", report.title.lower()).strip("-")[:_MOST_LETTERS].strip("-")
    kind = re.sub(r"[^a-z0-9]+", "-", report.kind.lower()).strip("-")
    days = [day.isoformat() for day in (report.period.first, report.period.last) if day]
    return "-".join([title if kind in title else f"{kind or 'report'}-{title}".strip("-"), *days]) + f".{form}"
