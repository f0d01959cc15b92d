"""Which kind of file system holds a store.

A write-ahead log needs memory and locks that all processes share, which network file systems do not offer.
"""

import os
import re
from pathlib import Path

from testio_mcp.errors import StoreError

MOUNTS = Path("/proc/self/mounts")
NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "davfs"),
        *("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.ceph", "fuse.davfs2"),
    }
)
SHARED = frozenset({"9p", "virtiofs", "vboxsf", "fuse.vmhgfs-fuse"})
"""What a virtual machine or a container sees of its host: good for a store that one machine uses."""
ELSEWHERE = "Set TESTIO_DB_PATH to a local disk, or use PostgreSQL (TESTIO_DATABASE_URL)."
_ESCAPED = re.compile(r"\\([0-7]{3})")


def file_system_of(path: Path) -> str | None:
    """The kind of the file system that holds a file, or will once it is made; None where the system does not tell."""
    place = Path(os.path.realpath(path))  # looks at it, and so has it mounted where that happens by itself
    try:
        table = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return kind_of(place, table)


def kind_of(place: Path, mounts: str) -> str | None:
    """The kind of the file system that holds `place`, by the text of /proc/self/mounts."""
    kind, best, inside = None, -1, f"{place}/"
    for line in mounts.splitlines():
        _, point, found, *_ = line.split(" ")
        where = _ESCAPED.sub(lambda code: chr(int(code[1], 8)), point).rstrip("/") + "/"
        # The last of several mounts on one point is the one that shows.
        if len(where) >= best and inside.startswith(where):
            kind, best = found, len(where)
    return kind


def refuse_network(db_path: Path) -> None:
    """Raise `StoreError` when a store would live on a network file system."""
    kind = file_system_of(db_path)
    if kind in NETWORK:
        message = f"The store {db_path} would get damaged on the network file system that holds it ({kind})."
        raise StoreError(message, ELSEWHERE)
