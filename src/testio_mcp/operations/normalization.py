"""What clients send for an argument, brought into one form before it is validated.

Clients fill in every argument that a schema lists, and write words as people do: null, "", [], 0 or "undefined" stand
for an argument that is left out, "High" for `high`; `toolCallId` comes from the client's own machinery. Arguments in
their one form stay as they are, so that it does no harm to do this twice.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt
from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo

from testio_mcp.errors import BadInput
from testio_mcp.operations.arguments import DELETED, OpenWords, split_list

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
