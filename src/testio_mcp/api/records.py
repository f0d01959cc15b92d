"""What the payload parsers share: the order of steps, problems, and the small parts found in several records."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from testio_mcp.fields import Fields, StoredPayload, Unreadable, as_id, as_name
from testio_mcp.scrub import TooDeep, scrub_secrets

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProblemRecord:
    """A record that could not be read. `key` names it the same way in every run."""

    key: str
    reason: str
    raw: dict[str, Any] | None


@dataclass(frozen=True)
class Page(Generic[T]):
    """The records of one answer.

    `count` is the number of records that the API sent, readable or not. `record_count` is the total over all
    pages where the endpoint tells it.
    """

    records: list[T]
    problems: list[ProblemRecord]
    count: int
    record_count: int | None = None


@dataclass(frozen=True, slots=True)
class SectionPayload:
    """A section of a product."""

    id: int
    name: str | None


@dataclass(frozen=True, slots=True)
class EnvironmentPayload:
    """A test environment, without its secrets."""

    id: int | None
    title: str | None
    url: str | None
    raw: dict[str, Any] = field(repr=False)
    drift: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DevicePayload:
    """The device that a bug or an execution was seen on."""

    name: str | None
    vendor: str | None
    category: str | None
    operating_system: str | None
    operating_system_version: str | None
    browsers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommentPayload:
    """A comment on a bug."""

    id: int | None
    body: str
    author: str | None
    created_at: datetime | None


def parse_records(items: Iterable[Any], parse: Callable[[dict[str, Any]], T]) -> tuple[list[T], list[ProblemRecord]]:
    """Read each record by itself: one that cannot be read becomes a `ProblemRecord` and the rest goes on."""
    records: list[T] = []
    problems: list[ProblemRecord] = []
    for item in items:
        if type(item) is not dict:
            problems.append(ProblemRecord(_digest(item), f"not an object ({type(item).__name__})", None))
            continue
        try:
            records.append(parse(item))
        except Unreadable as error:
            problems.append(ProblemRecord(_key(error.record), str(error), error.record))
        except TooDeep:
            problems.append(ProblemRecord(_key(item), "nested too deep", None))
    return records, problems


def open_record(record: dict[str, Any]) -> Fields:
    """Begin to read a record. Raises `TooDeep`."""
    return Fields(record if type(record) is StoredPayload else scrub_secrets(record))


def read_environment(fields: Fields, name: str = "test_environment") -> EnvironmentPayload | None:
    """The test environment inside a record; None where there is none."""
    child = fields.child(name)
    if child is None or not child.record:
        return None
    found = environment_of(child)
    if found.id is None and found.title:
        child.note("id", ":missing")
    return found


def environment_of(fields: Fields) -> EnvironmentPayload:
    """An environment from its (scrubbed) fields."""
    return EnvironmentPayload(
        id=fields.id("id"),
        title=fields.text("title", "name"),
        url=fields.text("url"),
        raw=fields.record,
    )


def read_sections(fields: Fields, *names: str) -> tuple[SectionPayload, ...]:
    """The union of several lists of sections, by id."""
    found: dict[int, SectionPayload] = {}
    for name in names:
        for section in fields.children(name):
            section_id = section.id("id")
            if section_id is not None and section_id not in found:
                found[section_id] = SectionPayload(section_id, section.text("name", "title"))
            elif section_id is None and section.record:
                section.note("id", ":missing")
    return tuple(found.values())


def read_product_sections(fields: Fields) -> tuple[SectionPayload, ...]:
    """The sections that a record says its product has."""
    product = fields.child("product") if type(fields.record.get("product")) is dict else None
    return read_sections(product, "sections", "sections_with_default") if product else ()


def read_reference(fields: Fields, *names: str) -> tuple[int | None, str | None]:
    """Id and name of the first nested object of these names that has an id; else of an id field `<name>_id`."""
    record = fields.record
    for name in names:
        value = record.get(name)
        if type(value) is dict:
            found = as_id(value.get("id"))
            if found is not None:
                return found, as_name(value)
            if value:
                fields.note(name, ".id")
        elif value is not None:
            fields.wrong(name, value)
    for name in names:
        if f"{name}_id" in record:
            return fields.id(f"{name}_id"), None
    return None, None


def read_devices(fields: Fields, name: str = "devices") -> tuple[DevicePayload, ...]:
    """Devices, in an array or as the single object that the older reference draws; empty ones are left out."""
    holder = fields.record.get(name)
    if type(holder) is dict and "devices" in holder:
        return read_devices(Fields(holder, f"{fields.where}{name}.", fields.drift), "devices")
    return tuple(_device(child) for child in fields.children(name) if child.record)


def _device(fields: Fields) -> DevicePayload:
    return DevicePayload(
        name=fields.name("device", "name"),
        vendor=fields.name("vendor"),
        category=fields.name("category"),
        operating_system=fields.name("operating_system"),
        operating_system_version=fields.name("operating_system_version"),
        browsers=fields.names("browsers"),
    )


def read_comments(fields: Fields, name: str = "comments") -> tuple[CommentPayload, ...]:
    """Comments in the order given; one without a body reads as empty text."""
    return tuple(
        CommentPayload(
            id=comment.id("id"),
            body=comment.text("body", "text") or "",
            author=comment.name("author"),
            created_at=comment.past("created_at"),
        )
        for comment in fields.children(name)
        if comment.record
    )


def _key(record: dict[str, Any]) -> str:
    found = as_id(record.get("id"))
    if found is not None:
        return str(found)
    return _digest({name: value for name, value in record.items() if type(value) not in (dict, list)})


def _digest(item: Any) -> str:
    text = json.dumps(item, sort_keys=True, default=str)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
