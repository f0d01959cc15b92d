"""The HTTP server with the tools, resources and prompts that the conformance suite calls by name.

Three tools go the way of our operations; the others are the SDK's own, beside ours, behind our gate. Run it with
`python -m tests.surfaces.fixture_server`; it announces its address as `serve` does.
"""

import asyncio
import base64
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    CallToolResult,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    EmbeddedResource,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    MissingRequiredClientCapabilityErrorData,
    Prompt,
    Resource,
    ResourceTemplate,
    SamplingCapability,
    SamplingMessage,
    TextContent,
    TextResourceContents,
    Tool,
)
from pydantic import AnyUrl, BaseModel

from testio_mcp.app import App, Progress, Report, silent
from testio_mcp.errors import BadInput
from testio_mcp.operations.registry import Operation
from testio_mcp.surfaces.account import Account
from testio_mcp.surfaces.http.server import serve_http
from testio_mcp.surfaces.logs import log_to_stderr
from testio_mcp.surfaces.mcp.server import TestioServer
from testio_mcp.surfaces.mcp.tools import Toolbox

_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
_WAV = base64.b64encode(
    b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0@\x1f\0\0@\x1f\0\0\x01\0\x08\0data\0\0\0\0"
).decode()
IMAGE = ImageContent(type="image", data=_PNG, mime_type="image/png")
Anything = Context[None, Any]


class Said(BaseModel):
    """The answer of an operation."""

    text: str


async def test_simple_text(app: App) -> Said:
    """Say something."""
    return Said(text="This is a simple text response for testing.")


async def test_error_handling(app: App) -> Said:
    """Fail."""
    raise BadInput("This tool intentionally returns an error for testing.", "There is nothing to correct.")


async def test_tool_with_progress(app: App, report: Report = silent) -> Said:
    """Tell how far it is, three times."""
    for done in (1, 50, 100):
        await report(Progress("steps", "test", done, 100))
    return Said(text="All steps are done.")


OPERATIONS = {
    function.__name__: Operation(
        function, f"/{function.__name__}", function.__name__, "tests", "read", True, True, ()
    )
    for function in (test_simple_text, test_error_handling, test_tool_with_progress)
}


class Fixtures(Toolbox):
    """Our tools and three more."""

    @cached_property
    def operations(self) -> dict[str, Operation]:
        """The usual operations and those of the suite."""
        return super().operations | OPERATIONS


def form(message: str, **properties: dict[str, Any]) -> ElicitRequest:
    """A form with these fields, all required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(text: str, most: int) -> CreateMessageRequest:
    """A question to the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=most))


STRING = {"type": "string"}
NAME = form("What is your name?", name=STRING)
OK = form("Please confirm", ok={"type": "boolean"})
CHOICES: dict[str, dict[str, Any]] = {
    "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
    "titledSingle": {
        "type": "string",
        "oneOf": [{"const": f"value{n}", "title": f"{n}. option"} for n in (1, 2, 3)],
    },
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
    "titledMulti": {
        "type": "array",
        "items": {"anyOf": [{"const": f"value{n}", "title": f"{n}. choice"} for n in (1, 2, 3)]},
    },
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}


class FixtureServer(TestioServer):
    """Our server; what it does not know is the SDK's to answer."""

    def __init__(self, account: Account, toolbox: Toolbox) -> None:
        super().__init__(account, Fixtures())
        _add_contents(self)
        _add_questions(self)
        _add_rounds(self)
        _add_resources(self)
        _add_prompts(self)

    async def list_tools(self) -> list[Tool]:
        return [*await super().list_tools(), *await MCPServer.list_tools(self)]

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Anything | None = None) -> Any:
        if self._tool_manager.get_tool(name):
            return await MCPServer.call_tool(self, name, arguments, context)
        return await super().call_tool(name, arguments, context)

    async def list_prompts(self) -> list[Prompt]:
        return [*await super().list_prompts(), *await MCPServer.list_prompts(self)]

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Anything | None = None
    ) -> Any:
        if self._prompt_manager.get_prompt(name):
            return await MCPServer.get_prompt(self, name, arguments, context)
        return await super().get_prompt(name, arguments, context)

    async def list_resources(self) -> list[Resource]:
        return [*await super().list_resources(), *await MCPServer.list_resources(self)]

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        return [*await super().list_resource_templates(), *await MCPServer.list_resource_templates(self)]

    async def read_resource(
        self, uri: AnyUrl | str, context: Anything | None = None
    ) -> Iterable[ReadResourceContents]:
        if str(uri).startswith("test://"):
            return await MCPServer.read_resource(self, uri, context)  # type: ignore[return-value]
        return await super().read_resource(uri, context)


def embedded(uri: str, text: str, mime_type: str = "text/plain") -> EmbeddedResource:
    """A resource inside an answer."""
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


def answer(text: str) -> CallToolResult:
    """Text as a tool's answer."""
    return CallToolResult(content=[TextContent(type="text", text=text)])


def _add_contents(server: MCPServer[None]) -> None:
    async def test_image_content() -> CallToolResult:
        """Image content."""
        return CallToolResult(content=[IMAGE])

    async def test_audio_content() -> CallToolResult:
        """Audio content."""
        return CallToolResult(content=[AudioContent(type="audio", data=_WAV, mime_type="audio/wav")])

    async def test_embedded_resource() -> CallToolResult:
        """Embedded resource."""
        return CallToolResult(content=[embedded("test://embedded-resource", "This is an embedded resource content.")])

    async def test_multiple_content_types() -> CallToolResult:
        """Multiple content types."""
        text = TextContent(type="text", text="Multiple content types test:")
        more = embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
        return CallToolResult(content=[text, IMAGE, more])

    for tool in (test_image_content, test_audio_content, test_embedded_resource, test_multiple_content_types):
        server.add_tool(tool)


async def test_missing_capability(ctx: Anything) -> CallToolResult:
    """Need a client that samples."""
    if ctx.client_capabilities and ctx.client_capabilities.sampling is not None:
        return answer("The client can sample.")
    needed = MissingRequiredClientCapabilityErrorData(
        required_capabilities=ClientCapabilities(sampling=SamplingCapability())
    )
    raise MCPError(
        MISSING_REQUIRED_CLIENT_CAPABILITY,
        "sampling is needed",
        needed.model_dump(by_alias=True, exclude_none=True),
    )


def _of(ctx: Anything) -> ServerMessageMetadata:
    """What sends a question along with the answer to the call: the client's own stream may not be open yet."""
    return ServerMessageMetadata(related_request_id=ctx.request_id)


def _add_questions(server: MCPServer[None]) -> None:
    """Tools that ask the client while they run, as clients with a session answer."""

    async def test_sampling(prompt: str, ctx: Anything) -> CallToolResult:
        """Sampling."""
        result = await ctx.session.send_request(sampling(prompt, 100), CreateMessageResult, metadata=_of(ctx))
        return answer(f"LLM response: {result.content.text}")

    async def _asked(ctx: Anything, request: ElicitRequest, what: str) -> CallToolResult:
        result = await ctx.session.send_request(request, ElicitResult, metadata=_of(ctx))
        return answer(f"{what}: action={result.action}, content={result.content}")

    async def test_elicitation(message: str, ctx: Anything) -> CallToolResult:
        """Elicitation."""
        return await _asked(ctx, form(message, username=STRING, email=STRING), "User response")

    async def test_elicitation_sep1034_defaults(ctx: Anything) -> CallToolResult:
        """Elicitation sep1034 defaults."""
        return await _asked(ctx, form("Defaults", **DEFAULTS), "Elicitation completed")

    async def test_elicitation_sep1330_enums(ctx: Anything) -> CallToolResult:
        """Elicitation sep1330 enums."""
        return await _asked(ctx, form("Choices", **CHOICES), "Elicitation completed")

    for tool in (
        test_missing_capability,
        test_sampling,
        test_elicitation,
        test_elicitation_sep1034_defaults,
        test_elicitation_sep1330_enums,
    ):
        server.add_tool(tool)


def _one_round(requests: dict[str, Any], state: str | None) -> Any:
    async def tool(ctx: Anything) -> CallToolResult | InputRequiredResult:
        given = ctx.input_responses or {}
        if not requests.keys() <= given.keys() or ctx.request_state != state:
            return InputRequiredResult(input_requests=requests, request_state=state)
        return answer(f"Hello: state-ok, {[each.model_dump(mode='json') for each in given.values()]}")

    return tool


async def test_input_required_result_multi_round(ctx: Anything) -> CallToolResult | InputRequiredResult:
    """Input required result multi round."""
    if ctx.request_state == "two" and "step2" in (ctx.input_responses or {}):
        return answer("Both steps are done.")
    if ctx.request_state == "one" and "step1" in (ctx.input_responses or {}):
        step = form("Step 2: What is your favorite color?", color=STRING)
        return InputRequiredResult(input_requests={"step2": step}, request_state="two")
    step = form("Step 1: What is your name?", name=STRING)
    return InputRequiredResult(input_requests={"step1": step}, request_state="one")


async def test_input_required_result_capabilities(ctx: Anything) -> CallToolResult | InputRequiredResult:
    """Input required result capabilities."""
    able = ctx.client_capabilities
    asked: dict[str, Any] = {}
    if able and able.sampling is not None:
        asked["question"] = sampling("What is the capital of France?", 100)
    if able and able.elicitation is not None:
        asked["user_name"] = NAME
    if not asked or ctx.input_responses:
        return answer("Nothing to ask.")
    return InputRequiredResult(input_requests=asked)


def _add_rounds(server: MCPServer[None]) -> None:
    """Tools that ask the client between two calls, as clients without a session answer."""
    asking: dict[str, dict[str, Any]] = {
        "elicitation": {"user_name": NAME},
        "sampling": {"capital_question": sampling("What is the capital of France?", 100)},
        "list_roots": {"client_roots": ListRootsRequest(params={})},
        "request_state": {"confirm": OK},
        "tampered_state": {"confirm": OK},
        "multiple_inputs": {
            "user_name": NAME,
            "greeting": sampling("Generate a greeting", 50),
            "client_roots": ListRootsRequest(params={}),
        },
    }

    for name, requests in asking.items():
        state = f"state of {name}" if name in ("request_state", "tampered_state", "multiple_inputs") else None
        tool = _one_round(requests, state)
        server.add_tool(tool, name=f"test_input_required_result_{name}", description=f"Ask for {name}.")

    server.add_tool(test_input_required_result_multi_round)
    server.add_tool(test_input_required_result_capabilities)


def _add_resources(server: MCPServer[None]) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def text() -> str:
        """Text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def binary() -> bytes:
        """Binary."""
        return base64.b64decode(_PNG)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def data(id: str) -> str:  # noqa: A002 - the template's word
        return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'


def _add_prompts(server: MCPServer[None]) -> None:
    @server.prompt()
    def test_simple_prompt() -> str:
        """Simple prompt."""
        return "This is a simple prompt for testing."

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """Prompt with arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:  # noqa: N803 - the suite's word
        """Prompt with an embedded resource."""
        return [
            embedded(resourceUri, "Embedded resource content for testing."),
            TextContent(type="text", text="Please process the embedded resource above."),
        ]

    @server.prompt()
    def test_prompt_with_image() -> list[Any]:
        """Prompt with image."""
        return [IMAGE, TextContent(type="text", text="Please analyze the image above.")]

    @server.prompt()
    async def test_input_required_result_prompt(ctx: Anything) -> Any:
        """Input required result prompt."""
        given = ctx.input_responses or {}
        if "user_context" not in given:
            question = form("What context should the prompt use?", context=STRING)
            return InputRequiredResult(input_requests={"user_context": question})
        return f"The context is {given['user_context'].model_dump(mode='json')}."


if __name__ == "__main__":
    log_to_stderr()
    asyncio.run(serve_http("127.0.0.1", 0, [], mcp_server=FixtureServer))
