"""Where a deployment came from: the repository's commit, the manifest, the lite that deployed it.

None of it is part of a release's identity: the same files deployed from a later commit are the
same release. So it belongs to the deployment, in the journal.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.metadata import entry_points
from pathlib import Path

from attrs import frozen

from chittyops_core._kit import files
from chittyops_core.model.manifest_reader import FILE_NAME

__all__ = ["Provenance", "read_commit", "read_provenance"]

GIT_TIMEOUT_S = 10.0
"""A huge repository on a slow disk must not hold a deploy up; then nobody knows."""

_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""Of a commit: SHA-1 or SHA-256."""


@frozen
class Provenance:
    """Where one deployment came from.

    Attributes:
        commit: Id of the repository's commit; None where there is no repository.
        is_dirty: Whether files differed from that commit; None when nobody could tell.
        manifest: SHA-256 of `chittyops.toml`; None where there is none.
        lite: Version of the distribution that brought the kind; empty when unknown.
    """

    commit: str | None = None
    is_dirty: bool | None = None
    manifest: str | None = None
    lite: str = ""


def read_provenance(folder: Path, kind: str) -> Provenance:
    """Return where a deployment of the app in *folder* comes from. It never fails."""
    commit = read_commit(folder)
    try:
        manifest = files.file_digest(folder / FILE_NAME)
    except OSError:
        manifest = None
    return Provenance(
        commit, _is_dirty(folder) if commit is not None else None, manifest, _lite_version(kind)
    )


def read_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in *folder* or above it; None when unknown.

    Read from git's own files, so that no git is needed (gitrepository-layout(5)). What stands in
    them is believed only where it looks like the id of a commit.
    """
    for above in (folder, *folder.parents):
        if (above / ".git").exists():
            try:
                return _head(_git_folder(above / ".git"))
            except (OSError, UnicodeDecodeError):
                return None
    return None


def _git_folder(found: Path) -> Path:
    """Return the folder of a repository; in a worktree and a submodule, `.git` is a file."""
    if found.is_dir():
        return found
    _, _, path = found.read_text().strip().partition("gitdir: ")
    return found.parent / path


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head if _ID.fullmatch(head) else None
    name = head.removeprefix("ref: ")
    if not name.startswith("refs/") or ".." in name:
        return None
    shared = git / "commondir"
    common = git / shared.read_text().strip() if shared.is_file() else git
    for place in (git, common):
        if (place / name).is_file():
            commit = (place / name).read_text().strip()
            return commit if _ID.fullmatch(commit) else None
    packed = common / "packed-refs"
    for line in packed.read_text().splitlines() if packed.is_file() else ():
        commit, _, ref = line.partition(" ")
        if ref == name and _ID.fullmatch(commit):
            return commit
    return None


def _is_dirty(folder: Path) -> bool | None:
    git = shutil.which("git")
    if git is None:
        return None
    # Nothing that the repository's own configuration names is run, and nothing is written.
    command = [git, "-c", "core.fsmonitor=false", "-C", str(folder), "status", "--porcelain", "."]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=GIT_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return bool(done.stdout.strip()) if done.returncode == 0 else None


def _lite_version(kind: str) -> str:
    for entry in entry_points(group="chittyops.lites", name=kind):
        if entry.dist is not None:
            return entry.dist.version
    return ""
