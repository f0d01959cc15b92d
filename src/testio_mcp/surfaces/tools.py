"""The chosen operations as MCP tools, and the one tool `get` for all operations about one record."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mcp_types import Tool, ToolAnnotations

from testio_mcp.errors import NotFound
from testio_mcp.surfaces.account import importing, registry
from testio_mcp.surfaces.toolsets import GET, chosen, is_configured

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
_ALIKE = {"cursor": "next_cursor of a page.", "fields": "Only these fields."}
"""Arguments that mean the same in every list."""
_LINE_END = re.compile(r"(?<!\n)\n(?!\n)")
_SAID_BY_NAME = re.compile(r"; list_[a-z_]+ shows the ids|; all when left out")


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
        return {name: self._get_tool() if name == GET else _tool(self.operations[name]) for name in names}

    def asked(self, name: str, arguments: Mapping[str, Any]) -> tuple["Operation", dict[str, Any]]:
        """The operation that a call of a tool means, and its arguments. Raises `NotFound` or `BadInput`."""
        if name == GET and self.kinds:
            return self._record(arguments)
        operation = self.operations.get(name)
        if operation is None or operation.about:
            raise NotFound(f"There is no tool {name[:60]!r}.", self._instead_of(name))
        return operation, dict(arguments)

    def _instead_of(self, name: str) -> str:
        operation = registry().get(name)
        if operation is not None and operation.about in self.kinds:
            return f"Call get with kind {operation.about}."
        others = f"The tools are: {', '.join(self.tools)}."
        return others if operation is None else f"This server leaves it out (TESTIO_TOOLS adds it). {others}"

    def _record(self, arguments: Mapping[str, Any]) -> tuple["Operation", dict[str, Any]]:
        from pydantic import ValidationError

        from testio_mcp.operations.arguments import explain

        kind = str(arguments.get("kind", "")).strip().lower().replace(" ", "_")
        given = {**arguments, "kind": kind} if kind in self.kinds else arguments
        try:
            self._get_arguments.model_validate(given)
        except ValidationError as error:
            raise explain(error, self._get_arguments) from None
        operation = self.kinds[kind]
        [name] = [name for name, field in operation.arguments.model_fields.items() if field.is_required()]
        return operation, {name: given["id"]}

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

    def _get_tool(self) -> Tool:
        from testio_mcp.operations.arguments import input_schema

        lists = [name for kind, name in _LISTS.items() if kind in self.kinds and name in self.operations]
        ids = f" {', '.join(lists)} give the ids." if lists else ""
        description = (
            f"Tell all about one record ({', '.join(self.kinds)}): details, numbers, what belongs to it.\n\n"
            f"Use it when you know the record's id.{ids} For several records use lists."
        )
        return Tool(
            name=GET,
            description=description,
            input_schema=_short_schema(input_schema(self._get_arguments)),
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


def in_tools(text: str) -> str:
    """A text that speaks of operations, as it reads among tools: get_test becomes `get with kind test`."""
    kinds = {name: operation.about for name, operation in registry().items() if operation.about}
    return re.sub(r"(?<!')\bget_[a-z_]+\b", lambda name: _spoken(name[0], kinds), text)


def _spoken(name: str, kinds: Mapping[str, str]) -> str:
    return f"{GET} with kind {kinds[name]}" if name in kinds else name


def _tool(operation: "Operation") -> Tool:
    return Tool(
        name=operation.name,
        description=_LINE_END.sub(" ", in_tools(operation.description)),
        input_schema=_short_schema(operation.input_schema),
        annotations=_annotations(operation.safety, is_idempotent=operation.idempotent, is_open=operation.open_world),
    )


def _short_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in few words: a model reads them again in every conversation, and an enum says its words once."""
    properties = {name: _short(name, about) for name, about in schema.get("properties", {}).items()}
    return {name: value for name, value in schema.items() if name != "additionalProperties"} | {
        "properties": properties
    }


def _short(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """One argument; what its schema says is not said in words again, nor is where its ids come from: names say it."""
    description = _ALIKE.get(name) or _SAID_BY_NAME.sub("", in_tools(about.get("description", "")))
    if words := [str(word) for word in about.get("enum") or about.get("items", {}).get("enum") or ()]:
        description = description.replace(f"Any of {', '.join(words)}", "Any of these")
        description = description.replace(f": {', '.join(words[:-1])} or {words[-1]}", "")
    said = {("default", "False"), ("minimum", "0"), ("minimum", "1"), ("minLength", "1"), ("maxLength", "100")}
    if f"{about.get('minimum')} to {about.get('maximum')}" in description:
        said |= {(end, str(about[end])) for end in ("minimum", "maximum")}
    if re.search(r"\bday\b", description):
        said |= {("format", "date"), ("format", "date-time")}
    return {key: value for key, value in about.items() if (key, str(value)) not in said} | {
        "description": description
    }


def _annotations(safety: str, *, is_idempotent: bool, is_open: bool) -> ToolAnnotations:
    return ToolAnnotations(
        read_only_hint=safety == "read",
        destructive_hint=safety == "destructive",
        idempotent_hint=is_idempotent,
        open_world_hint=is_open,
    )
