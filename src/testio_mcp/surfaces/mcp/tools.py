"""The chosen operations as MCP tools, and the one tool `get` for all operations about one record."""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mcp_types import Tool, ToolAnnotations

from testio_mcp.errors import BadInput, NotFound, TestioError
from testio_mcp.surfaces.account import importing, registry
from testio_mcp.surfaces.mcp.toolsets import GET, chosen, is_configured
from testio_mcp.surfaces.operation_names import with_names
from testio_mcp.texts import nearest_first

if TYPE_CHECKING:
    from pydantic import BaseModel

    from testio_mcp.operations.registry import Operation
    from testio_mcp.settings import ToolSettings

_LISTS = {
    "product": "list_products",
    "test": "list_tests",
    "bug": "list_bugs",
    "feature": "list_features",
    "user_story": "list_user_stories",
    "person": "list_people",
}
"""Where the ids of each kind come from."""
_AS_ELSEWHERE = "As in list_bugs."
SAID_BY_NAMES = {
    "product_id": "Only this product.",
    "test_ids": "Only these tests.",
    "exclude_test_ids": "All but these.",
    "feature_ids": "Only these features.",
    "bug_ids": "Only these bugs.",
    "end_to": "Last day of the test end.",
    "reported_to": "Last day of the report.",
    "test_environment_id": "Only tests on this environment.",
    "fields": "Only these fields.",
    "cursor": "next_cursor of the page before; leave it out for the first page.",
    **dict.fromkeys(("period", "filters", "time"), "As in query_metrics."),
    **dict.fromkeys(("statuses", "levels"), _AS_ELSEWHERE),
    "total_only": "Only the exact total.",
}
"""What is not said among tools, as the argument's name says it: a model pays for each word in every conversation."""
SAY_NOTHING_MORE = frozenset(
    {
        *("Any of these.", "Kinds of bugs.", "Without these tests.", "Only this test.", "Only this feature."),
        *("These products.", "Only these products."),
    }
)
"""Descriptions that the argument's name or its enum says as well."""
_PER_PAGE = re.compile(r"^\w+( \w+)? per page, 1 to (\d+)\.$")
_LINE_END = re.compile(r"(?<!\n)\n(?!\n)")
_SAID_BY_NAME = re.compile(r"; list_[a-z_]+ shows the ids|; all when left out|, as list_people shows")


class Toolbox:
    """The tools of one configuration; `settings` is None where nothing was configured."""

    def __init__(self, settings: "ToolSettings | None" = None) -> None:
        self._settings = settings

    @cached_property
    def operations(self) -> dict[str, "Operation"]:
        """The operations behind the tools. Raises `BadInput` when the settings name one that does not exist."""
        return chosen(registry(), self._settings)

    @cached_property
    def kinds(self) -> dict[str, "Operation"]:
        """What `get` takes as kind, and the operation that answers."""
        return {operation.about: operation for operation in self.operations.values() if operation.about}

    @cached_property
    def tools(self) -> dict[str, Tool]:
        """What clients see of the tools, by name; in the registry's order, `get` in place of its first operation."""
        names = dict.fromkeys(GET if operation.about else name for name, operation in self.operations.items())
        return {name: self._get_tool() if name == GET else self._tool(name) for name in names}

    @property
    def is_configured(self) -> bool:
        """Whether the tools were chosen; else they are the usual ones, and nothing need be loaded to know them."""
        return self._settings is not None

    def offers(self, tool: str) -> bool:
        """Whether there is a tool of this name."""
        return bool(self.kinds) if tool == GET else self.name_of(tool) == tool

    def name_of(self, operation: str) -> str | None:
        """How a model calls an operation here; None where it cannot."""
        about = registry()[operation].about
        if about:
            return f"{GET} with kind {about}" if operation in self.operations else None
        return operation if operation in self.operations else None

    def in_tools(self, text: str, missing: str = "") -> str:
        """A text that speaks of operations, as it reads among these tools: get_test becomes `get with kind test`."""
        return with_names(text, self.name_of, missing)

    def of_error(self, error: TestioError) -> str:
        """What is wrong and the next step, in one text that names no tool that is not there."""
        return self.in_tools(f"{error.message} {error.next_step}", " (not offered here)")

    def resolve_call(self, name: str, arguments: Mapping[str, Any]) -> tuple["Operation", dict[str, Any], str]:
        """The operation that a call of a tool means, its arguments, and a sentence on keys that were ignored.

        An action ignores only keys that clients add for their own use. Raises `NotFound` or `BadInput`.
        """
        if name == GET and self.kinds:
            return self._record(arguments)
        operation = self.operations.get(name)
        if operation is None or operation.about:
            raise NotFound(f"There is no tool {name[:60]!r}.", self._instead_of(name))
        from testio_mcp.operations.arguments import refuse_unmeant, say_ignored, without_unknown

        names = operation.arguments.model_fields
        known, ignored = without_unknown(names, arguments)
        if operation.safety != "read":
            refuse_unmeant(ignored, names)
        return operation, operation.normalize(known, is_lenient=True), say_ignored(ignored, names) if ignored else ""

    def _instead_of(self, name: str) -> str:
        operation = registry().get(name)
        if operation is not None and operation.about in self.kinds:
            return f"Call get with kind {operation.about}."
        names = nearest_first(name, self.tools) if operation is None else self.tools
        others = f"The tools are: {', '.join(names)}."
        if operation is None:
            return others
        is_closed = self._settings is not None and self._settings.read_only and operation.safety != "read"
        why = "This server is read-only." if is_closed else "The configuration of this server leaves it out."
        return f"{why} {others}"

    def _record(self, arguments: Mapping[str, Any]) -> tuple["Operation", dict[str, Any], str]:
        from pydantic import ValidationError

        from testio_mcp.operations.arguments import explain, normalize, say_ignored, without_unknown

        names = self._get_arguments.model_fields
        known, ignored = without_unknown(names, arguments)
        given, told = normalize(self._get_arguments, known), say_ignored(ignored, names) if ignored else ""
        try:
            self._get_arguments.model_validate(given)
        except ValidationError as error:
            problem = explain(error, self._get_arguments)
            raise BadInput(problem.message, f"{problem.next_step} {told}".rstrip()) from None
        operation = self.kinds[str(given["kind"])]
        [name] = [name for name, field in operation.arguments.model_fields.items() if field.is_required()]
        return operation, {name: given["id"]}, told

    @cached_property
    def _get_arguments(self) -> "type[BaseModel]":
        """The model of the arguments; the id is left to the operation, which knows what to say about it."""
        from pydantic import ConfigDict, Field, WithJsonSchema, create_model

        kinds = tuple(self.kinds)
        kind: Any = Annotated[Literal.__getitem__(kinds), WithJsonSchema({"type": "string", "enum": list(kinds)})]
        number = Annotated[Any, WithJsonSchema({"type": "integer"})]
        fields: dict[str, Any] = {
            "kind": (kind, Field(description=f"Any of {', '.join(kinds)}.")),
            "id": (number, Field(description="Id of the record.")),
        }
        return create_model("GetArguments", __config__=ConfigDict(extra="forbid"), **fields)

    def _tool(self, name: str) -> Tool:
        operation = self.operations[name]
        return Tool(
            name=name,
            description=_LINE_END.sub(" ", self.in_tools(operation.description)),
            input_schema=self._short_schema(operation.input_schema),
            annotations=_annotations(
                operation.safety, is_idempotent=operation.idempotent, is_open=operation.open_world
            ),
        )

    def _short_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments in few words: a model reads them again and again, and an enum says its words once."""
        properties = {name: _short(name, about, self.in_tools) for name, about in schema["properties"].items()}
        return {name: value for name, value in schema.items() if name != "additionalProperties"} | {
            "properties": properties
        }

    def _get_tool(self) -> Tool:
        from testio_mcp.operations.arguments import input_schema

        lists = [name for kind, name in _LISTS.items() if kind in self.kinds and name in self.operations]
        ids = f"{', '.join(lists)} give the ids." if lists else "Other tools give the ids."
        description = f"Show one record ({', '.join(self.kinds)}): details, numbers, what belongs to it.\n\n{ids}"
        return Tool(
            name=GET,
            description=description,
            input_schema=self._short_schema(input_schema(self._get_arguments)),
            annotations=_annotations("read", is_idempotent=True, is_open=True),
        )


def configured(options: Mapping[str, object]) -> Toolbox:
    """The tools that `options` and the environment choose, looked at now: a wrong name ends the start."""
    if not is_configured(options):
        return Toolbox()
    with importing():
        from testio_mcp.settings import load_tool_settings
    toolbox = Toolbox(load_tool_settings(**options))
    toolbox.operations  # noqa: B018 - reads the names
    return toolbox


_EITHER: Mapping[str, Any] = {"type": "string", "enum": ["true", "false", ""]}
"""A client in strict mode has to send a value for every argument; the empty word is as if it were left out."""


def _short(name: str, about: Mapping[str, Any], in_tools: Callable[[str], str]) -> dict[str, Any]:
    """One argument; what its schema says is not said in words again, nor is where its ids come from: names say it."""
    description = in_tools(_SAID_BY_NAME.sub("", about.get("description", "")))
    description = _PER_PAGE.sub(r"At most \2.", description)
    if words := [str(word) for word in about.get("enum") or about.get("items", {}).get("enum") or ()]:
        description = description.replace(f"Any of {', '.join(words)}", "Any of these")
        description = description.replace(f": {', '.join(words[:-1])} or {words[-1]}", "")
    said = {("default", "False"), ("minimum", "0"), ("minimum", "1"), ("minLength", "1"), ("maxLength", "100")}
    if f"{about.get('minimum')} to {about.get('maximum')}" in description:
        said |= {(end, str(about[end])) for end in ("minimum", "maximum")}
    if re.search(r"\bday\b", description):
        said |= {("format", "date"), ("format", "date-time")}
    kept = {key: value for key, value in about.items() if (key, str(value)) not in said}
    if about.get("type") == "boolean" and "default" not in about:  # yes, no, or either
        kept |= _EITHER
    if description == _AS_ELSEWHERE:  # another tool lists the words
        return {"type": "array", "items": {"type": "string"}}
    if description in SAY_NOTHING_MORE or description == SAID_BY_NAMES.get(name):
        return {key: value for key, value in kept.items() if key != "description"}
    return kept | {"description": description}


def _annotations(safety: str, *, is_idempotent: bool, is_open: bool) -> ToolAnnotations:
    return ToolAnnotations(
        read_only_hint=safety == "read",
        destructive_hint=safety == "destructive",
        idempotent_hint=is_idempotent,
        open_world_hint=is_open,
    )
