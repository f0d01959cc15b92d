"""Commands out of operations: the signature that Typer reads, computed from the arguments model.

Values stay text here. The operation validates them, so that an error reads the same on every surface.
"""

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from testio_mcp.surfaces.account import registry

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from testio_mcp.operations.registry import Operation

Run = Callable[[dict[str, object], dict[str, bool]], None]
FORMATS: dict[str, str] = {"json": "Print JSON.", "csv": "Print comma-separated values."}
MODES: dict[str, dict[str, str]] = {
    "sync_data": {
        "watch": "Sync again and again, about every quarter of an hour, until Ctrl-C.",
        "status": "Show what the copy holds and how the last sync ended, and do nothing else.",
    }
}
"""Flags that only the command line has: ways to run an operation, by operation and name."""


def command(operation: "Operation", run: Run) -> Callable[..., None]:
    """A function that Typer can register; it calls `run` with the given arguments, and the output format and mode."""
    fields = operation.arguments.model_fields
    ways = FORMATS | MODES.get(operation.name, {})

    def call(**given: object) -> None:
        run(
            {name: value for name, value in given.items() if name in fields and value not in (None, False, [])},
            {name: bool(given[f"as_{name}"]) for name in ways},
        )

    parameters = [_parameter(name, field) for name, field in fields.items()]
    parameters += [_format(name, about) for name, about in ways.items()]
    signature = inspect.Signature(sorted(parameters, key=lambda parameter: parameter.default is None))
    call.__name__ = operation.name
    call.__doc__ = in_commands(operation.description)
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
    return call


def in_commands(text: str) -> str:
    """A text that speaks of operations, as it reads on the command line: list_tests becomes 'tests list'."""
    words = {name: operation.command for name, operation in registry().items()}
    return re.sub(r"\b[a-z]+_[a-z_]+\b", lambda name: f"'{words[name[0]]}'" if name[0] in words else name[0], text)


def _parameter(name: str, field: "FieldInfo") -> inspect.Parameter:
    kind, choices = _kind(field.annotation)
    about = in_commands(field.description or "")
    if field.is_required():
        annotation: Any = Annotated[str, typer.Argument(help=about, metavar=name.upper())]
        return _keyword(name, annotation, inspect.Parameter.empty)
    if kind is bool:
        return _keyword(name, Annotated[bool, typer.Option(f"--{_dashed(name)}", help=about)], None)
    default = "" if field.get_default(call_default_factory=True) in (None, [], "") else f" [default: {field.default}]"
    metavar = "|".join(choices) if 0 < len(choices) <= 3 else (choices and "WORD") or _metavar(kind)
    option = typer.Option(
        *flags(name, is_list=kind is list),
        help=about + default,
        metavar=metavar + (",..." if kind is list else ""),
        autocompletion=lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)],
    )
    return _keyword(name, Annotated[(list[str] if kind is list else str) | None, option], None)


def _kind(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """The plain type of an argument (`list` for any list) and the words it may be, if they are listed."""
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is list:
        return list, _kind(inner[0])[1]
    if get_origin(annotation) is Literal:
        return str, tuple(map(str, inner))
    return _kind(inner[0]) if inner else (annotation, ())


def flags(name: str, *, is_list: bool) -> list[str]:
    """Option names of an argument: `product_id` is also --product, `statuses` also --status."""
    words = [name.removesuffix("_ids").removesuffix("_id"), name]
    if is_list:
        words.insert(0, _singular(words[0]))
    return [f"--{_dashed(word)}" for word in dict.fromkeys(words)]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word.removesuffix("es") if word.endswith("ses") else word.removesuffix("s")


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _metavar(kind: Any) -> str:
    return {"int": "NUMBER", "float": "NUMBER", "date": "DATE", "list": "ID"}.get(kind.__name__, "TEXT")


def _format(name: str, about: str) -> inspect.Parameter:
    return _keyword(f"as_{name}", Annotated[bool, typer.Option(f"--{name}", help=about)], False)


def _keyword(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
