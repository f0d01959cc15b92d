"""The prompts as data: which tools to call, in which order, with which arguments, and what to make of the answers.

`$product`, `$products` (a list), `$filters` (of metrics), `$first`, `$last`, `$days` and `$limit` stand for what the
arguments of the prompt come to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Meaning = Literal["product", "period", "word", "number"]


@dataclass(frozen=True)
class Slot:
    """An argument of a prompt; without a default it is required."""

    name: str
    description: str
    meaning: Meaning
    default: str | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One call of a tool; `words` are the choices of a prompt with which it is made, all when empty."""

    tool: str
    arguments: Mapping[str, object]
    why: str
    words: tuple[str, ...] = ()
    kind: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A prompt. It is offered where its first step's tool is."""

    name: str
    title: str
    description: str
    slots: tuple[Slot, ...]
    steps: tuple[Step, ...]
    outcome: str
    outcomes: Mapping[str, str] = field(default_factory=dict)


_PRODUCT = "Name or id of the product."
_PERIOD = "Such as last 30 days, this quarter, 2026-Q3 or 2026-01-01..2026-03-31."
_METRICS = {"filters": "$filters", "period": "$days"}
_REPORT = {"product_ids": "$products", "period": "$days"}
_RANGE = {"product_id": "$product", "end_from": "$first", "end_to": "$last"}

QUALITY = Recipe(
    name="analyze_product_quality",
    title="Analyze the quality of a product",
    description="How good a product was in a period: bugs, decisions, coverage, and what to do about it.",
    slots=(
        Slot("product", _PRODUCT, "product"),
        Slot("period", _PERIOD, "period", "last 90 days"),
        Slot(
            "focus",
            "overall, severity, review, coverage or devices.",
            "word",
            "overall",
            ("overall", "severity", "review", "coverage", "devices"),
        ),
    ),
    steps=(
        Step("quality_report", _REPORT, "findings, figures, rates with their health, and what they were before"),
        Step("get", {"id": "$product"}, "what is known of the product", kind="product"),
        Step(
            "query_metrics",
            {**_METRICS, "metrics": ["bug_count", "test_count", "bug_severity_score"], "by": ["severity", "month"]},
            "how the bugs and their severity moved",
            ("overall", "severity"),
        ),
        Step(
            "query_metrics",
            {**_METRICS, "metrics": ["review_rate", "rejection_rate", "auto_acceptance_rate"], "by": ["month"]},
            "how decisions moved",
            ("review",),
        ),
        Step(
            "query_metrics",
            {**_METRICS, "metrics": ["bug_count"], "by": ["operating_system", "device_category"]},
            "what the bugs were seen on",
            ("devices",),
        ),
        Step(
            "query_metrics",
            {**_METRICS, "metrics": ["story_coverage", "pass_rate", "executions"], "by": ["feature"]},
            "which features were run, and how their stories passed",
            ("coverage",),
        ),
        Step(
            "list_bugs",
            {**_RANGE, "levels": ["critical", "high"], "limit": 50},
            "what hurts most; name each by its id",
            ("overall", "severity"),
        ),
        Step(
            "list_bugs",
            {**_RANGE, "statuses": ["auto_accepted"], "limit": 50},
            "what nobody decided on",
            ("review",),
        ),
        Step("list_bugs", {**_RANGE, "statuses": ["rejected"], "limit": 50}, "why bugs were rejected", ("review",)),
        Step("triage_queue", {"product_id": "$product"}, "what waits for a decision today", ("overall", "review")),
        Step(
            "list_features",
            {"product_id": "$product", "tested": False},
            "features that no test has looked at",
            ("overall", "coverage"),
        ),
        Step("execution_matrix", {"product_id": "$product"}, "which stories passed where", ("coverage", "devices")),
    ),
    outcome="Write one page: a verdict in one sentence; the figures with their meaning, each with the number of bugs "
    "behind it; what changed within the period; the three findings that matter most, with ids; what to do next.",
    outcomes={
        "severity": "Dwell on critical and high bugs and on the features they share.",
        "review": "Dwell on who decides: review, rejection and auto-acceptance rates, reasons, and open bugs.",
        "coverage": "Dwell on what was not tested. Untested is not the same as without bugs.",
        "devices": "Dwell on devices, systems and browsers, and on how many tests ran on each.",
    },
)

MEETING = Recipe(
    name="prepare_meeting",
    title="Prepare a meeting",
    description="What to bring to a meeting about a product: results, open decisions, and questions to ask.",
    slots=(
        Slot("product", f"{_PRODUCT} All products when left out.", "product", ""),
        Slot("period", _PERIOD, "period", "last 30 days"),
        Slot(
            "audience",
            "customer, management or engineering.",
            "word",
            "customer",
            ("customer", "management", "engineering"),
        ),
    ),
    steps=(
        Step("quality_report", _REPORT, "what was tested and found, and how it compares"),
        Step("get", {"id": "$product"}, "the product at a glance", kind="product"),
        Step(
            "list_bugs", {**_RANGE, "levels": ["critical", "high"], "limit": 50}, "the bugs that will be asked about"
        ),
        Step("triage_queue", {"product_id": "$product"}, "decisions that are due, with the time left"),
        Step("list_tests", {"product_id": "$product", "statuses": ["running", "waiting"]}, "what comes next"),
        Step("list_changes", {"product_id": "$product", "since": "$first", "limit": 100}, "what moved lately"),
    ),
    outcome="Write notes that fit on one page: three things to say, what is open and by when, likely questions with "
    "their answers, and what to agree on at the end.",
    outcomes={
        "customer": "Speak of the customer's product and decisions; be plain about what waits for them.",
        "management": "Speak of risk and of rates; leave single bugs out unless they stop a release.",
        "engineering": "Speak of bugs: ids, features, devices, and what can be reproduced.",
    },
)

TRIAGE = Recipe(
    name="triage_session",
    title="Go through what waits for a decision",
    description="Open bugs, the most urgent first: what each is, whether it is known, and a suggestion.",
    slots=(
        Slot("product", f"{_PRODUCT} All products when left out.", "product", ""),
        Slot("limit", "How many bugs to go through, 1 to 50.", "number", "10"),
    ),
    steps=(
        Step("triage_queue", {"product_id": "$product", "limit": "$limit"}, "the bugs, by level and time left"),
        Step(
            "get", {"id": "<bug id>"}, "for each of them: steps, devices, what happened and what should", kind="bug"
        ),
        Step(
            "search",
            {"query": "<two or three words of its title>", "product_id": "$product", "limit": 5},
            "for each of them: is there an older bug that says the same",
        ),
    ),
    outcome="Go through them one by one: the bug in one sentence, the time left, what speaks for it and against it, "
    "and a suggestion (accept, reject with which reason, ask, or mark as known). Nothing is decided here: a person "
    "does that in Test IO. End with a table of ids and suggestions.",
)

DIGEST = Recipe(
    name="weekly_digest",
    title="Tell what happened lately",
    description="What is new, what was decided, what is due: a short message to a team.",
    slots=(
        Slot("product", f"{_PRODUCT} All products when left out.", "product", ""),
        Slot("period", _PERIOD, "period", "last 7 days"),
    ),
    steps=(
        Step(
            "list_changes", {"product_id": "$product", "since": "$first", "limit": 100}, "what changed, in a digest"
        ),
        Step("quality_report", _REPORT, "the figures of the period beside those before"),
        Step("list_tests", {"product_id": "$product", "statuses": ["running"]}, "tests that run now"),
        Step(
            "list_bugs",
            {"product_id": "$product", "reported_from": "$first", "reported_to": "$last", "levels": ["critical"]},
            "new critical bugs",
        ),
        Step("triage_queue", {"product_id": "$product", "limit": 10}, "decisions that are due next"),
    ),
    outcome="Write at most 200 words: what happened, what is good, what needs somebody this week, with ids. Leave "
    "out what did not change.",
)

RECIPES = {recipe.name: recipe for recipe in (QUALITY, MEETING, TRIAGE, DIGEST)}
