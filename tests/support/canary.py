"""Looking for the token where it must not be."""

from pathlib import Path


def holders(directory: Path, canary: str) -> list[str]:
    """The files below a directory that hold the canary, in their bytes or in their name."""
    secret = canary.encode()
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if canary in path.name or secret in path.read_bytes()]
