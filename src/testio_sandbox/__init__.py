"""The Test IO Customer API, simulated: a stateful account on real HTTP, with faults that can be switched on.

async with serve_sandbox(World(products=2)) as sandbox:
    sandbox.faults.add(Fault("rate_limit", retry_after="1", times=1))
    ...  # a client of sandbox.url with sandbox.token
"""

from .catalog import SECRET_MARK
from .fault_injection import Fault, Faults, Recorded
from .server import Sandbox, create_app, run_sandbox, serve_sandbox
from .texts import MissingWordListsError
from .world import Truth, World

__all__ = [
    "SECRET_MARK",
    "Fault",
    "Faults",
    "MissingWordListsError",
    "Recorded",
    "Sandbox",
    "Truth",
    "World",
    "create_app",
    "run_sandbox",
    "serve_sandbox",
]
