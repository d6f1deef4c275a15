"""CPU time of `chittyops --help`, beside an interpreter that imports click and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rows.base import Row, by_turns

ROUNDS = 25


def measure(folder: Path) -> Row:
    command = [str(Path(sys.executable).with_name("chittyops")), "--help"]
    ours, theirs = by_turns(
        ROUNDS,
        lambda: _cpu_ms(command),
        lambda: _cpu_ms([sys.executable, "-c", "import click"]),
    )
    return Row("chittyops --help, CPU", 'python -c "import click"', "ms", ours, theirs, 3)


def _cpu_ms(command: list[str]) -> float:
    # Of one thread and without waiting, so on an idle machine it is the time that one waits.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return (used.ru_utime + used.ru_stime) * 1000
