"""`testio-mcp`: without arguments the MCP server on stdio, with arguments the command line.

An assistant starts the server anew for every conversation, so that path imports the MCP SDK and nothing else.
"""

import sys


def main() -> None:
    """Run the program and exit."""
    from testio_mcp.surfaces.account import importing

    if len(sys.argv) > 1:
        import signal

        from testio_mcp.surfaces.cli import run

        if sys.argv[1] != "serve":  # servers see to their signals themselves
            # A request to end is taken as Ctrl-C is: what is under way is finished or rolled back, and noted.
            signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        sys.exit(run())
    with importing():
        from testio_mcp.surfaces.stdio import serve_stdio
    sys.exit(serve_stdio())


if __name__ == "__main__":
    main()
