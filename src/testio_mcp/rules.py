"""Rules that a person may set as text: `name=0.2/0.35, other=0/-`, the milder limit before the harder one."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

_SIGNS = re.compile(r"\s*[,;\n]\s*")


class Limits(NamedTuple):
    """The limit from which a number gives cause for concern, and the one from which it is bad; None: no limit."""

    mild: float | None
    hard: float | None

    def __str__(self) -> str:
        """The limits as a rule is written."""
        return "/".join("-" if limit is None else f"{limit:g}" for limit in self)


Rules = Mapping[str, Limits]
HEALTH: Rules = {
    "rejection_rate": Limits(0.20, 0.35),
    "auto_acceptance_rate": Limits(0.20, 0.40),
    "active_acceptance_rate": Limits(0.35, 0.20),
    "review_rate": Limits(0.80, 0.60),
}
"""From when on a rate is a warning, and from when on it is critical; both belong to it (docs/reference)."""


def is_worse_high(name: str) -> bool:
    """Whether a rate of `HEALTH` gets worse as it grows."""
    mild, hard = HEALTH[name]
    return mild is not None and hard is not None and mild < hard


def written(rules: Rules) -> str:
    """Rules as a person writes them."""
    return ", ".join(f"{name}={limits}" for name, limits in rules.items())


def read_health(value: object) -> object:
    """`HEALTH` with the changes that a text makes; anything but a text is given back.

    Raises `ValueError` that names the rule and what it takes.
    """
    if not isinstance(value, str):
        return value
    found = dict(HEALTH)
    for name, said in pairs(value, HEALTH):
        mild, bar, hard = said.partition("/")
        limits = Limits(share(name, mild), share(name, hard)) if bar else None
        if limits is None or None in limits:
            raise ValueError(f"{name} takes two limits, warning/critical, such as {HEALTH[name]}")
        is_ordered = limits == tuple(sorted(limits, reverse=not is_worse_high(name)))  # type: ignore[type-var]
        if not is_ordered:
            first = "smaller" if is_worse_high(name) else "larger"
            raise ValueError(f"{name}: the warning limit must be the {first} one, as in {HEALTH[name]}")
        found[name] = limits
    return found


def pairs(text: str, known: Mapping[str, object]) -> list[tuple[str, str]]:
    """The names and what is said of each, in a text such as `name=0.2/0.35, other=0`.

    Raises `ValueError` for what has no such form, for a name that is not known, and for one that comes twice; errors
    do not repeat the text, which may be a secret in the wrong place.
    """
    found: list[tuple[str, str]] = []
    for part in filter(None, _SIGNS.split(text.strip())):
        name, has_value, said = (each.strip() for each in part.partition("="))
        if name not in known:
            from difflib import get_close_matches  # not for the sake of a start without mistakes

            near = get_close_matches(name.lower().replace("-", "_"), known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"one of its rules does not exist{hint}; the rules are {', '.join(known)}")
        if not has_value or not said:
            raise ValueError(f"{name} has no limit; write {name}=...")
        if name in dict(found):
            raise ValueError(f"{name} is there twice")
        found.append((name, said))
    return found


def number(name: str, said: str) -> float | None:
    """A limit that is a number from 0 up; `-` is none. Raises `ValueError`."""
    if said.strip() == "-":
        return None
    try:
        limit = float(said)
    except ValueError:
        limit = math.nan
    if not 0 <= limit < math.inf:
        raise ValueError(f"{name} takes numbers from 0 up")
    return limit


def share(name: str, said: str) -> float | None:
    """A limit that is a share from 0 to 1; `-` is none. Raises `ValueError`."""
    limit = number(name, said)
    if limit is not None and limit > 1:
        raise ValueError(f"{name} takes shares from 0 to 1, such as 0.9 for 90 %")
    return limit
