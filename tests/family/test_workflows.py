"""The workflows: what `nox -s workflows` (zizmor) cannot know about them."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
RELEASE = (ROOT / ".github/workflows/release.yml").read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit_with_its_version(path: Path) -> None:
    """Attack: a tag of somebody else's repository is moved to other code."""
    used = re.findall(r"uses: (.*)", path.read_text())

    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_only_the_publishing_job_may_speak_for_the_project() -> None:
    """Attack: code of a dependency runs during the build, where it could ask for a token."""
    build, publish = RELEASE.split("\n  publish:\n")

    assert "id-token: write" in publish
    assert "run:" not in publish
    for text in (build, *(path.read_text() for path in WORKFLOWS if path.name != "release.yml")):
        assert ": write" not in text


def test_the_workflow_starts_for_every_tag_that_a_release_makes() -> None:
    """And for no other kind of tag."""
    pattern = re.search(r'tags: \["(.*)"\]', RELEASE)
    assert pattern

    for folder in (ROOT / "packages").iterdir():
        assert fnmatch.fnmatch(f"{folder.name}-v0.1.0", pattern[1])
    assert not fnmatch.fnmatch("v0.1.0", pattern[1])


def test_every_session_that_a_workflow_runs_exists() -> None:
    """A session that was renamed would fail only after the tag was pushed."""
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.M))
    texts = [path.read_text() for path in WORKFLOWS] + [(ROOT / ".ci/run").read_text()]
    run = {
        name
        for text in texts
        for words in re.findall(r"nox -s ([a-z ]+)", text) + re.findall(r"session: (\w+)", text)
        for name in words.split()
    }

    assert {"tests", "lint", "release", "lowest"} <= run <= sessions
