"""Remove what must never be kept: the secrets of test environments, and characters no store can hold.

Test environments carry login names, passwords and access notes, inside tests, bugs and executions. Objects that
describe an environment keep an allow-list of keys, so that a secret under a new name is dropped as well; a
key that speaks of a login is dropped wherever it occurs.
"""

import re
from typing import Any

MAX_DEPTH = 40
"""Records nested deeper than this are refused; real ones have fewer than ten levels."""

MAX_TEXT = 200_000
"""Characters of a text that are kept; what is cut off is marked. Real texts are a hundredth of that."""

ENVIRONMENT_KEYS = frozenset(
    {"id", "title", "name", "url", "product_id", "section_id", "archived", "created_at", "updated_at"}
)
_SECRET_KEY = re.compile(
    r"passw|passphrase|pwd|credential|secret|login|user_?name|token|api_?key|access_?(claim|data|info|note)"
)
_URL_USER = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/?#]*@", re.IGNORECASE)
_URL_SECRET = re.compile(
    r"([?&#;][^=&#;]*(?:pass|pwd|secret|token|login|user|key|auth)[^=&#;]*=)[^&#;]*", re.IGNORECASE
)
_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")
_UNSTORABLE_ESCAPE = re.compile(r"\\u(?:d[89a-f]|0000)|\x00", re.IGNORECASE)


_GONE = object()


class TooDeep(ValueError):
    """A record is nested deeper than `MAX_DEPTH`."""


def scrub_secrets(record: dict[str, Any]) -> dict[str, Any]:
    """An API record without the secrets of test environments; the record given stays as it is.

    Raises `TooDeep`.
    """
    return _without_secrets(record, MAX_DEPTH)


def scrub_environment(value: Any) -> Any:
    """What may be kept of a test environment, or of a list of them; text becomes null."""
    if isinstance(value, list):
        return [scrub_environment(item) for item in value]
    if not isinstance(value, dict):
        return value if isinstance(value, (bool, int, float)) else None
    kept = {key: item for key, item in value.items() if key in ENVIRONMENT_KEYS and _is_scalar(item)}
    if isinstance(url := kept.get("url"), str):
        kept["url"] = scrub_url(url)
    return kept


def scrub_url(url: str) -> str:
    """An address without user name, password and parameters that look like a secret."""
    if "@" not in url and "=" not in url:
        return url
    return _URL_SECRET.sub(r"\1", _URL_USER.sub(r"\1", url))


def repair_text(text: str) -> str:
    """Text that every store and encoder takes: lone surrogates and NUL become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def may_need_repair(json_text: str) -> bool:
    """Whether JSON text holds an escape that could decode to a character `repair_text` replaces."""
    return _UNSTORABLE_ESCAPE.search(json_text) is not None


def repair(value: Any) -> Any:
    """`repair_text` for every string of a JSON value, keys included."""
    if isinstance(value, str):
        return repair_text(value)
    if isinstance(value, list):
        return [repair(item) for item in value]
    if isinstance(value, dict):
        return {repair_text(key): repair(item) for key, item in value.items()}
    return value


class _Kinds(dict[str, str]):
    """What is known about a key: `secret`, `environment` or nothing. Remembers, within bounds."""

    def __missing__(self, key: str) -> str:
        lowered = key.lower()
        kind = ""
        if _SECRET_KEY.search(lowered):
            kind = "secret"
        elif "environment" in lowered and not lowered.endswith("_id"):
            kind = "environment"
        if len(self) < 5000 and len(key) < 100:
            self[key] = kind
        return kind


_KINDS = _Kinds()


def _without_secrets(record: dict[str, Any], depth: int) -> dict[str, Any]:
    if not depth:
        raise TooDeep
    clean = record
    for key, value in record.items():
        kind = _KINDS[key]
        kept: Any
        if not kind:
            held = type(value)
            if held is str and len(value) > MAX_TEXT:
                kept = _cut(value)
            elif held is not dict and held is not list:
                continue
            else:
                kept = _without_secrets(value, depth - 1) if held is dict else _clean_list(value, depth - 1)
        else:
            kept = scrub_environment(value) if kind == "environment" else _GONE
        if kept is not value:
            if clean is record:
                clean = dict(record)
            clean[key] = kept
    return clean if clean is record else {key: value for key, value in clean.items() if value is not _GONE}


def _cut(text: str) -> str:
    return f"{text[:MAX_TEXT]} [... {len(text) - MAX_TEXT} more characters were not kept]"


def _clean_list(items: list[Any], depth: int) -> list[Any]:
    if not depth:
        raise TooDeep
    clean = items
    for place, item in enumerate(items):
        held = type(item)
        if held is not dict and held is not list:
            continue
        kept = _without_secrets(item, depth - 1) if held is dict else _clean_list(item, depth - 1)
        if kept is not item:
            if clean is items:
                clean = list(items)
            clean[place] = kept
    return clean


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))
