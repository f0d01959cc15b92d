"""Ask questions about Test IO crowdtesting data over MCP, REST and the command line."""

__version__ = "0.1.0"
