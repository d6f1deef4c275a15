"""`chittyops doctor`: whether this machine can do what is asked of it."""

from __future__ import annotations

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import json_option


@click.command(
    "doctor",
    epilog=manual(
        "chittyops doctor",
        status="0 all is well, 1 something must be mended before a deploy can work",
    ),
)
@json_option
def command(as_json: bool) -> None:
    """Check this machine: interpreter, parts, disk, ports, the host's own processes.

    Each line that says FAIL is followed by what to do about it.
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
