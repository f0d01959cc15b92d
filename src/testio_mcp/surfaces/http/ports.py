"""Listening: which addresses are this machine's own, and what is said when a port is taken."""

import errno
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager

from testio_mcp.errors import BadInput, Conflict


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def format_address(host: str, port: int) -> str:
    """Host and port as they stand in an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def port_taken(host: str, port: int) -> Iterator[None]:
    """Turn a failure to listen on an address into a `Conflict` or `BadInput`."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"Port {port} on {host} is in use.", "Choose another with --port.") from error
        if error.errno in (errno.EACCES, errno.EADDRNOTAVAIL) or error.errno is None or error.errno < 0:
            message = f"{format_address(host, port)} is no address this program can listen on."
            raise BadInput(message, "Correct --host and --port.") from error
        raise
