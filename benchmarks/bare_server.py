"""A server of the MCP SDK with nothing of ours: what any server on this SDK takes.

`python -m benchmarks.bare_server FILE` answers on stdio, with `--http` on a free port of loopback, which it prints
on stderr. Its one tool returns what the file holds, a reply as the product gives it: what is left of a call's time
when the answer costs nothing.
"""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, TextContent, Tool


class BareServer(MCPServer[None]):
    """Answers every call with one reply that was made before."""

    def __init__(self, reply: dict[str, Any]) -> None:
        super().__init__("bare")
        self._reply = reply

    async def list_tools(self) -> list[Tool]:
        """One tool, under a name that the product has too."""
        return [Tool(name="list_tests", input_schema={"type": "object"})]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[None, Any] | None = None
    ) -> CallToolResult:
        """The reply."""
        return CallToolResult(
            content=[TextContent(type="text", text=self._reply["text"])],
            structured_content=self._reply["structured"],
        )


async def _serve_http(server: BareServer) -> None:
    import uvicorn

    # asyncio turns off Nagle's delay (40 ms per answer) only when the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    sys.stderr.write(f"MCP at http://127.0.0.1:{listener.getsockname()[1]}/mcp\n")
    sys.stderr.flush()
    app = server.streamable_http_app(streamable_http_path="/mcp")
    await uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none")).serve(sockets=[listener])


def main() -> None:
    """Serve until stdin ends or a signal comes."""
    reply = json.loads(Path(sys.argv[1]).read_text()) if len(sys.argv) > 1 else {"text": "", "structured": {}}
    server = BareServer(reply)
    if "--http" in sys.argv:
        anyio.run(_serve_http, server)
    else:
        anyio.run(server.run_stdio_async)


if __name__ == "__main__":
    main()
