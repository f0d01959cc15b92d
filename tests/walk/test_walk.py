"""A walk through fifty real questions: each is answered with the default tools, in few calls and few tokens."""

import sys
from pathlib import Path

import pytest

from tests.walk.asking import MOST_CALLS, MOST_TOKENS
from tests.walk.questions import QUESTIONS
from tests.walk.walking import PAGE, page, table, walk

pytestmark = pytest.mark.slow


async def test_fifty_questions_are_answered_truly_and_cheaply(tmp_path: Path, canary: str) -> None:
    outcomes, tools = await walk(tmp_path, canary)
    sys.stdout.write(f"\n{table(outcomes)}\n")

    assert len(QUESTIONS) == len(outcomes) == 50
    for outcome in outcomes:
        assert outcome.answer == outcome.truth, outcome.text
        assert outcome.answer, f"the account says nothing about: {outcome.text}"
        assert len(outcome.calls) <= MOST_CALLS, outcome.text
        assert outcome.tokens <= MOST_TOKENS, outcome.text
    assert {call.tool for outcome in outcomes for call in outcome.calls} == tools
    assert PAGE.read_text(encoding="utf-8") == page(outcomes), "run 'python -m tests.walk --write'"
