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

from testio_mcp.app import REBUILD, RETRY_AFTER, App, Report, silent
from testio_mcp.database.derived import VERSIONS, find_outdated, refuse_outdated
from testio_mcp.errors import BadInput, NotFound, StoreOutdated
from testio_mcp.operations.arguments import (
    ON_REQUEST,
    Arguments,
    OpenWords,
    OtherName,
    arguments_model,
    explain,
    input_schema,
    normalize,
    open_words,
)
from testio_mcp.operations.lists.paging import Fit, Page, unlimited
from testio_mcp.settings import Settings

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
        await _refuse_while_rebuilding(app)
        await app.refresh(self.needs)
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
        await _refuse_while_rebuilding(app)
        not_refreshed = await app.refresh(self.needs)
        page = (await self._run(app, values, report, fit)).model_dump(mode="json")
        if self.item is not None and (fields or self._on_request):
            wanted = {"id", *fields} if fields else self.item.model_fields.keys() - self._on_request
            page["items"] = [{name: item[name] for name in item if name in wanted} for item in page["items"]]
        return page | ({"not_refreshed": not_refreshed} if not_refreshed else {})

    def normalize(self, arguments: Mapping[str, object], *, is_lenient: bool = False) -> dict[str, object]:
        """The arguments without those that are absent, and with words as the domain writes them.

        `is_lenient` counts as absent also what the clients of models fill in.

        Raises `BadInput` for arguments that are nested too deeply to be read.
        """
        try:
            return normalize(self.arguments, arguments, is_lenient=is_lenient)
        except RecursionError:
            raise _too_deep() from None

    def _valid(self, arguments: Mapping[str, object]) -> dict[str, Any]:
        try:
            valid = self.arguments.model_validate(self.normalize(arguments))
        except ValidationError as error:
            raise explain(error, self.arguments) from None
        except RecursionError:
            raise _too_deep() from None
        values = {name: getattr(valid, name) for name in self.arguments.model_fields}
        if self.item is not None:
            values["fields"] = [self._field_named(name) for name in values["fields"]]
            unknown = [name for name in values["fields"] if name not in self.item.model_fields]
            if unknown:
                valid_names = ", ".join(self.item.model_fields)
                raise BadInput(
                    f"fields: there is no field {unknown[0][:60]!r}.", f"fields takes any of: {valid_names}."
                )
        return values

    def _field_named(self, name: str) -> str:
        """The field of a list's records that a name means, whatever its case; the name itself where there is none."""
        name = self._other_names.get(name, name)
        folded = name.lower()
        return folded if self.item and folded in self.item.model_fields else self._other_names.get(folded, name)

    @cached_property
    def _on_request(self) -> frozenset[str]:
        """Fields of a list's records that are shown only where they are asked for."""
        fields = self.item.model_fields if self.item else {}
        return frozenset(name for name, about in fields.items() if ON_REQUEST in about.metadata)

    @cached_property
    def _other_names(self) -> Mapping[str, str]:
        """Other names of fields, and the field that each one means."""
        fields = self.item.model_fields if self.item else {}
        marks = [(mark, name) for name, about in fields.items() for mark in about.metadata]
        return {mark.name: name for mark, name in marks if isinstance(mark, OtherName)}

    async def _run(self, app: App, values: dict[str, Any], report: Report, fit: Fit = unlimited) -> BaseModel:
        """The answer from the store; what is not there may be newer than the copy, which is refreshed for it."""
        try:
            return await self._run_checked(app, dict(values), report, fit)
        except NotFound as error:
            note = await app.refresh(self.needs, RETRY_AFTER) if self.needs else ""
            if note is None:
                return await self._run_checked(app, dict(values), report, fit)
            if note and app.is_refreshing:
                later = f"{error.next_step} A refresh is under way: ask again in a moment."
                raise NotFound(error.message, later) from None
            raise

    async def _run_checked(self, app: App, values: dict[str, Any], report: Report, fit: Fit) -> BaseModel:
        await self._refuse_unknown_words(app, values)
        if self.item is not None and "fields" not in inspect.signature(self.function).parameters:
            values = {name: value for name, value in values.items() if name != "fields"}
        answer: BaseModel
        if Settings in self._takes:
            values["settings"] = app.settings
        if Connection in self._takes:
            return await app.store.read(partial(self._ask, values))
        if self.needs:
            await app.store.read(refuse_outdated)
        if Report in self._takes:
            values["report"] = report
        if Fit in self._takes:
            values["fit"] = fit
        answer = await self.function(app, **values)
        if isinstance(answer, Page):
            from testio_mcp.operations.lists.filter_values import add_notes, filters_to_check

            if filters_to_check(self.name, values, answer):
                await app.store.read(partial(add_notes, operation=self.name, arguments=values, page=answer))
        return answer

    def _ask(self, values: dict[str, Any], conn: Connection) -> BaseModel:
        refuse_outdated(conn)
        answer: BaseModel = self.function(conn, **values)
        if isinstance(answer, Page):
            from testio_mcp.operations.lists.filter_values import add_notes  # what it knows of metrics takes time

            add_notes(conn, self.name, values, answer)
        return answer

    async def _refuse_unknown_words(self, app: App, values: Mapping[str, Any]) -> None:
        """Look in the store for words that are not the domain's. Raises `BadInput` for one that is not there."""
        for name, valid in self._open_words.items():
            if any(value not in valid.words for value in values[name]):
                await app.store.read(partial(valid.refuse_unknown, name=name, values=values[name]))

    @cached_property
    def _open_words(self) -> Mapping[str, OpenWords]:
        return open_words(self.arguments)


def _too_deep() -> BadInput:
    return BadInput("The arguments are nested too deeply.", "Send plain values, or lists of them.")


async def _refuse_while_rebuilding(app: App) -> None:
    """Wait as long as for a refresh for the end of a rebuild. Raises `StoreOutdated` when it goes on longer."""
    if app.flight(REBUILD) is None:
        return
    await app.wait_for(REBUILD, app.settings.refresh_budget_seconds)
    if app.flight(REBUILD) is not None and (outdated := await app.store.read(find_outdated)):
        raise StoreOutdated(
            "The store is being rebuilt after an upgrade of testio-mcp, and nothing is answered before that is done; "
            f"{len(outdated)} of {len(VERSIONS)} kinds of data are left ({', '.join(outdated)}).",
            "Ask again in a minute.",
        )


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
    "lists.products",
    "lists.features",
    "lists.people",
    "lists.environments",
    "lists.tests",
    "lists.executions",
    "lists.bugs",
    "work.triage",
    "reports.matrix",
    "work.search",
    "work.changes",
    "work.digest",
    "metrics.query",
    "metrics.capabilities",
    "reports.compare",
    "reports.readiness",
    "reports.quality_report",
    "reports.files",
    "lists.custom_reports",
    "lists.case_results",
    "work.sync",
    "work.status",
    "work.problems",
)


def operations() -> dict[str, Operation]:
    """All operations by name, in the order in which they are documented."""
    modules = [f"testio_mcp.operations.{name}" for name in _MODULES]
    for name in modules:
        import_module(name)
    return dict(sorted(_REGISTRY.items(), key=lambda item: modules.index(item[1].function.__module__)))
