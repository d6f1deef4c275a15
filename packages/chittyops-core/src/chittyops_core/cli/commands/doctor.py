"""`chittyops doctor`: whether this machine can do what is asked of it."""

from __future__ import annotations

import click

from chittyops_core.cli.options import json_option


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Check this machine: interpreter, parts, disk, ports, the host's own processes.

    Exits 1 when something must be mended before a deploy can work.
    """
    import sys

    from attrs import asdict

    from chittyops_core.cli import render
    from chittyops_core.cli.checkup import examine

    results = list(examine())
    if as_json:
        render.print_json({"checks": [asdict(result) for result in results]})
    else:
        for result in results:
            mark = "ok  " if result.is_well else "FAIL"
            click.echo(f"{mark} {result.name:<12} {result.found}")
            if not result.is_well:
                click.echo(f"     -> {result.remedy}")
    sys.exit(0 if all(result.is_well for result in results) else 1)
