"""`nox -s release` in a repository of its own: real git, real builds, real installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import changelog
import pytest
import release
from changelog import Version

from chittyops_core.errors import ChittyOpsError

ROOT = Path(__file__).parents[2]
CORE, LITE = "chittyops-core", "chittyops-lite-cook-county"
SOMEBODY = {
    "GIT_AUTHOR_NAME": "Somebody", "GIT_AUTHOR_EMAIL": "somebody@example.org",
    "GIT_COMMITTER_NAME": "Somebody", "GIT_COMMITTER_EMAIL": "somebody@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
}  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The packages and tools as they are here, at 0.1.0, with one fragment each, no release."""
    for name, value in SOMEBODY.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "repository"
    junk = shutil.ignore_patterns("__pycache__", "dist", "CHANGELOG.md")
    for part in ("packages", "tools"):
        shutil.copytree(ROOT / part, root / part, ignore=junk)
    (root / "tests").mkdir()
    shutil.copy(ROOT / "tests/smoke.py", root / "tests/smoke.py")
    (root / ".gitignore").write_text("/dist/\n__pycache__/\n")
    for folder in (root / "packages").iterdir():
        for path in (folder / "changelog.d").glob("[0-9]*"):
            path.unlink()
        (folder / "changelog.d/7.added.md").write_text(f"Added {folder.name}.\n")
        pyproject = folder / "pyproject.toml"
        pyproject.write_text(changelog.set_version(pyproject.read_text(), Version(0, 1, 0)))
    release.git(root, "init", "--quiet", "--initial-branch=main")
    commit(root, "Begin")
    return root


def commit(root: Path, message: str) -> None:
    release.git(root, "add", "--all")
    release.git(root, "commit", "--quiet", "-m", message)


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "tools/release.py", *words], cwd=root, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


def state(root: Path) -> tuple[str, str, str]:
    """Return what a release changes: branch, tags, files that differ from the commit."""
    return (
        release.git(root, "rev-parse", "main"),
        release.git(root, "tag", "--list"),
        release.git(root, "status", "--porcelain"),
    )


def test_it_says_what_the_next_version_would_be(repository: Path) -> None:
    """The version alone on stdout, for a script; why on stderr."""
    release.git(repository, "tag", f"{CORE}-v0.1.0")
    (repository / f"packages/{CORE}/changelog.d/8.removed.md").write_text("Removed it.")
    commit(repository, "Remove")

    done = run(repository, CORE)

    assert (done.stdout, done.returncode) == ("0.2.0\n", 0)
    assert "last release: 0.1.0" in done.stderr


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_without_yes_it_prints_the_plan_and_changes_nothing(
    repository: Path, more: tuple[str, ...]
) -> None:
    """That is the default, so that trying it is safe."""
    before = state(repository)

    done = run(repository, CORE, "0.1.0", *more)

    assert done.returncode == 0, done.stderr
    assert "- Added chittyops-core. (#7)" in done.stdout
    assert f"{CORE}-v0.1.0" in done.stdout
    assert state(repository) == before
    assert not (repository / "dist").exists()


@pytest.mark.network
def test_it_releases_the_core_and_then_checks_its_own_tag(repository: Path) -> None:
    """Changelog, version, build, checks, an empty environment, one commit, one tag."""
    done = run(repository, CORE, "0.1.3", "--yes")

    assert done.returncode == 0, done.stderr
    assert release.git(repository, "tag", "--list") == f"{CORE}-v0.1.3"
    assert release.git(repository, "rev-list", "--count", "main") == "2"
    tagged = release.git(repository, "rev-parse", f"{CORE}-v0.1.3^{{commit}}")
    assert tagged == release.git(repository, "rev-parse", "HEAD")
    assert state(repository)[2] == ""
    package = release.Package(repository, CORE)
    assert package.version == Version(0, 1, 3)
    assert changelog.first_heading(package.changelog.read_text()) == "0.1.3"
    assert package.fragment_files() == []
    built = sorted(path.name for path in (repository / "dist").iterdir())
    assert built == ["chittyops_core-0.1.3-py3-none-any.whl", "chittyops_core-0.1.3.tar.gz"]
    with tarfile.open(repository / "dist" / built[1]) as sdist:
        assert "chittyops_core-0.1.3/CHANGELOG.md" in sdist.getnames()
    assert release.check_tag(repository, f"{CORE}-v0.1.3") == package
    assert len(release.git(repository, "worktree", "list").splitlines()) == 1


def test_a_release_that_cannot_be_built_leaves_branch_and_tags_as_they_were(
    repository: Path,
) -> None:
    """It is prepared elsewhere, and no second work tree stays."""
    (repository / f"packages/{CORE}/README.md").unlink()
    commit(repository, "Break the build")
    before = state(repository)

    done = run(repository, CORE, "0.1.0", "--yes")

    assert done.returncode == 1
    assert "README.md" in done.stderr
    assert "Nothing was released." in done.stderr
    assert state(repository) == before
    assert len(release.git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("chittyops", "0.1.0"), 2, "there is no package 'chittyops'"),
        (("../core", "0.1.0"), 2, "there is no package"),
        ((CORE, "0.1"), 2, "expected MAJOR.MINOR.PATCH"),
        ((CORE, "0.0.9"), 2, "0.0.9 is too low"),
        ((CORE, "0.2.0"), 1, "leaves out 0.2.0"),
        ((LITE, "0.1.0"), 1, "chittyops-core has no release yet"),
        ((), 2, "expected DIST [VERSION], or --tag TAG"),
        ((CORE, "--yes"), 2, "--yes needs a VERSION"),
    ],
)
def test_what_cannot_be_released_is_refused_with_what_to_do(
    repository: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    """Before anything is made, even with --yes."""
    before = state(repository)

    done = run(repository, *words, *(("--yes",) if len(words) == 2 and words[1][0] == "0" else ()))

    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert state(repository) == before


def test_a_dirty_work_tree_is_refused(repository: Path) -> None:
    """What is released is what is committed; the files are named."""
    (repository / "packages" / CORE / "src/chittyops_core/left.py").write_text("")

    with pytest.raises(ChittyOpsError, match="not clean") as caught:
        release.Plan.make(release.Package(repository, CORE), "0.1.0")

    assert caught.value.detail == ("?? packages/chittyops-core/src/chittyops_core/left.py",)


def test_a_version_that_has_a_tag_is_refused(repository: Path) -> None:
    """PyPI would refuse it too, but only after the push."""
    release.git(repository, "tag", f"{CORE}-v0.1.0")

    with pytest.raises(ChittyOpsError, match=r"the tag chittyops-core-v0\.1\.0 exists"):
        release.Plan.make(release.Package(repository, CORE), "0.1.0")


def test_a_version_below_what_its_fragments_ask_for_is_refused(repository: Path) -> None:
    """Something was removed: a patch release would break whoever trusts the number."""
    release.git(repository, "tag", f"{CORE}-v0.1.0")
    (repository / f"packages/{CORE}/changelog.d/8.removed.md").write_text("Removed it.")
    commit(repository, "Remove")

    with pytest.raises(ChittyOpsError, match=r"0\.1\.1 is too low") as caught:
        release.Plan.make(release.Package(repository, CORE), "0.1.1")

    assert "0.2.0" in caught.value.remedy


def test_a_package_without_fragments_is_refused(repository: Path) -> None:
    """There is nothing to tell its users."""
    (repository / f"packages/{CORE}/changelog.d/7.added.md").unlink()
    commit(repository, "Nothing to say")

    with pytest.raises(ChittyOpsError, match="no fragments") as caught:
        release.Plan.make(release.Package(repository, CORE), "0.1.0")

    assert "changelog.d/ISSUE.TYPE.md" in caught.value.remedy


def test_a_lite_may_be_released_when_a_released_core_fits(repository: Path) -> None:
    """The order is: first the core, then the lites."""
    release.git(repository, "tag", f"{CORE}-v0.1.4")

    assert release.Plan.make(release.Package(repository, LITE), "0.1.0").tag == f"{LITE}-v0.1.0"


def test_a_lite_whose_range_leaves_the_released_core_out_is_refused(repository: Path) -> None:
    """Nobody could install it."""
    release.git(repository, "tag", f"{CORE}-v0.3.0")

    with pytest.raises(ChittyOpsError, match=r"leaves out 0\.3\.0"):
        release.Plan.make(release.Package(repository, LITE), "0.1.0")


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        (f"{CORE}-v0.1.1", "pyproject.toml of chittyops-core says 0.1.0"),
        (f"{CORE}-v0.1.0", "CHANGELOG.md of chittyops-core says nothing"),
        ("chittyops-evil-v0.1.0", "there is no package 'chittyops-evil'"),
        ("main", "there is no package ''"),
        (f"{CORE}-v0.1.0; curl evil", "pyproject.toml of chittyops-core says"),
        (f"../packages/{CORE}-v0.1.0", "there is no package"),
    ],
)
def test_a_tag_that_was_made_by_hand_publishes_nothing(
    repository: Path, tag: str, said: str
) -> None:
    """Attack: whoever may push tags but not commits cannot publish what was never released."""
    with pytest.raises(ChittyOpsError) as caught:
        release.check_tag(repository, tag)

    assert said in str(caught.value)
