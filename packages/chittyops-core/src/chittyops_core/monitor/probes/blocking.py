"""Calls that know no time limit (name look-ups, a hung NFS mount), with one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

from chittyops_core.monitor.probes.base import Deadline

__all__ = ["call"]

T = TypeVar("T")

_lock = threading.Lock()
_running: dict[Hashable, Future[Any]] = {}


def call(key: Hashable, function: Callable[[], T], deadline: Deadline, *, waiting: str) -> T:
    """Return what *function* does, or stop waiting for it.

    A call that hangs cannot be ended, so there is at most one for each *key*: who asks meanwhile
    waits for that one. That bounds the threads by the number of keys.

    Raises:
        TimeoutError: *deadline* is over; says *waiting*.
    """
    with _lock:
        future = _running.get(key)
        if future is None:
            future = _running[key] = Future()
            args = (key, function, future)
            threading.Thread(target=_run, args=args, name=f"probe-{key!r:.40}", daemon=True).start()
    try:
        result: T = future.result(timeout=deadline.left())
    except FutureTimeoutError:
        if future.done():
            raise
        raise TimeoutError(waiting) from None
    return result


def _run(key: Hashable, function: Callable[[], Any], future: Future[Any]) -> None:
    result: Any = None
    failure: BaseException | None = None
    try:
        result = function()
    except BaseException as error:
        failure = error
    # Forgotten before it is answered: whoever asks after the answer begins a new call.
    with _lock:
        del _running[key]
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
