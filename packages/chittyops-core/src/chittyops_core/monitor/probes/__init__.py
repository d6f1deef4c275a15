"""What looks at one thing and says what it saw; one module a kind, loaded when it is asked for.

A kind is an entry point in the group `chittyops.probes`, its name to a subclass of `Probe`. Others
add kinds the same way. A probe object belongs to one monitor and may remember what it saw (the CPU
time of the last look, how full a disk was); one thread at a time may call its `look`.
"""

from __future__ import annotations

from chittyops_core._kit.late import imports

__getattr__ = imports(
    __name__,
    {
        "LookError": "chittyops_core.monitor.probes.base",
        "Probe": "chittyops_core.monitor.probes.base",
        "Unit": "chittyops_core.monitor.probes.base",
        "conditions_of": "chittyops_core.monitor.probes.registry",
        "kinds": "chittyops_core.monitor.probes.registry",
        "probe_for": "chittyops_core.monitor.probes.registry",
        "require": "chittyops_core.monitor.probes.registry",
    },
)
