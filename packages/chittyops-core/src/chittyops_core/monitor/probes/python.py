"""`python`: call a function, in a process of its own so that it cannot harm the agent."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from chittyops_core.model.monitoring import Scalar
from chittyops_core.monitor.probes import checks
from chittyops_core.monitor.probes.base import Check, Deadline, LookError, Probe, Unit, Values
from chittyops_core.monitor.probes.children import Children, clean_environment

__all__ = ["PythonProbe"]

MAX_RESULT_BYTES = 64 * 1024

_TARGET = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)

_RUNNER = """
import functools, importlib, json, sys
descriptor, target, arguments, path = int(sys.argv[1]), *sys.argv[2:5]
if path:
    sys.path.insert(0, path)
module, _, name = target.partition(":")
try:
    function = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    answer = {"result": function(**json.loads(arguments))}
    text = json.dumps(answer)
except Exception as error:
    text = json.dumps({"error": f"{type(error).__name__}: {error}"})
with open(descriptor, "w") as file:
    file.write(text)
"""
"""The result goes through a file of its own: what the function prints cannot be taken for it."""


class PythonProbe(Probe):
    """Call the target, `package.module:function`, in a new interpreter.

    A mapping that it returns becomes the values, anything else the value `value`; False, or an
    exception, is a failure. All of it must be numbers, texts, true, false or None. Options:

    - `arguments`: Mapping of keyword arguments, as JSON knows them.
    - `path`: Folder that is searched for the module first.
    - `python`: The interpreter; the agent's own when not given.
    - `environment`: Mapping of more variables.
    """

    kind = "python"
    values: ClassVar[Mapping[str, Unit]] = {"response_time": Unit.DURATION}
    has_other_values = True
    options: ClassVar[Mapping[str, Check]] = {
        "arguments": lambda value: _arguments(value),
        "path": checks.path,
        "python": checks.path,
        "environment": checks.environment,
    }

    def _prepare(self, target: str) -> None:
        self._children = Children()
        if not _TARGET.fullmatch(target):
            raise ValueError("it should be package.module:function")

    def close(self) -> None:
        self._children.close()

    def _look(self, values: Values, deadline: Deadline) -> None:
        began = time.monotonic()
        with tempfile.TemporaryFile() as file:
            words = [
                str(self._option("python", sys.executable)), "-c", _RUNNER, str(file.fileno()),
                self.monitor.target, self._option("arguments", "{}"),
                str(self._option("path", "")),
            ]  # fmt: skip
            done = self._children.run(
                words, deadline,
                environment=clean_environment(self._option("environment", {})),
                folder=checks.path("/"), pass_fds=(file.fileno(),),
            )  # fmt: skip
            values["response_time"] = time.monotonic() - began
            size = os.fstat(file.fileno()).st_size
            file.seek(0)
            text = file.read(MAX_RESULT_BYTES)
        if size > MAX_RESULT_BYTES:
            raise LookError(f"the result is larger than {MAX_RESULT_BYTES} bytes")
        last = done.output.splitlines()[-1][:200] if done.output else "it said nothing"
        if done.status != 0 or not text:
            raise LookError(f"the process ended with status {done.status} and no result: {last}")
        _take(json.loads(text), values)


def _take(answer: Mapping[str, Any], values: Values) -> None:
    if "error" in answer:
        raise LookError(f"it raised {answer['error']}")
    result = answer["result"]
    if result is False:
        raise LookError("it returned False")
    found = result if isinstance(result, dict) else {"value": result}
    for name, value in found.items():
        values[str(name)] = _scalar(name, value)


def _scalar(name: str, value: Any) -> Scalar:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise LookError(f"it returned {name} as a {type(value).__name__}, not a number, text or flag")


def _arguments(value: Any) -> str:
    if not isinstance(value, Mapping):
        raise ValueError(f"a mapping of keyword arguments, not {value!r}")
    try:
        return json.dumps(dict(value))
    except (TypeError, ValueError) as error:
        raise ValueError(f"a mapping that JSON can hold: {error}") from error
