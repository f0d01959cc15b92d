"""What the API's words mean here: severity as kind and level, and the status that people see.

The definitions stand in the domain's vocabulary; unknown words are kept as they are given.
"""

from testio_mcp.api.vocabulary import TESTING_TYPES

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
