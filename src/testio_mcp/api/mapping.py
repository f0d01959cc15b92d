"""The words of the Customer API, as it writes them, and what they mean here.

Unknown words occur and are kept by every reader.
"""

TEST_STATUSES = (
    "initialized",
    "customer_finalized",
    "waiting",
    "running",
    "locked",
    "archived",
    "cancelled",
)
REVIEW_STATUSES = ("not_finalized", "review_initialized", "review_successful", "review_failed")
# `external` is what people call custom; test-case tests have no testing type at all.
TESTING_TYPES = ("rapid", "focused", "coverage", "usability", "external")

SEVERITIES = ("low", "high", "critical", "visual", "content", "custom", "suggestion", "test_case", "spelling")
BUG_STATUSES = ("submitted", "manager_approved", "forwarded", "accepted", "rejected")
EXECUTION_STATUSES = ("pending", "passed", "failed", "blocked", "cancelled")
ROLLUP_STATUSES = ("not_tested", "passed", "failed", "blocked")

PRODUCT_TYPES = (
    "website",
    "mobile_app_ios",
    "mobile_app_android",
    "mobile_app_windows",
    "streaming_app",
    "gaming",
)


FUNCTIONAL_LEVELS = frozenset({"critical", "high", "low"})
KIND_OF_SEVERITY = {
    **dict.fromkeys(FUNCTIONAL_LEVELS, "functional"),
    "visual": "visual",
    "content": "content",
    "custom": "custom",
    "test_case": "test_case",
    "spelling": "spelling",
    "suggestion": "usability",
    "usability": "usability",
    "ux": "usability",
}
SHOWN_STATUS = {
    "forwarded": "open",
    "open": "open",
    "question": "question",
    "accepted": "accepted",
    "auto_accepted": "auto_accepted",
    "rejected": "rejected",
    "submitted": "submitted",
    "manager_approved": "manager_approved",
}
KNOWN_TESTING_TYPES = frozenset(TESTING_TYPES) | {"custom", "test_case"}


def severity_of(word: str | None) -> tuple[str, str]:
    """Kind and level of a severity word: `high` is ("functional", "high"), `visual` is ("visual", "none")."""
    if word is None:
        return "unknown", "none"
    return KIND_OF_SEVERITY.get(word, "unknown"), word if word in FUNCTIONAL_LEVELS else "none"


def shown_status(word: str | None, auto_accepted: bool) -> str:
    """The status that people see; a missing one is `unknown`, never `open`."""
    if word is None:
        return "unknown"
    shown = SHOWN_STATUS.get(word, word)
    return "auto_accepted" if shown == "accepted" and auto_accepted else shown


def testing_type_of(word: str | None) -> str:
    """The type of a test: null means a test-case test, and the API's `external` is called custom."""
    if word is None:
        return "test_case"
    return "custom" if word == "external" else word
