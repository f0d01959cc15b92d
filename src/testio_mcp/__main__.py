"""`testio-mcp`: without arguments the MCP server on stdio, with arguments the command line.

An assistant starts the server anew for every conversation, so that path imports the MCP SDK and nothing else.
"""

import os
import sys
from contextlib import suppress
from types import TracebackType
from typing import NoReturn

INTERRUPTED = 130
"""Exit code of a command that was ended by Ctrl-C."""

_TOOL_OPTIONS = ("--toolsets", "--tools", "--exclude-tools", "--read-only")


def main() -> None:
    """Run the program and exit."""
    sys.excepthook = _excepted
    from testio_mcp.surfaces.account import importing

    _leave_no_core()
    _import_nothing_from_here()
    sys.argv[1:] = _take_env_file(sys.argv[1:])
    if "_TESTIO_MCP_COMPLETE" in os.environ:  # a shell that completes a line
        from testio_mcp.surfaces.cli.main import run

        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - nothing may be said into the line
        sys.exit(run([]))
    if len(sys.argv) > 1:
        import signal

        if sys.argv[1].partition("=")[0] in _TOOL_OPTIONS:
            sys.argv.insert(1, "serve")
        from testio_mcp.surfaces.cli.main import run

        if sys.argv[1] != "serve":  # servers see to their signals themselves
            # A request to end is taken as Ctrl-C is: what is under way is finished or rolled back, and noted.
            signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        code = run()
        if code == INTERRUPTED:
            _leave(code)
        sys.exit(code)
    with importing():
        from testio_mcp.surfaces.mcp.stdio import serve_stdio
    from testio_mcp.errors import TestioError

    try:
        sys.exit(serve_stdio())
    except TestioError as error:
        sys.stderr.write(f"{error.message} {error.next_step}\n")
        sys.exit(error.exit_code)


def _take_env_file(arguments: list[str]) -> list[str]:
    """Take `--env-file`, which stands before or after any command, as the variable that says the same."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        name, sign, value = word.partition("=")
        if word == "--":
            return [*kept, word, *words]
        if name != "--env-file":
            kept.append(word)
            continue
        os.environ["TESTIO_ENV_FILE"] = value if sign else next(words, "")
        if not os.environ["TESTIO_ENV_FILE"]:
            sys.stderr.write("Option '--env-file' requires an argument.\n")
            sys.exit(2)
    return kept


def _import_nothing_from_here() -> None:
    """Have whatever is imported from now on come from where the program is installed.

    `python -m` puts the working directory first, which a client sets to whatever project is open.
    """
    here = os.getcwd()  # noqa: PTH109 - pathlib costs a start
    package = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    if sys.path and sys.path[0] in ("", here) and os.path.dirname(package) != here:  # noqa: PTH120
        del sys.path[0]


def _excepted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What is caught nowhere: a further Ctrl-C, which may come at any moment, ends the program without a word."""
    if issubclass(kind, KeyboardInterrupt):
        _leave(INTERRUPTED)
    sys.__excepthook__(kind, error, trace)


def _leave(code: int) -> NoReturn:
    """End at once: a second Ctrl-C may have kept threads from being ended, for which an ordinary exit waits."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def _leave_no_core() -> None:
    """Have the system keep no picture of this process's memory when it crashes: the token is in it."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows keeps none
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    main()
