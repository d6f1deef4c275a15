"""`chittyops rollback`: let an earlier release serve again."""

from __future__ import annotations

import click

from chittyops_core.cli import completion
from chittyops_core.cli.manual import manual
from chittyops_core.cli.options import confirm, json_option, service_of, service_options


@click.command(
    "rollback",
    epilog=manual(
        "chittyops rollback --app court",
        "chittyops rollback --app court 74d67a90 --yes",
    ),
)
@service_options
@click.argument("release", required=False, shell_complete=completion.releases)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-wait", is_flag=True, help="Be refused while another deploy is under way.")
@click.option("-v", "--verbose", is_flag=True, help="Show every step.")
@json_option
def command(
    app: str | None,
    environment: str,
    client: str | None,
    release: str | None,
    yes: bool,
    no_wait: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Let RELEASE (or the previously served one) serve again. Needs no build.

    RELEASE is an id, or the beginning of one, from `chittyops releases`. Data is not touched:
    what a migration changed stays changed.
    """
    from chittyops_core.cli import render
    from chittyops_core.cli.lites import lite_of
    from chittyops_core.cli.progress import Progress
    from chittyops_core.errors import NotFoundError
    from chittyops_core.host import HostClient

    service = service_of(app, environment, client)
    with HostClient() as host:
        view = host.observe(service)
        if view.kind is None:
            raise NotFoundError(
                f"there is no service {service} on this host",
                remedy="`chittyops status` lists those there are.",
            )
        with Progress(verbose=verbose) as progress:
            lite = lite_of(view.kind).operator(client=client, home=None, notify=progress)
            plan = lite.plan_rollback(host, service, release)
            render.print_plan(plan, err=True)
    if not yes:
        confirm("Do this?")
    with progress:
        done = lite.rollback(
            service.app, environment=environment, to=plan.release.id, wait=not no_wait
        )
    if as_json:
        render.print_json(render.deployment_json(done))
    else:
        render.print_deployment(done, "serves again")
