"""A PostgreSQL of one's own, durable as it comes, on a unix socket in a folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from support.cores import found, running

__all__ = ["PostgreSQL", "postgresql", "programs"]

USER = "bench"


@frozen
class PostgreSQL:
    """A running server.

    Attributes:
        folder: Where its socket is.
        pid: Of its first process.
    """

    folder: Path
    pid: int

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{USER}@/{database}?host={self.folder}"

    def create(self, database: str) -> None:
        subprocess.run([_program("createdb"), "-h", self.folder, "-U", USER, database], check=True)


def programs() -> Path | None:
    """Return the folder with `initdb` and its siblings, or None."""
    first = found("initdb")
    places = [Path(first).parent] if first else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((each for each in places if (each / "pg_ctl").exists()), None)


@contextmanager
def postgresql(folder: Path) -> Iterator[PostgreSQL]:
    """Start one with its own settings but for memory; every commit waits for the disk."""
    folder.mkdir()
    user = "nobody" if os.geteuid() == 0 else None  # It refuses to run as root.
    if user:
        shutil.chown(folder, user)
    more: dict[str, Any] = {"user": user, "cwd": folder, "stdout": subprocess.DEVNULL}
    subprocess.run(
        [_program("initdb"), "-D", folder / "data", "-U", USER, "-A", "trust"],
        check=True, stderr=subprocess.DEVNULL, **more,
    )  # fmt: skip
    command = [_program("postgres"), "-D", folder / "data", "-k", folder, "-h", "",
               "-c", "max_wal_size=4GB"]  # fmt: skip
    with running(command, **more) as process:
        _wait(folder, process)
        yield PostgreSQL(folder, process.pid)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def _program(name: str) -> Path:
    place = programs()
    if place is None:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    own = place / name
    return own if own.exists() else Path("/usr/bin") / name


def _wait(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    command = [_program("pg_isready"), "-q", "-h", folder]
    while subprocess.run(command, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError("PostgreSQL did not start")
        time.sleep(0.05)
