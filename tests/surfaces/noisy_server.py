"""The stdio server with a tool that talks on every way out: run it with `python -m tests.surfaces.noisy_server`."""

import logging
import os
import subprocess
import sys
import warnings
from functools import cached_property

import anyio
from pydantic import BaseModel

from testio_mcp.app import App
from testio_mcp.operations.registry import Operation
from testio_mcp.surfaces.account import Account
from testio_mcp.surfaces.logs import log_to_stderr
from testio_mcp.surfaces.mcp.stdio import StdioServer
from testio_mcp.surfaces.mcp.tools import Toolbox

NOISE = "a dependency talks"


class Done(BaseModel):
    """Nothing to say."""

    done: bool = True


async def make_noise(app: App) -> Done:
    """Print, warn and log, from Python, from below it and from a child."""
    talk()
    return Done()


def talk() -> None:
    """Say the same on every way out."""
    print(NOISE)  # noqa: T201
    sys.stdout.write(f"{NOISE}\n")
    sys.stdout.flush()
    assert sys.__stdout__ is not None
    sys.__stdout__.write(f"{NOISE}\n")
    sys.__stdout__.flush()
    os.write(1, f"{NOISE}\n".encode())
    subprocess.run(["echo", NOISE], check=True)
    subprocess.Popen([sys.executable, "-c", f"print({NOISE!r})"]).wait()
    warnings.warn(NOISE, stacklevel=1)
    logging.getLogger("dependency").error(NOISE)
    assert sys.stdin.read() == ""


class Noisy(Toolbox):
    """Our tools and the noisy one."""

    @cached_property
    def operations(self) -> dict[str, Operation]:
        """The usual operations and one more."""
        noisy = Operation(make_noise, "/noise", "noise", "tests", "read", True, False, ())
        return super().operations | {"make_noise": noisy}


if __name__ == "__main__":
    log_to_stderr()
    anyio.run(StdioServer(Account(), Noisy()).run_stdio_async)
