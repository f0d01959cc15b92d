"""Links in the forms that the surfaces take: a command line, an address of the REST API, a call of a tool.

Commands import this for the names of their options, so that what is large is imported where it is needed.
"""

import shlex
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from testio_mcp.operations.registry import Operation
    from testio_mcp.reports.links import Link

GET = "get"
"""The tool for all operations about one record."""


def command_line(link: "Link") -> str:
    """The command that asks the question, quoted for a shell."""
    operation = _operation(link)
    words, options = ["testio-mcp", *operation.command.split()], []
    for name, field in operation.arguments.model_fields.items():
        if name not in link.arguments:
            continue
        value = link.arguments[name]
        if field.is_required():
            words.append(_joined(value))
        elif isinstance(value, bool):
            options.append(f"--{'' if value else 'no-'}{dashed(name)}")
        else:
            flag, *_ = option_names(name, is_list=isinstance(value, list))
            texts = value if name == "filters" and isinstance(value, list) else [_joined(value)]
            options += [word for text in texts for word in (flag, str(text))]
    return shlex.join([*words, *options])


def address(link: "Link") -> str:
    """The path of the REST API with its query, below its prefix."""
    operation = _operation(link)
    given = {name: _joined(value) for name, value in link.arguments.items()}
    path = operation.path
    for name in [name for name in given if f"{{{name}}}" in path]:
        path = path.replace(f"{{{name}}}", quote(given.pop(name), safe=""))
    return f"{path}?{urlencode(given, safe=',')}" if given else path


def tool_call(link: "Link") -> "Link":
    """The tool and its arguments; records are shown by the tool `get`."""
    operation = _operation(link)
    if operation.about is None:
        return link
    from testio_mcp.reports.links import Link

    [record_id] = link.arguments.values()
    return Link(operation=GET, arguments={"kind": operation.about, "id": record_id})


def _operation(link: "Link") -> "Operation":
    from testio_mcp.operations.registry import operations

    return operations()[link.operation]


def option_names(name: str, *, is_list: bool) -> list[str]:
    """Option names of an argument: `product_ids` is also --product and --products, `statuses` also --status."""
    words = [name.removesuffix("_ids").removesuffix("_id"), name]
    if is_list:
        words.insert(0, _singular(words[0]))
    if name.endswith("_ids"):
        stem = name.removesuffix("_ids")
        words.append(f"{stem.removesuffix('y')}ies" if stem.endswith("y") else f"{stem}s")
    return [f"--{dashed(word)}" for word in dict.fromkeys(words)]


def dashed(name: str) -> str:
    """A name as options have it."""
    return name.replace("_", "-")


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word.removesuffix("es") if word.endswith("ses") else word.removesuffix("s")


def _joined(value: Any) -> str:
    """A value as text, as all surfaces read it: lists with commas."""
    if isinstance(value, list):
        return ",".join(map(_joined, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
