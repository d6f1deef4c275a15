"""A real PostgreSQL server of one's own, on a unix socket."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any


def find_postgresql() -> Path | None:
    """Return the folder of PostgreSQL's programs."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places else None


class PostgreSQL:
    """A cluster, started; whoever may reach its socket is its owner."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        # It refuses to run as root.
        user = "nobody" if os.geteuid() == 0 else None
        if user:
            shutil.chown(self.folder, user)
        self._more: dict[str, Any] = {
            "user": user, "cwd": self.folder, "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }  # fmt: skip
        subprocess.run(
            [programs / "initdb", "-D", self.folder / "data", "-U", "watch", "-A", "trust", "-N"],
            check=True, **self._more,
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._server = subprocess.Popen(
            [
                self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder,
                "-h", "", "-F", "-c", "max_connections=200",
            ],
            **self._more,
        )  # fmt: skip
        import psycopg

        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.Error:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it; SIGINT ends what is under way, SIGQUIT is a crash."""
        self._server.send_signal(how)
        self._server.wait(timeout=60)

    def destroy(self) -> None:
        """Stop it and leave nothing."""
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database of it, as libpq takes it."""
        return f"postgresql://watch@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        import psycopg

        name = f"t_{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)
