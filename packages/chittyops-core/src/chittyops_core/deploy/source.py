"""The files of an app folder that become part of a release."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from chittyops_core._kit import files
from chittyops_core.errors import ManifestError
from chittyops_core.model.manifest_reader import FILE_NAME

__all__ = ["Source", "list_source", "read_source"]

# Never part of an app: version control, caches, environments, files of local secrets, and the
# configuration, which is the other half of a release's identity (and other clients' besides).
_LEFT_OUT = (
    ".git", ".hg", ".svn", "__pycache__", "*.pyc", ".venv", "venv", "node_modules", ".tox",
    ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".DS_Store", ".env", ".env.*",
    FILE_NAME, "clients/*.toml",
)  # fmt: skip


@frozen
class Source:
    """A folder's content at one moment.

    Attributes:
        folder: Absolute path, as the host sees it.
        digest: SHA-256 of names, kinds and contents.
        exclude: The manifest's own patterns.
        files: How many files there are.
    """

    folder: str
    digest: str
    exclude: tuple[str, ...]
    files: int


def list_source(folder: Path, exclude: Sequence[str]) -> list[str]:
    """Return the relative paths of an app's files, sorted.

    Raises:
        ManifestError: The folder holds a device, a socket, or a link that leads outside.
    """
    patterns = (*_LEFT_OUT, *exclude)

    def skip(relative: str, _: bool) -> bool:
        name = relative.rsplit("/", 1)[-1]
        return any(fnmatch.fnmatch(name, p) or fnmatch.fnmatch(relative, p) for p in patterns)

    try:
        return list(files.walk_tree(folder, skip))
    except files.UnsafeTreeError as error:
        raise ManifestError(
            f"{folder}: {error}",
            remedy="Remove it, or leave it out with `exclude` in [build].",
        ) from error


def read_source(folder: Path, exclude: Sequence[str] = ()) -> Source:
    """Look at every file of *folder* and return its digest."""
    found = list_source(folder, exclude)
    return Source(str(folder), files.digest_tree(folder, found), tuple(exclude), len(found))
