"""Why a bug was rejected: told by the API's bug, or found in the comments that came with the decision.

The API says a reason only in a comment that begins with the reason's own text. People put something before it,
shorten or edit it, write it in another language or say only its name, so each match keeps how sure it is. Nothing
here reads a database: what is matched depends on the bug and on the list of reasons alone. When these rules change,
raise the version of bugs in `database/derived.py`: stores are then matched again.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from html import unescape
from typing import Literal, NamedTuple

UNRECOGNISED = "unrecognised"
"""The reason of a rejected bug whose comments match no reason; a bug that is not rejected has none."""
Certainty = Literal["api", "comment", "name", "key", "similar", "none"]
"""What told the reason, surest first: the API's bug; the whole comment of a reason, its name or its key, somewhere in
a comment; a comment that is a part or a variant of a reason's; nothing."""

_TOGETHER = timedelta(minutes=1)
"""Comments this close to the rejection belong to it."""
_TAG = re.compile(r"<[^<>]{1,200}>")
_NEGATED = re.compile(r"n['\u2019\u02bc]t\b")
_IN_WORD = re.compile("['\u2019\u02bc\u0300-\u036f]")
# Scripts without spaces: each character is a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\W_{_UNSPACED}]+")
_SENTENCE_END = re.compile(r"[.!?:;,()\[\]{}<>|\u2013\u2014\r\n\u3002\uff1a]|\s-+\s|^\s*-+\s")
_REJECTED = r"(?:rejected|rejection|declined|abgelehnt|ablehnung|zuruckgewiesen|rejete|rejetee|rechazado|rechazada)"
_OPENING = re.compile(
    rf"\W*(?:(?:this|the|dieser|der|ce|este)\s+)?(?:(?:bug|issue|fehler)\s+)?(?:report\s+)?"
    rf"(?:(?:is|was|has\s+been|wurde|ist)\s+)?{_REJECTED}\s*[-\u2013\u2014:.,>|*\]\n]"
)
"""How a comment begins that rejects a bug."""
_EVERYDAY = frozenset(
    ("other", "others", "none", "unknown", "invalid", "bug", "bugs", "issue", "general", "misc", "feedback", "known")
)
"""Words that say nothing unless they stand alone."""
_ARTICLES = frozenset(("a", "an", "the", "this", "that", "it", "its", "we", "you", "i", "our", "your", "s"))
_VERBS = frozenset(
    ("is", "was", "were", "be", "been", "being", "has", "have", "had", "could", "can", "would", "will")
)
_LINKS = frozenset(("of", "to", "in", "on", "at", "for", "and", "or", "as", "by", "with"))
_COURTESY = frozenset(("please", "sorry", "hi", "hello", "thanks", "thank"))
_SUBJECTS = frozenset(("bug", "issue", "report", "rejected", "declined", "closed"))
_FILLERS = _ARTICLES | _VERBS | _LINKS | _COURTESY | _SUBJECTS
"""Words that do not tell one reason from another."""
_SHORTEST_PART = 3
_SHARE_OF_PART = 0.4
_SHARE_OF_VARIANT = 0.7
_SHARE_OF_CONTENT = 0.66
_STEM = 6
_LONGEST = 400
"""How many words of a comment are compared with variants of a reason."""


class Reason(NamedTuple):
    """A reason as the account lists it."""

    key: str
    name: str | None
    default_comment: str | None

    @property
    def title(self) -> str:
        """What the reason is called."""
        return self.name or self.key


class Remark(NamedTuple):
    """A comment on a bug."""

    text: str
    written_at: datetime | None = None
    is_by_reporter: bool = False


class Match(NamedTuple):
    """The reason of a rejection, and how sure it is."""

    reason: str
    certainty: Certainty


def match(reasons: tuple[Reason, ...], remarks: Sequence[Remark], api_reason: str | None = None) -> Match:
    """The reason for which a bug was rejected that has these comments, in the order of the API.

    `api_reason` is what the API's bug itself says; it wins, by the name of the reason that it means if there is one.
    """
    matcher = _matcher(reasons)
    if api_reason and api_reason.strip():
        return Match(matcher.title_of(api_reason) or api_reason.strip(), "api")
    texts = [_Text(remark) for remark in _since_rejection(remarks)]
    return matcher.find(texts) or Match(UNRECOGNISED, "none")


def _since_rejection(remarks: Sequence[Remark]) -> list[Remark]:
    """The comments written at or after the rejection, and first the one that most likely says why.

    Nothing but the comments tells when a bug was rejected: the newest that begins as a rejection does. Where none
    does, all are looked at, the newest first.
    """
    beginning = datetime.min.replace(tzinfo=UTC)
    dated: list[tuple[datetime, Remark]] = []
    for remark in remarks:
        dated.append((remark.written_at or (dated[-1][0] if dated else beginning), remark))
    dated.sort(key=lambda pair: pair[0])
    openings = [n for n, (_, remark) in enumerate(dated) if not remark.is_by_reporter and _opens(remark.text)]
    if not openings:
        return [remark for _, remark in reversed(dated)]
    first = openings[-1]
    moment = dated[first][0]
    together = [remark for at, remark in dated[:first] if moment > beginning and moment - at <= _TOGETHER]
    return [remark for _, remark in dated[first:]] + together[::-1]


def _opens(text: str) -> bool:
    return _OPENING.match(_folded(text) + "\n") is not None


@lru_cache(maxsize=64)
def _folded(text: str) -> str:
    """A text without markup, case and accents."""
    plain = unescape(_TAG.sub(" ", text))
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", plain).casefold())
    return _IN_WORD.sub("", _NEGATED.sub(" not", letters))


def _words(text: str) -> list[str]:
    return _WORD.findall(_folded(text))


def _stems(words: Iterable[str]) -> list[str]:
    return [word[:_STEM] for word in words]


class _Text:
    """A comment, taken apart once however many reasons it is compared with."""

    def __init__(self, remark: Remark) -> None:
        self._remark = remark
        self.words = _words(remark.text)
        self.line = f" {' '.join(self.words)} "

    @property
    def is_by_reporter(self) -> bool:
        """Whether who reported the bug wrote it: a reporter may talk about reasons, and rejects nothing."""
        return self._remark.is_by_reporter

    @cached_property
    def sentences(self) -> list[list[str]]:
        """The words between one mark and the next."""
        parts = (_WORD.findall(part) for part in _SENTENCE_END.split(_folded(self._remark.text)))
        return [part for part in parts if part]

    @cached_property
    def stems(self) -> list[str]:
        """Beginnings of the words: of 'reproduced' and 'reproducible' they are the same."""
        return _stems(self.words[:_LONGEST])


@dataclass(frozen=True)
class _Pattern:
    """Words that name a reason."""

    title: str
    words: tuple[str, ...]

    @property
    def is_weak(self) -> bool:
        """Whether the words occur in many a comment that means something else, and count only as a whole sentence."""
        return len(self.words) == 1 and (self.words[0] in _EVERYDAY or len(self.words[0]) < 4)

    def place_in(self, text: _Text) -> int | None:
        """Where the words stand in a text, as a number of characters."""
        if self.is_weak:
            return 0 if list(self.words) in text.sentences else None
        place = text.line.find(f" {' '.join(self.words)} ")
        return None if place < 0 else place


def _patterns(named: Iterable[tuple[str, str | None]]) -> list[_Pattern]:
    found = [_Pattern(title, tuple(_words(text))) for title, text in named if text]
    return sorted((each for each in found if each.words), key=lambda each: (-len(" ".join(each.words)), each.title))


def _is_generic(pattern: _Pattern) -> bool:
    """Whether a comment says no more than that the bug is rejected: then any other reason says more."""
    return _FILLERS.issuperset(pattern.words)


class _Matcher:
    """The reasons of an account, made ready to be looked for."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        comments = _patterns((reason.title, reason.default_comment) for reason in reasons)
        self._comments = [each for each in comments if not _is_generic(each)]
        self._names = _patterns((reason.title, reason.name) for reason in reasons)
        self._keys = _patterns((reason.title, reason.key) for reason in reasons)
        self._generic = [each for each in comments if _is_generic(each)]

    def title_of(self, text: str) -> str | None:
        """The reason that a text is the key, the name or the comment of."""
        opening = _OPENING.match(_folded(text))
        rest = _folded(text)[opening.end() :] if opening else text
        said = {tuple(_words(text)), tuple(_words(rest))}
        groups = (self._keys, self._names, self._comments, self._generic)
        return next((each.title for group in groups for each in group if each.words in said), None)

    def find(self, texts: Sequence[_Text]) -> Match | None:
        """The surest match; of equally sure ones that in the first text."""
        by_others = [text for text in texts if not text.is_by_reporter]
        steps: tuple[tuple[Certainty, list[_Pattern], Sequence[_Text]], ...] = (
            ("comment", self._comments, texts),
            ("name", self._names, by_others),
            ("key", self._keys, by_others),
            ("comment", self._generic, texts),
        )
        for certainty, patterns, among in steps:
            for text in among:
                if title := _first_in(text, patterns):
                    return Match(title, certainty)
        for text in by_others:
            if title := self._similar(text):
                return Match(title, "similar")
        return None

    def _similar(self, text: _Text) -> str | None:
        """The reason whose comment or name the text shortens or varies; None where two are as near."""
        scores: dict[str, float] = {}
        for pattern in (*self._comments, *self._names):
            if score := max(_part_of(pattern, text), _variant_of(pattern, text)):
                scores[pattern.title] = max(score, scores.get(pattern.title, 0.0))
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
        is_clear = len(best) == 1 or (len(best) > 1 and best[0][1] > best[1][1])
        return best[0][0] if is_clear else None


def _first_in(text: _Text, patterns: Iterable[_Pattern]) -> str | None:
    """The reason whose words come first in a text; words inside the longer words of another reason do not count."""
    found: list[tuple[int, int, str]] = []
    for pattern in patterns:  # the longest first
        place = pattern.place_in(text)
        if place is not None:
            end = place + len(" ".join(pattern.words))
            if not any(start <= place and end <= other for start, other, _ in found):
                found.append((place, end, pattern.title))
    return min(found)[2] if found else None


def _part_of(pattern: _Pattern, text: _Text) -> float:
    """How much of a reason's words a sentence has that has no others: what is left of a shortened comment."""
    line, most = f" {' '.join(pattern.words)} ", 0
    for sentence in text.sentences:
        is_long = len(sentence) >= max(_SHORTEST_PART, _SHARE_OF_PART * len(pattern.words))
        if is_long and f" {' '.join(sentence)} " in line and not _FILLERS.issuperset(sentence):
            most = max(most, len(sentence))
    return most / len(pattern.words)


def _variant_of(pattern: _Pattern, text: _Text) -> float:
    """How much of a reason's words a few words of the text say in their order, most of what matters among them."""
    wanted = _stems(pattern.words)
    if len(wanted) < 2:  # a single word is a name, or nothing
        return 0.0
    content = set(_stems(word for word in pattern.words if word not in _FILLERS))
    if not content or len(content & set(text.stems)) < _SHARE_OF_CONTENT * len(content):
        return 0.0
    size, most = len(wanted) + 2, 0
    for start in range(max(1, len(text.stems) - len(wanted) + 1)):
        window = text.stems[start : start + size]
        if len(content & set(window)) >= _SHARE_OF_CONTENT * len(content):
            most = max(most, _common(wanted, window))
    share = most / len(wanted)
    return share if share >= _SHARE_OF_VARIANT else 0.0


def _common(some: Sequence[str], others: Sequence[str]) -> int:
    """How many words two texts have in common in the same order."""
    row = [0] * (len(others) + 1)
    for word in some:
        before = row
        row = [0]
        for place, other in enumerate(others):
            row.append(before[place] + 1 if word == other else max(before[place + 1], row[place]))
    return row[-1]


@lru_cache(maxsize=16)
def _matcher(reasons: tuple[Reason, ...]) -> _Matcher:
    return _Matcher(reasons)
