"""`chittyops new`: a whole example app to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from chittyops_core.cli import completion
from chittyops_core.cli.manual import manual


@click.command(
    "new",
    epilog=manual(
        "chittyops new chitty-apps shop",
        "chittyops new cook-county court",
        environment="",
    ),
)
@click.argument("kind", shell_complete=completion.kinds)
@click.argument("folder", type=click.Path(path_type=Path))
def command(kind: str, folder: Path) -> None:
    """Make a small, tested app of KIND in FOLDER: cook-county, digital-dossier or chitty-apps.

    It deploys as it is; its README says how to go on.
    """
    import os
    import re
    import sys

    from chittyops_core._kit import files
    from chittyops_core.cli.lites import lite_of
    from chittyops_core.errors import UsageError

    lite = lite_of(kind)
    package = sys.modules[lite.__module__.partition(".")[0]]
    template = Path(str(package.__file__)).parent / "templates" / "starter"
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", remedy="Choose a folder that is not there yet.")
    # Whatever the shell's umask: cook-county rightly refuses what everybody may write to.
    os.umask(0o022)
    files.copy_tree(template, list(files.walk_tree(template, files.is_bytecode)), folder)
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:32].strip("-")
    manifest = folder / "chittyops.toml"
    text = manifest.read_text()
    manifest.write_text(re.sub(r'^name = ".*"$', f'name = "{name}"', text, count=1, flags=re.M))
    click.echo(f"Made a {kind} app in {folder}.")
    example = " --client acme" if lite.multi_tenant else ""
    click.echo(f"Deploy it: chittyops deploy {folder}{example}")
