"""Results as text for a person, and as JSON for a program."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from chittyops_core._kit import wire
from chittyops_core.deploy.detect import Guess
from chittyops_core.deploy.plan import Plan
from chittyops_core.deploy.targets.base import Address
from chittyops_core.host.protocol import BootPlan, Deployment, StatusReport
from chittyops_core.model.service import Service

__all__ = [
    "boot_json",
    "parent_line",
    "plain",
    "print_boot",
    "print_bridge",
    "deployment_json",
    "fit",
    "print_deployment",
    "print_guesses",
    "print_json",
    "print_plan",
    "print_status",
    "service_json",
    "status_json",
    "table",
]


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def service_json(service: Service) -> dict[str, Any]:
    return {
        "app": service.app,
        "environment": service.environment,
        "client": service.client,
    }


def connect_json(address: Address) -> dict[str, Any]:
    """What a program needs to reach a service: where to dial, and which Host to send."""
    return {
        "address": address.connect,
        "host": address.host,
        "tls": address.tls,
        "ca_file": address.ca_file,
    }


def deployment_json(done: Deployment) -> dict[str, Any]:
    return {
        **service_json(done.service),
        "kind": done.kind,
        "release": done.release,
        "previous": done.previous,
        "outcome": done.outcome,
        "url": done.address.url,
        "connect": connect_json(done.address),
        "phases": dict(done.phases),
        "findings": wire.to_wire(done.findings),
        "notes": list(done.notes),
    }


def print_deployment(done: Deployment, verb: str) -> None:
    if done.outcome == "unchanged":
        click.echo(f"{done.service}: release {done.release} serves already")
    else:
        seconds = sum(done.phases.values())
        click.echo(f"{done.service}: {verb} release {done.release} in {seconds:.1f} s")
    click.echo(done.address.url)


def print_guesses(guesses: Sequence[Guess]) -> None:
    """Show what was read from the folder, before it is used."""
    if guesses:
        click.echo("Not written down, so taken from the folder:", err=True)
    for guess in guesses:
        click.echo(f"  {guess.key} = {guess.value!r}  ({guess.reason})", err=True)


def print_plan(plan: Plan, *, err: bool = False) -> None:
    def say(text: str = "") -> None:
        click.echo(text, err=err)

    release = plan.release.id if plan.config.is_complete else "(known once secrets are made)"
    if plan.is_unchanged:
        say(f"{plan.service}: nothing to do, release {release} serves already")
        return
    verb = "roll back to" if plan.is_rollback else "deploy"
    say(
        f"{plan.service}: {verb} release {release} as {plan.kind}, {plan.config.lifecycle.strategy}"
    )
    for change in plan.changes:
        if change.before is None:
            say(f"  + {change.what}: {change.after}")
        elif change.after is None:
            say(f"  - {change.what}: {change.before}")
        else:
            say(f"  ~ {change.what}: {change.before} -> {change.after}")
    if not plan.changes:
        say("  = the same release, started anew where it does not run")
    for note in plan.notes:
        say(f"  note: {note}")


def status_json(report: StatusReport) -> dict[str, Any]:
    return {
        "host": wire.to_wire(report.host),
        "services": [
            {
                **service_json(each.service),
                "kind": each.kind,
                "serving": each.serving,
                "since": each.since,
                "health": each.health,
                "url": each.address.url if each.address else None,
                "connect": connect_json(each.address) if each.address else None,
                "instances": [
                    {
                        "name": i.name,
                        "health": i.verdict,
                        "pid": i.pid,
                        "explanation": i.explanation,
                    }
                    for i in each.instances
                ],
                "warm": list(each.warm),
                "unfinished": each.unfinished,
            }
            for each in report.services
        ],
    }


def print_status(report: StatusReport, seen: Mapping[str, Any] | None = None) -> None:
    """Print a table of services; *seen* is what the agent says, if there is one."""
    host = report.host
    if not report.services:
        click.echo("Nothing is in service on this host. `chittyops deploy FOLDER` begins.")
        return
    if host.supervisor_pid is None:
        click.echo("The host is stopped: nothing serves. `chittyops host start` brings all back.")
    rows = [
        (
            str(each.service),
            each.kind,
            each.serving or "-",
            each.health,
            f"{sum(i.verdict == 'healthy' for i in each.instances)}/{len(each.instances)}",
            _watched(each.service, seen),
            (each.since or "-")[:19],
            each.address.url if each.address else "-",
        )
        for each in report.services
    ]
    heads = ("SERVICE", "KIND", "RELEASE", "HEALTH", "INSTANCES", "WATCH", "SINCE (UTC)", "URL")
    is_bounded = sys.stdout.isatty()
    columns = shutil.get_terminal_size().columns if is_bounded else UNBOUNDED
    table(*fit(heads, rows, columns))
    for text in _troubles(seen):
        click.echo(text, err=True)


UNBOUNDED = 1_000_000
"""Columns of what is no terminal."""

LEAST_WANTED = ("KIND", "SINCE (UTC)", "RELEASE", "INSTANCES")
"""Columns of `status` that a narrow terminal is spared, the first first; `--json` has them all."""


def fit(
    heads: Sequence[str], rows: Sequence[Sequence[str]], columns: int
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Return a table without what makes it wider than *columns*, as far as that helps."""
    for name in LEAST_WANTED:
        widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
        if sum(widths) + 2 * (len(widths) - 1) <= columns:
            break
        at = heads.index(name)
        heads, *rows = ((*row[:at], *row[at + 1 :]) for row in (heads, *rows))
    return heads, rows


def _watched(service: Service, seen: Mapping[str, Any] | None) -> str:
    """Return the worst of what the agent says of a service's monitors."""
    order = ["firing", "no-data", "pending", "unseen", "resolved", "ok"]
    states = {m["state"] for m in (seen or {}).get("monitors", ()) if m["service"] == service.slug}
    return next((state for state in order if state in states), "-")


def _troubles(seen: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield a line for each thing that fails."""
    if seen is None:
        return
    if seen["trouble"]:
        yield f"agent: {seen['trouble']}"
    for monitor in seen["monitors"]:
        if monitor["state"] not in ("ok", "resolved", "unseen"):
            since = time.strftime("%H:%M:%S", time.gmtime(monitor["since"] or 0))
            why = monitor["why"] or "it is well again, and has to stay so"
            yield f"{monitor['monitor']}: {monitor['state']} since {since}: {why}"
    for each in seen["wrong"]:
        yield f"{each['monitor']}: not watched: {each['error']}"


def plain(text: object) -> str:
    """Return what somebody else wrote without signs that a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def parent_line(found: Mapping[str, Any]) -> str:
    """Return in one line how the host stands with its parent (`bridge.status.BridgeStatus`)."""
    parent = plain(found["parent"] or found["url"])
    if found["state"] != "accepted":
        return f"Parent {parent}: {found['state']}"
    if found["is_paused"]:
        return f"Parent {parent}: paused, {found['owed']} items wait"
    heard = _ago(found["heard_at"])
    trouble = plain(found["trouble"] or (found["outcome"] != "answered" and found["why"]) or "")
    more = f"; {trouble}" if trouble else ""
    return f"Parent {parent}: heard {heard}, {found['owed']} items wait{more}"


def print_bridge(found: Mapping[str, Any]) -> None:
    """Show all of how the host stands with its parent."""
    dropped = ", ".join(f"{count} {kind}" for kind, count in found["dropped"].items())
    oldest = f", the oldest put {_ago(found['oldest_at'])}" if found["owed"] else ""
    rows = [
        ("Parent", f"{found['parent'] or '-'} at {found['url']}"),
        ("Its key", found["parent_key"]),
        ("This host", f"{found['name']}, {found['child']}"),
        ("State", f"{found['state']}{', paused' if found['is_paused'] else ''}"),
        ("Heard", _ago(found["heard_at"])),
        ("Last try", f"{_ago(found['last_at'])}: {found['outcome'] or '-'} {found['why']}"),
        ("Waiting", f"{found['owed']} items, {found['owed_bytes'] / 1024:.1f} KiB{oldest}"),
        ("Dropped", dropped or "nothing"),
        ("Refused", f"{found['dead']} items"),
        ("Clock", f"{found['skew_s']:+.1f} s to the parent's"),
        ("Reported", ", ".join(found["caps"]) or "nothing"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name.ljust(width)}  {plain(text)}".rstrip())
    if found["trouble"]:
        click.echo(plain(found["trouble"]), err=True)


def _ago(at: float | None) -> str:
    if at is None:
        return "never"
    seconds = max(0, round(time.time() - at))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def boot_json(plan: BootPlan) -> dict[str, Any]:
    return {**wire.to_wire(plan), "enabled": plan.is_enabled}


def print_boot(plan: BootPlan) -> None:
    """Show what is to be written, before it is."""
    click.echo(f"This writes to {plan.place}:", err=True)
    click.echo(plan.text, nl=False, err=True)
    for note in plan.notes:
        click.echo(f"note: {note}", err=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    for row in (heads, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
