"""What schemathesis cannot know of the arguments; loaded by it, see `test_openapi`."""

import json
import os
from typing import Any

import schemathesis
from schemathesis.generation import GenerationMode

# A schema can say neither which cursors a list gave, nor which words the data holds, nor how people write a period of
# time, nor what excludes what.
UNSAYABLE = frozenset(
    {
        *("cursor", "statuses", "test_statuses", "testing_types", "period", "since", "reader", "filters", "by"),
        *("rules", "group_by", "report_fields"),
    }
)
# Nor that some words have to be found in a text.
WORDS = {"query": "checkout", "text": "checkout", "metrics": "bug_count"}
KNOWN: dict[str, int] = json.loads(os.environ.get("KNOWN_IDS", "{}"))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Have calls that are meant to be right ask for records that exist, and leave out what cannot be said."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if case.path_parameters:
        case.path_parameters = {name: KNOWN.get(name, value) for name, value in case.path_parameters.items()}
    taken = {parameter.name for parameter in case.operation.query}
    given = {name: KNOWN.get(name, value) for name, value in (case.query or {}).items() if name not in UNSAYABLE}
    given |= {name: word for name, word in WORDS.items() if name in given}
    if "left_test_ids" in taken:  # two sides are needed, in one of several ways
        given = {"period": "this year"}
    if "metrics" in given:
        given.pop("sort", None)  # one of the metrics or dimensions that were asked for
    if "product_id" in taken and "product_id" in KNOWN:
        given["product_id"] = KNOWN["product_id"]
    case.query = given
    if isinstance(case.body, dict):
        body = {name: value for name, value in case.body.items() if name not in UNSAYABLE}
        # Which reports there are is known to the registry alone.
        case.body = body | dict.fromkeys({"kind"} & body.keys(), "quality")
