"""Which operations assistants get as tools: fixed when the server starts, the same for every connection."""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, get_args

from testio_mcp.errors import BadInput

if TYPE_CHECKING:
    from testio_mcp.operations.registry import Operation
    from testio_mcp.settings import ToolSettings

GET = "get"
"""The tool that answers all operations about one record."""
_VARIABLES = frozenset(
    {"TESTIO_TOOLSETS", "TESTIO_TOOLS", "TESTIO_EXCLUDE_TOOLS", "TESTIO_READ_ONLY", "TESTIO_ENV_FILE"}
)
_EVERYTHING, _USUAL = "all", "default"


def is_configured(options: Mapping[str, object]) -> bool:
    """Whether anything may choose other tools than the usual; saves the import of the settings where nothing does."""
    if options or any(name.upper() in _VARIABLES for name in os.environ):
        return True
    from testio_mcp.directories import user_env_file

    return user_env_file().exists()


def chosen(operations: Mapping[str, "Operation"], settings: "ToolSettings | None") -> dict[str, "Operation"]:
    """The operations that become tools, in the registry's order.

    Named toolsets give all their operations; `tools` adds single ones, or alone are the whole choice. What is
    excluded goes, and so does with `read_only` whatever changes data. Raises `BadInput` for an unknown name.
    """
    if settings is None:
        return {name: operation for name, operation in operations.items() if operation.by_default}
    toolsets = _toolsets(operations, _names(settings.toolsets))
    tools = _operations(operations, "tools", _names(settings.tools))
    excluded = _operations(operations, "exclude_tools", _names(settings.exclude_tools))
    kept = {
        name: operation
        for name, operation in operations.items()
        if (name in toolsets or name in tools or (not (settings.toolsets or settings.tools) and operation.by_default))
        and name not in excluded
        and (operation.safety == "read" or not settings.read_only)
    }
    if not kept:
        raise BadInput("The settings leave no tool.", "Name toolsets or tools in them, or leave them out.")
    return kept


def _names(setting: str) -> list[str]:
    return [name.strip() for name in setting.split(",") if name.strip()]


def _toolsets(operations: Mapping[str, "Operation"], names: Iterable[str]) -> set[str]:
    """The names of the operations in the named toolsets."""
    from testio_mcp.operations.registry import Toolset

    known = (_EVERYTHING, _USUAL, *get_args(Toolset))
    _refuse_unknown("toolsets", names, known)
    return {
        name
        for name, operation in operations.items()
        for toolset in names
        if toolset in (_EVERYTHING, operation.toolset) or (toolset == _USUAL and operation.by_default)
    }


def _operations(operations: Mapping[str, "Operation"], setting: str, names: Iterable[str]) -> set[str]:
    """The names of operations; `get` stands for all that are about one record."""
    about = {name for name, operation in operations.items() if operation.about}
    _refuse_unknown(setting, names, [*operations, *([GET] if about else [])])
    return {each for name in names for each in (about if name == GET else {name})}


def _refuse_unknown(setting: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            message = f"TESTIO_{setting.upper()}: there is no {name[:60]!r}."
            raise BadInput(message, f"It takes any of: {', '.join(map(repr, known))}.")
