"""Answers within the room that a model's context leaves them."""

import json
from typing import Any

REPLY_BYTES = 25 * 1024
"""The most that one reply to a model may hold, as text and as structured content each."""

_FRAME = 1024
_SMALLEST_CUT = 64


def size(value: object) -> int:
    """Bytes of a value as compact JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))


def fitting(records: list[Any], room: int = REPLY_BYTES - _FRAME) -> int:
    """How many of the records, from the first, fit into `room` bytes; at least one."""
    for count, record in enumerate(records):
        room -= size(record) + 1
        if room < 0:
            return max(1, count)
    return len(records)


def fitting_page(answer: dict[str, Any]) -> int:
    """How many of a page's items fit into a reply beside all that the page says besides; at least one."""
    beside = size({name: value for name, value in answer.items() if name != "items"})
    return fitting(answer["items"], max(_SMALLEST_CUT, REPLY_BYTES - _FRAME - beside))


def shortened(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer that fits into a reply: lists end at a record's boundary, texts carry a mark, a notice says so."""
    if size(answer) <= REPLY_BYTES:
        return answer
    cuts: list[str] = []
    short: dict[str, Any] = _shorten(answer, REPLY_BYTES - _FRAME, "answer", cuts)
    return short | {"notice": f"Cut to fit into one reply: {'; '.join(cuts[:10])}."}


def _shorten(value: Any, room: int, name: str, cuts: list[str]) -> Any:
    if size(value) <= room:
        return value
    if isinstance(value, str):
        kept = value.encode(errors="replace")[: max(_SMALLEST_CUT, room // 2)].decode(errors="ignore")
        cuts.append(f"{name} shows {len(kept)} of {len(value)} characters")
        return kept + "…"
    if isinstance(value, list):
        count = fitting(value, room)
        if count < len(value):
            cuts.append(f"{name} shows {count} of {len(value)}")
        return value[:count] if count > 1 else [_shorten(value[0], room, name, cuts)]
    return _shorten_record(value, room, cuts) if isinstance(value, dict) else value


def _shorten_record(record: dict[str, Any], room: int, cuts: list[str]) -> dict[str, Any]:
    """Cut the heaviest fields first, each once."""
    short = dict(record)
    for name in sorted(record, key=lambda key: size(record[key]), reverse=True):
        over = size(short) - room
        if over <= 0:
            break
        short[name] = _shorten(short[name], max(_SMALLEST_CUT, size(short[name]) - over), name, cuts)
    return short
