"""What a release of one package does, and what it refuses; before any upload."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from release import (
    TYPES,
    ReleaseError,
    head_of,
    range_of_core,
    require_newer,
    require_ranges_allow,
    section_of,
    version_key,
    with_section,
    with_version,
)  # fmt: skip

ROOT = Path(__file__).parents[2]
CORE, LITE = "chittyops-core", "chittyops-lite-chitty-apps"
DAY = date(2026, 1, 2)

versions = st.tuples(*3 * [st.integers(0, 99)]).map(lambda numbers: ".".join(map(str, numbers)))


# --- texts ---


def test_a_section_sorts_by_what_readers_look_for_first_then_by_issue() -> None:
    """Paragraphs and list items are entries of their own; a wrapped line is not."""
    fragments = {
        "10.added.md": "Added ten.\n",
        "3.added.md": "- Added three,\n  wrapped.\n- Added more.\n\nAnd a paragraph.\n",
        "4.security.md": "Closed a hole.\n",
    }

    section = section_of("0.2.0", DAY, fragments)

    assert section == (
        "## 0.2.0 (2026-01-02)\n\n"
        "### Security\n\n- Closed a hole. (#4)\n\n"
        "### Added\n\n- Added three, wrapped. (#3)\n- Added more. (#3)\n"
        "- And a paragraph. (#3)\n- Added ten. (#10)\n"
    )


@pytest.mark.parametrize("name", ["added.md", "x.added.md", "3.md", "3.nonsense.md", "3.added.txt"])
def test_a_fragment_of_another_name_is_refused_not_forgotten(name: str) -> None:
    """Else what it says would be in no changelog."""
    with pytest.raises(ReleaseError, match="not the name of a fragment"):
        section_of("0.2.0", DAY, {name: "Added something."})


def test_an_empty_fragment_is_refused() -> None:
    """An empty bullet tells users nothing."""
    with pytest.raises(ReleaseError, match=r"3\.fixed\.md is empty"):
        section_of("0.2.0", DAY, {"3.fixed.md": " \n"})


@given(st.lists(versions, min_size=1, unique=True))
def test_the_newest_section_is_the_head_and_older_ones_stay(released: list[str]) -> None:
    """Whatever was released in whatever order, nothing already written is lost."""
    changelog = ""
    for version in released:
        section = section_of(version, DAY, {"1.fixed.md": f"Fixed {version}."})
        older, changelog = changelog, with_section(changelog, CORE, section)
        assert head_of(changelog) == version
        assert older.partition("\n## ")[2] in changelog

    assert changelog.count("# Changelog of") == 1
    assert changelog.count("\n## ") == len(released)


@given(versions, versions)
def test_versions_are_ordered_by_their_numbers(one: str, other: str) -> None:
    """0.10.0 comes after 0.9.0."""
    numbers = [[int(number) for number in text.split(".")] for text in (one, other)]

    assert (version_key(one) < version_key(other)) == (numbers[0] < numbers[1])


@pytest.mark.parametrize(
    "version", ["1", "1.0", "v1.0.0", "1.0.0-rc.1", "1.0.0rc1", "01.0.0", "1.0.0\n", "", "1.0.0.0"]
)
def test_a_version_that_is_not_three_numbers_is_refused(version: str) -> None:
    """SemVer and PEP 440 must read it alike."""
    with pytest.raises(ReleaseError, match=r"expected MAJOR\.MINOR\.PATCH"):
        version_key(version)


def test_the_first_release_may_have_the_version_that_is_there() -> None:
    """And so may one whose version a change had to raise; but none comes twice."""
    require_newer("0.1.0", static="0.1.0", released=None)
    require_newer("0.2.0", static="0.2.0", released="0.1.0")

    with pytest.raises(ReleaseError, match=r"does not come after 0\.1\.0"):
        require_newer("0.1.0", static="0.1.0", released="0.1.0")


def test_a_downgrade_attack_by_a_lower_version_is_refused() -> None:
    """Lower than what was released, or than what pyproject.toml says."""
    with pytest.raises(ReleaseError, match="does not come after"):
        require_newer("0.9.9", static="0.10.0", released="0.10.0")
    with pytest.raises(ReleaseError, match="lower than"):
        require_newer("0.9.9", static="0.10.0", released=None)


def test_only_the_packages_own_version_is_changed() -> None:
    """Not a requirement's, and not a key that only ends so."""
    text = '[project]\nversion = "0.1.0"\nmin-version = "3"\ndependencies = ["x==0.1.0"]\n'

    assert with_version(text, "0.1.1") == text.replace('\nversion = "0.1.0"', '\nversion = "0.1.1"')
    with pytest.raises(ReleaseError, match="2 lines"):
        with_version(text * 2, "0.1.1")


def test_a_core_that_a_lite_excludes_is_refused() -> None:
    """Users of the lite could not install the two together; uv's workspace would not notice."""
    ranges = {LITE: range_of_core(["attrs>=24.2", "chittyops-core[local]>=0.1,<0.2"])}

    require_ranges_allow("0.1.7", ranges)
    with pytest.raises(ReleaseError, match=r"which excludes 0\.2\.0"):
        require_ranges_allow("0.2.0", ranges)


def test_a_lite_that_does_not_require_the_core_is_refused() -> None:
    """It would be installed alone, and fail at its first import."""
    with pytest.raises(ReleaseError, match="found 0 times"):
        range_of_core(["attrs>=24.2"])


def test_contributors_are_told_the_types_of_fragments_that_there_are() -> None:
    """CONTRIBUTING.md lists them."""
    text = (ROOT / "CONTRIBUTING.md").read_text()

    assert all(kind in text for kind in TYPES)


# --- a repository ---


class Repository:
    """A copy of this tree's files with one commit, one fragment a package, and its own git."""

    def __init__(self, root: Path) -> None:
        self.root = root
        listed = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name, follow_symlinks=False)
        for dist in (CORE, LITE):
            folder = root / "packages" / dist / "changelog.d"
            for old in folder.glob("*.md"):
                old.unlink()
            (folder / "7.fixed.md").write_text("Mended the gate.\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("Everything")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        # Without the variables that git gives to hooks, which would name another repository.
        outer = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        who = {"NAME": "Tester", "EMAIL": "tester@example.org"}
        own = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in who.items()}
        # The tools that nox finds are those of this environment.
        outer["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{outer['PATH']}"
        return subprocess.run(
            words, cwd=self.root, text=True, capture_output=True, check=False,
            env={**outer, **own, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
        )  # fmt: skip

    def git(self, *words: str) -> str:
        done = self.run("git", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)

    def tool(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "tools/release.py", *words)

    def release(self, dist: str, version: str) -> None:
        """Do the tool's part of a release; nox builds and tries out in between."""
        tree = str(self.root / ".nox/tree")
        for step, *more in (("plan",), ("prepare", tree), ("adopt", tree)):
            done = self.tool(step, dist, version, *more)
            assert done.returncode == 0, done.stderr

    def next_version(self, dist: str) -> str:
        """Return the patch after the one that *dist* has in this tree."""
        major, minor, patch = self.static_version(dist).split(".")
        return f"{major}.{minor}.{int(patch) + 1}"

    def static_version(self, dist: str) -> str:
        text = (self.root / f"packages/{dist}/pyproject.toml").read_text()
        return text.partition('\nversion = "')[2].partition('"')[0]

    def state(self) -> Mapping[str, str]:
        """Return all that a release may change."""
        return {
            "head": self.git("rev-parse", "HEAD"),
            "branch": self.git("branch", "--show-current"),
            "refs": self.git("for-each-ref"),
            "files": self.git("status", "--porcelain"),
        }


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository of this test's own."""
    return Repository(tmp_path / "repository")


def test_a_release_is_one_commit_and_one_tag(repository: Repository) -> None:
    """Version, changelog and fragments change together, and `check` agrees with the tag."""
    version = repository.next_version(CORE)
    before = repository.git("rev-parse", "HEAD")

    repository.release(CORE, version)

    tag = f"{CORE}-v{version}"
    assert repository.git("rev-parse", f"{tag}^{{commit}}") == repository.git("rev-parse", "HEAD")
    assert repository.git("rev-parse", "HEAD^") == before
    assert repository.git("branch", "--show-current") == "main"
    assert repository.git("status", "--porcelain") == ""
    assert repository.git("worktree", "list").count("\n") == 0
    changed = repository.git("diff", "--name-only", "HEAD^", "HEAD").splitlines()
    folder = f"packages/{CORE}"
    assert changed == [
        f"{folder}/CHANGELOG.md", f"{folder}/changelog.d/7.fixed.md", f"{folder}/pyproject.toml",
    ]  # fmt: skip
    assert not (repository.root / folder / "changelog.d/7.fixed.md").exists()
    assert "- Mended the gate. (#7)" in (repository.root / folder / "CHANGELOG.md").read_text()
    assert (repository.root / folder / "changelog.d").is_dir()
    done = repository.tool("check", tag)
    assert (done.returncode, done.stdout) == (0, f"dist={CORE}\nversion={version}\n"), done.stderr


def test_a_plan_changes_nothing(repository: Repository) -> None:
    """It shows the section that the changelog would get."""
    before = repository.state()

    done = repository.tool("plan", CORE, repository.next_version(CORE))

    assert done.returncode == 0, done.stderr
    assert "- Mended the gate. (#7)" in done.stdout
    assert repository.state() == before


def test_a_release_that_fails_before_its_end_changes_nothing(repository: Repository) -> None:
    """A build or a smoke test that fails, or a kill, leaves no file, commit or tag; begin again."""
    version = repository.next_version(CORE)
    before = repository.state()

    done = repository.tool("prepare", CORE, version, str(repository.root / ".nox/tree"))

    assert done.returncode == 0, done.stderr
    assert repository.state() == before
    repository.release(CORE, version)
    assert repository.git("tag", "--list") == f"{CORE}-v{version}"


def test_a_branch_that_moved_meanwhile_is_not_overtaken(repository: Repository) -> None:
    """What was built is not what is there now: no tag, and the new commit stays."""
    version, tree = repository.next_version(CORE), str(repository.root / ".nox/tree")
    repository.tool("prepare", CORE, version, tree)
    (repository.root / "README.md").write_text("Something else.\n")
    repository.commit("Meanwhile")
    before = repository.state()

    done = repository.tool("adopt", CORE, version, tree)

    assert done.returncode == 1
    assert "git merge failed" in done.stderr
    assert repository.state() == before


def test_a_lite_waits_for_a_core_that_its_range_allows(repository: Repository) -> None:
    """PyPI could not install it before."""
    version = repository.next_version(LITE)

    early = repository.tool("plan", LITE, version)
    repository.release(CORE, repository.next_version(CORE))
    repository.release(LITE, version)

    assert early.returncode == 1
    assert "of which none is released" in early.stderr
    assert "Release the core first" in early.stderr
    assert repository.tool("check", f"{LITE}-v{version}").returncode == 0


def test_a_tag_set_by_hand_on_another_tree_is_refused(repository: Repository) -> None:
    """An attack on the workflow: a pushed tag alone publishes nothing under its name."""
    repository.release(CORE, repository.next_version(CORE))

    for tag in (f"{CORE}-v9.9.9", f"{LITE}-v9.9.9"):
        done = repository.tool("check", tag)
        assert done.returncode == 1
        assert done.stdout == ""
        assert "is not of this tree" in done.stderr


@pytest.mark.parametrize(
    "tag",
    [
        "v1.0.0", f"{CORE}-v1.0", f"{CORE}-v1.0.0; id", f"{CORE}-v1.0.0\nx=1",
        "chittyops-x-v1.0.0", "../x-v1.0.0",
    ],
)  # fmt: skip
def test_a_tag_that_would_inject_into_the_workflow_is_refused(
    repository: Repository, tag: str
) -> None:
    """Nothing of it reaches the outputs of the job."""
    done = repository.tool("check", tag)

    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_what_cannot_be_released_is_refused_with_what_to_do(repository: Repository) -> None:
    """Each mistake by itself; nothing changes."""
    version = repository.next_version(CORE)
    repository.git("tag", f"{LITE}-v7.0.0")
    repository.git("tag", f"{CORE}-v{repository.static_version(CORE)}")
    mistakes = {
        ("chittyops-nothing", version): ("no package 'chittyops-nothing'", CORE),
        (CORE, "1.0"): ("expected MAJOR.MINOR.PATCH", "semver.org"),
        (CORE, "0.0.1"): ("0.0.1 is lower than", "higher one"),
        (CORE, "99.0.0"): ("which excludes 99.0.0", "allow 99.0.0"),
        (LITE, "7.0.0"): ("there is a tag", f"git tag -d {LITE}-v7.0.0"),
        ("chittyops-lite-cook-county", "99.0.0"): ("has no fragment", "CONTRIBUTING.md"),
    }
    for old in repository.root.glob("packages/chittyops-lite-cook-county/changelog.d/*.md"):
        old.unlink()
    repository.git("commit", "--quiet", "--all", "--allow-empty", "-m", "No fragments")
    before = repository.state()

    for words, (message, remedy) in mistakes.items():
        done = repository.tool("plan", *words)
        assert done.returncode == 1, words
        first, _, second = done.stderr.partition("\n")
        assert message in first, done.stderr
        assert remedy in second, done.stderr

    assert repository.state() == before


def test_a_tree_with_anything_uncommitted_is_refused(repository: Repository) -> None:
    """A file that git does not know is enough: it might be what makes the tests pass."""
    (repository.root / "packages/forgotten.py").write_text("")

    done = repository.tool("plan", CORE, repository.next_version(CORE))

    assert done.returncode == 1
    assert "not clean:\n?? packages/forgotten.py" in done.stderr
    assert "git stash -u" in done.stderr


@pytest.mark.network
def test_the_whole_release_builds_checks_and_tries_what_it_tags(repository: Repository) -> None:
    """`nox -s release` itself, with the tools of this environment; the wheel is used alone."""
    nox = str(Path(sys.executable).with_name("nox"))
    version = repository.next_version(CORE)
    release = [nox, "--no-venv", "--no-install", "-s", "release", "--", CORE, version]
    before = repository.state()

    planned = repository.run(*release)
    state = repository.state()
    done = repository.run(*release, "--yes")

    assert planned.returncode == 0, planned.stderr
    assert state == before
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in (repository.root / "dist").iterdir()) == [
        f"chittyops_core-{version}-py3-none-any.whl", f"chittyops_core-{version}.tar.gz",
    ]  # fmt: skip
    assert f"chittyops, version {version}" in done.stdout
    assert repository.tool("check", f"{CORE}-v{version}").returncode == 0
