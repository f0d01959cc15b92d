"""The registry: one decorated function is one operation on every surface.

A function's first parameter says how it runs. With a `Connection` it is a question: a synchronous function that
the store runs as one read. With an `App` it is an action: a coroutine that may also take a `Report` to tell its
progress. All other parameters are the operation's arguments.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection

from testio_mcp.app import App
from testio_mcp.errors import BadInput, NotFound
from testio_mcp.operations.arguments import Arguments, arguments_model, explain, input_schema
from testio_mcp.operations.paging import Fit, Page, unlimited
from testio_mcp.settings import Settings
from testio_mcp.sync.freshness import RETRY_AFTER, is_refreshing, refresh
from testio_mcp.sync.progress import Report, silent

Safety = Literal["read", "write", "destructive"]
Toolset = Literal["catalog", "tests", "bugs", "numbers", "sync"]
Kind = Literal["product", "test", "bug", "feature", "user_story", "person"]
F = TypeVar("F", bound=Callable[..., Any])
_INJECTED: frozenset[object] = frozenset({Connection, App, Report, Fit, Settings})


@dataclass(frozen=True)
class Operation:
    """One question or action: its function and all that a surface has to know about it."""

    function: Callable[..., Any]
    path: str
    command: str
    toolset: Toolset
    safety: Safety
    idempotent: bool
    open_world: bool
    needs: tuple[str, ...]
    about: Kind | None = None
    by_default: bool = True
    examples: tuple[Mapping[str, object], ...] = field(default=())

    @property
    def name(self) -> str:
        """The operation's name, the same on every surface."""
        return self.function.__name__

    @property
    def title(self) -> str:
        """The name as people read it."""
        return self.name.replace("_", " ").capitalize()

    @property
    def method(self) -> str:
        """The HTTP method: questions are GET, actions POST."""
        return "GET" if self.safety == "read" else "POST"

    @cached_property
    def description(self) -> str:
        """The whole docstring: what it is for, when to use it, what comes next."""
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        """The docstring's first line."""
        return self.description.partition("\n")[0]

    @cached_property
    def arguments(self) -> type[Arguments]:
        """The model of the arguments; those of a list end with `fields`."""
        return arguments_model(self.function, _INJECTED, has_fields=self.item is not None)

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        return input_schema(self.arguments)

    @cached_property
    def result(self) -> type[BaseModel]:
        """The model of the answer."""
        returned: type[BaseModel] = inspect.signature(self.function).return_annotation
        return returned

    @cached_property
    def item(self) -> type[BaseModel] | None:
        """The model of a list's records; None for what is no list."""
        items = self.result.model_fields.get("items") if issubclass(self.result, Page) else None
        return get_args(items.annotation)[0] if items else None

    @cached_property
    def _takes(self) -> frozenset[object]:
        return frozenset(p.annotation for p in inspect.signature(self.function).parameters.values())

    async def run(self, app: App, arguments: Mapping[str, object], report: Report = silent) -> BaseModel:
        """Validate `arguments` and run the operation on `app`.

        Raises `BadInput` for arguments that do not fit, and whatever `TestioError` the operation raises.
        """
        values = self._valid(arguments)
        await refresh(app, self.needs)
        return await self._run(app, values, report)

    async def answer(
        self, app: App, arguments: Mapping[str, object], report: Report = silent, fit: Fit = unlimited
    ) -> dict[str, Any]:
        """The answer as JSON values; a list's records have only `id` and the fields that were asked for.

        An operation that remembers what it showed shows no more than `fit` allows. What of its needs could not be
        brought up to date is said as `not_refreshed`.

        Raises as `run` does.
        """
        values = self._valid(arguments)
        fields: list[str] = values.get("fields", [])
        not_refreshed = await refresh(app, self.needs)
        page = (await self._run(app, values, report, fit)).model_dump(mode="json")
        if fields:
            kept = ["id", *fields]
            page["items"] = [{name: item[name] for name in item if name in kept} for item in page["items"]]
        return page | ({"not_refreshed": not_refreshed} if not_refreshed else {})

    def _valid(self, arguments: Mapping[str, object]) -> dict[str, Any]:
        try:
            valid = self.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            raise explain(error, self.arguments) from None
        values = {name: getattr(valid, name) for name in self.arguments.model_fields}
        unknown = [name for name in values.get("fields", []) if self.item and name not in self.item.model_fields]
        if unknown and self.item:
            known = ", ".join(self.item.model_fields)
            raise BadInput(f"fields: there is no field {unknown[0][:60]!r}.", f"fields takes any of: {known}.")
        return values

    async def _run(self, app: App, values: dict[str, Any], report: Report, fit: Fit = unlimited) -> BaseModel:
        """The answer from the store; what is not there may be newer than the copy, which is refreshed for it."""
        try:
            return await self._asked(app, dict(values), report, fit)
        except NotFound as error:
            note = await refresh(app, self.needs, RETRY_AFTER) if self.needs else ""
            if note is None:
                return await self._asked(app, dict(values), report, fit)
            if note and is_refreshing(app):
                later = f"{error.next_step} A refresh is under way: ask again in a moment."
                raise NotFound(error.message, later) from None
            raise

    async def _asked(self, app: App, values: dict[str, Any], report: Report, fit: Fit) -> BaseModel:
        values = {name: value for name, value in values.items() if name != "fields" or self.item is None}
        answer: BaseModel
        if Settings in self._takes:
            values["settings"] = app.settings
        if Connection in self._takes:
            answer = await app.store.read(partial(self.function, **values))
            return answer
        if Report in self._takes:
            values["report"] = report
        if Fit in self._takes:
            values["fit"] = fit
        answer = await self.function(app, **values)
        return answer


_REGISTRY: dict[str, Operation] = {}


def operation(
    path: str,
    *,
    command: str,
    toolset: Toolset,
    safety: Safety = "read",
    idempotent: bool = True,
    open_world: bool = True,
    needs: tuple[str, ...] = (),
    examples: tuple[Mapping[str, object], ...] = (),
    about: Kind | None = None,
    by_default: bool = True,
) -> Callable[[F], F]:
    """Register a function as an operation.

    `path` is its REST path below `/api`, `command` its words on the command line. `open_world` says that the
    """

    def register(function: F) -> F:
        _REGISTRY[function.__name__] = Operation(
            function, path, command, toolset, safety, idempotent, open_world, needs, about, by_default, examples
        )
        return function

    return register


# In the order in which they are documented.
_MODULES = (
    "products",
    "product_detail",
    "features",
    "feature_detail",
    "people",
    "person_detail",
    "environments",
    "tests",
    "test_detail",
    "executions",
    "bugs",
    "bug_detail",
    "triage",
    "matrix",
    "search",
    "changes",
    "digest",
    "metrics.query",
    "metrics.capabilities",
    "compare",
    "readiness",
    "quality.report",
    "quality.files",
    "custom_reports",
    "custom_report_summary",
    "case_results",
    "sync",
    "status",
    "problems",
)


def operations() -> dict[str, Operation]:
    """All operations by name, in the order in which they are documented."""
    modules = [f"testio_mcp.operations.{name}" for name in _MODULES]
    for name in modules:
        import_module(name)
    return dict(sorted(_REGISTRY.items(), key=lambda item: modules.index(item[1].function.__module__)))
