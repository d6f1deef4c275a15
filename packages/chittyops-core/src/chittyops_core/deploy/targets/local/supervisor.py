"""Supervisor as the process manager, over its 0600 unix socket.

No value of a user ever stands in its configuration: one unescaped `%` there makes every reload
fail for all programs. A program is the launcher with the path of a launch file.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import Faults, SupervisorTransport

from chittyops_core._kit import files
from chittyops_core._kit.locks import FileLock
from chittyops_core._kit.retry import wait_until
from chittyops_core.deploy.targets.base import LogLine
from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.deploy.targets.local.manager import (
    ProcessManager,
    ProcessState,
    Program,
    RunState,
)
from chittyops_core.errors import HostError

__all__ = ["Supervisor"]

_RUN_STATES = {
    "STARTING": RunState.RUNNING,
    "RUNNING": RunState.RUNNING,
    "STOPPED": RunState.STOPPED,
    "STOPPING": RunState.STOPPED,
    "BACKOFF": RunState.DEAD,
    "EXITED": RunState.DEAD,
    "FATAL": RunState.DEAD,
    "UNKNOWN": RunState.DEAD,
}

START_TIMEOUT_S = 20.0
LOG_MAX_BYTES = 10 * 1024 * 1024
ALL_GROUPS = "*.conf"


class Supervisor(ProcessManager):
    """Programs of one home, run by one supervisord."""

    def __init__(self, layout: Layout, marks: Mapping[str, str]) -> None:
        """*marks* are put in supervisord's environment, so that its processes can be found."""
        self._layout = layout
        self._marks = dict(marks)

    # --- the daemon ---

    @property
    def pid(self) -> int | None:
        """The pid of a supervisord that answers."""
        try:
            with self._rpc() as rpc:
                return int(rpc.getPID())
        except (OSError, HostError):
            return None

    @property
    def was_killed(self) -> bool:
        """Whether it ended without being stopped: then it left its pid file."""
        return self.pid is None and self._pid_file.exists()

    def start_daemon(self) -> bool:
        """Start supervisord unless it answers; say whether it was started.

        Raises:
            HostError: It does not come up.
        """
        if self.pid is not None:
            return False
        self._write_configuration(ALL_GROUPS)
        # It reads its configuration, complains about it, and only then goes to the background.
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", self._conf],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**_clean_environment(), **self._marks}, start_new_session=True, check=False,
        )  # fmt: skip
        if done.returncode != 0 or not wait_until(lambda: self.pid, timeout_s=START_TIMEOUT_S):
            raise HostError(
                "supervisord does not start",
                remedy=f"Its log: {self._layout.supervisor / 'supervisord.log'}",
                detail=tuple(done.stdout.splitlines()[-10:]),
            )
        return True

    def stop_daemon(self, *, grace_s: float) -> None:
        """Stop every group, then supervisord."""
        pid = self.pid
        if pid is None:
            return
        for group in self.groups():
            self.stop(group, grace_s=grace_s)
        with self._rpc() as rpc:
            rpc.shutdown()
        wait_until(lambda: not _exists(pid), timeout_s=START_TIMEOUT_S)

    # --- the seam ---

    def start(self, group: str, programs: Sequence[Program]) -> None:
        files.write_durably(self._file(group), self._render(group, programs))
        try:
            with self._rpc() as rpc:
                if not self._load_group(rpc, group):
                    self._start_ended(rpc, group, programs)
        except (ConnectionError, FileNotFoundError) as error:
            raise HostError(
                "supervisord is gone", remedy="`chittyops recover` starts it again."
            ) from error

    def stop(self, group: str, *, grace_s: float) -> None:
        try:
            with self._rpc() as rpc:
                self._stop_group(rpc, group, grace_s)
        except (ConnectionError, FileNotFoundError):
            pass  # No supervisord, so none of its programs either; orphans are the host's to reap.
        self._file(group).unlink(missing_ok=True)

    def groups(self) -> set[str]:
        # It is written down before it is loaded, and stays so until it is wholly taken away.
        return {path.stem for path in (self._layout.supervisor / "conf.d").glob("*.conf")}

    def states(self, group: str, programs: Sequence[Program]) -> Mapping[str, ProcessState]:
        calls = [
            {"methodName": "supervisor.getProcessInfo", "params": [_full_name(group, program)]}
            for program in programs
        ]
        try:
            with self._proxy() as proxy:
                answers = proxy.system.multicall(calls)
        except (ConnectionError, FileNotFoundError):
            return {}
        return {
            program.name: ProcessState(
                _RUN_STATES[info["statename"]], info["pid"] or None, _explain(info)
            )
            for program, info in zip(programs, answers, strict=True)
            if "statename" in info  # Else it is a fault: there is no process of that name.
        }

    def logs(
        self, group: str, programs: Sequence[Program], *, lines: int, follow: bool
    ) -> Iterator[LogLine | None]:
        offsets: dict[str, int] = {}
        for program in programs:
            tail, offsets[program.name] = _tail(program.log, lines)
            yield from (LogLine(program.name, text) for text in tail)
        while follow:
            yield None
            for program in programs:
                new, offsets[program.name] = _read_on(program.log, offsets[program.name])
                yield from (LogLine(program.name, text) for text in new)

    # --- pieces ---

    @property
    def _pid_file(self) -> Path:
        return self._layout.run / "supervisord.pid"

    @property
    def _conf(self) -> str:
        return str(self._layout.supervisor / "supervisord.conf")

    def _file(self, group: str) -> Path:
        return self._layout.supervisor / "conf.d" / f"{group}.conf"

    def _write_configuration(self, groups: str) -> None:
        """*groups* is which files of `conf.d` supervisord shall read."""
        folder = self._layout.supervisor
        files.write_durably(
            Path(self._conf),
            "[supervisord]\n"
            f"logfile={folder}/supervisord.log\n"
            "logfile_maxbytes=5MB\nlogfile_backups=1\n"
            f"pidfile={self._pid_file}\n"
            f"childlogdir={folder}\n"
            f"directory={folder}\n"
            "umask=077\nnocleanup=true\n"
            "[unix_http_server]\n"
            f"file={self._layout.supervisor_socket}\nchmod=0600\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory="
            "supervisor.rpcinterface:make_main_rpcinterface\n"
            "[include]\n"
            f"files=conf.d/{groups}\n",
        )

    def _render(self, group: str, programs: Sequence[Program]) -> str:
        names = ",".join(f"{group}.{program.name}" for program in programs)
        parts = [f"[group:{group}]\nprograms={names}\n"]
        for program in programs:
            command = " ".join(shlex.quote(word) for word in program.argv)
            parts.append(
                f"[program:{group}.{program.name}]\n"
                f"command={command}\n"
                "autostart=true\nautorestart=true\n"
                # Supervisor waits n seconds before the n-th try, so this is slow, not stubborn.
                "startsecs=1\nstartretries=100000\n"
                "stopsignal=TERM\nstopwaitsecs=86400\nstopasgroup=true\nkillasgroup=true\n"
                f"redirect_stderr=true\nstdout_logfile={program.log}\n"
                f"stdout_logfile_maxbytes={LOG_MAX_BYTES}\nstdout_logfile_backups=2\n"
            )
        return "".join(parts)

    def _load_group(self, rpc: Any, group: str) -> bool:
        """Make *group* known, which starts it; say whether it was not known before.

        supervisord reads its whole configuration at each reload, a millisecond for each group.
        It forgets none that it does not find there, so for a moment it finds this one only.
        """
        with FileLock(self._layout.locks / "supervisor.lock").acquire("start", wait=_pause):
            try:
                self._write_configuration(f"{group}.conf")
                rpc.reloadConfig()
            finally:
                # All of them, for whoever restarts supervisord by hand.
                self._write_configuration(ALL_GROUPS)
            try:
                rpc.addProcessGroup(group)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != Faults.ALREADY_ADDED:
                    raise
                return False
        return True

    def _start_ended(self, rpc: Any, group: str, programs: Sequence[Program]) -> None:
        states = self.states(group, programs)
        for program in programs:
            state = states.get(program.name)
            if state is None or state.state is RunState.RUNNING:
                continue
            try:
                rpc.startProcess(_full_name(group, program), False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != Faults.ALREADY_STARTED:
                    raise

    def _stop_group(self, rpc: Any, group: str, grace_s: float) -> None:
        """Stop without waiting in supervisord, so that *grace_s* is ours to decide."""
        deadline = time.monotonic() + grace_s
        while not self._remove_group(rpc, group):
            # Again and again: one that ended by itself is not stopped but about to be restarted.
            try:
                rpc.stopProcessGroup(group, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != Faults.BAD_NAME:
                    raise
                return
            if time.monotonic() >= deadline:
                for info in rpc.getAllProcessInfo():
                    if info["group"] == group and info["pid"]:
                        _kill_group(info["pid"])
            time.sleep(0.02)

    @staticmethod
    def _remove_group(rpc: Any, group: str) -> bool:
        try:
            rpc.removeProcessGroup(group)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == Faults.STILL_RUNNING:
                return False
            if fault.faultCode != Faults.BAD_NAME:
                raise
        return True

    @contextmanager
    def _rpc(self) -> Iterator[Any]:
        with self._proxy() as proxy:
            yield proxy.supervisor

    @contextmanager
    def _proxy(self) -> Iterator[Any]:
        transport = SupervisorTransport(
            None, None, serverurl=f"unix://{self._layout.supervisor_socket}"
        )
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            yield proxy
        except xmlrpc.client.Error as error:
            raise HostError(
                f"supervisord refuses: {error}",
                remedy=f"Its log: {self._layout.supervisor / 'supervisord.log'}",
            ) from error
        finally:
            transport.close()


def _full_name(group: str, program: Program) -> str:
    return f"{group}:{group}.{program.name}"


def _explain(info: Mapping[str, Any]) -> str:
    """Say how a process ended, from what Supervisor knows of it."""
    if info["statename"] in ("BACKOFF", "FATAL"):
        is_quick = "too quickly" in info["spawnerr"]
        return "it ended within a second of its start" if is_quick else str(info["spawnerr"])
    if info["statename"] == "EXITED":
        return f"exit status {info['exitstatus']}"
    return str(info["description"])


def _tail(path: Path, lines: int) -> tuple[list[str], int]:
    """Return the last *lines* of a log and how far it was read; at most its last 256 KiB."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 256 * 1024))
            found = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return [], 0
    return found[-lines:] if lines else [], end


def _read_on(path: Path, offset: int) -> tuple[list[str], int]:
    """Return the whole lines after *offset*; begin anew when the log was rotated."""
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < offset:
                offset = 0
            file.seek(offset)
            data = file.read(1 << 20)
    except FileNotFoundError:
        return [], 0
    whole = data[: data.rfind(b"\n") + 1]
    return whole.decode(errors="replace").splitlines(), offset + len(whole)


def _clean_environment() -> dict[str, str]:
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "USER", "LOGNAME")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _pause(_: object) -> None:
    time.sleep(0.02)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
