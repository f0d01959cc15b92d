"""Resources: what the words and the numbers mean, and single records as text."""

import re
from functools import cache
from importlib.resources import files

from mcp_types import Resource, ResourceTemplate

from testio_mcp.errors import NotFound
from testio_mcp.surfaces.account import Account
from testio_mcp.surfaces.mcp.budget import shortened
from testio_mcp.surfaces.mcp.replies import fenced, to_reply
from testio_mcp.surfaces.mcp.tools import Toolbox

MARKDOWN, PLAIN = "text/markdown", "text/plain"
_KNOWLEDGE = {
    "glossary": "What the words of crowdtesting mean here: tests, statuses, severities, people.",
    "metrics": "How every figure is defined, what is counted, and which values are a warning.",
    "playbook": "What figures usually mean and what to do about them.",
}
_RECORDS = ("product", "test", "bug")
_URI = re.compile(r"testio://(?:(?P<text>[a-z]+)|(?P<kind>[a-z]+)/(?P<id>[1-9][0-9]{0,18}))")


def resources() -> list[Resource]:
    """The texts that ship with the product."""
    return [
        Resource(
            uri=f"testio://{name}",
            name=name,
            title=name.capitalize(),
            description=description,
            mime_type=MARKDOWN,
            size=len(_knowledge(name).encode()),
        )
        for name, description in _KNOWLEDGE.items()
    ]


def templates(toolbox: Toolbox) -> list[ResourceTemplate]:
    """The kinds of records that can be read by their id: those that the tool `get` takes, too."""
    return [
        ResourceTemplate(
            uri_template=f"testio://{kind}/{{id}}",
            name=kind,
            title=kind.capitalize(),
            description=f"One {kind}, as the tool get tells about it.",
            mime_type=PLAIN,
        )
        for kind in _RECORDS
        if kind in toolbox.kinds
    ]


async def resource(account: Account, toolbox: Toolbox, uri: str) -> tuple[str, str]:
    """Text and MIME type of a resource. Raises `NotFound`, or another `TestioError` when the store is unusable."""
    found = _URI.fullmatch(uri)
    if found and found["text"] in _KNOWLEDGE:
        return _knowledge(found["text"]), MARKDOWN
    if not found or found["kind"] not in _RECORDS or found["kind"] not in toolbox.kinds:
        known = [*(f"testio://{name}" for name in _KNOWLEDGE), *(each.uri_template for each in templates(toolbox))]
        raise NotFound("There is no such resource.", f"The resources are: {', '.join(known)}.")
    operation, arguments, _ = toolbox.resolve_call("get", {"kind": found["kind"], "id": found["id"]})
    answer = await operation.answer(await account.app(), arguments)
    return fenced(shortened(to_reply(answer))), PLAIN


@cache
def _knowledge(name: str) -> str:
    return files("testio_mcp.surfaces.mcp").joinpath("knowledge", f"{name}.md").read_text(encoding="utf-8")
