"""Calls of tools by an agent of the OpenAI SDK in strict mode: the plan is argv[1], answers go to stdout, as JSON.

In strict mode every property of a tool is required, so a model has to send something for what it leaves out: here
null, or what is empty of the type where the schema has no null.
"""

import asyncio
import json
import sys

from agents import Agent, Model, ModelResponse, Runner, Usage, set_tracing_disabled
from agents.mcp import MCPServerStdio
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

EMPTY = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}


def empty_value(schema):
    kinds = schema.get("type") or [each.get("type") for each in schema.get("anyOf", [])]
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "null" in kinds or not kinds:
        return None
    if "enum" in schema and "default" in schema:
        return schema["default"]
    return EMPTY[kinds[0]]


class Planned(Model):
    """Plays a model that makes the planned calls, one after the other."""

    def __init__(self, calls):
        self.calls, self.done, self.tools, self.loose = calls, 0, [], []

    async def get_response(self, *given, **named):
        tools = named["tools"] if "tools" in named else given[3]
        self.tools = sorted(tool.name for tool in tools)
        self.loose = [tool.name for tool in tools if not tool.strict_json_schema]
        if self.done == len(self.calls):
            text = ResponseOutputText(annotations=[], text="done", type="output_text")
            message = ResponseOutputMessage(
                id="end", content=[text], role="assistant", status="completed", type="message"
            )
            return ModelResponse(output=[message], usage=Usage(), response_id=None)
        name, arguments = self.calls[self.done]
        schema = next(tool.params_json_schema for tool in tools if tool.name == name)
        strict = {key: empty_value(value) for key, value in schema["properties"].items()} | arguments
        self.done += 1
        call = ResponseFunctionToolCall(
            arguments=json.dumps(strict), call_id=f"call{self.done}", name=name, type="function_call"
        )
        return ModelResponse(output=[call], usage=Usage(), response_id=None)

    def stream_response(self, *given, **named):
        raise NotImplementedError


async def main(plan):
    set_tracing_disabled(True)
    command, *arguments = plan["command"]
    parameters = {"command": command, "args": arguments, "env": plan["env"], "cwd": plan["cwd"]}
    model = Planned(plan["calls"])
    async with MCPServerStdio(params=parameters, client_session_timeout_seconds=60) as server:
        strict = {"convert_schemas_to_strict": True}
        agent = Agent("testio", model=model, mcp_servers=[server], mcp_config=strict)
        result = await Runner.run(agent, "Answer.", max_turns=20)
    outputs = [item.output for item in result.new_items if item.type == "tool_call_output_item"]
    answers = [each if isinstance(each, str) else each["text"] for each in outputs]
    return {"tools": model.tools, "answers": answers, "loose": model.loose}


print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
