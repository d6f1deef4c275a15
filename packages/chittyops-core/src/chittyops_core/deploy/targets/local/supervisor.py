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

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from chittyops_core._kit import files
from chittyops_core._kit.locks import FileLock, pause
from chittyops_core._kit.retry import wait_until
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

    name = "supervisor"

    # --- the daemon ---

    def require(self) -> None:
        """It is installed beside this package, so it can always work."""

    @property
    def pid(self) -> int | None:
        try:
            with self._rpc() as rpc:
                return int(rpc.getPID())
        except (OSError, HostError):
            return None

    @property
    def was_killed(self) -> bool:
        # Only where it was stopped is its pid file gone.
        return self.pid is None and self._pid_file.exists()

    def start_daemon(self, groups: Mapping[str, Sequence[Program]]) -> bool:
        if self.pid is not None:
            return False
        self._write_configuration(ALL_GROUPS)
        for group, programs in groups.items():
            self._write_group(group, programs)
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

    @property
    def runtime(self) -> str | None:
        try:
            pid = self.pid
            return None if pid is None else str(Path(psutil.Process(pid).cmdline()[0]).parents[1])
        except (psutil.Error, IndexError):
            return None

    def abandon(self) -> None:
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not _exists(pid), timeout_s=START_TIMEOUT_S)

    def stop_daemon(self, *, grace_s: float) -> None:
        pid = self.pid
        for group in self.groups():
            self.stop(group, grace_s=grace_s)
        if pid is not None:
            with self._rpc() as rpc:
                rpc.shutdown()
            wait_until(lambda: not _exists(pid), timeout_s=START_TIMEOUT_S)
        for path in (self._layout.supervisor_socket, self._pid_file):
            path.unlink(missing_ok=True)

    # --- the seam ---

    def start(self, group: str, programs: Sequence[Program]) -> None:
        self._write_group(group, programs)
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

    def pids(self) -> Mapping[str, Sequence[int]]:
        found: dict[str, list[int]] = {}
        try:
            with self._rpc() as rpc:
                for info in rpc.getAllProcessInfo():
                    if info["pid"]:
                        found.setdefault(info["group"], []).append(info["pid"])
        except (ConnectionError, FileNotFoundError):
            return {}
        return found

    # --- pieces ---

    @property
    def _pid_file(self) -> Path:
        return self._layout.run / "supervisord.pid"

    @property
    def _conf(self) -> str:
        return str(self._layout.supervisor / "supervisord.conf")

    def _file(self, group: str) -> Path:
        return self._layout.supervisor / "conf.d" / f"{group}.conf"

    def _write_group(self, group: str, programs: Sequence[Program]) -> None:
        files.write_durably(self._file(group), self._render(group, programs))

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
        with FileLock(self._layout.locks / "supervisor.lock").acquire("start", wait=pause):
            try:
                self._write_configuration(f"{group}.conf")
                rpc.reloadConfig()
                rpc.addProcessGroup(group)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != Faults.ALREADY_ADDED:
                    raise
                return False
            finally:
                # All of them, for whoever restarts supervisord by hand.
                self._write_configuration(ALL_GROUPS)
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


def _clean_environment() -> dict[str, str]:
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "USER", "LOGNAME")
    return {name: os.environ[name] for name in kept if name in os.environ}


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
