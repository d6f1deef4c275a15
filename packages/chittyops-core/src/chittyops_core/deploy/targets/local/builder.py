"""Artifacts: an app's files and their environment, made by uv, kept by digest.

An artifact lies at its final path from the start, because scripts in a virtual environment name
it; the file `complete` says that it is whole. One without it is what a crash left, and is made
anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from chittyops_core._kit import files
from chittyops_core._kit.locks import FileLock, LockHeldError, pause
from chittyops_core.deploy.source import list_source
from chittyops_core.deploy.targets.base import BuildInput
from chittyops_core.deploy.targets.local.layout import Layout
from chittyops_core.deploy.targets.local.materials import write_materials
from chittyops_core.errors import BuildError, PlanStaleError
from chittyops_core.model.manifest import Builder

__all__ = ["Artifacts", "find_uv"]

MIN_FREE_BYTES = 16 * 2**20
"""Below this nothing is built: a disk that is wholly full also stops what serves from writing."""


def find_uv() -> str:
    """Return the uv of the host runtime, else the one on PATH. Raises BuildError."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise BuildError(
            "uv, which builds releases, is not installed",
            remedy="pip install 'chittyops-core[local]'",
        )
    return found


class Artifacts:
    """The artifacts of one home."""

    def __init__(self, layout: Layout, report: Callable[[str], None]) -> None:
        """*report* is called with a line for each step."""
        self._layout = layout
        self._report = report

    def is_complete(self, digest: str) -> bool:
        return (self._layout.artifact(digest) / "complete").exists()

    def make(self, digest: str, build: BuildInput) -> None:
        """Make the artifact *digest* unless it is there.

        Raises:
            BuildError: uv failed; its last lines are in `detail`.
            PlanStaleError: The folder changed since the plan was made.
        """
        with self._lock(digest).acquire("build", wait=pause):
            if self.is_complete(digest):
                self._report("artifact is there already")
                return
            folder = self._layout.artifact(digest)
            files.remove_tree(folder)
            self._require_room()
            folder.mkdir(mode=0o700)
            try:
                self._copy_source(build, folder / "app")
                self._make_environment(build, folder)
                write_materials(folder)
            except BaseException:
                files.remove_tree(folder)
                raise
            files.write_durably(folder / "complete", str(files.tree_bytes(folder)))

    def bytes_used(self) -> dict[str, int]:
        """Return digest -> bytes on disk of every whole artifact."""
        found = {}
        for path in self._layout.artifacts.glob("*/complete"):
            found[path.parent.name] = int(path.read_text() or 0)
        return found

    def prune(self, used: Callable[[], set[str]]) -> None:
        """Delete every artifact that no release uses, and what crashes left.

        *used* is asked again under the lock: a release is recorded before its artifact is
        looked for, so either it is seen here, or its deploy finds the artifact gone and makes it.
        """
        kept = used()
        for path in self._layout.artifacts.iterdir():
            if path.name in kept:
                continue
            try:
                with self._lock(path.name).acquire("prune", wait=None):
                    if path.name not in used():
                        files.remove_tree(path)
            except LockHeldError:
                continue  # Somebody builds; the next deploy prunes again.

    def _require_room(self) -> None:
        free = shutil.disk_usage(self._layout.artifacts).free
        if free < MIN_FREE_BYTES:
            raise BuildError(
                f"the disk is full: {free // 2**20} MB free below {self._layout.home}, "
                f"a build needs {MIN_FREE_BYTES // 2**20} MB at least",
                remedy="`chittyops prune` deletes releases that nothing needs; or free some space.",
            )

    def _lock(self, digest: str) -> FileLock:
        # Sixteen for all: a lock file that is deleted with its artifact would be two locks.
        return FileLock(self._layout.locks / f"artifacts-{digest.lstrip('.')[:1]}.lock")

    def _copy_source(self, build: BuildInput, target: Path) -> None:
        folder = Path(build.source.folder)
        found = list_source(folder, build.source.exclude)
        self._report(f"copying {len(found)} files")
        target.mkdir()
        try:
            files.copy_tree(folder, found, target)
            same = files.digest_tree(target, found) == build.source.digest
        except FileNotFoundError:
            same = False
        if not same:
            raise PlanStaleError(
                f"the plan is stale: files in {folder} changed since it was made",
                remedy="Plan again.",
            )

    def _make_environment(self, build: BuildInput, folder: Path) -> None:
        if build.builder is Builder.NONE:
            return
        uv, app, venv = find_uv(), folder / "app", folder / "venv"
        python = build.python or base_python()
        self._run([uv, "venv", "--quiet", "--no-project", "--python", python, str(venv)], app, venv)
        install = [uv, "pip", "install", "--python", str(venv), "--compile-bytecode"]
        match build.builder:
            case Builder.UV_LOCK:
                command = [
                    uv, "sync", "--frozen", "--no-dev", "--no-editable", "--compile-bytecode",
                    "--python", str(venv / "bin" / "python"),
                ]  # fmt: skip
            case Builder.PYPROJECT:
                text = (app / "pyproject.toml").read_text()
                # Without a build system there is nothing to install but what it needs.
                what = ["."] if "[build-system]" in text else ["-r", "pyproject.toml"]
                command = [*install, *what]
            case _:
                text = (app / "requirements.txt").read_text()
                hashed = ["--require-hashes"] if "--hash=" in text else []
                command = [*install, *hashed, "-r", "requirements.txt"]
        self._run(command, app, venv)

    def _run(self, command: list[str], cwd: Path, venv: Path) -> None:
        self._report(" ".join(["uv", *command[1:3]]))
        # The caller's own Python settings must not shape the release.
        dropped = ("PYTHON", "VIRTUAL_ENV", "CONDA", "CHITTYOPS_")
        env = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        env |= {
            "UV_PROJECT_ENVIRONMENT": str(venv),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
        }
        done = subprocess.run(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise BuildError(
                f"`{' '.join(['uv', *command[1:3]])}` failed with status {done.returncode}",
                remedy="Read its lines above; the app's requirements must be installable here.",
                detail=tuple(done.stdout.strip().splitlines()[-20:]),
            )


def base_python() -> str:
    """Return the interpreter that this one's environment was made from."""
    return str(getattr(sys, "_base_executable", sys.executable))
