"""`chittyops deploy`: put an app into service."""

from __future__ import annotations

from pathlib import Path

import click

from chittyops_core.cli import completion
from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import confirm, folder_argument, json_option, target_options


@click.command(
    "deploy",
    epilog=manual(
        "chittyops deploy",
        "chittyops deploy court --env staging --yes",
        "chittyops deploy portal --client acme",
        "chittyops deploy court --plan reviewed.json",
    ),
)
@folder_argument
@target_options
@click.option("--kind", metavar="KIND", shell_complete=completion.kinds,
              help="Which lite, where the manifest names none.")  # fmt: skip
@click.option("--health", "health_path", metavar="PATH", help="Health path, for this deploy.")
@click.option("--plan", "plan_file", type=click.Path(path_type=Path, exists=True),
              help="Carry out exactly this plan, made by `plan --out`.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-wait", is_flag=True, help="Be refused while another deploy is under way.")
@click.option("-v", "--verbose", is_flag=True, help="Show every step.")
@json_option
def command(
    folder: Path,
    environment: str,
    client: str | None,
    kind: str | None,
    health_path: str | None,
    plan_file: Path | None,
    yes: bool,
    no_wait: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Put the app of FOLDER into service, or its newer version in place of what serves.

    The new release is built, started beside the old one, and checked; only when it is well do
    requests go to it. If anything fails, what served before still serves. Ctrl-C undoes.

    A folder without chittyops.toml works too: what is guessed is shown first. The first deploy on
    a machine starts the host (`chittyops host --help`).
    """
    import json

    from chittyops_core._kit import wire
    from chittyops_core.cli import render
    from chittyops_core.cli.lites import lite_of
    from chittyops_core.cli.progress import Progress
    from chittyops_core.deploy.app import App
    from chittyops_core.deploy.plan import Plan
    from chittyops_core.errors import UsageError

    first = App.load(folder, environment=environment)
    with Progress(verbose=verbose) as progress:
        lite = lite_of(kind or first.kind).operator(client=client, home=None, notify=progress)
        app = lite.load(folder, environment=environment, health_path=health_path)
        if plan_file is not None:
            try:
                plan = wire.from_wire(Plan, json.loads(plan_file.read_text()))
            except Exception as error:
                raise UsageError(
                    f"{plan_file} holds no plan of this version", remedy="Make one: plan --out."
                ) from error
        else:
            plan = lite.plan(app)
        render.print_guesses(app.guesses)
        render.print_plan(plan, err=True)
    if not (yes or plan.is_unchanged):
        confirm("Do this?")
    with progress:
        done = lite.deploy(app, plan=plan, wait=not no_wait)
    if as_json:
        render.print_json(render.deployment_json(done))
    else:
        render.print_deployment(done, "serves")
