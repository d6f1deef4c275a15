"""Unix sockets that only their owner can reach."""

from __future__ import annotations

import os
import secrets
import socket
import struct
from pathlib import Path

__all__ = ["bind_private", "peer_uid", "remove_own"]


def bind_private(path: Path, *, owner: int | None = None, backlog: int = 128) -> socket.socket:
    """Return a socket that listens at *path*, with mode 0600 from its first moment.

    What was at *path*, such as the socket of a server that died, is replaced by one rename.

    Args:
        path: Where; its folder must exist.
        owner: User id that may connect; this process's own when None. Another takes root.
        backlog: Connections that may wait to be accepted.

    Raises:
        OSError: The path is too long (108 bytes), or its folder cannot be written.
    """
    temp = path.with_name(f".{secrets.token_hex(3)}")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the name the mode of the socket's inode less the umask: there is no moment
        # in which the name is there and open to others (unix(7), net/unix/af_unix.c unix_bind).
        os.fchmod(made.fileno(), 0o600)
        made.bind(str(temp))
        temp.chmod(0o600)
        if owner is not None and owner != os.geteuid():
            os.chown(temp, owner, -1, follow_symlinks=False)
        made.listen(backlog)
        temp.rename(path)
    except BaseException:
        made.close()
        temp.unlink(missing_ok=True)
        raise
    return made


def peer_uid(connection: socket.socket) -> int:
    """Return the user id of the process that connected (SO_PEERCRED, unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", raw)
    return int(uid)


def remove_own(path: Path, inode: int) -> None:
    """Remove *path* if it still is the socket with *inode*, not that of a successor."""
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        pass
