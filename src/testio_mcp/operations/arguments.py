"""Arguments of operations: their one form, their model and JSON schema, and errors that name the valid values.

Clients fill in every argument that a schema lists, and write words as people do: null, "", [], 0 or "undefined" stand
for an argument that is left out, "High" for `high`; `toolCallId` comes from the client's own machinery. Arguments in
their one form stay as they are, so that it does no harm to do this twice.
"""

import inspect
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    create_model,
    field_validator,
)
from pydantic.fields import FieldInfo
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


CLIENT_KEYS = frozenset(
    {
        *("action", "chatinput", "messageid", "random_string", "requestid", "sessionid"),
        *("thought", "toolcallid", "tool_call_id", "tool_name"),
    }
)
"""Keys that clients add for their own use, in small letters; so are all that begin with an underscore."""
_ABSENT = frozenset({"None", "null", "undefined"})
_ABSENT_WORDS = frozenset({"none", "null", "nil", "undefined", "nan", "[]", "{}"})
"""In small letters: what stands for nothing where an argument is no free text."""
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "open": ("forwarded",),
    "auto_accepted": ("autoaccepted", "automatically_accepted"),
    "custom": ("external",),
    "usability": ("suggestion", "ux"),
    "cancelled": ("canceled",),
    "passed": ("pass",),
    "failed": ("fail",),
    "user_story": ("story", "userstory", "user_stories", "stories"),
    "test": ("test_cycle", "testcycle", "cycle"),
    "contact": ("customer",),
    "operating_system": ("os",),
    "newest": ("latest", "recent", "most_recent", "newest_first", "desc", "descending"),
    "oldest": ("earliest", "oldest_first", "asc", "ascending"),
}
"""Other words for a word of the domain: the API's, and what people and other products say."""
_KEYS: Mapping[str, tuple[str, ...]] = {
    "severity": ("levels",),
    "severities": ("levels",),
    "query": ("text",),
    "search": ("text", "query"),
    "q": ("text", "query"),
    **dict.fromkeys(("page_size", "per_page", "max_results"), ("limit",)),
}
"""Other names for an argument, where an operation has no argument of that name."""
_SPACES = re.compile(r"[\s_-]+")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class _Form:
    """What an argument takes: one value or a list, of what type, and which words, by how they may be written."""

    is_list: bool
    type: object
    words: Mapping[str, str]
    is_required: bool
    is_zero_valid: bool
    is_deleted: bool

    def read(self, value: object, *, is_lenient: bool) -> object:
        """A value in its one form; None for what is absent."""
        if isinstance(value, str):
            value = value.strip()
        if self.is_required:
            return self._read_words(value)
        if value is None or value in ("", []):
            return None
        if self.is_deleted:
            return value if _has_parts(value) else [None]
        if not is_lenient:
            return self._read_words(value)
        if self._is_absent(value):
            return None
        if not self.is_list or not isinstance(value, str | list):
            return self._read_words(value)
        return [self._read_word(part) for part in _split(value) if not self._is_absent_part(part)] or None

    def _is_absent(self, value: object) -> bool:
        """Whether what a client filled in says that the argument was left out."""
        if isinstance(value, str):
            if value in _ABSENT:
                return True
            is_free_text = self.type is str and not self.words
            return not is_free_text and value.lower() in _ABSENT_WORDS and _fold(value) not in self.words
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value == 0 and not self.is_zero_valid
        return value is None or value in ({}, [])

    def _is_absent_part(self, part: object) -> bool:
        """In a list a word of the domain is that word: `None` is the level none."""
        is_word = isinstance(part, str) and _fold(part) in self.words
        return not is_word and self._is_absent(part.strip() if isinstance(part, str) else part)

    def _read_words(self, value: object) -> object:
        if self.words and self.is_list and isinstance(value, str | list):
            return [self._read_word(part) for part in _split(value)]
        return self._read_word(value)

    def _read_word(self, value: object) -> object:
        return self.words.get(_fold(value), value) if isinstance(value, str) and self.words else value


def normalize(
    model: type[BaseModel], arguments: Mapping[str, object], *, is_lenient: bool = False
) -> dict[str, object]:
    """The arguments of an operation without those that are absent, and with words as the domain writes them.

    Absent is null, "" and []; with `is_lenient` also what the clients of models fill in: {}, "None", "null",
    "undefined", and 0 where it is no valid value. Names that the model lacks stay, for validation to refuse. What is
    required is absent only where it is null.
    """
    forms = _forms(model)
    read = {
        name: forms[name].read(value, is_lenient=is_lenient) if name in forms else value
        for name, value in arguments.items()
    }
    return {name: value for name, value in read.items() if value is not None or name not in forms}


def read_words(values: str, words: tuple[str, ...]) -> str:
    """Words with commas between them as the domain writes them; others stay as they are."""
    writings = _writings(words)
    return ",".join(writings.get(_fold(value), value) for value in values.split(","))


def without_unknown(names: Collection[str], arguments: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """The arguments of these names, also where a client writes them as `productId`, and the keys of all others."""
    accepted = {name: value for name, value in arguments.items() if name in names}
    unknown = []
    for key, value in arguments.items():
        if key in names:
            continue
        name = next((name for name in _spellings(key) if name in names and name not in accepted), None)
        if name is None:
            unknown.append(key)
        else:
            accepted[name] = value
    return accepted, unknown


def say_ignored(keys: Iterable[str], names: Iterable[str]) -> str:
    """A sentence on keys that were ignored; it names what there is where one of them may have been meant."""
    ignored = sorted(set(keys))
    listed = ", ".join(key[:40] for key in ignored[:10]) + (" and more" if len(ignored) > 10 else "")
    valid = "" if all(map(is_of_client, ignored)) else f" Valid arguments are: {', '.join(names)}."
    return f"{listed}: there is no such argument.{valid}"


def refuse_unmeant(keys: Iterable[str], names: Iterable[str]) -> None:
    """Raise `BadInput` for a key that is not a client's own: an action never does more than was asked for."""
    if meant := [key for key in keys if not is_of_client(key)]:
        raise BadInput(f"{meant[0][:60]}: there is no such argument.", f"Valid arguments are: {', '.join(names)}.")


def is_of_client(key: str) -> bool:
    """Whether a key is one that clients add for their own use."""
    return key.startswith("_") or key.lower() in CLIENT_KEYS


def _spellings(key: str) -> Iterable[str]:
    name = _SPACES.sub("_", _HUMPS.sub("_", key.strip())).lower()
    yield name
    yield from (f"{name}s", f"{name}es")
    yield from _KEYS.get(name, ())


def _has_parts(value: object) -> bool:
    """Whether anything is in a list, or in text that is read as one."""
    return not isinstance(value, str | list) or any(part != "" for part in _split(value))


def _split(value: str | list[Any]) -> list[Any]:
    """The parts of a list; the list itself where validation has to say what is wrong with it."""
    try:
        parts: Any = split_list(value)
    except ValueError:
        return [value] if isinstance(value, str) else value
    return list(parts)


def _fold(word: str) -> str:
    return _SPACES.sub("_", unicodedata.normalize("NFKC", word).strip().casefold())


@lru_cache(maxsize=256)
def _forms(model: type[BaseModel]) -> Mapping[str, _Form]:
    return {name: _form(field) for name, field in model.model_fields.items()}


def _form(field: FieldInfo) -> _Form:
    inner = _without_none(field.annotation)
    is_list = get_origin(inner) is list
    part = get_args(inner)[0] if is_list else inner
    words = [word for mark in field.metadata if isinstance(mark, OpenWords) for word in mark.words]
    if get_origin(part) is Literal:
        words += [str(word) for word in get_args(part)]
    marks = [mark for mark in getattr(part, "__metadata__", ()) if isinstance(mark, WithJsonSchema)]
    words += [word for mark in marks for word in (mark.json_schema or {}).get("enum", ())]
    plain = get_args(part)[0] if marks else part
    lower = [mark.ge for mark in field.metadata if isinstance(mark, Ge)]
    above = [mark.gt for mark in field.metadata if isinstance(mark, Gt)]
    has_zero = plain is bool or (plain in (int, float) and any(bound == 0 for bound in lower) and not above)
    kind = str if get_origin(plain) is Literal else plain
    is_deleted = any(mark is DELETED for mark in field.metadata)
    return _Form(is_list, kind, _writings(tuple(words)), field.is_required(), has_zero, is_deleted)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        [first, *_] = [part for part in get_args(annotation) if part is not NoneType]
        return first
    return annotation


@lru_cache(maxsize=256)
def _writings(words: tuple[str, ...]) -> Mapping[str, str]:
    """The words by how they may be written: a word itself goes before its plural, and both before a synonym."""
    writings = {_fold(word): word for word in words}
    for word in list(writings.values()):
        for other in (f"{word}s", *_SYNONYMS.get(word, ())):
            writings.setdefault(_fold(other), word)
    return writings
