"""`command`: run a program; its exit status is the answer (as with Nagios plug-ins)."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import ClassVar

from chittyops_core.monitor.probes import checks
from chittyops_core.monitor.probes.base import Check, Deadline, Probe, Unit, Values
from chittyops_core.monitor.probes.children import Children, clean_environment

__all__ = ["CommandProbe"]


class CommandProbe(Probe):
    """Run the target, a command line. `output` is the end of what it wrote, at most 4 KiB.

    It runs as the agent's user with a small environment; whatever it leaves behind is killed.
    Options:

    - `shell`: true runs it by `/bin/sh -c`; otherwise it is split into words and no shell sees it.
    - `folder`: Where it runs; `/` when not given.
    - `environment`: Mapping of more variables.
    """

    kind = "command"
    default_conditions = ("exit_status == 0",)
    values: ClassVar[Mapping[str, Unit]] = {
        "exit_status": Unit.NUMBER,
        "output": Unit.TEXT,
        "response_time": Unit.DURATION,
    }
    options: ClassVar[Mapping[str, Check]] = {
        "shell": checks.flag,
        "folder": checks.path,
        "environment": checks.environment,
    }

    def _prepare(self, target: str) -> None:
        self._children = Children()
        if not target.strip() or "\0" in target:
            raise ValueError("it should be a command line")
        self._words = ["/bin/sh", "-c", target] if self._option("shell") else shlex.split(target)

    def close(self) -> None:
        self._children.close()

    def _look(self, values: Values, deadline: Deadline) -> None:
        began = time.monotonic()
        done = self._children.run(
            self._words,
            deadline,
            environment=clean_environment(self._option("environment", {})),
            folder=self._option("folder", checks.path("/")),
        )
        values["exit_status"] = done.status
        values["output"] = done.output
        values["response_time"] = time.monotonic() - began
