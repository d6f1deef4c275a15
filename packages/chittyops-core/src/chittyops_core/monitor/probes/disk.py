"""`disk`: how full a file system is, and when it will be full."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping
from typing import ClassVar

from chittyops_core.monitor.probes import blocking, checks
from chittyops_core.monitor.probes.base import Deadline, LookError, Probe, Unit, Values

__all__ = ["DiskProbe", "seconds_until_zero"]

SAMPLE_EVERY_S = 600.0
MAX_SAMPLES = 432
"""Three days of one each ten minutes: a week-end's growth shows, last month's does not."""

MIN_SPAN_S = 3600.0
"""A line through less than an hour says nothing of days."""

MAX_FULL_IN_S = 3650 * 86400.0
"""Ten years: what `full_in` says of a disk that does not fill, or is not known for an hour yet."""


class DiskProbe(Probe):
    """Look at the file system that holds the target, an absolute path.

    `free_percent` counts as df(1) does: of what users other than root may fill. `full_in` is where
    a straight line through the free space of the last three days meets zero; at most ten years.
    There are no options.
    """

    kind = "disk"
    default_conditions = ("free_percent >= 10%", "inodes_free_percent >= 5%")
    values: ClassVar[Mapping[str, Unit]] = {
        "free_percent": Unit.PERCENT,
        "used_percent": Unit.PERCENT,
        "inodes_free_percent": Unit.PERCENT,
        "free": Unit.SIZE,
        "size": Unit.SIZE,
        "full_in": Unit.DURATION,
    }

    def _prepare(self, target: str) -> None:
        self._path = checks.path(target)
        self._samples: deque[tuple[float, float]] = deque(maxlen=MAX_SAMPLES)

    def _look(self, values: Values, deadline: Deadline) -> None:
        try:
            # A mount whose server is gone never returns.
            found = blocking.call(
                ("disk", self._path),
                lambda: os.statvfs(self._path),
                deadline,
                waiting=f"the file system of {self._path} does not answer",
            )
        except OSError as error:
            raise LookError(f"{self._path} cannot be looked at: {error.strerror}") from error
        free = found.f_bavail * found.f_frsize
        usable = (found.f_blocks - found.f_bfree + found.f_bavail) * found.f_frsize
        if usable == 0:
            raise LookError(f"the file system of {self._path} has no size")
        values["free"] = free
        values["size"] = found.f_blocks * found.f_frsize
        values["free_percent"] = 100 * free / usable
        values["used_percent"] = 100 - 100 * free / usable
        # btrfs and others make inodes as they need them, and say that they have 0.
        values["inodes_free_percent"] = (
            100 * found.f_favail / found.f_files if found.f_files else 100.0
        )
        values["full_in"] = self._full_in(float(free))

    def _full_in(self, free: float) -> float:
        now = self.clock.monotonic()
        if not self._samples or now - self._samples[-1][0] >= SAMPLE_EVERY_S:
            self._samples.append((now, free))
        if now - self._samples[0][0] < MIN_SPAN_S:
            return MAX_FULL_IN_S
        left = seconds_until_zero([*self._samples, (now, free)])
        return MAX_FULL_IN_S if left is None else min(left, MAX_FULL_IN_S)


def seconds_until_zero(samples: Iterable[tuple[float, float]]) -> float | None:
    """Return when a line through *samples* meets zero, counted from the last of them.

    Args:
        samples: Pairs of seconds and amount, oldest first; fitted by least squares.

    Returns:
        Seconds, 0 when it is there already; None when the line does not fall.
    """
    points = list(samples)
    last = points[-1][0]
    mean_x = sum(x - last for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - last - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return None
    slope = sum((x - last - mean_x) * (y - mean_y) for x, y in points) / spread
    if slope >= 0:
        return None
    return max(0.0, mean_x - mean_y / slope)
