"""The calls that are measured: every operation that shows records, with arguments that exist in the store."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from testio_mcp.operations.lists.paging import encode_cursor
from testio_mcp.operations.registry import Operation, operations

Group = Literal[
    "page",
    "count",
    "summary",
    "search",
    "product metrics",
    "product metrics, every record",
    "portfolio metrics",
    "report",
    "report, portfolio",
]
"""Pages of lists; lists that count what belongs to their records; all about one thing; searches and triage_queue;
metrics of one product, with common and with rarer splits; metrics of all products;
reports on one product and on all."""

_GROUPS: dict[str, Group] = {
    "list_people": "count",
    "list_features": "count",
    "list_user_stories": "count",
    "list_test_environments": "count",
    "list_changes": "count",
    "search": "search",
    "triage_queue": "search",
}


@dataclass(frozen=True)
class Case:
    """One call of an operation; `told` is its group where the operation has several."""

    name: str
    operation: str
    arguments: dict[str, Any]
    told: Group | None = None

    @property
    def definition(self) -> Operation:
        """The operation that is called."""
        return operations()[self.operation]

    @property
    def group(self) -> Group:
        """Which targets it is held against."""
        usual: Group = "page" if self.operation.startswith("list_") else "summary"
        return self.told or _GROUPS.get(self.operation, usual)

    @property
    def path(self) -> str:
        """Its path over REST, ids filled in."""
        return f"/api{self.definition.path.format(**self.arguments)}"

    @property
    def query(self) -> dict[str, Any]:
        """The arguments that are not in the path."""
        return {name: value for name, value in self.arguments.items() if f"{{{name}}}" not in self.definition.path}

    @property
    def tool(self) -> tuple[str, dict[str, Any]] | None:
        """The MCP tool that answers it, and what that takes; None for what is no tool unless asked for."""
        if not self.definition.by_default:
            return None
        if self.definition.about:
            return "get", {"kind": self.definition.about, "id": next(iter(self.arguments.values()))}
        return self.operation, self.arguments


class Known(NamedTuple):
    """What the cases are about: the largest product and what there is most of, a rare kind, and middles of lists."""

    product_id: int
    feature_id: int
    user_story_id: int
    person_id: int
    reporter: str
    contact: str
    environment_id: int
    test_id: int
    run_test_id: int
    bug_id: int
    rare_kind: str
    rare_word: str
    middle: tuple[str, int]
    product_middle: tuple[str, int]
    bug_middle: tuple[str, int]
    product_bug_middle: tuple[str, int]


_LARGEST = "SELECT product_id FROM test GROUP BY product_id ORDER BY count(*) DESC, product_id LIMIT 1"
_HALF = "LIMIT 1 OFFSET (SELECT count(*) / 2 FROM"
_MIDDLE_TEST = f"SELECT sort_at, id FROM test {{0}} ORDER BY sort_at DESC, id DESC {_HALF} test {{0}})"
_MIDDLE_BUG = f"SELECT reported_at, id FROM bug {{0}} ORDER BY reported_at DESC, id DESC {_HALF} bug {{0}})"
_MOST = "SELECT {0} FROM {1} WHERE {0} IS NOT NULL GROUP BY {0} ORDER BY count(*) DESC, {0} LIMIT 1"
_NAME = "SELECT name FROM person WHERE id = ?"
_RARE = "SELECT kind FROM bug WHERE product_id = ? GROUP BY kind ORDER BY count(*), kind LIMIT 1"
_WORD = """
SELECT external_idx
FROM (SELECT external_idx FROM bug WHERE id >= ? AND external_idx IS NOT NULL ORDER BY id LIMIT 1000)
ORDER BY length(external_idx) DESC, external_idx LIMIT 1
"""


@lru_cache(maxsize=8)
def known_in(path: Path) -> Known:
    """What a store holds that calls can be about."""
    with closing(sqlite3.connect(path)) as db:

        def one(statement: str, *values: object) -> Any:
            return db.execute(statement, values).fetchone()[0]

        product_id = one(_LARGEST)
        of_product = f"WHERE product_id = {product_id}"
        person_id = one(_MOST.format("author_id", "bug"))
        middle = db.execute(_MIDDLE_TEST.format("")).fetchone()
        bug_middle = db.execute(_MIDDLE_BUG.format("")).fetchone()
        bug_id = bug_middle[1]
        return Known(
            product_id=product_id,
            feature_id=one(_MOST.format("feature_id", "bug")),
            user_story_id=one(_MOST.format("user_story_id", "execution")),
            person_id=person_id,
            reporter=one(_NAME, person_id),
            contact=one(_NAME, one(_MOST.format("created_by_id", "test"))),
            environment_id=one(_MOST.format("test_environment_id", "test")),
            test_id=middle[1],
            run_test_id=one("SELECT max(test_id) FROM execution WHERE status = 'passed'"),
            bug_id=bug_id,
            rare_kind=one(_RARE, product_id),
            rare_word=one(_WORD, bug_id).removeprefix("QA-"),
            middle=middle,
            product_middle=db.execute(_MIDDLE_TEST.format(of_product)).fetchone(),
            bug_middle=bug_middle,
            product_bug_middle=db.execute(_MIDDLE_BUG.format(of_product)).fetchone(),
        )


def cursor_after(table: str, key: str, position: tuple[str | int, ...], *, sort: str = "newest") -> str:
    """The cursor of a list of `table` that is sorted by `key`, for the page after a position in it."""
    return encode_cursor(f"{table} {key} {'down' if sort == 'newest' else 'up'}", *position)


@lru_cache(maxsize=8)
def cases_of(path: Path) -> MappingProxyType[str, Case]:
    """The cases of a store that show records, by name: pages of 20 where the operation is a list."""
    known = known_in(path)
    listed: dict[str, dict[str, dict[str, Any]]] = {
        "list_products": {"": {}},
        "list_tests": _tests(known),
        "list_bugs": _bugs(known) | _dated_bugs(known),
        "list_executions": _executions(known),
        "list_test_templates": {"": {}},
        "list_problems": {"": {}},
        "list_features": {"": {}, "product": {"product_id": known.product_id}, "untested": {"tested": False}},
        "list_user_stories": {"": {}, "product": {"product_id": known.product_id}},
        "list_people": {"": {}, "testers": {"role": "tester"}, "contacts": {"role": "contact"}},
        "list_test_environments": {"": {}, "product": {"product_id": known.product_id}},
        "list_changes": _changes(known),
        "triage_queue": {"": {}, "product": {"product_id": known.product_id}},
    }
    cases = [
        Case(", ".join(filter(None, (operation, name))), operation, {"limit": 20, **given})
        for operation, calls in listed.items()
        for name, given in calls.items()
    ]
    cases += [Case(f"search, {name}", "search", given) for name, given in _searches(known).items()]
    return MappingProxyType({case.name: case for case in (*cases, *_summaries(known))})


def _tests(known: Known) -> dict[str, dict[str, Any]]:
    product = {"product_id": known.product_id}
    return {
        "no filter": {},
        "middle": {"cursor": cursor_after("test", "sort_at", known.middle)},
        "product": product,
        "product, middle": {**product, "cursor": cursor_after("test", "sort_at", known.product_middle)},
        "one status": {"statuses": ["archived"]},
        "rare status": {"statuses": ["cancelled"]},
        "two statuses": {"statuses": ["running", "archived"]},
        "product, two statuses": {**product, "statuses": ["locked", "archived"]},
        "type": {"testing_types": ["usability"]},
        "dates": {"end_from": "2026-01-01", "end_to": "2026-06-30"},
        "oldest": {"sort": "oldest"},
        "feature": {"feature_ids": [known.feature_id]},
        "contact": {"contacts": [known.contact]},
        "environment": {"test_environment_id": known.environment_id},
        "ran": {"scope": "ran"},
        "product, ran": {**product, "scope": "ran"},
        "all but one": {"exclude_test_ids": [known.test_id]},
        "ran, total": {"scope": "ran", "total_only": True},
        "product, ran, total": {**product, "scope": "ran", "total_only": True},
    }


def _bugs(known: Known) -> dict[str, dict[str, Any]]:
    product = {"product_id": known.product_id}
    return {
        "no filter": {},
        "middle": {"cursor": cursor_after("bug", "reported_at", known.bug_middle)},
        "product": product,
        "product, middle": {**product, "cursor": cursor_after("bug", "reported_at", known.product_bug_middle)},
        "one status": {"statuses": ["accepted"]},
        "open or question, critical": {"statuses": ["open", "question"], "levels": ["critical"]},
        "product, accepted": {**product, "statuses": ["accepted"]},
        "level": {"levels": ["high"]},
        "kind": {"kinds": ["visual"]},
        "product, rare kind": {**product, "kinds": [known.rare_kind]},
        "known": {"known": True},
        "exported": {"exported": True},
        "rejection reason": {"rejection_reason": "duplicate"},
        "operating system": {"operating_system": "ios"},
        "operating system, version": {"operating_system": "ios 18"},
        "product, operating system, version": {**product, "operating_system": "ios 18"},
        "device": {"device": "galaxy"},
        "device category": {"device_category": "watch"},
        "browser": {"browser": "safari"},
        "environment": {"test_environment_id": known.environment_id},
        "test": {"test_ids": [known.test_id]},
        "feature": {"feature_ids": [known.feature_id]},
        "reporter": {"reporters": [known.reporter]},
        "rare word": {"text": known.rare_word},
        "oldest": {"sort": "oldest"},
        **_bugs_of_tests(product),
    }


def _bugs_of_tests(product: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Bugs by what their tests are, and exact totals."""
    ran = {"scope": "ran"}
    total = {"total_only": True}
    return {
        "ran": ran,
        "product, ran": {**product, **ran},
        "statuses of tests": {"test_statuses": ["locked"]},
        "type of tests": {"testing_types": ["usability"]},
        "total": total,
        "ran, total": {**ran, **total},
        "product, ran, total": {**product, **ran, **total},
        "product, operating system, version, total": {**product, "operating_system": "ios 18", **total},
    }


def _dated_bugs(known: Known) -> dict[str, dict[str, Any]]:
    """Bugs by report, and by the end of their tests."""
    reported = {"reported_from": "2026-01-01", "reported_to": "2026-06-30"}
    ended = {"end_from": "2026-01-01", "end_to": "2026-06-30"}
    product = {"product_id": known.product_id}
    return {
        "reported": reported,
        "product, reported": {**product, **reported},
        "ended": ended,
        "product, ended": {**product, **ended},
    }


def _executions(known: Known) -> dict[str, dict[str, Any]]:
    return {
        "no filter": {},
        "product": {"product_id": known.product_id},
        "test": {"test_ids": [known.run_test_id]},
        "user story": {"user_story_ids": [known.user_story_id]},
        "two statuses": {"statuses": ["failed", "blocked"]},
        "tester": {"testers": [known.reporter]},
        "operating system": {"operating_system": "ios"},
        "operating system, version": {"operating_system": "ios 18"},
        "product, ran": {"product_id": known.product_id, "scope": "ran"},
        "product, ran, total": {"product_id": known.product_id, "scope": "ran", "total_only": True},
    }


def _changes(known: Known) -> dict[str, dict[str, Any]]:
    """All that the change log holds, that of one product, and that of the last run."""
    since = {"since": "2026-10-01"}
    return {"all": since, "product": {**since, "product_id": known.product_id}, "one run": {"run_id": 2}}


def _searches(known: Known) -> dict[str, dict[str, Any]]:
    return {
        "common word": {"query": "button"},
        "common beginning": {"query": "dis"},
        "rare word": {"query": known.rare_word},
        "two words": {"query": "voucher landscape"},
        "product": {"query": "button", "product_id": known.product_id},
        "no spaces": {"query": "反応しない"},
        "dates": {"query": "button", "date_from": "2026-01-01", "date_to": "2026-06-30"},
        "phrase or beginning": {"query": 'title:"does not react" OR voucher*', "raw": True},
    }


def _summaries(known: Known) -> Iterator[Case]:
    for kind in ("product", "test", "bug", "feature", "user_story", "person"):
        yield Case(f"get_{kind}", f"get_{kind}", {f"{kind}_id": getattr(known, f"{kind}_id")})
    matrices: dict[str, dict[str, Any]] = {
        "product": {"product_id": known.product_id},
        "product, devices": {"product_id": known.product_id, "by": "device"},
        "problems": {"product_id": known.product_id, "only": "problems"},
        "test": {"test_id": known.run_test_id},
    }
    for name, given in matrices.items():
        yield Case(f"execution_matrix, {name}", "execution_matrix", given)
    yield Case("get_status", "get_status", {})
