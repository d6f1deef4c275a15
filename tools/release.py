"""All that publishing one package does, up to and not including the upload.

    nox -s release -- DIST                  the version that its fragments ask for
    nox -s release -- DIST VERSION          the plan; changes nothing (so does --dry-run)
    nox -s release -- DIST VERSION --yes    does it, and says how to publish
    nox -s release -- --tag DIST-vVERSION   checks what a tag holds, and builds it (CI does this)

The release is prepared in a work tree of its own: changelog, version and commit are made there,
and what is built is exactly what is committed. Only when every check has passed does the commit
get its tag and the branch move to it; a failure leaves branch and tags as they were.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import changelog
from attrs import frozen
from build_dists import build_checked
from changelog import Fragment, Version

from chittyops_core.errors import ChittyOpsError, RefusedError, UsageError

ROOT = Path(__file__).parents[1]
CORE = "chittyops-core"
FRAGMENTS = "changelog.d"


@frozen
class Package:
    """One package of the repository at *root*, as its files describe it."""

    root: Path
    name: str

    @classmethod
    def named(cls, root: Path, name: str) -> Self:
        """Return a package. Raises UsageError with those there are."""
        known = sorted(path.parent.name for path in root.glob("packages/*/pyproject.toml"))
        if name not in known:
            raise UsageError(
                f"there is no package {name!r}", remedy=f"Name one of: {', '.join(known)}."
            )
        return cls(root, name)

    @property
    def folder(self) -> Path:
        return self.root / "packages" / self.name

    @property
    def pyproject(self) -> Path:
        return self.folder / "pyproject.toml"

    @property
    def changelog(self) -> Path:
        return self.folder / "CHANGELOG.md"

    @property
    def project(self) -> dict[str, Any]:
        table: dict[str, Any] = tomllib.loads(self.pyproject.read_text())["project"]
        return table

    @property
    def version(self) -> Version:
        return Version.parse(self.project["version"])

    def fragment_files(self) -> list[Path]:
        """Return the files of its fragments, sorted; a hidden one keeps the folder."""
        files = (self.folder / FRAGMENTS).glob("*")
        return sorted(path for path in files if not path.name.startswith("."))

    def fragments(self) -> list[Fragment]:
        """Read its fragments. Raises RefusedError when one is wrong, or when there is none."""
        try:
            found = [Fragment.parse(p.name, p.read_text()) for p in self.fragment_files()]
        except ValueError as error:
            raise RefusedError(f"{self.name}: {error}", remedy="Rename or write it.") from error
        if not found:
            raise RefusedError(
                f"{self.name} has no fragments: nothing that users notice has changed",
                remedy=f"Write packages/{self.name}/{FRAGMENTS}/ISSUE.TYPE.md (CONTRIBUTING.md).",
            )
        return found

    def tag(self, version: Version) -> str:
        return f"{self.name}-v{version}"

    def released(self) -> Version | None:
        """Return the highest version that has a tag."""
        listed = git(self.root, "tag", "--list", f"{self.name}-v*").split()
        versions = [Version.parse(tag.removeprefix(f"{self.name}-v")) for tag in listed]
        return max(versions, default=None)

    def range_of_core(self) -> str | None:
        return changelog.range_of(self.project["dependencies"], CORE)


@frozen
class Plan:
    """One release that may be made."""

    package: Package
    version: Version
    section: str

    @property
    def tag(self) -> str:
        return self.package.tag(self.version)

    @classmethod
    def make(cls, package: Package, version: str) -> Self:
        """Check all that can be checked before anything is built. Raises ChittyOpsError."""
        try:
            wanted = Version.parse(version)
        except ValueError as error:
            raise UsageError(str(error)) from error
        require_clean(package.root)
        require_no_tag(package.root, package.tag(wanted))
        fragments = package.fragments()
        require_high_enough(package, wanted, fragments)
        require_core_fits(package, wanted)
        today = datetime.now(UTC).date()
        return cls(package, wanted, changelog.render(wanted, today, fragments))


# --- what must hold ----------------------------------------------------------------------------


def require_clean(root: Path) -> None:
    if dirty := git(root, "status", "--porcelain").splitlines():
        raise RefusedError(
            "the work tree is not clean",
            remedy="Commit or stash what is listed above, then release what is committed.",
            detail=tuple(dirty),
        )


def require_no_tag(root: Path, tag: str) -> None:
    if git(root, "tag", "--list", tag):
        raise RefusedError(
            f"the tag {tag} exists: that version is released",
            remedy="Release a higher one; a published version is never replaced.",
        )


def require_high_enough(package: Package, wanted: Version, fragments: list[Fragment]) -> None:
    lowest = changelog.propose(package.version, package.released(), (f.type for f in fragments))
    if wanted < lowest:
        raise UsageError(
            f"{wanted} is too low for {package.name}: its last release is "
            f"{package.released() or 'none'}, pyproject.toml says {package.version}, and its "
            f"fragments are {', '.join(sorted({f.type for f in fragments}))}",
            remedy=f"Release it as {lowest} or higher (Semantic Versioning).",
        )


def require_core_fits(package: Package, wanted: Version) -> None:
    """A lite wants a range of the core that some released core is in, and the other way round."""
    if package.name == CORE:
        for path in sorted(package.root.glob("packages/chittyops-lite-*")):
            _require_in_range(Package(package.root, path.name), wanted)
        return
    core = Package(package.root, CORE)
    released = core.released()
    if released is None:
        raise RefusedError(
            f"{CORE} has no release yet, and {package.name} needs one",
            remedy=f"Release the core first: nox -s release -- {CORE}",
        )
    _require_in_range(package, released)


def _require_in_range(lite: Package, core: Version) -> None:
    wanted = lite.range_of_core()
    if wanted is None:
        raise RefusedError(f"{lite.name} does not depend on {CORE}", remedy="See its siblings.")
    if not changelog.fits(wanted, core):
        raise RefusedError(
            f"{lite.name} asks for {CORE}{wanted}, which leaves out {core}",
            remedy="Set the core's version and every lite's range of it in one commit, which the "
            "tests then see together; release the core before the lites.",
        )


def check_tag(root: Path, tag: str) -> Package:
    """Return the package that *tag* releases.

    Raises:
        ChittyOpsError: Tag, pyproject.toml, changelog and fragments do not say the same.
    """
    name, _, version = tag.rpartition("-v")
    package = Package.named(root, name)
    text = package.changelog.read_text() if package.changelog.exists() else ""
    said = {"pyproject.toml": str(package.version), "CHANGELOG.md": changelog.first_heading(text)}
    for where, found in said.items():
        if found != version:
            raise RefusedError(
                f"the tag {tag} says {version}, {where} of {name} says {found or 'nothing'}",
                remedy="Make tags by `nox -s release` only, and push the commit they are on.",
            )
    if left := package.fragment_files():
        raise RefusedError(
            f"{name} still has fragments at {tag}: {', '.join(path.name for path in left)}",
            remedy="Make tags by `nox -s release` only.",
        )
    return package


# --- doing it ----------------------------------------------------------------------------------


def carry_out(plan: Plan) -> None:
    """Prepare, build and check the release, then move the branch and tag. Raises on failure."""
    root = plan.package.root
    with work_tree(root) as tree:
        package = Package(tree, plan.package.name)
        write(package, plan)
        git(tree, "add", "--all", str(package.folder))
        git(tree, "commit", "--quiet", "-m", f"Release {package.name} {plan.version}")
        commit = git(tree, "rev-parse", "HEAD")
        check_tag(tree, plan.tag)
        build_and_try(package, root / "dist")
    git(root, "tag", "--annotate", plan.tag, "-m", f"{plan.package.name} {plan.version}", commit)
    try:
        git(root, "merge", "--quiet", "--ff-only", commit)
    except ChittyOpsError:
        git(root, "tag", "--delete", plan.tag)
        raise


def write(package: Package, plan: Plan) -> None:
    """Turn fragments into a section of the changelog, and set the version."""
    old = package.changelog.read_text() if package.changelog.exists() else ""
    package.changelog.write_text(changelog.insert(old, plan.section, name=package.name))
    package.pyproject.write_text(changelog.set_version(package.pyproject.read_text(), plan.version))
    for path in package.fragment_files():
        path.unlink()


def build_and_try(package: Package, out: Path) -> None:
    """Build *package* into *out*, and use its wheel in an empty environment."""
    build_checked([package.folder], out)
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder)
        if package.name != CORE:
            # The lite's wheel is tried with the core of the same commit.
            build_checked([Package(package.root, CORE).folder], beside)
        for path in out.glob("*.whl"):
            shutil.copy(path, beside)
        module = package.name.replace("-", "_")
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            [sys.executable, "tests/smoke.py", module, folder], cwd=package.root, check=True,
            env={**os.environ, "PATH": tools, "PYTHONPATH": ""},
        )  # fmt: skip


@contextmanager
def work_tree(root: Path) -> Iterator[Path]:
    """A second work tree of the repository's HEAD, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git(root, "worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
        try:
            yield tree
        finally:
            git(root, "worktree", "remove", "--force", str(tree))


def git(root: Path, *words: str) -> str:
    """Run git in *root*; return what it printed, stripped. Raises RefusedError with its words."""
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RefusedError(
            f"git {words[0]} failed with {done.returncode}",
            detail=tuple(done.stderr.strip().splitlines()),
        )
    return done.stdout.strip()


# --- the command line --------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="release", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dist", nargs="?", metavar="DIST", help="which package")
    parser.add_argument("version", nargs="?", metavar="VERSION", help="MAJOR.MINOR.PATCH")
    parser.add_argument("--tag", help="check this tag and build what it releases")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--yes", action="store_true", help="do it")
    how.add_argument("--dry-run", action="store_true", help="only print the plan: the default")
    chosen = parser.parse_args()
    if (chosen.dist is None) == (chosen.tag is None):
        parser.error("expected DIST [VERSION], or --tag TAG")
    if chosen.yes and chosen.version is None:
        parser.error("--yes needs a VERSION")
    try:
        if chosen.tag is not None:
            build_and_try(check_tag(ROOT, chosen.tag), ROOT / "dist")
        elif chosen.version is None:
            show_proposal(Package.named(ROOT, chosen.dist))
        else:
            release(Plan.make(Package.named(ROOT, chosen.dist), chosen.version), yes=chosen.yes)
    except ChittyOpsError as error:
        report(error)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except (ValueError, subprocess.CalledProcessError) as error:
        print(f"release: {error}\n         Nothing was released.", file=sys.stderr)
        sys.exit(1)


def show_proposal(package: Package) -> None:
    fragments = package.fragments()
    types = [fragment.type for fragment in fragments]
    print(changelog.propose(package.version, package.released(), types))
    for type_ in sorted(set(types)):
        print(f"  {types.count(type_)} {type_}", file=sys.stderr)
    print(f"  last release: {package.released() or 'none'}", file=sys.stderr)


def release(plan: Plan, *, yes: bool) -> None:
    name = plan.package.name
    print(f"{name} {plan.version}, tag {plan.tag}:\n")
    print("\n".join(f"    {line}".rstrip() for line in plan.section.splitlines()))
    print(f"\nFragments go, packages/{name}/CHANGELOG.md and pyproject.toml change, the package is")
    print("built twice, compared, checked and tried; then one commit and the tag are made.")
    if not yes:
        print("Nothing was changed. Do it with --yes.")
        return
    sys.stdout.flush()
    carry_out(plan)
    print(f"\nReleased here. Publish it: git push --atomic origin HEAD {plan.tag}")


def report(error: ChittyOpsError) -> None:
    for line in error.detail:
        print(f"  {line}", file=sys.stderr)
    print(f"release: {error.message}", file=sys.stderr)
    if error.remedy:
        print(f"         {error.remedy}", file=sys.stderr)


if __name__ == "__main__":
    main()
