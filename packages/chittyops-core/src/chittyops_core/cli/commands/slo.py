"""`chittyops slo`: what files of objectives say, in plain words and as Prometheus rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option

if TYPE_CHECKING:
    from chittyops_core.monitor.objectives import BurnRule, Objective

files_argument = click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
)


@click.group(
    "slo",
    epilog=manual(
        "chittyops slo check objectives.yaml",
        "chittyops slo rules objectives.yaml > rules.yaml",
        environment="",
    ),
)
def command() -> None:
    """Read service level objectives: OpenSLO (v1, v1alpha) or Sloth (prometheus/v1) files."""


@command.command(
    "check",
    epilog=manual(
        "chittyops slo check objectives.yaml",
        "chittyops slo check slo/*.yaml --json",
        environment="",
    ),
)
@files_argument
@json_option
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Say in plain words what each objective promises, and what would alert when.

    Unknown keys are errors, with file, line and the nearest known key.
    """
    from chittyops_core.cli import render
    from chittyops_core.monitor.objective_files import read_files

    objectives = read_files(files)
    if as_json:
        render.print_json({"objectives": [_to_json(each) for each in objectives]})
        return
    for each in objectives:
        click.echo("\n".join(_words(each)))


@command.command(
    "rules",
    epilog=manual(
        "chittyops slo rules objectives.yaml > rules.yaml",
        "chittyops slo rules slo/*.yaml --averaged-period > rules.yaml",
        environment="",
    ),
)
@files_argument
@click.option("--averaged-period", is_flag=True,
              help="Take the whole period as the mean of 5-minute ratios, as Sloth does: cheaper "
              "for Prometheus, and wrong where traffic varies.")  # fmt: skip
@json_option
def rules(files: tuple[Path, ...], averaged_period: bool, as_json: bool) -> None:
    """Print the objectives as Prometheus recording and alerting rules, with Sloth's names."""
    from chittyops_core.cli import render
    from chittyops_core.monitor import prometheus_rules
    from chittyops_core.monitor.objective_files import read_files

    made = prometheus_rules.rules(read_files(files), averaged_period=averaged_period)
    if as_json:
        render.print_json(made)
        return
    click.echo(prometheus_rules.to_yaml(made), nl=False)


# --- in words ----------------------------------------------------------------------------------


def _words(objective: Objective) -> list[str]:
    percent, days = objective.target_percent, objective.period_days
    budget = f"{objective.budget * 100:.6g} %"
    lines = [
        f"{objective.service}: {objective.name}",
        f"  {percent:g} % of {_events(objective)} good over {days} days; {budget} may fail",
    ]
    if objective.description:
        lines.insert(1, f"  {objective.description.strip()}")
    for rule in objective.rules:
        if objective.alerting.of(rule.severity).is_on:
            lines.append(f"  {_rule_words(rule, objective)}")
    off = [name for name in ("page", "ticket") if not getattr(objective.alerting, name).is_on]
    if off:
        lines.append(f"  no {' and no '.join(off)}: switched off in the file")
    if not objective.is_counted_here:
        lines.append("  counted by Prometheus only: `chittyops slo rules` prints its rules")
    return lines


def _events(objective: Objective) -> str:
    from chittyops_core.monitor.objectives import MetricEvents, MonitorEvents

    if isinstance(objective.indicator, MonitorEvents):
        return f"the looks of the monitor {objective.indicator.monitor} are"
    if isinstance(objective.indicator, MetricEvents):
        return f"the events of the metric {objective.indicator.total.name} are"
    return "the events are"


def _rule_words(rule: BurnRule, objective: Objective) -> str:
    """Such as `page when 2 % of the 30 days' budget burns in 1h (14.4x, 1.44 % of events fail)`."""
    failing = rule.factor * objective.budget * 100
    if failing >= 100:
        return (
            f"{rule.severity} never for {rule.long}: {rule.factor:.4g}x would be more events than "
            "there are; the budget is too large for that"
        )
    return (
        f"{rule.severity} when {rule.budget_percent:g} % of the {objective.period_days} days' "
        f"budget burns in {rule.long} ({rule.factor:.4g}x: {failing:.4g} % of events fail), "
        f"and still does over {rule.short}"
    )


def _to_json(objective: Objective) -> dict[str, Any]:
    return {
        "id": objective.id,
        "service": objective.service,
        "name": objective.name,
        "description": objective.description,
        "target": objective.target,
        "period_days": objective.period_days,
        "counted_here": objective.is_counted_here,
        "alerts": [
            {
                "severity": str(rule.severity),
                "long_window": rule.long,
                "short_window": rule.short,
                "budget_percent": rule.budget_percent,
                "factor": rule.factor,
            }
            for rule in objective.rules
            if objective.alerting.of(rule.severity).is_on
        ],
    }
