"""Commands out of operations: the signature that Typer reads, computed from the arguments model.

Values stay text here. The operation validates them, so that an error reads the same on every surface.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from testio_mcp.errors import BadInput
from testio_mcp.operations.links import dashed, option_names
from testio_mcp.surfaces.cli.columns import chosen, fields_of, known_columns
from testio_mcp.surfaces.operation_names import in_commands
from testio_mcp.surfaces.report_files import is_report, whole

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from testio_mcp.operations.registry import Operation
    from testio_mcp.surfaces.cli.terminal import Form

FORMATS: dict["Form", str] = {
    "json": "Print JSON.",
    "csv": "Print comma-separated values.",
    "md": "Print Markdown.",
}
NO_BOM = "Begin CSV files without the byte order mark that Excel needs."
MODES: dict[str, dict[str, str]] = {
    "sync_data": {
        "watch": "Sync again and again, about every quarter of an hour, until Ctrl-C.",
        "status": "Show what the copy holds and how the last sync ended, and do nothing else.",
    }
}
"""Flags that only the command line has: ways to run an operation, by operation and name."""

OPTIONS: dict[str, dict[str, Any]] = {
    "get_digest": {
        "to": Annotated[
            Literal["stdout", "file", "webhook"] | None,
            typer.Option("--to", help="stdout, file (below TESTIO_EXPORT_DIR) or webhook (TESTIO_ALERT_WEBHOOK)."),
        ],
        "output": Annotated[str | None, typer.Option("-o", "--output", help="Name of the file; implies --to file.")],
    }
}
"""Options that only the command line has: where an answer goes, by operation and name."""
REPORT_OPTIONS: dict[str, Any] = {
    "output": Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="Write all of it to a file below the current directory, or TESTIO_EXPORT_DIR, that ends with .html, "
            ".md, .xlsx, .zip (CSV) or .json.",
            metavar="FILE",
        ),
    ]
}
"""Options of every operation whose answer is a report."""


@dataclass(frozen=True)
class Wish:
    """What the command line asks of an operation: its arguments, and how the answer is shown."""

    arguments: dict[str, object]
    form: "Form | None"
    columns: tuple[str, ...]
    mode: str | None
    options: dict[str, str]
    has_bom: bool = True


def command(operation: "Operation", run: Callable[[Wish], None]) -> Callable[..., None]:
    """A function that Typer can register; it calls `run` with what was wished for."""
    fields = operation.arguments.model_fields
    modes, options = MODES.get(operation.name, {}), OPTIONS.get(operation.name, {})
    known_forms = FORMATS
    if is_report(operation):
        options = REPORT_OPTIONS
        known_forms = {name: about for name, about in FORMATS.items() if name != "csv"}

    def call(**given: Any) -> None:
        arguments = {name: value for name, value in given.items() if name in fields and value not in (None, [])}
        forms = [form for form in known_forms if given[f"as_{form}"]]
        if len(forms) > 1:
            raise BadInput(f"--{forms[0]} and --{forms[1]} exclude each other.", "Give one of them.")
        columns: list[str] = []
        if operation.item is not None and given["columns"] is not None:
            columns = chosen(given["columns"], operation.item)
            arguments["fields"] = fields_of(columns)
        more = {name: given[name] for name in options if given[name] is not None}
        if is_report(operation) and "output" in more:
            if forms:
                raise BadInput(f"--{forms[0]} and --output exclude each other.", "The end of the name says the kind.")
            arguments = whole(operation, arguments)
        mode = _mode([mode for mode in modes if given[f"as_{mode}"]], arguments)
        run(Wish(arguments, forms[0] if forms else None, tuple(columns), mode, more, not given["no_bom"]))

    parameters = [_parameter(name, field) for name, field in fields.items()]
    if operation.item is not None:
        parameters.append(_columns(operation.item))
    parameters += [_flag(name, about) for name, about in (*known_forms.items(), *modes.items())]
    parameters += [_keyword(name, option, None) for name, option in options.items()]
    parameters.append(_keyword("no_bom", Annotated[bool, typer.Option("--no-bom", help=NO_BOM)], False))
    signature = inspect.Signature(sorted(parameters, key=lambda parameter: parameter.default is None))
    call.__name__ = operation.name
    call.__doc__ = in_commands(operation.description)
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
    return call


def _mode(chosen: Sequence[str], arguments: Mapping[str, object]) -> str | None:
    """The way to run that was chosen. Raises `BadInput` beside another one, or arguments that it makes nothing of."""
    if not chosen:
        return None
    idle = [name for name in arguments if chosen[0] == "status" or name == "dry_run"]
    others = [*chosen[1:], *map(dashed, idle)]
    if others:
        raise BadInput(f"--{chosen[0]} and --{others[0]} exclude each other.", "Leave one of them out.")
    return chosen[0]


def _parameter(name: str, field: "FieldInfo") -> inspect.Parameter:
    kind, choices = _kind(field.annotation)
    # Words of the domain, beside which those of the store are valid.
    choices = choices or next((mark.words for mark in field.metadata if hasattr(mark, "words")), ())
    about = in_commands(field.description or "")
    if not all(choice in about for choice in choices):
        about = f"{about} Any of {', '.join(choices)}."
    metavar = "|".join(choices) if 0 < len(choices) <= 3 else (choices and "WORD") or _metavar(kind)
    metavar += ",..." if kind is list else ""
    if field.is_required():
        argument = typer.Argument(help=about, metavar=name.upper(), autocompletion=_completion(choices))
        return _keyword(name, Annotated[str, argument], inspect.Parameter.empty)
    if kind is bool:
        switch = f"--{dashed(name)}" + ("" if field.default is False else f"/--no-{dashed(name)}")
        return _keyword(name, Annotated[bool | None, typer.Option(switch, help=about)], None)
    default = "" if field.get_default(call_default_factory=True) in (None, [], "") else f" [default: {field.default}]"
    option = typer.Option(
        *option_names(name, is_list=kind is list),
        help=about + default,
        metavar=metavar,
        autocompletion=_completion(choices),
        hidden=name == "fields",  # here --columns chooses, and orders as well
    )
    return _keyword(name, Annotated[(list[str] if kind is list else str) | None, option], None)


def _completion(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Complete the last of the words that stand with commas between them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        given = before.split(",")
        return [before + comma + word for word in choices if word.startswith(begun) and word not in given]

    return complete


def _columns(item: "type[BaseModel]") -> inspect.Parameter:
    known = known_columns(item)
    about = f"Show these columns in this order: {', '.join(known)}."
    option = typer.Option("--columns", help=about, metavar="NAME,...", autocompletion=_completion(known))
    return _keyword("columns", Annotated[str | None, option], None)


def _kind(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """The plain type of an argument (`list` for any list) and the words it may be, if they are listed."""
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if listed := next((part.json_schema["enum"] for part in inner if hasattr(part, "json_schema")), None):
        return _kind(inner[0])[0], tuple(listed)
    if get_origin(annotation) is list:
        return list, _kind(inner[0])[1]
    if get_origin(annotation) is Literal:
        return str, tuple(map(str, inner))
    return _kind(inner[0]) if inner else (annotation, ())


def _metavar(kind: Any) -> str:
    return {"int": "NUMBER", "float": "NUMBER", "date": "DATE", "list": "ID"}.get(kind.__name__, "TEXT")


def _flag(name: str, about: str) -> inspect.Parameter:
    return _keyword(f"as_{name}", Annotated[bool, typer.Option(f"--{name}", help=about)], False)


def _keyword(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
