"""Release one package: all that comes before the upload. `nox -s release` runs these steps.

    python tools/release.py plan DIST VERSION           say what would happen, change nothing
    python tools/release.py prepare DIST VERSION TREE   commit it, in a git work tree at TREE
    python tools/release.py adopt DIST VERSION TREE     tag that commit and take it over here
    python tools/release.py check TAG                   tag, version and changelog agree

Whatever fails before `adopt`, nothing has changed here: not a file, not a commit, not a tag.
Needs nothing that nox does not bring along.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from attrs import frozen
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
CORE = "chittyops-core"

TYPES = ("security", "removed", "changed", "added", "fixed")
"""Of fragments, in the order in which a reader wants to know of them."""

_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_HEAD = re.compile(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", re.MULTILINE)
_STATIC_VERSION = re.compile(r'^version = "(.*)"$', re.MULTILINE)
_TAG = re.compile(r"(?P<dist>chittyops-[a-z-]+)-v(?P<version>.+)")


class ReleaseError(Exception):
    """This cannot be released; the message says why, `remedy` what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


# --- pure: texts to texts ---


def version_key(version: str) -> tuple[int, int, int]:
    """Return what orders *version*. Raises ReleaseError when it is not MAJOR.MINOR.PATCH.

    Pre-releases are left out: SemVer and PyPI (PEP 440) spell them differently, so that tag,
    changelog and index would disagree.
    """
    found = _SEMVER.fullmatch(version)
    if found is None:
        raise ReleaseError(
            f"{version!r} is no version to release: expected MAJOR.MINOR.PATCH, such as 0.2.0",
            "See https://semver.org for which of the three numbers grows.",
        )
    major, minor, patch = (int(number) for number in found.groups())
    return major, minor, patch


def section_of(version: str, day: date, fragments: Mapping[str, str]) -> str:
    """Return the changelog's section for *version*.

    Args:
        version: What is released.
        day: When, in UTC.
        fragments: Mapping of a fragment's file name, ISSUE.TYPE.md, to its text. Each paragraph
            and each list item is an entry of its own.
    """
    entries: dict[str, list[str]] = {kind: [] for kind in TYPES}
    for name in sorted(fragments, key=_issue_first):
        issue, kind = _fragment_name(name)
        for text in re.split(r"\n\s*\n|\n(?=- )", fragments[name].strip()):
            words = " ".join(text.removeprefix("- ").split())
            if not words:
                raise ReleaseError(f"the fragment {name} is empty", "Write a sentence for users.")
            entries[kind].append(f"- {words} (#{issue})")
    parts = [
        f"### {kind.title()}\n\n" + "\n".join(found) for kind, found in entries.items() if found
    ]
    return "\n\n".join([f"## {version} ({day.isoformat()})", *parts]) + "\n"


def _issue_first(name: str) -> tuple[int, str]:
    return _fragment_name(name)[0], name


def _fragment_name(name: str) -> tuple[int, str]:
    """Return issue and type of the fragment *name*."""
    issue, _, rest = name.partition(".")
    kind = rest.removesuffix(".md")
    if not issue.isdecimal() or kind not in TYPES:
        raise ReleaseError(
            f"{name} is not the name of a fragment: expected ISSUE.TYPE.md, such as 3.fixed.md",
            f"Rename it; the types are {', '.join(sorted(TYPES))}.",
        )
    return int(issue), kind


def with_section(changelog: str, dist: str, section: str) -> str:
    """Return *changelog* with *section* before the older ones; it may be empty so far."""
    preface = f"# Changelog of {dist}\n\nVersions follow [SemVer](https://semver.org).\n"
    first = _HEAD.search(changelog)
    if first is None:
        return f"{preface}\n{section}"
    return f"{changelog[: first.start()]}{section}\n{changelog[first.start() :]}"


def head_of(changelog: str) -> str | None:
    """Return the version of the newest section; None when nothing was released yet."""
    found = _HEAD.search(changelog)
    return found[1] if found else None


def with_version(pyproject: str, version: str) -> str:
    """Return the text of *pyproject* with the static version *version*."""
    changed, count = _STATIC_VERSION.subn(f'version = "{version}"', pyproject)
    if count != 1:
        raise ReleaseError(
            f"pyproject.toml has {count} lines `version = ...`, expected one",
            "Keep the static version on one line of [project].",
        )
    return changed


def require_newer(version: str, static: str, released: str | None) -> None:
    """Raise ReleaseError when *version* does not come after what there is.

    Args:
        version: What is to be released.
        static: The version in pyproject.toml. It may be *version* already, as it is before the
            first release, or when a change had to raise it.
        released: The last released version; None before the first.
    """
    wanted = version_key(version)
    if released is not None and wanted <= version_key(released):
        raise ReleaseError(
            f"{version} does not come after {released}, the last one released",
            "Choose a higher version.",
        )
    if wanted < version_key(static):
        raise ReleaseError(
            f"{version} is lower than {static}, which pyproject.toml says",
            "Choose that version or a higher one.",
        )


def range_of_core(dependencies: Iterable[str]) -> Requirement:
    """Return the requirement that a lite has of the core."""
    found = [each for each in map(Requirement, dependencies) if each.name == CORE]
    if len(found) != 1:
        raise ReleaseError(
            f"a lite must require {CORE} once, found {len(found)} times", "Mend its pyproject.toml."
        )
    return found[0]


def require_ranges_allow(core: str, ranges: Mapping[str, Requirement]) -> None:
    """Raise ReleaseError when a lite could not be installed beside *core*, a version of it."""
    for lite, wanted in ranges.items():
        if not wanted.specifier.contains(core):
            raise ReleaseError(
                f"{lite} wants {CORE}{wanted.specifier}, which excludes {core}",
                f"First, in a commit of its own: let packages/{lite}/pyproject.toml allow {core}, "
                f"and raise the version of {CORE} to it.",
            )


# --- the repository ---


@frozen
class Release:
    """What is to be released, checked.

    Attributes:
        dist: Name of the package, and of its folder under packages/.
        version: MAJOR.MINOR.PATCH.
        static: The version in pyproject.toml so far.
        fragments: Names of the changelog fragments that it uses up.
        section: Its section of the changelog.
    """

    dist: str
    version: str
    static: str
    fragments: tuple[str, ...]
    section: str

    @property
    def tag(self) -> str:
        return f"{self.dist}-v{self.version}"

    @classmethod
    def of(cls, dist: str, version: str) -> Release:
        """Read what a release of *dist* takes, and check it. Raises ReleaseError."""
        folder = _folder_of(dist)
        static = _static_version(dist)
        require_newer(version, static, head_of(_changelog(folder)))
        made = cls(dist, version, static, *_fragments_of(folder, version))
        _require_clean()
        if made.tag in _tags():
            raise ReleaseError(
                f"there is a tag {made.tag} already",
                f"Choose a higher version. If it was never pushed: git tag -d {made.tag}",
            )
        _require_ranges(dist, version)
        return made

    def write(self, tree: Path) -> None:
        """Write version and changelog, and remove the fragments, in the work tree *tree*."""
        folder = tree / "packages" / self.dist
        pyproject = folder / "pyproject.toml"
        pyproject.write_text(with_version(pyproject.read_text(), self.version))
        changed = with_section(_changelog(folder), self.dist, self.section)
        (folder / "CHANGELOG.md").write_text(changed)
        for name in self.fragments:
            (folder / "changelog.d" / name).unlink()


def plan(release: Release) -> None:
    """Print what would happen."""
    folder = f"packages/{release.dist}"
    print(f"{release.dist} {release.static} -> {release.version}\n")
    print(f"  {folder}/pyproject.toml: version {release.version}")
    print(f"  {folder}/CHANGELOG.md: this section, from {len(release.fragments)} of changelog.d:\n")
    print("".join(f"    {line}\n" for line in release.section.splitlines()))
    print("  built twice from the lock and compared, checked, and used alone by the smoke test")
    print(f"  one commit, and the tag {release.tag}; nothing is pushed or uploaded")


def prepare(release: Release, tree: Path) -> None:
    """Commit the release in *tree*, a work tree of this repository; replaces what is there."""
    shutil.rmtree(tree, ignore_errors=True)
    _git("worktree", "prune")
    _git("worktree", "add", "--quiet", "--detach", str(tree))
    release.write(tree)
    _git("add", "--all", "packages", at=tree)
    _git("commit", "--quiet", "-m", f"Release {release.dist} {release.version}", at=tree)


def adopt(release: Release, tree: Path) -> None:
    """Tag the commit of *tree*, move this branch to it, and remove *tree*."""
    commit = _git("rev-parse", "HEAD", at=tree)
    _git("tag", "-a", release.tag, "-m", f"{release.dist} {release.version}", commit)
    try:
        _git("merge", "--quiet", "--ff-only", commit)
    except ReleaseError:
        _git("tag", "-d", release.tag)
        raise
    _git("worktree", "remove", "--force", str(tree))
    print(f"{release.tag} is committed and tagged. To publish it:")
    print(f"  git push --atomic origin HEAD {release.tag}")


def check(tag: str) -> None:
    """Print `dist=` and `version=` of *tag*. Raises ReleaseError when the tree is not of it."""
    found = _TAG.fullmatch(tag)
    if found is None:
        raise ReleaseError(f"{tag!r} is no tag of a release", "Expected DIST-vMAJOR.MINOR.PATCH.")
    dist, version = found["dist"], found["version"]
    version_key(version)
    said = {
        "pyproject.toml": _static_version(dist),
        "CHANGELOG.md": head_of(_changelog(_folder_of(dist))),
    }
    for name, other in said.items():
        if other != version:
            raise ReleaseError(
                f"the tag {tag} is not of this tree: packages/{dist}/{name} says {other}",
                f"Delete the tag, then: nox -s release -- {dist} {version}",
            )
    print(f"dist={dist}\nversion={version}")


def _folder_of(dist: str) -> Path:
    names = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))
    if dist not in names:
        raise ReleaseError(f"there is no package {dist!r}", f"Expected one of {', '.join(names)}.")
    return ROOT / "packages" / dist


def _static_version(dist: str) -> str:
    found = tomllib.loads((_folder_of(dist) / "pyproject.toml").read_text())["project"]["version"]
    return str(found)


def _changelog(folder: Path) -> str:
    path = folder / "CHANGELOG.md"
    return path.read_text() if path.exists() else ""


def _fragments_of(folder: Path, version: str) -> tuple[tuple[str, ...], str]:
    """Return the names of the fragments, and the section that they become."""
    fragments = {path.name: path.read_text() for path in sorted(folder.glob("changelog.d/*.md"))}
    if not fragments:
        raise ReleaseError(
            f"packages/{folder.name}/changelog.d has no fragment, so there is nothing to release",
            "Write what users will notice into changelog.d/ISSUE.TYPE.md (CONTRIBUTING.md).",
        )
    return tuple(fragments), section_of(version, datetime.now(UTC).date(), fragments)


def _require_clean() -> None:
    changed = _git("status", "--porcelain")
    if changed:
        raise ReleaseError(
            f"the work tree is not clean:\n{changed}", "Commit or stash this first: git stash -u"
        )


def _require_ranges(dist: str, version: str) -> None:
    """Check that core and lites fit: all lites for a core, some released core for a lite."""
    if dist == CORE:
        lites = [path.name for path in ROOT.glob("packages/chittyops-lite-*")]
        require_ranges_allow(version, {lite: _range_of(lite) for lite in sorted(lites)})
        return
    cores = [tag.removeprefix(f"{CORE}-v") for tag in _tags() if tag.startswith(f"{CORE}-v")]
    wanted = _range_of(dist).specifier
    if not any(wanted.contains(core) for core in cores):
        raise ReleaseError(
            f"{dist} wants {CORE}{wanted}, of which none is released (tags: {CORE}-v*)",
            "Release the core first, or fetch its tags: git fetch --tags",
        )


def _range_of(lite: str) -> Requirement:
    table = tomllib.loads((_folder_of(lite) / "pyproject.toml").read_text())
    return range_of_core(table["project"]["dependencies"])


def _tags() -> list[str]:
    return _git("tag", "--list").split()


def _git(*words: str, at: Path = ROOT) -> str:
    """Return what git prints. Raises ReleaseError with what it complains of."""
    done = subprocess.run(["git", "-C", at, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(
            f"git {words[0]} failed: {done.stderr.strip() or done.stdout.strip()}",
            "Mend that, then begin again; nothing was released.",
        )
    return done.stdout.strip()


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="release", description=(__doc__ or "").splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    for name in ("plan", "prepare", "adopt"):
        step = steps.add_parser(name)
        step.add_argument("dist", metavar="DIST")
        step.add_argument("version", metavar="VERSION")
        if name != "plan":
            step.add_argument("tree", metavar="TREE", type=lambda text: Path(text).resolve())
    steps.add_parser("check").add_argument("tag", metavar="TAG")
    given = parser.parse_args(words)
    try:
        if given.step == "check":
            check(given.tag)
        elif given.step == "plan":
            plan(Release.of(given.dist, given.version))
        elif given.step == "prepare":
            prepare(Release.of(given.dist, given.version), given.tree)
        else:
            adopt(Release.of(given.dist, given.version), given.tree)
    except ReleaseError as error:
        print(f"release: {error}\n         {error.remedy}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
