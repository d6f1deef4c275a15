"""Checks of an app's folder, before anything is built."""

from __future__ import annotations

import hashlib
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chittyops_core import Evidence, Plan, Result
from chittyops_core.deploy.source import list_source
from chittyops_core.model.manifest import Builder
from chittyops_lite_cook_county.compliance.runner import Check

__all__ = ["CHECKS"]


def _folder(plan: Plan) -> Path:
    if plan.source is None:
        raise ValueError("there is no source to look at")
    return Path(plan.source.folder)


def _evidence(path: Path, folder: Path) -> Evidence:
    data = path.read_bytes()
    name = path.relative_to(folder).as_posix()
    return Evidence(name, hashlib.sha256(data).hexdigest(), data[:200].decode(errors="replace"))


# --- dependencies.locked -------------------------------------------------------------------------


def _look_locked(check: Check[Plan], plan: Plan) -> Result:
    folder = _folder(plan)
    match plan.builder:
        case Builder.NONE:
            return Result.not_applicable(check.id, check.title, "the app installs nothing")
        case Builder.UV_LOCK:
            return _locked_by_uv(check, folder)
        case Builder.REQUIREMENTS:
            return _locked_by_hashes(check, folder)
        case _:
            return Result.failed(
                check.id,
                check.title,
                "pyproject.toml names dependencies, but nothing pins them with hashes",
                "Run `uv lock` and keep uv.lock beside it.",
                _evidence(folder / "pyproject.toml", folder),
            )


def _locked_by_uv(check: Check[Plan], folder: Path) -> Result:
    path = folder / "uv.lock"
    packages = tomllib.loads(path.read_text(encoding="utf-8")).get("package", [])
    unhashed = [
        package["name"]
        for package in packages
        if not any("hash" in entry for entry in _distributions(package))
        and not {"editable", "virtual", "directory"} & set(package.get("source", {}))
    ]
    if unhashed:
        return Result.failed(
            check.id,
            check.title,
            f"uv.lock holds no hash for {', '.join(unhashed[:5])}",
            "Install them from a package index, and run `uv lock`.",
            _evidence(path, folder),
        )
    summary = f"uv.lock pins {len(packages)} packages with hashes"
    return Result.passed(check.id, check.title, summary, _evidence(path, folder))


def _distributions(package: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from package.get("wheels", [])
    if "sdist" in package:
        yield package["sdist"]


def _locked_by_hashes(check: Check[Plan], folder: Path) -> Result:
    path = folder / "requirements.txt"
    loose, total = [], 0
    for line in _requirements(path.read_text(encoding="utf-8")):
        total += 1
        is_pinned = re.search(r"==\s*[^\s;*,]+(\s|;|$)", line) and "--hash=sha" in line
        if not is_pinned:
            loose.append(line.split("--hash")[0].strip())
    if loose:
        return Result.failed(
            check.id,
            check.title,
            f"{len(loose)} of {total} requirements are not pinned with a hash: "
            f"{', '.join(loose[:5])}{' ...' if len(loose) > 5 else ''}",
            "Keep the loose ones in requirements.in and lock them: "
            "uv pip compile --generate-hashes requirements.in -o requirements.txt",
            _evidence(path, folder),
        )
    summary = f"requirements.txt pins {total} packages with hashes"
    return Result.passed(check.id, check.title, summary, _evidence(path, folder))


def _requirements(text: str) -> Iterator[str]:
    """Yield the requirements of a file (pip, "Requirements file format"), lines joined."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        # `-r other.txt` is a requirement that this check cannot see through: it counts as loose.
        is_option = line.startswith("-") and not line.startswith(
            ("-r", "-e", "-c", "--requirement")
        )
        if line and not is_option:
            yield line


# --- files.private -------------------------------------------------------------------------------


def _look_private(check: Check[Plan], plan: Plan) -> Result:
    folder = _folder(plan)
    exclude = plan.source.exclude if plan.source else ()
    found = list_source(folder, exclude)
    folders = {folder / parent for name in found for parent in Path(name).parents}
    paths = [folder / name for name in found] + list(folder.glob("chittyops.toml"))
    paths += [path for path in folders if path != folder]
    writable = sorted(
        path.relative_to(folder).as_posix()
        for path in paths
        if not path.is_symlink() and path.stat().st_mode & stat.S_IWOTH
    )
    if writable:
        return Result.failed(
            check.id,
            check.title,
            f"everybody on this machine may write to {', '.join(writable[:5])}"
            f"{' ...' if len(writable) > 5 else ''} ({len(writable)} in all)",
            "chmod -R o-w . in the app's folder",
        )
    return Result.passed(check.id, check.title, f"{len(paths)} files, none writable by others")


CHECKS: tuple[Check[Plan], ...] = (
    Check(
        "dependencies.locked",
        "Every dependency is pinned to a version and a hash",
        "NIST SP 800-53 r5 SR-4, CM-2",
        _look_locked,
        "Make the file of dependencies readable, then deploy again.",
    ),
    Check(
        "files.private",
        "No file of the app is writable by others",
        "NIST SP 800-53 r5 AC-3, CM-5",
        _look_private,
    ),
)
