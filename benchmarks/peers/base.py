"""What every peer is: a proxy that runs in the foreground and can be switched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from machine import free_port, wait_for_port

from chittyops_core.deploy.targets.base import Address

__all__ = ["Peer"]


class Peer(ABC):
    """One proxy in front of one upstream. A context manager: it runs inside it."""

    name: ClassVar[str]
    """In tables: the program and its way of switching."""
    program: ClassVar[str]
    install: ClassVar[str]
    """How the program comes onto a machine."""

    def __init__(self, folder: Path, upstream: int) -> None:
        """*folder* is for its files, must not exist yet; *upstream* is a port on this machine."""
        folder.mkdir()
        self.folder = folder
        self.port = free_port()
        self._first = upstream
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def found(cls) -> str | None:
        """Return the program's path; None where it is not installed."""
        beside = Path(sys.executable).parent
        # Debian has servers in sbin, which is not on everybody's PATH.
        path = os.pathsep.join([str(beside), os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
        return shutil.which(cls.program, path=path)

    @classmethod
    def missing(cls) -> str | None:
        """Say what is missing and how to install it; None when all is there."""
        if cls.found() is not None:
            return None
        return f"left out: {cls.program} is not installed ({cls.install})"

    @property
    def address(self) -> Address:
        connect = f"127.0.0.1:{self.port}"
        return Address(f"http://{connect}", connect, "localhost", False, None, connect)

    @property
    def pid(self) -> int:
        assert self._process is not None, "use it as a context manager"
        return self._process.pid

    def __enter__(self) -> Self:
        with (self.folder / "output.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command(self._first), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for_port(self.port, self._process)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @abstractmethod
    def switch(self, upstream: int) -> None:
        """Send further requests to port *upstream*, as the program's manual says to."""

    @abstractmethod
    def _command(self, upstream: int) -> list[str]:
        """Write the configuration; return what runs the program in the foreground."""
