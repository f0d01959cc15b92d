"""What a field of a custom report holds, found from its content, and what its values add up to."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import fsum, isfinite
from typing import Annotated, Any, Literal

from pydantic import Field

ContentType = Literal["numeric", "categorical", "text"]
CUT = 64
"""How many characters of a value are looked at; a longer one is text in any case."""
_SHOWN = 12
OTHER = "(other)"
"""What stands for all values but the most frequent ones."""
_PLAIN = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)
_GROUPED = re.compile(r"([+-]?\d{1,3}(?:([., '\u00a0\u202f])\d{3})(?:\2\d{3})*)(?:(?!\2)[.,](\d+))?")
_NUMBERS = frozenset({"number", "numeric", "integer", "float", "decimal", "rating", "range"})
_CHOICES = frozenset({"boolean", "checkbox", "select", "dropdown", "radio", "choice", "enum"})


Filled = Annotated[int, Field(description="Bugs with a value.")]
Empty = Annotated[int, Field(description="Bugs with an empty text.")]
Null = Annotated[int, Field(description="Bugs without a value, or whose report does not have the field.")]
Statistic = Annotated[float | None, Field(description="Of the values that are numbers; null unless numeric.")]


def number(text: str) -> float | None:
    """The number that a text is, with a decimal point or comma, and with or without thousands in groups.

    A single separator is the decimal one: `1.234` and `1,234` are both little more than one.
    """
    stripped = text.strip()
    if _PLAIN.fullmatch(stripped):
        value = float(stripped.replace(",", "."))
    elif grouped := _GROUPED.fullmatch(stripped):
        value = float(f"{grouped[1].replace(grouped[2], '')}.{grouped[3] or 0}")
    else:
        return None
    return value if isfinite(value) else None


@dataclass
class Values:
    """The values of one field in some bugs: how often each was given, and how many bugs have an empty text."""

    counts: Counter[str] = field(default_factory=Counter)
    distinct: int = 0
    empty: int = 0

    def add(self, text: str | None, bugs: int) -> None:
        """Count `bugs` with the same value, of which `text` is the first `CUT` characters."""
        if text is None:
            return
        if stripped := text.strip():
            self.distinct += 1
            self.counts[stripped] += bugs
        else:
            self.empty += bugs

    @property
    def filled(self) -> int:
        """Bugs with a value."""
        return self.counts.total()

    def numbers(self) -> list[tuple[float, int]]:
        """The values that are numbers, in order, with how often each was given."""
        numbers = ((number(text), bugs) for text, bugs in self.counts.items())
        return sorted((value, bugs) for value, bugs in numbers if value is not None)


def content_type(values: Values, declared: str | None) -> ContentType:
    """What kind of content a field has, as its values show; the type that the API declares is a hint.

    numeric: at least 95 % of the values are numbers, or half of them where the API declares a number.
    categorical: the API declares a choice or a boolean; or values are short, and there are at most 12 of them that
    occur about twice or more, or at most 50 that occur ten times or more, on average.
    text: everything else.
    """
    word = (declared or "").strip().lower()
    if word in _CHOICES or not values.filled:
        return "categorical" if word in _CHOICES else "numeric" if word in _NUMBERS else "text"
    numeric = sum(bugs for _, bugs in values.numbers())
    if numeric >= values.filled * (0.5 if word in _NUMBERS else 0.95):
        return "numeric"
    is_short = all(len(text) < CUT for text in values.counts)
    is_few = values.distinct <= max(min(12, (values.filled + 1) // 2), min(50, values.filled // 10))
    return "categorical" if is_short and is_few and values.filled > 1 else "text"


def filling(values: Values, bugs: int) -> dict[str, int]:
    """How many of so many bugs have a value, and how many different ones there are."""
    null = bugs - values.filled - values.empty
    return {"filled": values.filled, "empty": values.empty, "null": null, "distinct_values": values.distinct}


def statistics(values: Values) -> dict[str, Any]:
    """What the values that are numbers add up to; nothing but the count if none is one."""
    numbers = values.numbers()
    count = sum(times for _, times in numbers)
    if not count:
        return {"count": 0}
    total = fsum(value * times for value, times in numbers)
    median = (_at(numbers, (count - 1) // 2) + _at(numbers, count // 2)) / 2
    figures = {"min": numbers[0][0], "median": median, "mean": total / count, "max": numbers[-1][0], "sum": total}
    return {"count": count} | {name: round(value, 4) for name, value in figures.items()}


def _at(numbers: Iterable[tuple[float, int]], position: int) -> float:
    """The value at a place of the sorted numbers."""
    for value, times in numbers:
        position -= times
        if position < 0:
            return value
    raise IndexError(position)


def frequent(values: Values) -> list[tuple[str, int]]:
    """The most frequent values with their bugs, and all that come after them as `other`."""
    ranked = sorted(values.counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(bugs for _, bugs in ranked[_SHOWN:])
    return [*ranked[:_SHOWN], *([(OTHER, rest)] if rest else [])]
