"""Faults inside the payload: records and fields that are not as the reference says.

Each function gets a payload and its rule, and gives the status to answer with (`None`: as it was) and the payload.
"""

from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

from .faults import Fault

# Fields that hold one of the API's own words.
_WORDS = frozenset(
    {"status", "review_status", "execution_status", "severity", "testing_type", "type", "key", "language",
     "report_language"}
)  # fmt: skip
Changed = tuple[int | None, Any]


def _records(payload: Any) -> Iterator[Any]:
    """The records of an answer: the items of its lists, the object under its root, or the object itself."""
    if not isinstance(payload, dict):
        return
    yield payload
    for value in payload.values():
        yield from value if isinstance(value, list) else [value]


def _is(record: Any, record_id: int | None) -> bool:
    return isinstance(record, dict) and record.get("id") == record_id


def _poison(payload: Any, rule: Fault) -> Changed:
    if any(_is(record, rule.record_id) for record in _records(payload)):
        return rule.status, {"error": "Internal Server Error"}
    return None, payload


def _gone(payload: Any, rule: Fault) -> Changed:
    if not isinstance(payload, dict):
        return None, payload
    if any(_is(record, rule.record_id) for record in (payload, *payload.values())):
        return 404, {"error": "Not found"}
    kept = {
        name: [item for item in value if not _is(item, rule.record_id)] if isinstance(value, list) else value
        for name, value in payload.items()
    }
    return None, kept


def _places(node: Any, steps: list[str], record_id: int | None) -> Iterator[dict[str, Any]]:
    """The objects that hold a field, of one record only: that is an item of the first list on the way."""
    if not steps:
        if isinstance(node, dict):
            yield node
    elif steps[0] == "*":
        for item in node if isinstance(node, list) else ():
            if record_id is None or _is(item, record_id) or "id" not in item:
                yield from _places(item, steps[1:], None)
    elif isinstance(node, dict) and steps[0] in node:
        yield from _places(node[steps[0]], steps[1:], record_id)


def _rename(holder: dict[str, Any], name: str, rule: Fault) -> None:
    holder[str(rule.value)] = holder.pop(name)


def _drop(holder: dict[str, Any], name: str, rule: Fault) -> None:
    del rule, holder[name]


def _null(holder: dict[str, Any], name: str, rule: Fault) -> None:
    del rule
    holder[name] = None


def _retype(holder: dict[str, Any], name: str, rule: Fault) -> None:
    holder[name] = rule.value


def _on_field(change: Callable[[dict[str, Any], str, Fault], None]) -> Callable[[Any, Fault], Changed]:
    def changed(payload: Any, rule: Fault) -> Changed:
        *steps, name = rule.field.split(".")
        for holder in _places(payload, steps, rule.record_id):
            if name in holder:
                change(holder, name, rule)
        return None, payload

    return changed


def _plant(payload: Any, rule: Fault) -> Changed:
    return None, _planted(payload, rule.value, "")


def _planted(node: Any, texts: list[str], name: str) -> Any:
    """A copy whose texts end with one of `texts`; equal texts end alike, so that names stay names."""
    if isinstance(node, dict):
        return {key: _planted(value, texts, key) for key, value in node.items()}
    if isinstance(node, list):
        return [_planted(item, texts, name) for item in node]
    if not isinstance(node, str) or name in _WORDS or name.endswith("_at"):
        return node
    return f"{node} {texts[crc32(node.encode()) % len(texts)]}"


PAYLOAD_FAULTS: dict[str, Callable[[Any, Fault], Changed]] = {
    "poison": _poison,
    "gone": _gone,
    "rename": _on_field(_rename),
    "drop": _on_field(_drop),
    "null": _on_field(_null),
    "retype": _on_field(_retype),
    "plant": _plant,
}
