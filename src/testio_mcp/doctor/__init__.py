"""What is wrong with this installation, and how to put it right: `testio-mcp doctor`."""
