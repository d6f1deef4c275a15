"""Lowest cost: bounds on what an app takes from its machine."""

from __future__ import annotations

from attrs import evolve

from chittyops_core import Finding, Plan, Severity
from chittyops_core.model.manifest import Process, Size
from chittyops_lite_chitty_apps.settings import Limits

__all__ = ["bound", "within_limits"]


def bound(plan: Plan, limits: Limits) -> Plan:
    """Return *plan* with a memory limit for each process and few old releases. Pure."""
    if plan.is_rollback:
        return plan

    def bounded(process: Process) -> Process:
        return process if process.memory else evolve(process, memory=Size(limits.memory))

    config = plan.config
    lifecycle = evolve(config.lifecycle, keep=min(config.lifecycle.keep, limits.kept_releases))
    processes = {name: bounded(process) for name, process in config.processes.items()}
    return evolve(plan, config=evolve(config, processes=processes, lifecycle=lifecycle))


def within_limits(plan: Plan, limits: Limits) -> Finding:
    """Say whether the app asks for more processes than this kind runs."""
    asked = sum(process.instances for process in plan.config.processes.values())
    if asked <= limits.max_instances:
        return Finding("cost.instances", Severity.INFO, f"{asked} processes, within the limit")
    return Finding(
        "cost.instances",
        Severity.BLOCKING,
        f"the app asks for {asked} processes, this kind runs at most {limits.max_instances}",
        "Lower `instances` in chittyops.toml.",
    )
