"""An OS user for one service alone: which id it has, and what it may reach.

The id comes from the range that systemd gives to services for a while (DynamicUser=, 61184 to
65519, systemd.io/UIDS-GIDS), needs no entry in /etc/passwd, and is its group's id too.

    CHITTYOPS_HOME, artifacts, services, run     0711: passed through, neither listed nor changed
    artifacts/DIGEST                             0711, read only below; the digest cannot be guessed
    services/SLUG                                0710, of its group
    services/SLUG/state                          0700, its own
    run/HASH                                     0710, of its group: launch files (root's, 0600),
                                                 secret files (its own, 0600), offered sockets
    run/HASH/s                                   0700, its own: where it makes its sockets

The edge and the health checks are root and would follow a link, which the app might put where its
socket was, into any socket of this machine: Supervisor's, Caddy's own, Docker's. So they look only
into run/HASH, where the app can make nothing. The launcher, while it is root, links a socket
there once it has seen that it is one, and the app's (`launcher.offer_now`).
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from chittyops_core._kit import files, wire
from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.errors import HostError
from chittyops_core.model.release import Release
from chittyops_core.model.service import Service

__all__ = ["IDS", "are_possible", "candidates", "make_room", "require_reach"]

IDS = range(61184, 65520)
"""What systemd.io/UIDS-GIDS calls dynamic service users."""

REACH_TIMEOUT_S = 30
"""An interpreter on a cold disk starts within a few seconds."""


def are_possible() -> bool:
    """Say whether this process may run others as users of their own."""
    return os.geteuid() == 0 and sys.platform == "linux"


def candidates(home: Path, service: Service) -> Iterator[int]:
    """Yield the ids that nobody on this machine has.

    They begin at a place that depends on *home* and *service*, so that the hosts of one machine,
    which know nothing of each other, hardly ever choose the same.
    """
    used = {uid for process in psutil.process_iter() for uid in _users_of(process)}
    start = int(wire.digest([str(home), service.slug])[:8], 16)
    for step in range(len(IDS)):
        user = IDS[(start + step) % len(IDS)]
        if user not in used and not _is_known(user):
            yield user


def _users_of(process: psutil.Process) -> tuple[int, ...]:
    try:
        return tuple(process.uids())
    except psutil.Error:
        return ()


def _is_known(user: int) -> bool:
    if Path(f"/run/systemd/dynamic-uid/{user}").exists():
        return True
    for find in (pwd.getpwuid, grp.getgrgid):
        try:
            find(user)
        except KeyError:
            continue
        return True
    return False


def make_room(layout: Layout, release: Release, user: int) -> None:
    """Give *user* all that *release* runs with, and no more. May be done again at any time."""
    service = release.service
    for other in layout.services.iterdir():
        _close_to_others(other)  # Before the way to them is opened.
    for passage in layout.passages:
        _let_pass(passage, 0o711)
    _open_artifact(layout.artifact(release.artifact))
    _let_pass(layout.service(service), 0o710, group=user)
    files.hand_over(files.ensure_private_dir(layout.state(service)), user)
    _let_pass(files.ensure_private_dir(layout.sockets(service), passable=True), 0o710, group=user)
    bindings = files.ensure_private_dir(layout.bindings(service))
    os.chown(bindings, user, user)


def _close_to_others(folder: Path) -> None:
    with suppress(FileNotFoundError):  # Removed meanwhile.
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o067:
            folder.chmod(mode & 0o710)


def _let_pass(folder: Path, mode: int, *, group: int = -1) -> None:
    info = folder.stat()
    if group not in (-1, info.st_gid):
        os.chown(folder, -1, group)
    if stat.S_IMODE(info.st_mode) != mode:
        folder.chmod(mode)


def _open_artifact(folder: Path) -> None:
    if stat.S_IMODE(folder.stat().st_mode) != 0o711:
        files.let_read(folder)
        folder.chmod(0o711)


def require_reach(layout: Layout, release: Release, user: int) -> None:
    """See that *user* can enter the app's folder and run its interpreter.

    Raises:
        HostError: It cannot; the message says which folder is in the way.
    """
    artifact = layout.artifact(release.artifact)
    app, python = artifact / "app", artifact / "venv" / "bin" / "python"
    if not _succeeds(user, ["/bin/sh", "-c", 'cd "$1"', "sh", str(app)]):
        closed = _first_closed(app, user)
        raise HostError(
            f"{release.service} runs as user {user}, who cannot reach {app}"
            + (f": {closed} is closed to others" if closed else ""),
            remedy=(
                f"Let others pass through it (chmod o+x {closed or artifact}), or set "
                "CHITTYOPS_HOME to a folder that all may reach, such as /var/lib/chittyops."
            ),
        )
    if python.is_symlink() and not _succeeds(user, [str(python), "-I", "-S", "-c", ""]):
        real = python.resolve()
        closed = _first_closed(real, user)
        raise HostError(
            f"{release.service} runs as user {user}, who cannot run the interpreter {real}"
            + (f": {closed} is closed to others" if closed else ""),
            remedy="Set `python` in [build] to one that all may run, such as /usr/bin/python3.",
        )


def _succeeds(user: int, argv: list[str]) -> bool:
    try:
        done = subprocess.run(
            argv, user=user, group=user, extra_groups=(), cwd="/", env={},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=REACH_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (PermissionError, FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _first_closed(path: Path, user: int) -> Path | None:
    """Return the topmost folder on the way to *path* that *user* may not pass through."""
    for folder in reversed(path.parents):
        info = folder.stat()
        may_pass = info.st_mode & 0o001 or (info.st_gid == user and info.st_mode & 0o010)
        if not may_pass and info.st_uid != user:
            return folder
    return None
