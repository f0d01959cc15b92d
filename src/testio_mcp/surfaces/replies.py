"""What a tool answers: compact text and structured content, each within the budget and each standing alone."""

from collections.abc import Mapping
from typing import Any

from mcp_types import CallToolResult, TextContent

from testio_mcp.surfaces.plain import text

_NOTHING: tuple[object, ...] = (None, "", [], {})


def said(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer without nulls and empty sections: what is not said is not there. The items of a page stay."""
    kept: dict[str, Any] = _said(answer)
    return {"items": []} | kept if "items" in answer else kept


def _said(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: kept for name, item in value.items() if (kept := _said(item)) not in _NOTHING}
    return [_said(item) for item in value] if isinstance(value, list) else value


def success(answer: Mapping[str, Any]) -> CallToolResult:
    """A tool's answer in both its forms."""
    from testio_mcp.api.scrub import repair

    clean: dict[str, Any] = repair(dict(answer))
    return CallToolResult(content=[TextContent(type="text", text=text(clean))], structured_content=clean)


def failure(message: str) -> CallToolResult:
    """What went wrong, as an answer that a model reads."""
    from testio_mcp.api.scrub import repair_text

    return CallToolResult(content=[TextContent(type="text", text=repair_text(message))], is_error=True)
