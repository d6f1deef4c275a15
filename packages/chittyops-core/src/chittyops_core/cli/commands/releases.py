"""`chittyops releases`: what can serve again."""

from __future__ import annotations

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option, service_of, service_options


@click.command(
    "releases",
    epilog=manual(
        "chittyops releases --app court",
        "chittyops releases --app portal --client acme --history",
    ),
)
@service_options
@click.option("--history", is_flag=True, help="Show deployments instead of releases.")
@json_option
def command(
    app: str | None, environment: str, client: str | None, history: bool, as_json: bool
) -> None:
    """List the releases that are kept, the last served first; any can be rolled back to.

    STATE is serving, previous (what `rollback` takes when none is named), warm (it still runs, and
    serves again at once) or kept.
    """
    from chittyops_core._kit import wire
    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    service = service_of(app, environment, client)
    with HostClient() as host:
        view = host.observe(service)
        entries = host.history(service)
    if as_json:
        render.print_json(
            {
                **render.service_json(service),
                "releases": wire.to_wire(view.releases),
                "history": wire.to_wire(entries),
            }
        )
    elif history:
        rows = [
            (
                str(e.id), e.action, e.release, e.phase, e.started[:19],
                f"{sum(e.phases.values()):.1f} s", (e.error or "")[:70],
            )
            for e in entries
        ]  # fmt: skip
        render.table(("NO", "ACTION", "RELEASE", "PHASE", "STARTED (UTC)", "TOOK", "WHY"), rows)
    elif not view.releases:
        click.echo(f"{service} has no releases on this host.")
    else:
        render.table(
            ("RELEASE", "STATE", "BUILT (UTC)", "LAST SERVED (UTC)"),
            [(r.id, r.state, r.created[:19], (r.served or "never")[:19]) for r in view.releases],
        )
