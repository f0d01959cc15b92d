"""Write the pages of docs/ that follow from the code: `make docs`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from testio_mcp.domain import RAN_IN_WORDS
from testio_mcp.operations.metrics.definitions import DIMENSIONS, METRICS
from testio_mcp.operations.metrics.health import THRESHOLDS, rule_in_words
from testio_mcp.operations.registry import Operation, operations
from testio_mcp.settings import Settings

_ROOT = Path(__file__).parents[1]
REFERENCE = _ROOT / "docs" / "reference.md"
KNOWLEDGE = _ROOT / "src" / "testio_mcp" / "surfaces" / "mcp" / "knowledge" / "metrics.md"
"""What the resource testio://metrics says, and the tool's definitions say too."""
_NOTE = "<!-- Written by `make docs` from the code: change it there. -->"
_ONCE = """\
A rate over no bugs is unknown, never 0. Every bug, test and execution counts once in each group and once in the
totals, whether or not it has a feature."""
_COUNTED = """\
- Time is the end of the test, or on request the report of the bug, in days of the account's time zone
  (TESTIO_TIME_ZONE); both ends of a period belong to it, weeks are ISO weeks.
- Records that the account no longer lists do not count.
- If a question names something of bugs (severity, device, tester ...), tests are those with such bugs."""
_SAFETY = {"read": "reads only", "write": "changes data", "destructive": "changes data for good"}

_SOURCES = (
    "From the environment, from a file that `--env-file` or `TESTIO_ENV_FILE` names, and from `settings.env` in the "
    "user's configuration directory."
)


def reference() -> str:
    """Every operation and every setting, as Markdown."""
    parts = ["# Reference", _NOTE, "## Operations", _overview()]
    parts += [section for op in operations().values() for section in _operation(op)]
    parts += [
        "## Settings",
        _SOURCES,
        _settings(),
    ]
    return "\n\n".join(parts) + "\n"


def knowledge() -> str:
    """Every metric, dimension and threshold, as Markdown."""
    metrics = ((f"`{each.name}`", each.definition) for each in METRICS.values())
    scope = RAN_IN_WORDS
    dimensions = ((f"`{each.name}`", each.definition) for each in DIMENSIONS.values())
    parts = [
        "# Metrics",
        _ONCE,
        _table(("metric", "definition"), metrics),
        "## Dimensions",
        _table(("dimension", "what it splits by"), dimensions),
        "## What is counted",
        f"- {scope.capitalize()}; a filter by test_status asks for others.\n{_COUNTED}",
        "## Health",
        "\n".join(f"- {rule_in_words(name)}" for name in THRESHOLDS),
        "TESTIO_HEALTH sets other limits. A rate over few bugs says little: name the number of bugs beside it.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _overview() -> str:
    head = ("operation", "command line", "REST", "what it does")
    rows = (
        (f"[`{op.name}`](#{op.name})", f"`testio-mcp {op.command}`", f"`{op.method} /api{op.path}`", op.summary)
        for op in operations().values()
    )
    return _table(head, rows)


def _operation(op: Operation) -> Iterator[str]:
    yield f"### {op.name}"
    yield op.description
    tool = f"`get` with kind `{op.about}`" if op.about else f"`{op.name}`"
    usual = "" if op.by_default else ", not there unless asked for"
    yield (
        f"Command line `testio-mcp {op.command}`, REST `{op.method} /api{op.path}`, MCP tool {tool} "
        f"(toolset {op.toolset}, {_SAFETY[op.safety]}{usual})."
    )
    if arguments := op.input_schema.get("properties"):
        required = op.input_schema.get("required", ())
        rows = ((f"`{name}`", *_argument(schema, name in required)) for name, schema in arguments.items())
        yield _table(("argument", "type", "default", "meaning"), rows)


def _argument(schema: Mapping[str, Any], required: bool) -> tuple[str, str, str]:
    kind = str(schema.get("type", "any"))
    item = schema.get("items", schema)
    if kind == "array":
        kind = f"list of {item.get('type', 'any')}"
    if "enum" in item:
        kind += ": " + ", ".join(str(value) for value in item["enum"])
    default = "required" if required else _shown(schema.get("default"))
    return kind, default, str(schema.get("description", ""))


def _settings() -> str:
    rows = (
        (f"`TESTIO_{name.upper()}`", _type_name(field), _default(field), field.description or "")
        for name, field in Settings.model_fields.items()
    )
    return _table(("variable", "type", "default", "meaning"), rows)


def _type_name(field: FieldInfo) -> str:
    if get_origin(field.annotation) in (Union, UnionType):
        kind = next(a for a in get_args(field.annotation) if a is not type(None))
    else:
        kind = field.annotation
    return {SecretStr: "secret", str: "text", bool: "0 or 1", int: "number", Path: "path"}.get(
        kind, getattr(kind, "__name__", "")
    )


def _default(field: FieldInfo) -> str:
    # A computed default depends on the machine; its description says what it is.
    return "computed" if field.default_factory else _shown(field.default)


def _shown(value: object) -> str:
    return "" if value is None else f"`{value}`"


if __name__ == "__main__":
    REFERENCE.parent.mkdir(exist_ok=True)
    for page, text in ((REFERENCE, reference()), (KNOWLEDGE, knowledge())):
        page.write_text(text, encoding="utf-8")
        print(f"{page.relative_to(_ROOT)} is written.")
