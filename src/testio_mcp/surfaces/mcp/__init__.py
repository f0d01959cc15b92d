"""MCP: tools, resources and prompts over stdio and Streamable HTTP."""
