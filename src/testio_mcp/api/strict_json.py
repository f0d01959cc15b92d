"""JSON as the API may send it: UTF-8, finite numbers, moderate depth. Of duplicate keys the last one wins."""

import json
import math
from typing import Any, NoReturn

import orjson

from testio_mcp.scrub import may_need_repair, repair

_NUL = b"\\u0000"


class NotJson(ValueError):
    """A body that is not usable JSON. `truncated`: it looks cut off, so that asking again may help."""

    def __init__(self, reason: str, *, truncated: bool) -> None:
        super().__init__(reason)
        self.truncated = truncated


def read_json(body: bytes) -> Any:
    """The value of a JSON body, with text that every store takes (see `scrub.repair_text`).

    Bytes that are not UTF-8 read as U+FFFD. Raises `NotJson`; its text never quotes the body.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _read_odd_json(body)
    return repair(value) if _NUL in body else value


def _read_odd_json(body: bytes) -> Any:
    """Read what the quick reader refuses, forgivingly where that is harmless, or say what is wrong with it."""
    text = body.decode("utf-8-sig", errors="replace")
    try:
        value = _DECODER.decode(text)
        return repair(value) if may_need_repair(text) else value
    except RecursionError:
        raise NotJson("it is nested too deep", truncated=False) from None
    except _NotFinite:
        raise NotJson("it holds a number that is not finite", truncated=False) from None
    except ValueError:
        truncated = not text.rstrip().endswith(("}", "]"))
        reason = "it ends in the middle" if truncated else "it is not valid JSON"
        raise NotJson(reason, truncated=truncated) from None


class _NotFinite(ValueError):
    pass


def _refuse(_constant: str) -> NoReturn:
    raise _NotFinite


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise _NotFinite
    return value


def _whole(digits: str) -> int | float:
    """An integer, or a float where 64 bits do not hold it: the quick reader does the same."""
    return int(digits) if len(digits) < 19 else _finite(digits)


# Raw line breaks and tabs inside strings are against the letter of JSON and harmless.
_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_whole, parse_constant=_refuse, strict=False)
