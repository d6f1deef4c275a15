"""`chittyops prune`: delete releases that nothing needs."""

from __future__ import annotations

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import confirm, json_option


@click.command("prune", epilog=manual("chittyops prune --dry-run", "chittyops prune --yes --json"))
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def command(dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete old releases, artifacts and leftovers of crashes, of all services.

    Kept are, for each service: what serves, what served before, what stays warm, and as many
    more as its manifest says (`deploy.keep`, 5 if it says nothing); of these more, the longest
    unused go where all artifacts take more than `chittyops host start --disk-budget` allows.
    A deploy does the same for its own service, so this is for a disk that is full.
    """
    from attrs import asdict

    from chittyops_core.cli import render
    from chittyops_core.host import HostClient

    with HostClient() as host:
        report = host.prune(dry_run=True)
        for each in report.releases:
            click.echo(f"  {each.service}: release {each.release}", err=True)
        if report.releases and not dry_run and not yes:
            confirm("Delete these?")
        if not dry_run:
            report = host.prune(dry_run=False)
    if as_json:
        render.print_json(asdict(report))
        return
    count = len(report.releases)
    after = "" if report.bytes_after is None else f", now {report.bytes_after // 2**20} MB"
    verb = "would be deleted" if dry_run else "deleted"
    click.echo(f"{count} releases {verb}; artifacts took {report.bytes_before // 2**20} MB{after}")
