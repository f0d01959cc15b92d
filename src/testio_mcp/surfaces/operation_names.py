"""Names of operations in texts, as they read on each surface.

Descriptions, errors and next steps name an operation by its name in the registry, those of a single word (search) in
backticks; what stands between apostrophes is somebody's own word. Shown instead is a tool, a command or a route, and
where a surface does not offer the operation, what it is about in plain words.
"""

import re
from collections.abc import Callable

from testio_mcp.surfaces.account import registry

_NAMED = re.compile(r"(?<!['`\w])(?:([a-z]+(?:_[a-z]+)+)|`([a-z_]+)`)(?!['`\w])")
_PLAIN = {
    "compare_quality": "the comparison",
    "metric_capabilities": "the list of metrics",
    "query_metrics": "the metric query",
    "readiness": "the check of a release",
    "retry_problems": "a retry",
    "save_report": "a saved report",
    "search": "the search of texts",
    "sync_data": "a sync",
    "test_case_results": "the list of test-case results",
}
PREFIX = "/api"
"""What the paths of all REST routes begin with."""


def with_names(text: str, name_of: Callable[[str], str | None], missing: str = "") -> str:
    """A text in which `name_of` says how each operation is called; what it does not know is put in plain words.

    `missing` follows these words.
    """

    def write_name(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in registry():
            return found[0]
        known = name_of(name)
        if known is not None:
            return known
        begins = text[: found.start()].rstrip()[-1:] in ("", ".", ":")
        words = in_plain_words(name)
        return (words[0].upper() + words[1:] if begins else words) + missing

    return _NAMED.sub(write_name, text)


def in_plain_words(name: str) -> str:
    """What an operation is about: `list_tests` is the list of tests, `get_bug` the details of a bug."""
    verb, _, rest = name.partition("_")
    what = rest.replace("_", " ")
    if name in _PLAIN:
        return _PLAIN[name]
    if registry()[name].about:
        return f"the details of a {what}"
    return {"list": f"the list of {what}", "get": f"the {what}"}.get(verb, f"the {name.replace('_', ' ')}")


def in_commands(text: str) -> str:
    """A text as it reads on the command line: list_tests becomes 'tests list'."""
    return with_names(text, lambda name: f"'{registry()[name].command}'")


def in_routes(text: str) -> str:
    """A text as it reads over REST: list_tests becomes GET /api/tests."""
    return with_names(text, lambda name: f"{registry()[name].method} {PREFIX}{registry()[name].path}")
