"""From a monitor to its probe: this package's kinds, and entry points for more."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from chittyops_core._kit.clock import Clock
from chittyops_core.errors import ConditionError, MonitorError
from chittyops_core.model.monitoring import Monitor
from chittyops_core.monitor.conditions import Condition, parse
from chittyops_core.monitor.probes.base import Probe, Unit, nearest
from chittyops_core.monitor.units import DURATIONS, SIZES

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["conditions_of", "kinds", "probe_for", "require"]


OWN = (
    "command",
    "disk",
    "dns",
    "heartbeat",
    "http",
    "process",
    "python",
    "sql",
    "tcp",
    "tls",
)
"""The kinds of this package. They are entry points too, but found without reading the metadata of
all packages, which takes 6 MB; so nobody can put another probe in their place either."""


@lru_cache(maxsize=1)
def _others() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    found = entry_points(group="chittyops.probes")
    return {entry.name: entry for entry in found if entry.name not in OWN}


@lru_cache
def _class_of(kind: str) -> type[Probe]:
    if kind not in OWN and kind not in _others():
        raise MonitorError(
            f"there is no probe {kind!r}{nearest(kind, kinds())}",
            remedy="Correct the monitor's kind, or install the package that brings it.",
        )
    try:
        if kind in OWN:
            module = import_module(f"chittyops_core.monitor.probes.{kind}")
            loaded: type[Probe] = getattr(module, f"{kind.title()}Probe")
        else:
            loaded = _others()[kind].load()
    except ImportError as error:
        raise MonitorError(
            f"the probe {kind!r} cannot be loaded: {error}",
            remedy="Install what it needs: pip install 'chittyops-core[local]'.",
        ) from error
    return loaded


def kinds() -> list[str]:
    """Return the kinds of probe that are installed, sorted."""
    return sorted([*OWN, *_others()])


def probe_for(monitor: Monitor, clock: Clock | None = None) -> Probe:
    """Return a new probe for *monitor*. Raises MonitorError when target or options are wrong."""
    return _class_of(monitor.kind)(monitor, clock)


def conditions_of(monitor: Monitor) -> tuple[Condition, ...]:
    """Return what must hold for *monitor*: its own conditions, or its probe's.

    Raises:
        MonitorError: A condition cannot be read, asks for a value that the probe does not give, or
            does not fit it: `response_time < 500` would be 500 seconds.
    """
    probe = _class_of(monitor.kind)
    found = []
    for text in monitor.conditions or probe.default_conditions:
        try:
            condition = parse(text)
        except ConditionError as error:
            error.message = f"the monitor {monitor.name!r}: {error.message}"
            raise
        if why := _misfit(condition, probe):
            raise MonitorError(
                f"the monitor {monitor.name!r}: {text!r}: {why}",
                remedy="Correct the condition; nothing was changed.",
                monitor=monitor.name,
            )
        found.append(condition)
    return tuple(found)


def require(monitor: Monitor) -> None:
    """Check *monitor* strictly, as whoever configures it should. Raises MonitorError."""
    probe_for(monitor).close()
    conditions_of(monitor)


def _misfit(condition: Condition, probe: type[Probe]) -> str:
    """Return why *condition* cannot be asked of *probe*; '' when it can."""
    unit = probe.values.get(condition.name)
    if unit is None:
        if probe.has_other_values:
            return ""
        return f"this probe measures no {condition.name!r}{nearest(condition.name, probe.values)}"
    if condition.path is not None:
        return ""
    wanted = condition.value
    is_number = not isinstance(wanted, str | bool)
    if unit is Unit.TEXT:
        return "" if isinstance(wanted, str) else f"{condition.name} is a text"
    if unit is Unit.FLAG:
        return "" if isinstance(wanted, bool) else f"{condition.name} is true or false"
    if not is_number:
        return f"{condition.name} is a number of {unit}"
    if unit is Unit.DURATION and condition.unit not in DURATIONS:
        return f"{condition.name} is a duration: write its unit, such as 500ms or 14d"
    fitting = {Unit.DURATION: DURATIONS, Unit.SIZE: {**SIZES, "": 1}, Unit.PERCENT: ("%", "")}
    if condition.unit not in fitting.get(unit, ("",)):
        return f"{condition.name} is in {unit}, which {condition.unit!r} is not"
    return ""
