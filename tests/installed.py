"""What an installation consists of, from the metadata of the distributions that are installed here."""

from collections.abc import Iterable
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(requirements: Iterable[Requirement]) -> set[str]:
    """The names of all distributions that these requirements bring along on this machine."""
    found: set[tuple[str, str]] = set()
    waiting = _with_extras(requirements)
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        parts = map(Requirement, distribution(name).requires or ())
        waiting += _with_extras(r for r in parts if r.marker is None or r.marker.evaluate({"extra": extra}))
    return {name for name, _ in found}


def _with_extras(requirements: Iterable[Requirement]) -> list[tuple[str, str]]:
    return [(canonicalize_name(r.name), extra) for r in requirements for extra in ("", *r.extras)]
