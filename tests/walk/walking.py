"""Asking all questions, and what is told of it."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.surfaces.programs import stdio
from tests.walk.account import walked_account
from tests.walk.asking import MOST_CALLS, MOST_TOKENS, Ask, Call, Question, Said
from tests.walk.questions import QUESTIONS

PAGE = Path(__file__).parents[2] / "docs" / "questions.md"
_NOTE = "<!-- Written by `python -m tests.walk --write` from the questions in tests/walk: change them there. -->"
_INTRODUCTION = f"""Fifty questions that people ask an assistant, and the calls of default tools that answer them.
A test asks them all, over MCP, about a simulated account, and compares each answer with what the account really
holds. No question takes more than {MOST_CALLS} calls, nor replies of more than {MOST_TOKENS:,} tokens in all."""


@dataclass(frozen=True)
class Outcome:
    """What became of a question."""

    question: Question
    text: str
    answer: Any
    truth: Any
    calls: Sequence[Call]

    @property
    def tokens(self) -> int:
        """What all replies cost."""
        return sum(call.tokens for call in self.calls)


async def walk(folder: Path, token: str = "sandbox-token") -> tuple[list[Outcome], set[str]]:
    """Ask all questions of a server on a fresh copy; also tells the names of the tools that the server has."""
    outcomes = []
    async with walked_account(folder, token) as walked, stdio(walked.environment, folder) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        for question in QUESTIONS:
            said = question.said(walked)
            ask = Ask(client, walked.today)
            answer = await _answer(question, ask, said)
            truth = question.truth(walked, said)
            outcomes.append(Outcome(question, question.text.format(**said), answer, truth, ask.calls))
    return outcomes, tools


async def _answer(question: Question, ask: Ask, said: Said) -> Any:
    """The answer, or why there is none: one question that fails does not end the walk."""
    try:
        return await question.steps(ask, said)
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        return f"No answer: {error!r}"


def table(outcomes: Sequence[Outcome]) -> str:
    """Calls and tokens of every question, as lines for people."""
    lines = [f"{'calls':>5} {'tokens':>6}  question"]
    lines += [f"{len(outcome.calls):5} {outcome.tokens:6}  {outcome.text}" for outcome in outcomes]
    lines.append(f"{sum(len(each.calls) for each in outcomes):5} {sum(each.tokens for each in outcomes):6}  in all")
    return "\n".join(lines)


def page(outcomes: Sequence[Outcome]) -> str:
    """The questions and their calls as Markdown, without what is another tomorrow."""
    return "\n\n".join(["# Questions", _NOTE, _INTRODUCTION, *_sections(outcomes)]) + "\n"


def _sections(outcomes: Sequence[Outcome]) -> Iterator[str]:
    who = ""
    for number, outcome in enumerate(outcomes, 1):
        if outcome.question.who != who:
            who = outcome.question.who
            yield f"## {who[0].upper()}{who[1:]}"
        calls = "\n".join(f"{call.tool} {_arguments(call)}".rstrip() for call in outcome.calls)
        yield f"**{number}. {outcome.text}**\n\n```text\n{calls}\n```"


def _arguments(call: Call) -> str:
    """The arguments of a call; days move on, so that they are only named."""
    said = json.dumps(call.arguments, ensure_ascii=False) if call.arguments else ""
    return re.sub(r'"\d{4}-\d\d-\d\d"', '"<day>"', said)
