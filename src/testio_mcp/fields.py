"""Read single fields of an API record tolerantly.

An optional field of the wrong type reads as null and is noted as drift; only a missing or impossible id makes a
record unreadable. Drift notes are short and safe to show: `severity=blocker` (an unknown word),
`comments.body:int` (a type that the field should not have), `end_at:naive` (a time without zone, read as UTC),
`reported_at:future` (something that has happened and is yet to come), `+priority` (a field that the reference does
not know), `status:missing` (a field that every such record has).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from testio_mcp.scrub import scrub_url

MAX_ID = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""

_NOTE_LENGTH = 60
_SKEW = timedelta(minutes=15)
"""How far the clocks of two machines may be apart before a moment counts as one of the future."""
_NESTED_FIELDS = """
    id key name title test_title path description howtofind url type value position data content body author
    created_at small fixed total limit product product_id product_ids section section_id section_ids sections
    feature feature_id features user_story user_stories user_story_version_id enable_default enable_content
    enable_visual target_idx execution_status tester_count tested_by_count bugs_found bug_ids
    testers_count devices_count total_features tested_features passed_features failed_features total_user_stories
    tested_user_stories passed_user_stories failed_user_stories blocked_user_stories total_bugs
    category vendor device devices browser browsers operating_system operating_system_version version
    min_version max_version min_operating_system_version max_operating_system_version
    test_environment environment_test_information data_type page_url thumbnail_urls kind content_type file_name size
    custom_report_configuration_id test_templates status review comment steps
"""
NESTED_FIELDS = frozenset(_NESTED_FIELDS.split())
"""The names that the reference knows inside records, wherever they stand."""
_NESTING_FIELDS = """
    analytics app_section attachments author comments connection created_by device device_reports devices executed_by
    exploratory_test feature features product report requirements section sections sections_with_default submitted_by
    test test_case test_cycle test_environment test_feature user_stories user_story user_story_version
"""
_NESTING = frozenset(_NESTING_FIELDS.split())
"""The fields of a record that hold objects."""
_OPEN = frozenset({"thumbnail_urls"})
"""Objects whose names are values."""
_NESTS = frozenset({dict, list})
_SCALARS = (str, int, float, bool)


class Unreadable(ValueError):
    """A record without a usable id. The text is a reason to show; it holds no API text.

    `record` is the record without its secrets.
    """

    def __init__(self, reason: str, record: dict[str, Any]) -> None:
        super().__init__(reason)
        self.record = record


def as_id(value: Any) -> int | None:
    """An id given as integer or numeric string, 0 to `MAX_ID`; None if it is anything else."""
    if type(value) is str:
        if not (value.isascii() and value.isdigit() and len(value) <= 16):
            return None
        value = int(value)
    elif type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_ID else None


def as_time(text: str) -> tuple[datetime | None, bool]:
    """A time in UTC, and whether it came with a zone; without one it is taken as UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(
                text.strip().replace(" UTC", "+00:00").replace(" +", "+").replace(" -", "-")
            )
        except ValueError:
            return None, True
    if moment.tzinfo is UTC:
        return moment, True
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC), False
    try:
        return moment.astimezone(UTC), True
    except OverflowError:
        return None, True


def as_name(value: Any) -> str | None:
    """A name given as text or as an object with `name` (or `title`, `key`); None if there is none."""
    if type(value) is dict:
        value = value.get("name") or value.get("title") or value.get("test_title") or value.get("key")
    return value if type(value) is str and value else None


def _is_known(value: dict[str, Any] | list[Any]) -> bool:
    """Whether all names inside are those of the reference: nearly always, so this is all that is looked at."""
    if isinstance(value, list):
        return all(type(item) not in _NESTS or _is_known(item) for item in value)
    if not NESTED_FIELDS.issuperset(value):
        return False
    for name, item in value.items():
        if type(item) in _NESTS and item and name not in _OPEN and not _is_known(item):
            return False
    return True


class StoredPayload(dict[str, Any]):
    """A payload as a store keeps it: without secrets, cut to size, and searched for drift when it was stored."""


class Fields:
    """The fields of one record, with the drift met while reading them."""

    __slots__ = ("drift", "record", "where")

    def __init__(self, record: dict[str, Any], where: str = "", drift: list[str] | None = None) -> None:
        self.record = record
        self.where = where
        self.drift: list[str] = [] if drift is None else drift

    def note(self, name: str, what: str) -> None:
        """Add a drift note, once."""
        note = f"{self.where}{name}{what}"[:_NOTE_LENGTH]
        if not note.isprintable():
            note = ascii(note)
        if note not in self.drift:
            self.drift.append(note)

    def wrong(self, name: str, value: Any) -> None:
        """Note that a field has a type it should not have."""
        self.note(name, f":{type(value).__name__}")

    def unknown_word(self, name: str, word: str) -> None:
        """Note that a field holds a word that the vocabulary does not know."""
        self.note(name, f"={word}")

    def note_gaps(self, known: frozenset[str], *needed: str) -> None:
        """Note fields that the reference does not know, here and in what is nested, and those `needed` but absent.

        A field that goes by several names is needed under one of them: `title|test_title`.
        """
        if type(self.record) is StoredPayload:
            return
        if not known.issuperset(self.record):
            for name in sorted(self.record.keys() - known):
                self.note(f"+{name}", "")
        for names in needed:
            if not any(name in self.record for name in names.split("|")):
                self.note(names.partition("|")[0], ":missing")
        for name, value in self.record.items():
            if type(value) in _NESTS and name in _NESTING and not _is_known(value):
                self._note_nested(f"{name}.", value)

    def _note_nested(self, where: str, value: Any) -> None:
        if type(value) is list:
            for item in value:
                self._note_nested(where, item)
        elif type(value) is dict:
            for name in sorted(value):
                if name not in NESTED_FIELDS:
                    self.note(f"{where}+{name}", "")
                elif name not in _OPEN:
                    self._note_nested(f"{where}{name}.", value[name])

    def required_id(self, name: str = "id") -> int:
        """The id of the record itself. Raises `Unreadable`."""
        value = self.record.get(name)
        found = as_id(value)
        if found is None:
            kind = "missing" if value is None else f"not usable ({type(value).__name__})"
            raise Unreadable(f"{name} is {kind}", self.record)
        return found

    def id(self, *names: str) -> int | None:
        """An optional id, under the first of the names that is there."""
        for name in names:
            value = self.record.get(name)
            if value is not None:
                found = as_id(value)
                if found is None:
                    self.wrong(name, value)
                else:
                    return found
        return None

    def count(self, name: str) -> int | None:
        """A count: a non-negative integer, or the length of a list."""
        value = self.record.get(name)
        return len(value) if type(value) is list else self.id(name)

    def text(self, *names: str) -> str | None:
        """Text under the first of the names that is not empty."""
        found: str | None = None
        for name in names:
            value = self.record.get(name)
            if type(value) is str:
                if value:
                    return value
                found = value
            elif value is not None:
                self.wrong(name, value)
        return found

    def flag(self, name: str) -> bool | None:
        """A yes or no."""
        value = self.record.get(name)
        if value is None or type(value) is bool:
            return value
        self.wrong(name, value)
        return None

    def word(self, name: str, known: Collection[str]) -> str | None:
        """A word of a closed vocabulary in lower case; an unknown one is kept as given and noted."""
        given = self.text(name)
        if given is None:
            return None
        word = given.strip().lower()
        if word in known:
            return word
        self.unknown_word(name, given)
        return given

    def time(self, name: str) -> datetime | None:
        """A moment in UTC."""
        value = self.record.get(name)
        if value is None:
            return None
        if type(value) is not str:
            self.wrong(name, value)
            return None
        moment, zoned = as_time(value)
        if moment is None:
            self.note(name, ":not a time")
        elif not zoned:
            self.note(name, ":naive")
        return moment

    def past(self, name: str) -> datetime | None:
        """The moment of something that has happened; one that is yet to come is kept as it is, and noted."""
        moment = self.time(name)
        if moment is not None and moment > datetime.now(UTC) + _SKEW:
            self.note(name, ":future")
        return moment

    def name(self, *names: str) -> str | None:
        """A display name, given as text or as an object with a name."""
        for name in names:
            value = self.record.get(name)
            if value is None:
                continue
            found = as_name(value)
            if found is not None:
                return found
            if type(value) not in (dict, str):
                self.wrong(name, value)
        return None

    def child(self, name: str) -> "Fields | None":
        """A nested object."""
        value = self.record.get(name)
        if type(value) is dict:
            return Fields(value, f"{self.where}{name}.", self.drift)
        if value is not None:
            self.wrong(name, value)
        return None

    def items(self, name: str) -> list[Any]:
        """A list, whatever it holds; a lone object counts as a list of one."""
        value = self.record.get(name)
        if type(value) is list:
            return value
        if type(value) is dict:
            return [value] if value else []
        if value is not None:
            self.wrong(name, value)
        return []

    def children(self, name: str) -> "Iterator[Fields]":
        """The objects of a list; anything else in it is noted and left out."""
        for item in self.items(name):
            if type(item) is dict:
                yield Fields(item, f"{self.where}{name}.", self.drift)
            elif item is not None:
                self.wrong(name, item)

    def ids(self, name: str) -> tuple[int, ...]:
        """A list of ids."""
        found = []
        for item in self.items(name):
            value = as_id(item)
            if value is None:
                self.wrong(name, item)
            else:
                found.append(value)
        return tuple(found)

    def names(self, name: str) -> tuple[str, ...]:
        """The names in a list of texts or of objects with a name; empty objects are left out."""
        found = []
        for item in self.items(name):
            label = as_name(item)
            if label is not None:
                found.append(label)
            elif isinstance(item, _SCALARS) and item != "":
                self.wrong(name, item)
        return tuple(found)

    def lines(self, name: str) -> str | None:
        """Text given whole or as a list of lines; lines may be objects with a `description`."""
        value = self.record.get(name)
        if type(value) is not list:
            return self.text(name)
        lines = []
        for item in value:
            line = item.get("description") or as_name(item) if type(item) is dict else item
            if type(line) is str:
                lines.append(line)
            elif item is not None:
                self.wrong(name, item)
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class AttachmentPayload:
    """A file at an address; `kind` is the API's word, if any."""

    id: int | None
    url: str
    kind: str | None
    thumbnail: str | None


def read_attachments(fields: Fields, name: str = "attachments") -> tuple[AttachmentPayload, ...]:
    """Attachments that have an address, given as objects or as plain addresses."""
    found = []
    for item in fields.items(name):
        if type(item) is str and item:
            found.append(AttachmentPayload(None, scrub_url(item), None, None))
        elif type(item) is dict:
            attachment = Fields(item, f"{fields.where}{name}.", fields.drift)
            url = attachment.text("url", "file_url")
            if url:
                kind = attachment.text("kind", "type", "content_type")
                found.append(AttachmentPayload(attachment.id("id"), url, kind, _thumbnail(item)))
        elif item is not None:
            fields.wrong(name, item)
    return tuple(found)


def _thumbnail(attachment: dict[str, Any]) -> str | None:
    urls = attachment.get("thumbnail_urls") or attachment.get("thumbnail_url")
    if type(urls) is dict:
        urls = list(urls.values())
    if type(urls) is list:
        urls = next((url for url in urls if type(url) is str), None)
    return urls if type(urls) is str else None
