"""Links: the question that gives a number, as a value that can be asked again.

A number and its link come from the same arguments, so that they cannot differ. How a link is written depends on the
reader: JSON has it as it is, every surface in the form that it takes (`operations/links.py`).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, Field

Argument = bool | int | float | str | list[int] | list[str]


class Link(BaseModel):
    """An operation and its arguments. Over REST a link also has its `url`."""

    operation: str = Field(description="Name of the operation, as tools and the API documentation have it.")
    arguments: dict[str, Argument] = Field(description="Its arguments; those left out have their defaults.")

    def __str__(self) -> str:
        """The call as a model makes it: the name, and the arguments as JSON."""
        return f"{self.operation} {json.dumps(self.arguments, ensure_ascii=False, sort_keys=True)}".removesuffix(
            " {}"
        )


Render = Callable[[Link], str]
"""A way to write a link."""


def link(operation: str, **arguments: Any) -> Link:
    """A link without the arguments that say nothing: None, empty texts and empty lists."""
    given = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in arguments.items()
        if value not in (None, "", [], ())
    }
    return Link(operation=operation, arguments=given)


def is_link(value: object) -> bool:
    """Whether a value of an answer is a link."""
    return isinstance(value, Mapping) and value.keys() == Link.model_fields.keys()


def with_links(value: Any, change: Callable[[Link], Any]) -> Any:
    """An answer in which every link became what `change` makes of it."""
    if is_link(value):
        return change(Link.model_validate(value))
    if isinstance(value, Mapping):
        return {name: with_links(item, change) for name, item in value.items()}
    return [with_links(item, change) for item in value] if isinstance(value, list) else value
