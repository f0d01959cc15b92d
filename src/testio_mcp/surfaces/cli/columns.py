"""Choosing the columns of a list: `--columns id,title,bugs.total`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin

from testio_mcp.errors import BadInput

if TYPE_CHECKING:
    from pydantic import BaseModel


def chosen(text: str, item: "type[BaseModel]") -> list[str]:
    """The columns that were asked for, in that order. Raises `BadInput` for one that the records do not have."""
    wanted = list(dict.fromkeys(part.strip().replace("-", "_") for part in text.split(",") if part.strip()))
    known = known_columns(item)
    for name in wanted:
        if name not in known and not _is_open(name, item):
            message = f"columns: there is no column {name[:60]!r}."
            raise BadInput(message, f"columns takes any of: {', '.join(known)}.")
    if not wanted:
        raise BadInput("columns: it is empty.", f"columns takes any of: {', '.join(known)}.")
    return wanted


def _is_open(name: str, item: "type[BaseModel]") -> bool:
    """Whether a column is a value in a mapping, whose keys only the records know."""
    head, dot, _ = name.partition(".")
    field = item.model_fields.get(head)
    return bool(dot) and field is not None and get_origin(field.annotation) is dict


def known_columns(item: "type[BaseModel]", prefix: str = "") -> list[str]:
    """The names of a record's fields; those of records inside it with a dot."""
    return [prefix + name for name in _names(item)]


def _names(item: "type[BaseModel]") -> Iterator[str]:
    for name, field in item.model_fields.items():
        yield name
        if get_origin(field.annotation) is not list and (inner := _record(field.annotation)):
            yield from known_columns(inner, f"{name}.")


def _record(annotation: Any) -> "type[BaseModel] | None":
    """The model of a record, also of one that may be missing; a list of records is one column."""
    return next((part for part in (annotation, *get_args(annotation)) if hasattr(part, "model_fields")), None)


def fields_of(columns: Sequence[str]) -> list[str]:
    """The fields that have to be asked for to fill the columns."""
    return list(dict.fromkeys(name.partition(".")[0] for name in columns))


def arranged(answer: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """A page whose records have the columns in the order that was asked for, and nothing else."""
    items = [{name: _value(record, name) for name in columns} for record in answer["items"]]
    return {**answer, "items": items}


def _value(record: Mapping[str, Any], name: str) -> Any:
    head, _, rest = name.partition(".")
    value = record.get(head)
    return _value(value, rest) if rest and isinstance(value, Mapping) else None if rest else value
