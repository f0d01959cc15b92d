"""Calls of tools through LangChain's adapters: the plan is argv[1], the answers go to stdout, both as JSON."""

import asyncio
import json
import sys

from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools


def text_of(content):
    return content if isinstance(content, str) else "\n".join(block["text"] for block in content)


async def main(plan):
    command, *arguments = plan["command"]
    server = {"transport": "stdio", "command": command, "args": arguments, "env": plan["env"], "cwd": plan["cwd"]}
    client = MultiServerMCPClient({"testio": server})
    async with client.session("testio") as session:
        tools = {tool.name: tool for tool in await load_mcp_tools(session)}
        answers = [text_of(await tools[name].ainvoke(arguments)) for name, arguments in plan["calls"]]
    return {"tools": sorted(tools), "answers": answers}


print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
