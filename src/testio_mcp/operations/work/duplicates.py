"""Bugs that probably say the same as another one.

Two bugs are compared when they are about the same feature of the same product (about the same product where the bug
names no feature), were seen on the same family of devices, and the other one is not rejected. Their likeness is the
share of words that they have in common (Jaccard), of the titles and, with less weight, of what was seen to happen.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel, Field
from sqlalchemy import Connection, Select, bindparam, func, literal_column, select, union_all

from testio_mcp.database.dialect import fetch
from testio_mcp.database.tables import Bug, BugDevice, Feature, Product, table_of

NEWEST = 100
"""How many bugs of a feature or product a bug is compared with: the newest."""
LIKELY = 0.5
"""From which similarity on a bug is shown as a likely duplicate."""
AT_MOST = 3
TITLE_WEIGHT = 0.7
_FINALISTS = 8
_TEXT = 1_000
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_PREFIX, _WORD = re.compile(r"^\s*\[[^\]]*\]"), re.compile(r"\w+")
# Scripts from here on are written without spaces between words.
_UNSPACED = "\u2e80"


class Duplicate(BaseModel):
    """A bug that probably says the same."""

    id: int
    similarity: float = Field(description="From 0 to 1: the words in common, of titles and of what happened.")


class Subject(NamedTuple):
    """A bug whose duplicates are looked for."""

    id: int
    product_id: int
    feature_id: int | None
    title: str


class _Report(NamedTuple):
    words: frozenset[str]
    families: frozenset[str]


_bugs, _device = table_of(Bug), table_of(BugDevice).c
_bug, _newer = _bugs.c, _bugs.alias("newer").c
_features, _products = table_of(Feature), table_of(Product)
# Where the newest bugs of a feature and of a product begin.
_first_id = (
    select(_newer.id)
    .where(_newer.feature_id == _features.c.id)
    .order_by(_newer.id.desc())
    .limit(1)
    .offset(NEWEST - 1)
    .scalar_subquery()
)
_first_report = (
    select(_newer.reported_at)
    .where(_newer.product_id == _products.c.id, _newer.reported_at.is_not(None))
    .order_by(_newer.reported_at.desc())
    .limit(1)
    .offset(NEWEST - 1)
    .scalar_subquery()
)
_counts = (_bug.status != "rejected", _bug.gone_at.is_(None))
_of_features = (
    select(_bug.id, _bug.product_id, _bug.feature_id, _bug.title)
    .join_from(_features, _bugs, _bug.feature_id == _features.c.id)
    .where(
        _features.c.id.in_(bindparam("feature_ids", expanding=True)),
        _bug.id >= func.coalesce(_first_id, 0),
        *_counts,
    )
)
_of_products = (
    select(_bug.id, _bug.product_id, literal_column("NULL").label("feature_id"), _bug.title)
    .join_from(_products, _bugs, _bug.product_id == _products.c.id)
    .where(
        _products.c.id.in_(bindparam("product_ids", expanding=True)),
        _bug.reported_at >= func.coalesce(_first_report, bindparam("beginning", type_=_bug.reported_at.type)),
        *_counts,
    )
)
_candidates: Select[Any] = select(union_all(_of_features, _of_products).subquery())
_reports = (
    select(
        _bug.id,
        func.substr(func.coalesce(_bug.actual_result, _bug.steps, ""), 1, _TEXT),
        func.coalesce(_device.operating_system, _device.category),
    )
    .outerjoin_from(_bugs, table_of(BugDevice), _device.bug_id == _bug.id)
    .where(_bug.id.in_(bindparam("ids", expanding=True)))
)


def find_duplicates(conn: Connection, subjects: Sequence[Subject]) -> dict[int, list[Duplicate]]:
    """The likely duplicates of each bug, at most `AT_MOST`, likeliest first; nothing for a bug without any.

    Two statements, whatever the number of bugs.
    """
    finalists = _find_finalists(conn, subjects)
    ids = {subject for subject, candidates in finalists.items() if candidates}
    ids |= {number for candidates in finalists.values() for _, number in candidates}
    reports = _read_reports(conn, sorted(ids)) if ids else {}
    duplicates = {}
    for subject, candidates in finalists.items():
        alike = sorted(_compare_texts(subject, candidates, reports), key=lambda one: (-one.similarity, -one.id))
        if alike:
            duplicates[subject] = alike[:AT_MOST]
    return duplicates


def _find_finalists(conn: Connection, subjects: Sequence[Subject]) -> dict[int, list[tuple[float, int]]]:
    """Per bug, the likeness of titles and the id of those whose titles are alike enough, likeliest first."""
    groups: dict[tuple[int, int | None], list[tuple[int, frozenset[str]]]] = defaultdict(list)
    binds = {
        "feature_ids": sorted({bug.feature_id for bug in subjects if bug.feature_id is not None}),
        "product_ids": sorted({bug.product_id for bug in subjects if bug.feature_id is None}),
        "beginning": _BEGINNING,
    }
    for number, product_id, feature_id, title in fetch(conn, _candidates, binds):
        groups[product_id, feature_id].append((number, split_title(title)))
    least = (LIKELY - (1 - TITLE_WEIGHT)) / TITLE_WEIGHT
    finalists = {}
    for bug in subjects:
        own = split_title(bug.title)
        others = ((compute_likeness(own, words), number) for number, words in groups[bug.product_id, bug.feature_id])
        alike = sorted((pair for pair in others if pair[0] >= least and pair[1] != bug.id), reverse=True)
        finalists[bug.id] = alike[:_FINALISTS]
    return finalists


def _read_reports(conn: Connection, ids: list[int]) -> dict[int, _Report]:
    texts: dict[int, str] = {}
    families: dict[int, set[str]] = defaultdict(set)
    for number, text, family in fetch(conn, _reports, {"ids": ids}):
        texts[number] = text
        families[number] |= {family} if family else set()
    return {number: _Report(split_words(text), frozenset(families[number])) for number, text in texts.items()}


def _compare_texts(
    subject: int, candidates: Iterable[tuple[float, int]], reports: dict[int, _Report]
) -> Iterable[Duplicate]:
    for titles, number in candidates:
        own, other = reports[subject], reports[number]
        if own.families and other.families and own.families.isdisjoint(other.families):
            continue
        similarity = combine_likeness(
            titles, compute_likeness(own.words, other.words) if own.words and other.words else None
        )
        if similarity >= LIKELY:
            yield Duplicate(id=number, similarity=round(similarity, 2))


def combine_likeness(titles: float, texts: float | None) -> float:
    """The likeness of two bugs; that of the titles alone where one of them says nothing else (None)."""
    return titles if texts is None else TITLE_WEIGHT * titles + (1 - TITLE_WEIGHT) * texts


def compute_likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of words in common, from 0 to 1; 0 where there are none."""
    common = len(one & other)
    return common / (len(one) + len(other) - common) if common else 0.0


@lru_cache(maxsize=16_384)
def split_title(title: str) -> frozenset[str]:
    """The words of a title, without the name of the feature in brackets that many titles begin with."""
    return split_words(_PREFIX.sub("", title)) or split_words(title)


def split_words(text: str) -> frozenset[str]:
    """The words of a text in one form; of scripts without spaces, the pairs of letters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    parts: set[str] = set()
    for word in _WORD.findall(folded):
        is_whole = word[0] < _UNSPACED or len(word) == 1
        parts.update((word,) if is_whole else (word[n : n + 2] for n in range(len(word) - 1)))
    return frozenset(parts)
