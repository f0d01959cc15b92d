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
        return "/".join("-" if limit is None else f"{limit:.12g}" for limit in self)


Rules = Mapping[str, Limits]
HEALTH: Rules = {
    "rejection_rate": Limits(0.20, 0.35),
    "auto_acceptance_rate": Limits(0.20, 0.40),
    "active_acceptance_rate": Limits(0.35, 0.20),
    "review_rate": Limits(0.80, 0.60),
}
"""From when on a rate is a warning, and from when on it is critical; both belong to it (docs/reference)."""


READINESS: Rules = {
    "min_tests": Limits(None, 1),
    "max_open_critical": Limits(None, 0),
    "max_open_high": Limits(0, 3),
    "max_open": Limits(None, None),
    "max_questions": Limits(0, None),
    "max_due_in_72_hours": Limits(0, None),
    "max_unpassed_stories": Limits(0, None),
    "min_pass_rate": Limits(0.9, 0.7),
    "min_story_coverage": Limits(0.8, None),
    "min_review_rate": Limits(0.8, 0.6),
    "max_rejection_rate": Limits(None, None),
    "max_running_tests": Limits(0, None),
    "max_problems": Limits(0, None),
    "max_age_hours": Limits(24, 168),
}
"""The limits of a release: beyond the first it asks for caution, beyond the second it stops."""


def is_worse_high(name: str) -> bool:
    """Whether what a rule is about gets worse as it grows."""
    if name not in HEALTH:
        return name.startswith("max_")
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
        limits = Limits(_limit(name, mild), _limit(name, hard)) if bar else None
        if limits is None or None in limits:
            raise ValueError(f"{name} takes two limits, warning/critical, such as {HEALTH[name]}")
        found[name] = _ordered(name, limits, "warning")
    return found


def read_readiness(value: object) -> object:
    """`READINESS` with the changes that a text makes; anything but a text is given back.

    Raises `ValueError` that names the rule and what it takes.
    """
    return {**READINESS, **release_rules(value)} if isinstance(value, str) else value


def release_rules(text: str) -> dict[str, Limits]:
    """The rules of a release in a text: `name=caution/stop`, `name=stop`, and `-` for no limit.

    Raises `ValueError` that names the rule and what it takes.
    """
    found: dict[str, Limits] = {}
    for name, said in pairs(text, READINESS):
        first, bar, second = said.partition("/")
        limits = (first, second) if bar else ("-", first)
        found[name] = _ordered(name, Limits(*(_limit(name, each) for each in limits)), "caution")
    return found


def _ordered(name: str, limits: Limits, mild: str) -> Limits:
    """The limits, if the milder one is met first."""
    if limits.mild is not None and limits.hard is not None and limits.mild != limits.hard:
        is_rising = limits.mild < limits.hard
        if is_rising != is_worse_high(name):
            first = "smaller" if is_worse_high(name) else "larger"
            raise ValueError(f"{name}: the {mild} limit, the first, must be the {first} one")
    return limits


def pairs(text: str, known: Mapping[str, object]) -> list[tuple[str, str]]:
    """The names and what is said of each, in a text such as `name=0.2/0.35, other=0`.

    Raises `ValueError` for what has no such form, for a name that is not known, and for one that comes twice; errors
    do not repeat the text, which may be a secret in the wrong place.
    """
    found: list[tuple[str, str]] = []
    for part in filter(None, _SIGNS.split(text.strip())):
        name, has_value, said = (each.strip() for each in part.partition("="))
        name = name.lower().replace("-", "_")
        if name not in known:
            from difflib import get_close_matches  # not for the sake of a start without mistakes

            near = get_close_matches(name, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"one of its rules does not exist{hint}; the rules are {', '.join(known)}")
        if not has_value or not said:
            raise ValueError(f"{name} has no limit; write {name}=...")
        if name in dict(found):
            raise ValueError(f"{name} is there twice")
        found.append((name, said))
    return found


def _limit(name: str, said: str) -> float | None:
    """A limit: a share from 0 to 1 for rates, a number from 0 up for others; `-` is none."""
    if said.strip() == "-":
        return None
    try:
        limit = float(said)
    except ValueError:
        limit = math.nan
    if not 0 <= limit < math.inf:
        raise ValueError(f"{name} takes numbers from 0 up")
    if name.endswith(("_rate", "_coverage")) and limit > 1:
        raise ValueError(f"{name} takes shares from 0 to 1, such as 0.9 for 90 %")
    return limit
