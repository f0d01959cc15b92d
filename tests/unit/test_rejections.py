"""Reasons of rejections are found in whatever form people write them, and nowhere else."""

from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from testio_mcp.rejections import UNRECOGNISED, Match, Reason, Remark, match
from testio_sandbox.catalog import REJECT_REASONS

LISTED = tuple(Reason(each["key"], each["name"], each["default_comment"]) for each in REJECT_REASONS)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
_WORDS = (
    "crash",
    "voucher",
    "checkout",
    "größe",
    "menü",
    "invoice",
    "screen",
    "lag",
    "typo",
    "blurry",
    "offset",
    "panel",
)
_NOISE = ("chatter", "weather", "lunch", "tomorrow", "übermorgen", "maybe", "zebra", "kiwi", "violin", "granite")
_PREFIXES = (
    "",
    "Rejected - ",
    "Bug rejected: ",
    "REJECTED – ",
    "rejected:\n",
    "Hi all,\r\n\r\n",
    "<p>Abgelehnt:</p> ",
)
_MARKS = st.text(" \t\n.,!?-–—:;()[]\"'*_/…", min_size=1, max_size=4)
_sentences = st.lists(st.sampled_from(_WORDS), min_size=2, max_size=7, unique=True).map(" ".join)
_noise = st.lists(st.sampled_from(_NOISE), max_size=8).map(" ".join)


def _reasons(comments: list[str]) -> tuple[Reason, ...]:
    return tuple(Reason(f"key{n:03}", f"Name {n:03}", comment) for n, comment in enumerate(comments))


def _is_part(one: str, other: str) -> bool:
    return f" {one} " in f" {other} "


@st.composite
def _varied(draw: st.DrawFn, text: str) -> str:
    """The text with other letters' case, white space and punctuation, and something before and after it."""
    words = [draw(st.sampled_from([word, word.upper(), word.title(), word.swapcase()])) for word in text.split()]
    gaps = [draw(st.just(" ") | _MARKS.filter(lambda mark: bool(set(mark) - {"'"}))) for _ in words]
    said = "".join(gap + word for gap, word in zip(gaps, words, strict=True))
    before, after = draw(_noise), draw(_noise)
    return f"{draw(st.sampled_from(_PREFIXES))}{before}{said}. {after}"


@given(st.data(), st.lists(_sentences, min_size=1, max_size=6, unique=True))
def test_any_variation_of_a_reason_s_comment_is_recognised(data: st.DataObject, comments: list[str]) -> None:
    assume(not any(_is_part(one, other) for one in comments for other in comments if one != other))
    reasons = _reasons(comments)
    chosen = data.draw(st.sampled_from(reasons))
    text = data.draw(_varied(str(chosen.default_comment)))
    others = data.draw(st.lists(_noise.map(Remark), max_size=3))
    place = data.draw(st.integers(0, len(others)))

    found = match(reasons, [*others[:place], Remark(text), *others[place:]])

    assert found == Match(chosen.title, "comment"), text


@given(st.data(), _sentences, st.sampled_from(_NOISE), st.booleans())
def test_of_two_reasons_of_which_one_contains_the_other_the_longer_wins(
    data: st.DataObject, short: str, more: str, is_before: bool
) -> None:
    long = f"{more} {short}" if is_before else f"{short} {more}"
    reasons = _reasons(data.draw(st.permutations([short, long])))
    said = data.draw(_varied(long))
    assert match(reasons, [Remark(said)]).reason == next(r.title for r in reasons if r.default_comment == long)


@given(st.lists(_sentences, max_size=6, unique=True), st.lists(_noise, max_size=4))
@example([], [])
def test_unrelated_text_is_unrecognised(comments: list[str], texts: list[str]) -> None:
    remarks = [Remark(text, NOW + timedelta(hours=n)) for n, text in enumerate(texts)]
    assert match(_reasons(comments), remarks) == Match(UNRECOGNISED, "none")


@given(st.lists(st.text(max_size=60).map(Remark), max_size=4), st.text(max_size=40))
def test_any_text_has_an_answer_and_what_the_api_says_wins(remarks: list[Remark], told: str) -> None:
    found = match(LISTED, remarks, told)
    assert (found.certainty == "api") == bool(told.strip())
    assert found.reason


@pytest.mark.parametrize(
    ("text", "reason", "certainty"),
    [
        ("This is not a bug.", "Not a bug", "comment"),
        ("Bug rejected: this is NOT a bug", "Not a bug", "comment"),
        ("Hello. We couldn't reproduce this bug, sorry.", "Not reproducible", "comment"),
        ("<p>This&nbsp;bug is <b>out</b> of the scope of the test</p>", "Out of scope", "comment"),
        ("Duplicate of WEB-12", "Duplicate", "name"),
        ("Reason: not_a_bug", "Not a bug", "name"),
        ("Rejected (intended)", "Intended behaviour", "key"),
        ("Could not reproduce.", "Not reproducible", "similar"),
        ("was reported before", "Duplicate", "similar"),
        ("This bug has been reported before by somebody else.", "Duplicate", "similar"),
        ("This bug is rejected.", "Other", "comment"),
        ("This bug is rejected: duplicate", "Duplicate", "name"),
        ("Rejected - Other", "Other", "name"),
        ("See the other ticket", UNRECOGNISED, "none"),
        ("This is a bug indeed", UNRECOGNISED, "none"),
        ("Abgelehnt - das ist kein Fehler", UNRECOGNISED, "none"),
        ("", UNRECOGNISED, "none"),
    ],
)
def test_what_people_write(text: str, reason: str, certainty: str) -> None:
    assert match(LISTED, [Remark(text)]) == (reason, certainty)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("duplicate", "Duplicate"),
        ("Not a bug", "Not a bug"),
        ("this is not a bug", "Not a bug"),
        ("Rejected - Duplicate", "Duplicate"),
        (" Wrong device ", "Wrong device"),
    ],
)
def test_the_api_s_own_word_wins_and_means_a_listed_reason_if_it_can(told: str, reason: str) -> None:
    assert match(LISTED, [Remark("This bug is out of the scope of the test.")], told) == (reason, "api")


def test_only_what_was_written_at_or_after_the_rejection_counts() -> None:
    def match_texts(*texts: str) -> Match:
        return match(LISTED, [Remark(text, NOW + timedelta(hours=n)) for n, text in enumerate(texts)])

    asked = "This bug was reported before."
    assert match_texts(asked, "Rejected - this is not a bug.", "Oh, sorry").reason == "Not a bug"
    assert match_texts(asked, "Rejected - das gehört nicht dazu").reason == UNRECOGNISED
    assert match_texts(asked, "This is not a bug.").reason == "Not a bug", (
        "the newest, where none begins as a rejection does"
    )
    assert match_texts("Rejected - see below", "This is not a bug.").reason == "Not a bug"
    late = Remark("This is not a bug.", NOW), Remark("Rejected: see above", NOW + timedelta(seconds=5))
    assert match(LISTED, late).reason == "Not a bug", "written together"
    assert match(LISTED, late[::-1]).reason == "Not a bug", "whatever the order of the list"


def test_a_reporter_s_words_are_no_decision() -> None:
    asked = Remark("Is this a duplicate?", NOW, is_by_reporter=True)
    assert match(LISTED, [asked, Remark("Nein.", NOW)]) == (UNRECOGNISED, "none")


def test_the_listed_reasons_are_told_apart() -> None:
    for one, other in combinations(LISTED, 2):
        for reason in (one, other):
            assert match((one, other), [Remark(f"Rejected - {reason.default_comment}")]).reason == reason.title
