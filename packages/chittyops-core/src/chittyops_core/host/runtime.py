"""The host runtime: an environment of its own, made from what the caller has installed.

    CHITTYOPS_HOME/runtime/VERSION-DIGEST/      bin/python, bin/caddy, bin/uv, lib/...
    CHITTYOPS_HOME/runtime/current              link to the newest: what callers, and boots, start

Supervisord, Caddy, the launcher and the engine run from here, so that deleting or upgrading the
caller's environment changes nothing that runs. It is a virtual environment of the same base
interpreter, filled with the very files that the caller's installer recorded (RECORD, PyPA
"Recording installed projects"), each checked against its recorded digest: no network, no
resolver, exactly the versions that the caller has. An editable install has no such record of
its code; its package folder is copied instead and its digest is part of the name.

A caller that is newer than `current` makes its own and moves the link; one that is older uses
what is there, because a newer host understands an older caller (`host.protocol`).
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import sys
import time
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from chittyops_core._kit import files
from chittyops_core._kit.locks import FileLock
from chittyops_core.errors import HostError

__all__ = [
    "current_python",
    "current_runtime",
    "enter_current",
    "ensure_runtime",
    "erase_runtimes",
    "old_runtimes",
]

CORE = "chittyops-core"
EXTRA = "local"
CURRENT = "current"


def ensure_runtime(home: Path) -> Path:
    """Return the python of the host runtime to start, made from this caller where it is newest.

    Raises:
        HostError: The `local` extra is not installed, or the folder cannot be written.
    """
    mine = metadata.version(CORE)
    current = current_runtime(home)
    if current is not None and _order(current.name) > _order(mine):
        return current / "bin" / "python"
    found = _closure()
    folder = home / "runtime" / f"{mine}-{_digest(found)}"
    python = folder / "bin" / "python"
    if current == folder:
        return python
    try:
        files.ensure_private_dir(home, passable=True)
        files.ensure_private_dir(folder.parent)
        with FileLock(home / "runtime" / ".lock").acquire("runtime", wait=_pause):
            if not python.exists():
                _make(folder, found)
            # Another, newer caller may have been here meanwhile.
            current = current_runtime(home)
            if current is None or _order(current.name) <= _order(mine):
                files.replace_symlink(home / "runtime" / CURRENT, folder.name)
    except OSError as error:
        raise HostError(
            f"cannot make the host runtime {folder}: {error.strerror or error}",
            remedy="Set CHITTYOPS_HOME to a folder of yours, on a disk with 300 MB free.",
        ) from error
    return python


def current_runtime(home: Path) -> Path | None:
    """Return the folder of the newest runtime; None where there is none that could start."""
    try:
        folder = home / "runtime" / os.readlink(home / "runtime" / CURRENT)
    except OSError:
        return None
    return folder if (folder / "bin" / "python").exists() else None


def old_runtimes(home: Path) -> list[Path]:
    """Return the folders of all runtimes but the newest, sorted."""
    newest = current_runtime(home)
    folders = (p for p in (home / "runtime").iterdir() if p.is_dir() and not p.is_symlink())
    return sorted(p for p in folders if p != newest and not p.name.startswith("."))


def current_python(home: Path) -> Path:
    """Return the python of the newest runtime, by a path that stays."""
    return home / "runtime" / CURRENT / "bin" / "python"


def enter_current(home: Path) -> None:
    """Go on under the runtime's own name, where this process was started through `current`.

    What is started from here runs long, and the link may lead elsewhere by then.
    """
    if Path(sys.prefix).name == CURRENT:
        name = os.readlink(home / "runtime" / CURRENT)
        python = str(home / "runtime" / name / "bin" / "python")
        os.execv(python, [python, *sys.orig_argv[1:]])


def erase_runtimes(home: Path) -> None:
    """Delete every runtime; nothing may run from them any more."""
    files.remove_tree(home / "runtime")


def _order(name: str) -> tuple[object, ...]:
    """Return what runtimes sort by: their version (PEP 440, "Summary of permitted suffixes")."""
    found = re.match(
        r"(?:(\d+)!)?(\d+(?:\.\d+)*)(?:(a|b|rc)(\d+))?(?:\.post(\d+))?(?:\.dev(\d+))?", name
    )
    assert found is not None, name
    epoch, numbers, stage, stage_number, post, dev = found.groups()
    release = tuple(int(number) for number in re.sub(r"(\.0+)+$", "", numbers).split("."))
    # Before any alpha comes what is only in development; after all stages, the release itself.
    default_stage = "" if dev and not post else "~"
    return (
        int(epoch or 0), release, stage or default_stage, int(stage_number or 0),
        int(post) if post else -1, int(dev) if dev else float("inf"),
    )  # fmt: skip


def _make(folder: Path, found: list[metadata.Distribution]) -> None:
    temp = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Links to the base interpreter, never to the caller's environment.
        venv.EnvBuilder(symlinks=True, with_pip=False).create(temp)
        packages = next((temp / "lib").glob("python*/site-packages"))
        for distribution in found:
            _copy_distribution(distribution, packages, temp / "bin")
        temp.rename(folder)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise
    files.sync_dir(folder.parent)


# --- what to take ------------------------------------------------------------------------------


def _closure() -> list[metadata.Distribution]:
    """Return the core and all that it, with the `local` extra, requires; sorted by name."""
    found: dict[str, metadata.Distribution] = {}
    wanted = [CORE]
    while wanted:
        name = _normal(wanted.pop())
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name in _required_of_local():
                raise HostError(
                    f"{name}, which the local target needs, is not installed",
                    remedy="pip install 'chittyops-core[local]'",
                ) from None
            continue  # Its marker leaves it out on this platform or interpreter.
        extra = EXTRA if name == CORE else None
        wanted += _requirements(found[name], extra)
    return [found[name] for name in sorted(found)]


def _required_of_local() -> set[str]:
    return {_normal(name) for name in _requirements(metadata.distribution(CORE), EXTRA)}


def _requirements(distribution: metadata.Distribution, extra: str | None) -> Iterator[str]:
    """Yield the names that *distribution* requires (PEP 508), with *extra* or without any."""
    for line in distribution.requires or ():
        requirement, _, marker = line.partition(";")
        asked = re.search(r"""extra\s*==\s*["']([^"']+)["']""", marker)
        if asked and asked[1] != extra:
            continue
        name = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
        assert name is not None
        yield name[0]


def _normal(name: str) -> str:
    """Normalise a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _digest(found: list[metadata.Distribution]) -> str:
    total = hashlib.sha256(os.fsencode(os.path.realpath(sys._base_executable)))  # type: ignore[attr-defined]
    for distribution in found:
        total.update(f"{distribution.name}=={distribution.version}\n".encode())
        total.update((distribution.read_text("RECORD") or "").encode())
        if source := _editable_source(distribution):
            listed = list(files.walk_tree(source, files.is_bytecode))
            total.update(files.digest_tree(source, listed).encode())
    return total.hexdigest()[:12]


def _editable_source(distribution: metadata.Distribution) -> Path | None:
    """Return the package folder of an editable install (PEP 610), None for a usual one."""
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    name = distribution.name.replace("-", "_")
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise HostError(f"the editable install of {distribution.name} is broken: no {name}")
    return Path(spec.origin).parent


# --- how it is taken ---------------------------------------------------------------------------


def _copy_distribution(distribution: metadata.Distribution, packages: Path, bin_: Path) -> None:
    if source := _editable_source(distribution):
        listed = list(files.walk_tree(source, files.is_bytecode))
        files.copy_tree(source, listed, packages / source.name)
    for entry in distribution.files or ():
        relative = entry.as_posix()
        if files.is_bytecode(relative) or entry.suffix == ".pth":
            continue
        if relative.startswith("../"):
            # Of scripts, only binaries: the others begin with the caller's interpreter.
            target = bin_ / entry.name
            if entry.parent.name != "bin" or _has_shebang(Path(str(entry.locate()))):
                continue
        else:
            target = packages / relative
        _copy_checked(Path(str(entry.locate())), target, entry.hash)


def _has_shebang(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def _copy_checked(source: Path, target: Path, recorded: metadata.FileHash | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
    if recorded is None:
        return
    with target.open("rb") as file:
        actual = hashlib.file_digest(file, recorded.mode).digest()
    if base64.urlsafe_b64encode(actual).rstrip(b"=").decode() != recorded.value:
        raise HostError(
            f"{source} is not what was installed: its digest differs from the recorded one",
            remedy="Install the package anew (pip install --force-reinstall).",
        )


def _pause(_: object) -> None:
    time.sleep(0.1)
