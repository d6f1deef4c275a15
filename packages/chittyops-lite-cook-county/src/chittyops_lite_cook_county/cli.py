"""`chittyops compliance`: what the gate would say of an app's folder."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import folder_argument, json_option


@click.command(
    "compliance",
    epilog=manual(
        "chittyops compliance court",
        "chittyops compliance court --json > report.json",
        status="0 the gate is open, 1 it is closed or failed, 2 wrong usage, 130 interrupted",
    ),
)
@folder_argument
@json_option
def compliance(folder: Path, as_json: bool) -> None:
    """Run the checks of FOLDER that need no running release, and say what to mend.

    The others run during `deploy`, on the staged release, before it gets any request.
    """
    from chittyops_core._kit import wire
    from chittyops_core.cli import render
    from chittyops_lite_cook_county.ops import CookCountyOpsLite

    lite = CookCountyOpsLite()
    report = lite.run_compliance_audit(lite.plan(lite.load(folder)))
    if as_json:
        render.print_json({"is_open": report.is_open, "results": wire.to_wire(report.results)})
    else:
        for result in report.results:
            click.echo(f"{result.outcome:<14} {result.check:<20} {result.findings[0].summary}")
            if not result.outcome.opens_gate:
                click.echo(f"{'':14} -> {result.findings[0].remedy}")
    sys.exit(0 if report.is_open else 1)
