"""Arguments of operations: their model, their JSON schema, and errors that name the valid values."""

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, get_args

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, core_schema
from sqlalchemy import ColumnElement, Connection, bindparam, select

from testio_mcp.database.dialect import fetch
from testio_mcp.domain import Scope
from testio_mcp.errors import BadInput


def split_list(value: object) -> object:
    """Read `7`, `"1,2"`, `"[1,2]"` and `["1,2", 3]` as lists: clients and query strings send all of these."""
    if isinstance(value, str):
        inner = value.strip().removeprefix("[").removesuffix("]")
        return [part.strip().strip("\"'") for part in inner.split(",") if part.strip()]
    if isinstance(value, bool) or (isinstance(value, list | tuple) and any(isinstance(item, bool) for item in value)):
        raise ValueError("true and false are not what it lists")
    if isinstance(value, list | tuple):
        return [part for item in value for part in (split_list(item) if isinstance(item, str) else [item])]  # type: ignore[attr-defined]
    return [] if value is None else [value]


def order_by(**names: tuple[str, str]) -> BeforeValidator:
    """Read names of fields as words for an order: the first with a leading minus, highest or newest first."""

    def read(value: object) -> object:
        if not isinstance(value, str):
            return value
        word = value.strip().lower()
        first, otherwise = names.get(word.removeprefix("-"), (word, word))
        return first if word.startswith("-") else otherwise

    return BeforeValidator(read)


_YEAR = re.compile(r"\s*\d{4}-\d\d-\d\d")
_UNSTORABLE = re.compile("[\\ud800-\\udfff\\x00]")
AsList = BeforeValidator(split_list)
Ids = Annotated[list[int], AsList]
Fields = Annotated[list[str], AsList, Field(description="Only these fields; all when left out.")]
ScopeOfTests = Annotated[Scope, Field(description="ran: tests that ran.")]
OF_PRODUCT = Field(description="Only this product; list_products shows the ids.")
TotalOnly = Annotated[bool, Field(description="Only the exact total.")]


@dataclass(frozen=True)
class OtherName:
    """Another name under which a field of a list can be asked for; the answer has its own name."""

    name: str


class _OnRequest:
    """Marks a field of a list that is read and shown only where `fields` names it."""


ON_REQUEST = _OnRequest()


class _Deleted:
    """Marks the ids of what an action deletes: a list that names none is refused, so that no slip deletes all."""


DELETED = _Deleted()


@dataclass(frozen=True)
class OpenWords:
    """Valid values of an argument: words of the domain, and any other word that a column of the store holds."""

    words: tuple[str, ...]
    column: ColumnElement[str]

    def refuse_unknown(self, conn: Connection, name: str, values: Sequence[str]) -> None:
        """Raise `BadInput` for the first value that neither the domain nor the store has."""
        strange = [value for value in values if value not in self.words]
        if not strange:
            return
        held = select(self.column).where(self.column.in_(bindparam("words", expanding=True))).distinct()
        stored = {row[0] for row in fetch(conn, held, {"words": strange})}
        if unknown := [value for value in strange if value not in stored]:
            others = {row[0] for row in fetch(conn, select(self.column).distinct(), {})} - {*self.words, None}
            valid = ", ".join([*self.words, *sorted(others)])
            raise BadInput(f"{name}: {unknown[0][:60]!r} is not a valid value.", f"{name} takes any of: {valid}.")


def open_words(model: type[BaseModel]) -> Mapping[str, OpenWords]:
    """The arguments that take words of the store, and what is valid for each."""
    return {
        name: each
        for name, field in model.model_fields.items()
        for each in field.metadata
        if isinstance(each, OpenWords)
    }


def is_storable(value: object) -> bool:
    """Whether a database can be asked for a value: numbers of 64 bits, text that has an encoding and no NUL."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, str):
        return _UNSTORABLE.search(value) is None
    return all(map(is_storable, value)) if isinstance(value, list) else True


class Arguments(BaseModel):
    """Base of every operation's argument model; an unknown name is an error, not a silent no-op."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    @field_validator("*", mode="after")
    @classmethod
    def _can_be_asked_for(cls, value: object) -> object:
        if not is_storable(value):
            raise ValueError("no record can have this value")
        return value


class PlainSchema(GenerateJsonSchema):
    """Schemas that every MCP client accepts: no unions, no references, no titles.

    An optional parameter is optional because it is not required; that it may be null goes without saying.
    """

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Describe the value and leave out that it may be null."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leave out defaults that say nothing."""
        described = super().default_schema(schema)
        if described.get("default", 0) in (None, [], ""):
            del described["default"]
        return described

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Names are titles enough."""
        return False


def _speaks_of_days(annotation: Any) -> bool:
    return annotation in (date, datetime, AwareDatetime) or any(map(_speaks_of_days, get_args(annotation)))


def _day(value: object) -> object:
    """Refuse numbers, which Pydantic reads as seconds since 1970."""
    if isinstance(value, int | float) or (isinstance(value, str) and not _YEAR.match(value)):
        raise ValueError(f"{str(value)[:40]!r} is not a date such as 2026-11-22")
    return value


def arguments_model(
    function: Callable[..., object], injected: frozenset[object], *, has_fields: bool = False
) -> type[Arguments]:
    """The model of a function's parameters, without those whose type is `injected`; a list always has `fields`."""
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.annotation in injected:
            continue
        required = parameter.default is inspect.Parameter.empty
        annotation = parameter.annotation
        if _speaks_of_days(annotation):
            annotation = Annotated[annotation, BeforeValidator(_day)]
        fields[name] = (annotation, ... if required else parameter.default)
    if has_fields:
        fields.setdefault("fields", (Fields, []))
    title = "".join(part.title() for part in function.__name__.split("_")) + "Arguments"
    return create_model(title, __base__=Arguments, **fields)


def input_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of the arguments, in the plain form of `PlainSchema`."""
    schema = model.model_json_schema(schema_generator=PlainSchema)
    schema.pop("title", None)
    schema.pop("description", None)
    return schema


def explain(error: ValidationError, model: type[BaseModel]) -> BadInput:
    """Say in one line which argument is wrong, and what it takes."""
    details = error.errors(include_url=False)
    first = details[0]
    name = str(first["loc"][0]) if first["loc"] else "arguments"
    more = f" ({len(details) - 1} more after it.)" if len(details) > 1 else ""
    return BadInput(f"{name}: {_problem(first)}.{more}", _next_step(name, first, model))


def _problem(detail: ErrorDetails) -> str:
    if detail["type"] == "missing":
        return "it is required"
    if detail["type"] == "extra_forbidden":
        return "there is no such argument"
    value = detail["input"]
    text = json.dumps(value, ensure_ascii=False, default=str)
    if len(text) > 60:
        text = text[:57] + "..."
    if detail["type"] == "literal_error":
        return f"{text} is not one of its words"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{text} {_lower(message)}" if detail["type"] != "value_error" else message.rstrip(".")


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _next_step(name: str, detail: ErrorDetails, model: type[BaseModel]) -> str:
    if detail["type"] == "extra_forbidden":
        return f"Valid arguments are: {', '.join(model.model_fields)}."
    if detail["type"] == "literal_error":
        words = str(detail.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ")
        return f"{name} takes any of: {words}."
    field = model.model_fields.get(name)
    about = (field.description or "") if field else ""
    return f"{name} takes: {about}" if about else f"Correct {name} and try again."
