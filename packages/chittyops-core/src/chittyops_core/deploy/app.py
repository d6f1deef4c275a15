"""An app as a folder: its manifest, completed by what the folder says about itself."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from chittyops_core.deploy import detect
from chittyops_core.deploy.detect import Guess
from chittyops_core.errors import ManifestError
from chittyops_core.model import manifest_reader
from chittyops_core.model.manifest import Manifest
from chittyops_core.model.service import DEFAULT_ENVIRONMENT

__all__ = ["App", "client_file"]


@frozen
class App:
    """What one folder describes, for one environment.

    Attributes:
        folder: Absolute path.
        manifest: Complete: name, builder and processes are known.
        environment: Whose overlay is applied.
        guesses: What was not written down but read from the folder.
        has_manifest: Whether there is a `chittyops.toml`.
    """

    folder: Path
    manifest: Manifest
    environment: str
    guesses: tuple[Guess, ...] = ()
    has_manifest: bool = True

    @property
    def name(self) -> str:
        return self.manifest.app.name

    @property
    def kind(self) -> str | None:
        return self.manifest.app.kind

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        *,
        environment: str = DEFAULT_ENVIRONMENT,
        client: str | None = None,
        health_path: str | None = None,
        overlay: Mapping[str, Any] | None = None,
    ) -> App:
        """Read the app in *folder*.

        Args:
            folder: Where the app lies, with or without a `chittyops.toml`.
            environment: Whose overlay to apply.
            client: Whose `clients/NAME.toml` to lay over it, where there is one.
            health_path: Health path to use instead of the manifest's.
            overlay: More of the same keys, laid over all of it.

        Raises:
            ManifestError: The manifest is wrong, or nothing says how to start the app.
        """
        path = Path(folder).resolve()
        if not path.is_dir():
            raise ManifestError(
                f"{folder}: there is no such folder", remedy="Give the folder of an app."
            )
        file = path / manifest_reader.FILE_NAME
        has_manifest = file.is_file()
        try:
            text = file.read_text(encoding="utf-8") if has_manifest else ""
        except UnicodeDecodeError as error:
            raise ManifestError(f"{file.name}: {error}", remedy="Save it as UTF-8.") from error
        layers = [*_client_layer(path, client), *([("overlay", overlay)] if overlay else [])]
        manifest = manifest_reader.parse(text, environment=environment, layers=layers)
        if health_path is not None:
            try:
                manifest = evolve(manifest, health=evolve(manifest.health, path=health_path))
            except ValueError as error:
                raise ManifestError(f"health path: {error}") from error
        manifest, guesses = detect.complete(path, manifest)
        return cls(path, manifest, environment, guesses, has_manifest)


def _client_layer(folder: Path, client: str | None) -> list[tuple[str, Mapping[str, Any]]]:
    file = client_file(folder, client) if client is not None else None
    if file is None or not file.is_file():
        return []
    name = f"clients/{file.name}"
    try:
        return [(name, tomllib.loads(file.read_text(encoding="utf-8")))]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{name}: {error}", remedy="Correct the TOML.", file=name) from error


def client_file(folder: Path, client: str) -> Path:
    """Return where a client's overlay lies, if it has one."""
    return folder / "clients" / f"{client}.toml"
