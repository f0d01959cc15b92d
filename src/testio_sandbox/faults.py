"""Faults that can be switched on while the simulated API runs: which requests they meet, and how often."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from dataclasses import field as made
from typing import Any, Literal, get_args

from .dice import Dice

Kind = Literal[
    "latency",
    "stall",
    "rate_limit",
    "error",
    "redirect",
    "html",
    "malformed",
    "huge",
    "gzip_bomb",
    "staging",
    "capped",
    "shift",
    "poison",
    "gone",
    "rename",
    "drop",
    "null",
    "retype",
    "plant",
    "truncate",
    "short",
    "reset",
    "drip",
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass
class Fault:
    """One rule: what goes wrong (`kind`) with which requests.

    A request is met when `path` (a regular expression) is found in its path below the base URL, `method` is its
    method, and every parameter in `query` has that value; empty means any. The first `skip` of them pass, then
    `times` are hit (`None`: all), each with `probability`.

    kind        what happens                                            takes
    latency     waits before the answer                                 ms
    stall       never answers; the connection stays open
    rate_limit  429                                                     retry_after (header text; None: absent)
    error       a status with a JSON error                              status
    redirect    302 to another address                                  location
    html        200 with an HTML page
    malformed   200 with `body` as JSON text                            body
    huge        200 with a JSON body of `size` bytes                    size
    gzip_bomb   a small gzip body that inflates to `size` bytes         size
    staging     page and per_page are ignored: always the whole list
    capped      no page holds more than `size` records, whatever per_page says
    shift       before the answer, tests of the product in the path     insert, delete (how many of the newest)
                are inserted or deleted
    poison      an error for every answer that holds the record         record_id, status
    gone        the record is missing from lists and 404 by itself      record_id
    rename      a field has another name                                field, value (the new name)
    drop        a field is missing                                      field
    null        a field is null                                         field
    retype      a field holds `value`                                   field, value
    plant       every text ends with one of `value`                     value (a list of texts)
    truncate    the JSON stops in the middle of a complete response
    short       fewer bytes than announced, then the connection closes
    reset       the connection is reset in the middle of the body
    drip        the body drips, a byte at a time                        ms (per byte)

    `field` is a dotted path from the root of the payload, `*` for every item of a list, such as
    `exploratory_tests.*.product.name`; `record_id` limits rename, drop, null and retype to one record.
    """

    kind: Kind
    path: str = ""
    method: str = ""
    query: Mapping[str, str] = made(default_factory=dict)
    times: int | None = None
    skip: int = 0
    probability: float = 1.0
    status: int = 500
    retry_after: str | None = None
    ms: float = 50.0
    record_id: int | None = None
    field: str = ""
    value: Any = None
    location: str = "https://elsewhere.example/"
    size: int = 200_000_000
    body: str = '{"products": [{"id": 1,'
    insert: int = 0
    delete: int = 0
    seen: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        """Refuse what would silently do nothing."""
        if self.kind not in KINDS:
            raise ValueError(f"Unknown kind {self.kind!r}; known are {', '.join(KINDS)}.")
        if self.kind in ("poison", "gone") and self.record_id is None:
            raise ValueError(f"{self.kind} needs record_id.")
        if self.kind in ("rename", "drop", "null", "retype") and not self.field:
            raise ValueError(f"{self.kind} needs field.")
        self._path = re.compile(self.path)

    def meets(self, method: str, path: str, query: Mapping[str, str]) -> bool:
        """Whether the rule is about this request, however often it still hits."""
        if self.method and self.method.upper() != method:
            return False
        return bool(self._path.search(path)) and all(query.get(name) == str(v) for name, v in self.query.items())

    def spend(self, seed: int) -> bool:
        """Count a request that the rule meets; true when it is to be hit."""
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        dice = Dice(seed, "fault", self.kind, self.path, self.seen)
        if self.probability < 1 and dice.fraction() >= self.probability:
            return False
        self.hits += 1
        return True


_FIELDS = {spec.name for spec in fields(Fault)}


class Faults:
    """The rules in force, in the order in which they were added; `seed` decides improbable ones."""

    def __init__(self, *rules: Fault, seed: int = 1) -> None:
        self._rules, self._seed = list(rules), seed

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._rules))

    def __len__(self) -> int:
        return len(self._rules)

    def add(self, *rules: Fault) -> None:
        """Put rules in force."""
        self._rules.extend(rules)

    def clear(self) -> None:
        """Lift every rule."""
        self._rules.clear()

    def hitting(self, method: str, path: str, query: Mapping[str, str]) -> list[Fault]:
        """The rules that hit this request, which is counted as one of theirs."""
        return [rule for rule in self._rules if rule.meets(method, path, query) and rule.spend(self._seed)]

    def shown(self) -> list[dict[str, Any]]:
        """The rules as plain data, with how often each has hit."""
        return [asdict(rule) for rule in self._rules]


def parse_fault(body: Mapping[str, Any]) -> Fault:
    """A rule from plain data; raises `ValueError` for one that makes no sense."""
    if unknown := set(body) - _FIELDS:
        raise ValueError(f"Unknown fields: {', '.join(sorted(unknown))}.")
    try:
        return Fault(**body)
    except (TypeError, re.error) as wrong:
        raise ValueError(str(wrong)) from wrong
