"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chittyops_core.cli import completion
from chittyops_core.errors import ManifestError, UsageError
from chittyops_core.model.names import DEFAULT_ENVIRONMENT

if TYPE_CHECKING:
    from chittyops_core.model.service import Service

__all__ = [
    "confirm", "folder_argument", "json_option", "service_options", "service_of", "target_options",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])

folder_argument = click.argument(
    "folder", default=".", type=click.Path(file_okay=False, path_type=Path)
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def confirm(question: str) -> None:
    """Ask; end as an interrupt does when the answer is no.

    Raises:
        UsageError: Nobody is there to answer.
    """
    try:
        is_agreed = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise UsageError(
            "this asks before it changes anything, and nobody is there to answer",
            remedy="Say --yes, once you have seen what it would do.",
        ) from None
    if not is_agreed:
        raise click.Abort


def target_options(function: F) -> F:
    """Add --env and --client: which service of the app."""
    function = click.option(
        "--client", metavar="NAME", shell_complete=completion.clients,
        help="For which client (digital-dossier).",
    )(function)  # fmt: skip
    return click.option(
        "--env", "environment", default=DEFAULT_ENVIRONMENT, show_default=True, metavar="NAME",
        shell_complete=completion.environments, help="Which environment.",
    )(function)  # fmt: skip


def service_options(function: F) -> F:
    """Add --app besides --env and --client, for commands that need no folder."""
    function = target_options(function)
    return click.option(
        "--app", metavar="NAME", shell_complete=completion.apps,
        help="Name of the app; that of this folder when left out.",
    )(function)  # fmt: skip


def service_of(app: str | None, environment: str, client: str | None) -> Service:
    """Return the service that the options name. Raises UsageError."""
    from chittyops_core.model.service import Service

    if app is None:
        app = _app_of_folder()
    try:
        return Service(app, environment, client)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _app_of_folder() -> str:
    from chittyops_core.deploy.app import App
    from chittyops_core.model.manifest_reader import FILE_NAME

    here = Path.cwd()
    is_app = any((here / n).is_file() for n in (FILE_NAME, "Procfile", "requirements.txt"))
    if not is_app:
        raise UsageError(
            f"{here} is not the folder of an app, and no app is named",
            remedy="Name one with --app NAME (`chittyops status` lists them), or go to its folder.",
        )
    try:
        return App.load(here).name
    except ManifestError as error:
        raise UsageError(error.message, remedy="Name the app with --app NAME.") from error
