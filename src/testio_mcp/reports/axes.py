"""What the parts of a chart agree on: where values and labels are, and how wide text is."""

import math
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from testio_mcp.reports.model import Unit
from testio_mcp.reports.words import tick

SIZE = 12
"""Height of the text in a chart, in the chart's own units."""
_MOST_TICKS = 5
_LEAST = 1e-4
"""A span of values below this is drawn as none."""
_STEPS = (1, 2, 2.5, 5, 10)


class Scale(NamedTuple):
    """An axis: its ticks, the first and the last of which are its ends, and their labels."""

    ticks: list[float]
    labels: list[str]

    def part(self, value: float) -> float:
        """Where a value is between the ends, from 0 to 1."""
        low, high = self.ticks[0], self.ticks[-1]
        return (min(max(value, low), high) - low) / (high - low)


def scale_for(values: Iterable[float], unit: Unit) -> Scale:
    """An axis that shows zero and all values, with few round ticks; whole ones for counts."""
    shown = [0.0, *values]
    low, high = min(shown), max(shown)
    if high - low < _LEAST:
        high = 1.0
    step = _round_step((high - low) / _MOST_TICKS, whole=unit == "count")
    first, last = math.floor(low / step), math.ceil(round(high / step, 9))
    ticks = [round(place * step, 10) for place in range(first, last + 1)]
    return Scale(ticks, [tick(value, unit) for value in ticks])


def _round_step(least: float, *, whole: bool) -> float:
    """The smallest of 1, 2, 2.5, 5 and their tenfolds that is at least `least`."""
    if whole and least <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    steps = (power * step for step in _STEPS)
    return next(step for step in steps if step >= least * (1 - 1e-9) and not (whole and step % 1))


def width_of(text: str) -> float:
    """About how wide a text is; wide enough for the usual fonts."""
    return SIZE * sum(map(_letter, text))


def _letter(letter: str) -> float:
    if letter in "MWmw@%" or unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    return 0.72 if letter.isupper() else 0.55


def fitted(text: str, width: float) -> str:
    """As much of a text, on one line, as is about `width` wide; an ellipsis stands for the rest."""
    text = " ".join(text.split())
    if width_of(text) <= width:
        return text
    kept = ""
    for letter in text:
        if width_of(kept + letter + "…") > width:
            break
        kept += letter
    return kept.rstrip() + "…"


def every(labels: list[str], room: float) -> int:
    """1 if all labels fit beside each other, 2 if every second does, and so on; each has `room`."""
    widest = max(map(width_of, labels), default=0) + SIZE
    return max(1, math.ceil(widest / room))


def apart(places: list[float], least: float) -> list[float]:
    """Places of labels, moved up by as little as keeps them `least` from each other."""
    order = sorted(range(len(places)), key=lambda at: -places[at])
    moved = list(places)
    for lower, upper in pairwise(order):
        moved[upper] = min(moved[upper], moved[lower] - least)
    return moved
