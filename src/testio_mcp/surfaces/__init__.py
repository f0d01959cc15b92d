"""What people, programs and models see: MCP tools, REST routes and commands, all made from the registry."""
