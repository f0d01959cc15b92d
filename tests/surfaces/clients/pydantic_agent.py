"""Calls of tools by a Pydantic AI agent: the plan is argv[1], the answers go to stdout, both as JSON."""

import asyncio
import json
import sys

from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel


async def main(plan):
    tools = []

    def ask(messages, info):
        """Play a model that makes the planned calls, one after the other."""
        tools[:] = sorted(tool.name for tool in info.function_tools)
        done = sum(isinstance(part, ToolReturnPart) for message in messages for part in message.parts)
        if done == len(plan["calls"]):
            return ModelResponse(parts=[TextPart("done")])
        name, arguments = plan["calls"][done]
        return ModelResponse(parts=[ToolCallPart(name, arguments)])

    command, *arguments = plan["command"]
    transport = StdioTransport(command=command, args=arguments, env=plan["env"], cwd=plan["cwd"])
    agent = Agent(FunctionModel(ask), toolsets=[MCPToolset(transport, tool_error_behavior="error")])
    async with agent:
        result = await agent.run("Answer.")
    parts = [part for message in result.all_messages() for part in message.parts]
    answers = [part.content for part in parts if isinstance(part, ToolReturnPart)]
    return {"tools": tools, "answers": [each if isinstance(each, str) else json.dumps(each) for each in answers]}


print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
