"""`chittyops plan`: show what a deploy would change."""

from __future__ import annotations

from pathlib import Path

import click

from chittyops_core.cli import completion
from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import folder_argument, json_option, target_options


@click.command(
    "plan",
    epilog=manual(
        "chittyops plan",
        "chittyops plan court --env staging",
        "chittyops plan court --out reviewed.json",
    ),
)
@folder_argument
@target_options
@click.option("--kind", metavar="KIND", shell_complete=completion.kinds,
              help="Which lite, where the manifest names none.")  # fmt: skip
@click.option("--health", "health_path", metavar="PATH", help="Health path, for this deploy.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep the plan for `deploy --plan`.")
@json_option
def command(
    folder: Path,
    environment: str,
    client: str | None,
    kind: str | None,
    health_path: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Show what `deploy` would change in the app of FOLDER. Changes nothing.

    Values of secrets are never shown, only that one changed.
    """
    import json

    from chittyops_core._kit import files, wire
    from chittyops_core.cli import render
    from chittyops_core.cli.lites import lite_of
    from chittyops_core.deploy.app import App

    first = App.load(folder, environment=environment)
    lite = lite_of(kind or first.kind).operator(client=client, home=None, notify=None)
    app = lite.load(folder, environment=environment, health_path=health_path)
    plan = lite.plan(app)
    if out is not None:
        files.write_durably(out.absolute(), json.dumps(wire.to_wire(plan), indent=1))
    if as_json:
        release = plan.release.id if plan.config.is_complete else None
        render.print_json(
            {
                **render.service_json(plan.service),
                "kind": plan.kind,
                "release": release,
                "base": plan.base,
                "unchanged": plan.is_unchanged,
                "strategy": plan.config.lifecycle.strategy,
                "changes": wire.to_wire(plan.changes),
                "notes": list(plan.notes),
                "guesses": wire.to_wire(app.guesses),
            }
        )
        return
    render.print_guesses(app.guesses)
    render.print_plan(plan)
